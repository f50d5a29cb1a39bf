//! The links between simulated cores: each keeps its order, delays what it carries, and has no room at times.
//!
//! ```text
//!   try_send ─▶ staged ── publish ─▶ flying, each with the tick at which it arrives ── try_receive ─▶ taken ── release ─▶ room
//! ```
//!
//! What was sent and not published never arrives, as in a ring; so a core that forgets to publish is found out.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::random::Random;
use crate::data_plane::switch::Message;
use crate::runtime::seam::Link;

/// How the links of one run behave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// The longest delay of a message, in ticks of the scheduler.
    pub(super) delay_max: u64,
    /// One message in so many is refused although there is room; 0: none.
    pub(super) refuse_one_in: u64,
    /// How many messages a link holds.
    pub(super) room: usize,
}

/// From one core to another.
#[derive(Default)]
struct Pipe {
    staged: Vec<Message>,
    flying: VecDeque<(u64, Message)>,
    taken: usize,
    /// When the last message arrives: none overtakes it.
    last_arrival: u64,
}

struct Shared {
    weather: Weather,
    tick: Cell<u64>,
    random: RefCell<Random>,
    /// A hash over all that has happened so far.
    trace: Cell<u64>,
    closed: Vec<Cell<bool>>,
    /// By sender, then by receiver.
    pipes: Vec<Vec<RefCell<Pipe>>>,
}

impl Shared {
    fn note(&self, word: u64) {
        self.trace.set(thalweg_state::hash_pair(self.trace.get(), word));
    }
}

/// All links of a simulated job.
pub(super) struct Network(Rc<Shared>);

impl Network {
    pub(super) fn new(cores: usize, weather: Weather, random: Random) -> Self {
        let row = || (0..cores).map(|_| RefCell::default()).collect();
        Self(Rc::new(Shared {
            weather,
            tick: Cell::new(0),
            random: RefCell::new(random),
            trace: Cell::new(0),
            closed: vec![Cell::new(false); cores],
            pipes: (0..cores).map(|_| row()).collect(),
        }))
    }

    /// The ends of the links that `core` has, by peer.
    pub(super) fn links(&self, core: usize) -> Vec<Option<Box<dyn Link>>> {
        let link = |peer| {
            let link: Box<dyn Link> = Box::new(SimulatedLink { core, peer, shared: self.0.clone() });
            (peer != core).then_some(link)
        };
        (0..self.0.closed.len()).map(link).collect()
    }

    pub(super) fn tick(&self) -> u64 {
        self.0.tick.get()
    }

    pub(super) fn set_tick(&self, tick: u64) {
        self.0.tick.set(tick);
    }

    /// When the next message for `core` arrives, or has arrived.
    pub(super) fn next_arrival(&self, core: usize) -> Option<u64> {
        let first = |from: &Vec<RefCell<Pipe>>| from[core].borrow().flying.front().map(|(at, _)| *at);
        self.0.pipes.iter().filter_map(first).min()
    }

    /// The core has ended: what is sent to it is dropped.
    pub(super) fn close(&self, core: usize) {
        self.0.closed[core].set(true);
        self.0.pipes.iter().for_each(|from| from[core].borrow_mut().flying.clear());
    }

    /// Adds a word to the trace.
    pub(super) fn note(&self, word: u64) {
        self.0.note(word);
    }

    pub(super) fn trace(&self) -> u64 {
        self.0.trace.get()
    }
}

/// One core's end of the connection to a peer.
struct SimulatedLink {
    core: usize,
    peer: usize,
    shared: Rc<Shared>,
}

impl SimulatedLink {
    fn outgoing(&self) -> &RefCell<Pipe> {
        &self.shared.pipes[self.core][self.peer]
    }

    fn incoming(&self) -> &RefCell<Pipe> {
        &self.shared.pipes[self.peer][self.core]
    }
}

impl Link for SimulatedLink {
    fn try_send(&mut self, message: Message) -> Result<(), Message> {
        if self.shared.closed[self.peer].get() {
            return Ok(());
        }
        let mut pipe = self.outgoing().borrow_mut();
        let is_full = pipe.staged.len() + pipe.flying.len() + pipe.taken >= self.shared.weather.room;
        if is_full || self.shared.random.borrow_mut().one_in(self.shared.weather.refuse_one_in) {
            return Err(message);
        }
        pipe.staged.push(message);
        Ok(())
    }

    fn publish(&mut self) {
        let pipe = &mut *self.outgoing().borrow_mut();
        for message in pipe.staged.drain(..) {
            let mut random = self.shared.random.borrow_mut();
            let mut delay = random.below(self.shared.weather.delay_max + 1);
            if random.one_in(50) {
                delay *= 10; // Now and then something is really late.
            }
            pipe.last_arrival = pipe.last_arrival.max(self.shared.tick.get() + delay);
            self.shared.note((self.core as u64) << 32 | self.peer as u64);
            self.shared.note(pipe.last_arrival);
            self.shared.note(hash(&message));
            pipe.flying.push_back((pipe.last_arrival, message));
        }
    }

    fn try_receive(&mut self) -> Option<Message> {
        let mut pipe = self.incoming().borrow_mut();
        let (_, message) = pipe.flying.pop_front_if(|(at, _)| *at <= self.shared.tick.get())?;
        pipe.taken += 1;
        Some(message)
    }

    fn release(&mut self) {
        self.incoming().borrow_mut().taken = 0;
    }
}

/// What the message says, to the last byte.
fn hash(message: &Message) -> u64 {
    match message {
        Message::Data { channel, sequence, buffer } => {
            let place = thalweg_state::hash_pair(u64::from(channel.0), *sequence);
            thalweg_state::hash_pair(place, thalweg_state::hash_bytes(buffer.bytes()))
        }
        Message::Grant { channel, total } => thalweg_state::hash_pair(u64::from(channel.0), !total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::switch::ChannelId;

    /// Goal: whatever the delays, messages arrive in order, once, and only after they were published.
    #[test]
    fn links_keep_their_order() {
        for seed in 0..50 {
            let weather = Weather { delay_max: 5, refuse_one_in: 3, room: 4 };
            let network = Network::new(2, weather, Random::new(seed));
            let mut a = network.links(0).remove(1).expect("a link to the peer");
            let mut b = network.links(1).remove(0).expect("a link to the peer");
            let (mut sent, mut published, mut received) = (0, 0, 0);
            while received < 100 {
                let tick = network.tick() + 1;
                network.set_tick(tick);
                if sent < 100 && a.try_send(Message::Grant { channel: ChannelId(0), total: sent }).is_ok() {
                    sent += 1;
                }
                if tick.is_multiple_of(3) {
                    a.publish();
                    published = sent;
                }
                while let Some(Message::Grant { total, .. }) = b.try_receive() {
                    assert_eq!(total, received);
                    received += 1;
                }
                assert!(received <= published);
                b.release();
                assert!(tick < 100_000);
            }
            assert!(network.next_arrival(1).is_none());
        }
    }
}
