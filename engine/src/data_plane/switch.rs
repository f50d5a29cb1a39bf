//! The channels of one core, and the links to its peers.
//!
//! ```text
//!   writer ─▶ outgoing channel: CreditSender ─┬─ same core ──────▶ incoming channel: queue ─▶ gate
//!                     ▲                       └─ Link (ring) ─▶ peer's Switch ─▶ …        │
//!                     └────────────── grants: totals, batched ◀───────────────────────────┘
//! ```
//!
//! A channel is one sender subtask to one receiver subtask. Its credit is a number of buffers; a buffer that finds none waits
//! in the sender, which makes the sending subtask take no further input. All channels between two cores share one link, and
//! none can stall another there: a buffer enters the link only with credit, so the receiver always has room for it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_net::{Buffer, BufferMut, BufferPool, CreditReceiver, CreditSender};

use crate::error::Error;
use crate::graph::ChainId;
use crate::time::Timestamp;

/// Names a channel in the whole job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelId(pub(crate) u32);

/// What crosses a link.
#[derive(Debug)]
pub(crate) enum Message {
    Data {
        channel: ChannelId,
        sequence: u64,
        buffer: Buffer,
    },
    /// The receiver has made room for this many buffers since the channel opened.
    Grant {
        channel: ChannelId,
        total: u64,
    },
}

/// One core's end of the connection to a peer core, both directions. The runtime has rings, the simulator queues with delays.
pub(crate) trait Link {
    /// Hands a message over, or gives it back when there is no room.
    fn try_send(&mut self, message: Message) -> Result<(), Message>;
    /// Makes all sent messages visible and wakes the peer if it sleeps.
    fn publish(&mut self);
    fn try_receive(&mut self) -> Option<Message>;
    /// Gives the room of received messages back.
    fn release(&mut self);
}

/// Where the other end of a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    SameCore,
    Core(usize),
}

/// The sending half of a channel.
struct Outgoing {
    /// The chain that sends, for messages.
    sender: Arc<str>,
    credit: CreditSender<Buffer>,
    peer: Peer,
    /// How many outputs of the sending subtask have no credit.
    blocked: Rc<Cell<u32>>,
    is_blocked: bool,
}

/// The receiving half of a channel.
struct Incoming {
    queue: VecDeque<Buffer>,
    credit: CreditReceiver,
    peer: Peer,
    /// The receiving subtask's list of channels with something in them, and this channel's place among its inputs.
    ready: Rc<RefCell<VecDeque<usize>>>,
    position: usize,
    listed: bool,
}

/// Limits of the exchange, in buffers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwitchLimits {
    pub(crate) credit_buffers: u64,
    pub(crate) overdraft_buffers_max: usize,
}

/// See the [module](self). One for each core, shared by its subtasks.
pub(crate) struct Switch {
    core: usize,
    limits: SwitchLimits,
    pool: RefCell<BufferPool>,
    links: RefCell<Vec<Option<LinkState>>>,
    outgoing: RefCell<Vec<Option<Outgoing>>>,
    incoming: RefCell<Vec<Option<Incoming>>>,
    /// How many further records the running subtask may take in this step. None when an output overdrew, a timer is due, or
    /// the job failed.
    allowance: Cell<u32>,
    failure: RefCell<Option<Error>>,
    now: Cell<Timestamp>,
    overdraft_buffers_peak: Cell<usize>,
    buffers_sent: Cell<u64>,
    late_records: RefCell<Vec<(ChainId, LateRecords)>>,
}

/// How many records an operator of this core has dropped as late. Counted beside the record path: late ones are few.
#[derive(Debug, Clone, Default)]
pub(crate) struct LateRecords(Rc<Cell<u64>>);

