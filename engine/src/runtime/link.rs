//! The rings between the cores of a process: one for each ordered pair.

use thalweg_net::ring::{self, Consumer, Producer};

use super::bell::Bell;
use crate::data_plane::switch::{Link, Message};

/// The most slots of a ring. A message that finds none waits in its switch.
const RING_SLOTS_MAX: usize = 1024;

/// A core's two rings to and from one peer; the peer's bell is added when the core starts.
pub(super) struct Rings {
    to: Producer<Message>,
    from: Consumer<Message>,
}

impl Rings {
    pub(super) fn link(self, peer: Bell) -> Box<dyn Link> {
        Box::new(RingLink { rings: self, peer })
    }
}

/// What a core has of its rings to and from a peer.
type Ends = (Option<Producer<Message>>, Option<Consumer<Message>>);

/// The rings of each core, by peer.
pub(super) fn mesh(cores: usize, channels: usize) -> Vec<Vec<Option<Rings>>> {
    let slots = (channels * 16).clamp(64, RING_SLOTS_MAX).next_power_of_two();
    let mut ends: Vec<Vec<Ends>> = (0..cores).map(|_| (0..cores).map(|_| (None, None)).collect()).collect();
    let pairs = (0..cores).flat_map(|a| (0..cores).map(move |b| (a, b)));
    for (a, b) in pairs.filter(|(a, b)| a != b) {
        let (to, from) = ring::channel(slots);
        ends[a][b].0 = Some(to);
        ends[b][a].1 = Some(from);
    }
    let rings = |(to, from): Ends| Some(Rings { to: to?, from: from? });
    ends.into_iter().map(|core| core.into_iter().map(rings).collect()).collect()
}

struct RingLink {
    rings: Rings,
    peer: Bell,
}

impl Link for RingLink {
    fn try_send(&mut self, message: Message) -> Result<(), Message> {
        match self.rings.to.try_push(message) {
            // The peer has ended and reads nothing more: a late grant, which nobody misses.
            Err(_) if self.rings.to.is_closed() => Ok(()),
            result => result,
        }
    }

    fn publish(&mut self) {
        if self.rings.to.publish() > 0 {
            self.peer.ring();
        }
    }

    fn try_receive(&mut self) -> Option<Message> {
        self.rings.from.pop()
    }

    fn release(&mut self) {
        self.rings.from.release();
    }
}