impl LateRecords {
    #[cold]
    pub(crate) fn count_one(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What a core has done.
#[derive(Default)]
pub(crate) struct CoreStats {
    pub(crate) buffers_sent: u64,
    /// The greatest overdraft of one channel.
    pub(crate) overdraft_buffers_max: usize,
    /// Of all buffers of this core.
    pub(crate) buffer_memory_bytes: usize,
    /// By the chain that begins with the operator.
    pub(crate) late_records: Vec<(ChainId, u64)>,
    /// See [`super::background::Background`].
    pub(crate) stalls: u64,
    pub(crate) buffers_put_aside: u64,
}

struct LinkState {
    link: Box<dyn Link>,
    /// Sent, but the link had no room yet.
    backlog: VecDeque<Message>,
    dirty: bool,
}

impl Switch {
    /// `links[c]` leads to core `c`; there is none to `core` itself.
    pub(crate) fn new(
        core: usize,
        channels: usize,
        limits: SwitchLimits,
        pool: BufferPool,
        links: Vec<Option<Box<dyn Link>>>,
    ) -> Self {
        let links = links
            .into_iter()
            .map(|l| l.map(|link| LinkState { link, backlog: VecDeque::new(), dirty: false }));
        Self {
            core,
            limits,
            pool: RefCell::new(pool),
            links: RefCell::new(links.collect()),
            outgoing: RefCell::new((0..channels).map(|_| None).collect()),
            incoming: RefCell::new((0..channels).map(|_| None).collect()),
            allowance: Cell::new(u32::MAX),
            failure: RefCell::new(None),
            now: Cell::new(i64::MIN),
            overdraft_buffers_peak: Cell::new(0),
            buffers_sent: Cell::new(0),
            late_records: RefCell::default(),
        }
    }

    pub(crate) fn core(&self) -> usize {
        self.core
    }

    pub(crate) fn open_outgoing(
        &self,
        channel: ChannelId,
        peer: Peer,
        blocked: Rc<Cell<u32>>,
        sender: Arc<str>,
    ) {
        let credit = CreditSender::new(self.limits.credit_buffers);
        self.outgoing.borrow_mut()[channel.0 as usize] =
            Some(Outgoing { sender, credit, peer, blocked, is_blocked: false });
    }

    pub(crate) fn open_incoming(
        &self,
        channel: ChannelId,
        peer: Peer,
        ready: Rc<RefCell<VecDeque<usize>>>,
        position: usize,
    ) {
        let credit = CreditReceiver::new(self.limits.credit_buffers);
        let incoming = Incoming { queue: VecDeque::new(), credit, peer, ready, position, listed: false };
        self.incoming.borrow_mut()[channel.0 as usize] = Some(incoming);
    }

    /// An empty buffer, of at least `bytes`.
    pub(crate) fn take_buffer(&self, bytes: usize) -> BufferMut {
        self.pool.borrow_mut().take_at_least(bytes)
    }

    /// Sends a buffer as soon as there is credit for it, and asks the running subtask to stop when there is none left.
    ///
    /// Once the job has failed nothing is sent: the record at hand may make any number of further buffers.
    pub(crate) fn send(&self, channel: ChannelId, buffer: Buffer) {
        if self.has_failed() {
            return;
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let out = outgoing[channel.0 as usize].as_mut().expect("the plan opened this channel");
        out.credit.enqueue(buffer);
        self.buffers_sent.set(self.buffers_sent.get() + 1);
        self.pump(channel, out);
        let overdraft = out.credit.overdraft();
        if overdraft > self.overdraft_buffers_peak.get() {
            self.overdraft_buffers_peak.set(overdraft);
        }
        if overdraft > self.limits.overdraft_buffers_max {
            let limit = self.limits.overdraft_buffers_max;
            self.fail(Error::Overdraft { operator: out.sender.to_string(), buffers: overdraft, limit });
        }
    }

    /// Hands over what has credit.
    fn pump(&self, channel: ChannelId, out: &mut Outgoing) {
        while let Some((sequence, _backlog, buffer)) = out.credit.poll() {
            match out.peer {
                Peer::SameCore => self.on_data(channel, sequence, buffer),
                Peer::Core(peer) => self.post(peer, Message::Data { channel, sequence, buffer }),
            }
        }
        let is_blocked = !out.credit.is_available();
        if is_blocked != out.is_blocked {
            out.is_blocked = is_blocked;
            let blocked = out.blocked.get();
            out.blocked.set(if is_blocked { blocked + 1 } else { blocked - 1 });
        }
        if is_blocked {
            self.allowance.set(0);
        }
    }

    fn post(&self, peer: usize, message: Message) {
        let mut links = self.links.borrow_mut();
        let state = links[peer].as_mut().expect("there is a link to every peer");
        state.dirty = true;
        if !state.backlog.is_empty() {
            state.backlog.push_back(message);
        } else if let Err(message) = state.link.try_send(message) {
            state.backlog.push_back(message);
        } else {
            state.link.publish();
        }
    }

    fn on_data(&self, channel: ChannelId, sequence: u64, buffer: Buffer) {
        let mut incoming = self.incoming.borrow_mut();
        let input = incoming[channel.0 as usize].as_mut().expect("the plan opened this channel");
        input.credit.on_data(sequence).expect("a link between cores keeps its order");
        input.queue.push_back(buffer);
        if !input.listed {
            input.listed = true;
            input.ready.borrow_mut().push_back(input.position);
        }
    }

    fn on_grant(&self, channel: ChannelId, total: u64) {
        let mut outgoing = self.outgoing.borrow_mut();
        let out = outgoing[channel.0 as usize].as_mut().expect("the plan opened this channel");
        out.credit.on_grant(total);
        self.pump(channel, out);
    }

    /// The next buffer of a channel. An empty channel leaves its gate's list until something comes.
    pub(crate) fn take_input(&self, channel: ChannelId) -> Option<Buffer> {
        let mut incoming = self.incoming.borrow_mut();
        let input = incoming[channel.0 as usize].as_mut().expect("the plan opened this channel");
        let buffer = input.queue.pop_front();
        if buffer.is_none() {
            input.listed = false;
        }
        buffer
    }

    /// A buffer of a channel has been read to its end: its credit goes back to the sender.
    pub(crate) fn consumed(&self, channel: ChannelId) {
        let grant = {
            let mut incoming = self.incoming.borrow_mut();
            let input = incoming[channel.0 as usize].as_mut().expect("the plan opened this channel");
            input.credit.on_consumed();
            input.credit.poll_grant().map(|total| (input.peer, total))
        };
        match grant {
            Some((Peer::SameCore, total)) => self.on_grant(channel, total),
            Some((Peer::Core(peer), total)) => self.post(peer, Message::Grant { channel, total }),
            None => {}
        }
    }

    /// Takes in what the peers have sent. Returns whether there was anything.
    pub(crate) fn receive(&self) -> bool {
        let mut any = false;
        let peers = self.links.borrow().len();
        for peer in 0..peers {
            loop {
                let message = match &mut self.links.borrow_mut()[peer] {
                    Some(state) => state.link.try_receive(),
                    None => None,
                };
                match message {
                    Some(Message::Data { channel, sequence, buffer }) => {
                        self.on_data(channel, sequence, buffer)
                    }
                    Some(Message::Grant { channel, total }) => self.on_grant(channel, total),
                    None => break,
                }
                any = true;
            }
            if let Some(state) = &mut self.links.borrow_mut()[peer] {
                state.link.release();
                while let Some(message) = state.backlog.pop_front() {
                    if let Err(message) = state.link.try_send(message) {
                        state.backlog.push_front(message);
                        break;
                    }
                    any = true;
                }
                if std::mem::take(&mut state.dirty) {
                    state.link.publish();
                }
                state.dirty |= !state.backlog.is_empty();
            }
        }
        any
    }

    /// Whether a link had no room for something. Nobody rings when it has, so the core must not sleep.
    pub(crate) fn has_backlog(&self) -> bool {
        self.links.borrow().iter().flatten().any(|state| !state.backlog.is_empty())
    }

    /// Whether everything sent has left this core.
    pub(crate) fn is_drained(&self) -> bool {
        self.outgoing.borrow().iter().flatten().all(|out| out.credit.overdraft() == 0) && !self.has_backlog()
    }

    /// Whether no input of this core holds a buffer.
    pub(crate) fn is_quiet(&self) -> bool {
        self.incoming.borrow().iter().flatten().all(|input| input.queue.is_empty())
    }

    /// Whether the running subtask shall return before its next record.
    #[inline]
    pub(crate) fn should_stop(&self) -> bool {
        self.allowance.get() == 0
    }

    /// For a source, which counts its records down here: the end of its turn and a reason to stop are then one test.
    #[inline]
    pub(crate) fn allowance(&self) -> &Cell<u32> {
        &self.allowance
    }

    pub(crate) fn ask_to_stop(&self) {
        self.allowance.set(0);
    }

    /// Before a subtask's step.
    pub(crate) fn clear_stop(&self) {
        self.allowance.set(if self.has_failed() { 0 } else { u32::MAX });
    }

    /// The job has failed; the first reason is kept.
    pub(crate) fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.allowance.set(0);
    }

    /// The job has failed for what its state says.
    pub(crate) fn fail_with_state(&self, message: String) {
        self.fail(Error::State { core: self.core, message });
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.borrow().clone()
    }

    /// The processing-time clock as of this step, in ms.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        self.now.get()
    }

    pub(crate) fn set_now(&self, now: Timestamp) {
        self.now.set(now);
    }

    /// A count for the operator at the head of a chain.
    pub(crate) fn late_records(&self, chain: ChainId) -> LateRecords {
        let count = LateRecords::default();
        self.late_records.borrow_mut().push((chain, count.clone()));
        count
    }

    pub(crate) fn stats(&self) -> CoreStats {
        let late_records = self.late_records.borrow();
        CoreStats {
            buffers_sent: self.buffers_sent.get(),
            overdraft_buffers_max: self.overdraft_buffers_peak.get(),
            buffer_memory_bytes: self.pool.borrow().memory_bytes(),
            late_records: late_records.iter().map(|(chain, count)| (*chain, count.get())).collect(),
            ..CoreStats::default()
        }
    }
}
