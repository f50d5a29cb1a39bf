//! Credit-based flow control of one channel: a sender sends what its receiver has made room for.
//!
//! ```text
//!   sender    enqueue ──▶ queue ──poll, while sent < granted──▶ (seq, backlog, buffer)    receiver
//!             on_grant ◀────────────── total granted ◀──────────────────── poll_grant     on_data, on_consumed
//! ```
//!
//! Invariants:
//! - `sent <= granted` at the sender: what is queued beyond that is its overdraft, and waits;
//! - `consumed <= received <= granted <= consumed + initial` at the receiver: it never holds more than `initial` buffers;
//! - all are totals since the channel opened, so a repeated or overtaken grant changes nothing.
//!
//! Flink's `RemoteInputChannel` and `CreditBasedSequenceNumberingViewReader`, with totals for increments.

use std::collections::VecDeque;

/// The sending half of one channel's flow control; `B` is the buffer.
///
/// Order: `enqueue` and `on_grant` as they come, then `poll` until it yields nothing.
///
/// ```
/// use thalweg_net::CreditSender;
///
/// let mut sender = CreditSender::new(1);
/// sender.enqueue("a");
/// sender.enqueue("b");
/// assert_eq!(sender.poll(), Some((0, 1, "a"))); // Number, backlog, buffer.
/// assert_eq!(sender.poll(), None); // The grant is used up …
/// assert!(!sender.is_available()); // … and "b" is beyond it.
/// sender.on_grant(3);
/// assert_eq!(sender.poll(), Some((1, 0, "b")));
/// ```
#[derive(Debug)]
pub struct CreditSender<B> {
    queue: VecDeque<B>,
    granted: u64,
    sent: u64,
    overdraft_max: usize,
}

impl<B> CreditSender<B> {
    /// A sender whose receiver has made room for `granted` buffers already: its initial credit, if both know it.
    ///
    /// ```
    /// use thalweg_net::CreditSender;
    ///
    /// assert_eq!(CreditSender::<()>::new(8).credit(), 8);
    /// assert_eq!(CreditSender::<()>::default().credit(), 0); // Waits for its first grant.
    /// ```
    pub fn new(granted: u64) -> Self {
        Self { queue: VecDeque::new(), granted, sent: 0, overdraft_max: 0 }
    }

    /// Takes a buffer to be sent, with or without credit.
    ///
    /// Ask [`is_available`](Self::is_available) before beginning work that leads here: within one record there may be an
    /// overdraft, and it is for the caller to bound it so.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(0);
    /// sender.enqueue("a"); // It waits.
    /// assert_eq!((sender.poll(), sender.backlog()), (None, 1));
    /// ```
    #[inline]
    pub fn enqueue(&mut self, buffer: B) {
        self.queue.push_back(buffer);
        self.overdraft_max = self.overdraft_max.max(self.overdraft());
    }

    /// Takes the receiver's grant: the total number of buffers it has made room for, since the channel opened.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::<()>::new(2);
    /// sender.on_grant(5);
    /// sender.on_grant(3); // One that was overtaken, or comes again: no change.
    /// assert_eq!(sender.credit(), 5);
    /// ```
    #[inline]
    pub fn on_grant(&mut self, total: u64) {
        self.granted = self.granted.max(total); // An older, smaller total changes nothing.
    }

    /// The next buffer for the channel: its number, how many wait behind it, and itself. `None` until a grant or a buffer
    /// comes.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(2);
    /// ["a", "b", "c"].map(|buffer| sender.enqueue(buffer));
    /// let sent: Vec<_> = std::iter::from_fn(|| sender.poll()).collect();
    /// assert_eq!(sent, [(0, 2, "a"), (1, 1, "b")]);
    /// ```
    #[inline]
    pub fn poll(&mut self) -> Option<(u64, usize, B)> {
        if self.sent == self.granted {
            return None;
        }
        let buffer = self.queue.pop_front()?;
        let seq = self.sent;
        self.sent += 1;
        Some((seq, self.queue.len(), buffer))
    }

    /// Whether nothing is queued beyond the credit, so that work that leads to more may begin.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(1);
    /// sender.enqueue("a");
    /// assert!(sender.is_available());
    /// sender.enqueue("b");
    /// assert!(!sender.is_available());
    /// ```
    #[inline]
    pub fn is_available(&self) -> bool {
        self.overdraft() == 0
    }

    /// The number of queued buffers there is no credit for.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(1);
    /// ["a", "b", "c"].map(|buffer| sender.enqueue(buffer));
    /// assert_eq!(sender.overdraft(), 2);
    /// sender.on_grant(2);
    /// assert_eq!(sender.overdraft(), 1);
    /// ```
    #[inline]
    pub fn overdraft(&self) -> usize {
        self.queue.len().saturating_sub(self.credit().try_into().unwrap_or(usize::MAX))
    }

    /// The largest overdraft so far, in buffers.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(1);
    /// ["a", "b", "c"].map(|buffer| sender.enqueue(buffer));
    /// sender.on_grant(10);
    /// assert_eq!((sender.overdraft(), sender.overdraft_max_seen()), (0, 2));
    /// ```
    pub fn overdraft_max_seen(&self) -> usize {
        self.overdraft_max
    }

    /// The number of buffers that wait, with credit or without.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(1);
    /// ["a", "b"].map(|buffer| sender.enqueue(buffer));
    /// sender.poll();
    /// assert_eq!(sender.backlog(), 1);
    /// ```
    #[inline]
    pub fn backlog(&self) -> usize {
        self.queue.len()
    }

    /// The number of buffers that may be sent before another grant comes.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(3);
    /// sender.enqueue("a");
    /// assert_eq!(sender.credit(), 3); // Not sent yet.
    /// sender.poll();
    /// assert_eq!(sender.credit(), 2);
    /// ```
    #[inline]
    pub fn credit(&self) -> u64 {
        self.granted - self.sent
    }

    /// The number of buffers sent since the channel opened: the number of the next one.
    ///
    /// ```
    /// let mut sender = thalweg_net::CreditSender::new(3);
    /// sender.enqueue("a");
    /// assert_eq!((sender.sent(), sender.poll(), sender.sent()), (0, Some((0, 0, "a")), 1));
    /// ```
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

impl<B> Default for CreditSender<B> {
    /// A sender that waits for its first grant.
    fn default() -> Self {
        Self::new(0)
    }
}

/// A buffer came out of turn, or without credit: buffers were lost or repeated, or the sender does not keep the protocol.
///
/// ```
/// use thalweg_net::CreditReceiver;
///
/// let mut receiver = CreditReceiver::new(2);
/// let gap = receiver.on_data(1).unwrap_err();
/// assert_eq!(gap.to_string(), "buffer 1 came where 0 was expected, of 2 granted");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("buffer {found} came where {expected} was expected, of {granted} granted")]
pub struct SequenceGap {
    /// The number of the buffer that was due.
    pub expected: u64,
    /// The number of the one that came.
    pub found: u64,
    /// How many were granted in total.
    pub granted: u64,
}

/// The receiving half of one channel's flow control.
///
/// Order: `on_data` and `on_consumed` as they come, then `poll_grant`.
///
/// ```
/// use thalweg_net::CreditReceiver;
///
/// let mut receiver = CreditReceiver::new(2);
/// receiver.on_data(0)?;
/// assert_eq!(receiver.poll_grant(), None); // The buffer is still here.
/// receiver.on_consumed();
/// assert_eq!(receiver.poll_grant(), Some(3)); // Half of the initial credit: worth a message.
/// # Ok::<(), thalweg_net::SequenceGap>(())
/// ```
#[derive(Debug)]
pub struct CreditReceiver {
    initial: u64,
    /// What the sender was told, or will be by the next message.
    granted: u64,
    received: u64,
    consumed: u64,
}

impl CreditReceiver {
    /// A receiver with room for `initial` buffers, which its sender knows of, or learns from [`granted`](Self::granted).
    ///
    /// # Panics
    ///
    /// If `initial` is 0: nothing would ever be sent.
    ///
    /// ```
    /// assert_eq!(thalweg_net::CreditReceiver::new(8).granted(), 8);
    /// ```
    pub fn new(initial: u64) -> Self {
        assert!(initial > 0, "a channel without initial credit never sends");
        Self { initial, granted: initial, received: 0, consumed: 0 }
    }

    /// Takes note of buffer number `seq`.
    ///
    /// # Errors
    ///
    /// [`SequenceGap`], without a change, unless it is the next one and was granted.
    ///
    /// ```
    /// use thalweg_net::{CreditReceiver, SequenceGap};
    ///
    /// let mut receiver = CreditReceiver::new(1);
    /// receiver.on_data(0)?;
    /// assert_eq!(receiver.on_data(0), Err(SequenceGap { expected: 1, found: 0, granted: 1 })); // Repeated.
    /// assert_eq!(receiver.on_data(1), Err(SequenceGap { expected: 1, found: 1, granted: 1 })); // Not granted.
    /// # Ok::<(), SequenceGap>(())
    /// ```
    #[inline]
    pub fn on_data(&mut self, seq: u64) -> Result<(), SequenceGap> {
        if seq != self.received || seq >= self.granted {
            return Err(SequenceGap { expected: self.received, found: seq, granted: self.granted });
        }
        self.received += 1;
        Ok(())
    }

    /// Takes note that a received buffer was read and given back.
    ///
    /// ```
    /// let mut receiver = thalweg_net::CreditReceiver::new(2);
    /// receiver.on_data(0)?;
    /// receiver.on_consumed();
    /// assert_eq!(receiver.held(), 0);
    /// # Ok::<(), thalweg_net::SequenceGap>(())
    /// ```
    #[inline]
    pub fn on_consumed(&mut self) {
        debug_assert!(self.consumed < self.received, "a buffer is consumed once, after it came");
        self.consumed += 1;
    }

    /// The total to tell the sender, once it is worth a message: when half of the initial credit has gathered, or when
    /// the sender has none left.
    ///
    /// ```
    /// let mut receiver = thalweg_net::CreditReceiver::new(4);
    /// receiver.on_data(0)?;
    /// receiver.on_consumed();
    /// assert_eq!(receiver.poll_grant(), None); // One of four.
    /// receiver.on_data(1)?;
    /// receiver.on_consumed();
    /// assert_eq!((receiver.poll_grant(), receiver.poll_grant()), (Some(6), None));
    /// # Ok::<(), thalweg_net::SequenceGap>(())
    /// ```
    #[inline]
    pub fn poll_grant(&mut self) -> Option<u64> {
        let total = self.consumed + self.initial;
        let gathered = total - self.granted;
        let sender_waits = self.received == self.granted;
        if gathered == 0 || (gathered < self.initial.div_ceil(2) && !sender_waits) {
            return None;
        }
        self.granted = total;
        Some(total)
    }

    /// The total granted so far. To be told again after a reconnect, as repeating it is harmless.
    ///
    /// ```
    /// let mut receiver = thalweg_net::CreditReceiver::new(1);
    /// receiver.on_data(0)?;
    /// receiver.on_consumed();
    /// assert_eq!((receiver.granted(), receiver.poll_grant(), receiver.granted()), (1, Some(2), 2));
    /// # Ok::<(), thalweg_net::SequenceGap>(())
    /// ```
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// The number of buffers received and not consumed: at most the initial credit.
    ///
    /// ```
    /// let mut receiver = thalweg_net::CreditReceiver::new(4);
    /// (receiver.on_data(0)?, receiver.on_data(1)?);
    /// receiver.on_consumed();
    /// assert_eq!(receiver.held(), 1);
    /// # Ok::<(), thalweg_net::SequenceGap>(())
    /// ```
    #[inline]
    pub fn held(&self) -> u64 {
        self.received - self.consumed
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn grants_in_batches() {
        /// `expected`: what is granted after each consumed buffer, `.` for nothing; all were received before.
        #[track_caller]
        fn check(initial: u64, received: u64, expected: &str) {
            let mut receiver = CreditReceiver::new(initial);
            (0..received).for_each(|seq| receiver.on_data(seq).unwrap());
            let grants = (0..received).map(|_| {
                receiver.on_consumed();
                receiver.poll_grant().map_or(".".into(), |total| total.to_string())
            });
            assert_eq!(grants.collect::<Vec<String>>().join(" "), expected);
        }
        check(4, 3, ". 6 ."); // Half of it at a time …
        check(4, 4, "5 . 7 ."); // … but at once when the sender has none left.
        check(5, 4, ". . 8 .");
        check(1, 1, "2");
        check(2, 1, "3");
    }

    #[test]
    fn refuses_what_is_out_of_turn() {
        let mut receiver = CreditReceiver::new(2);
        let gap = |expected, found| Err(SequenceGap { expected, found, granted: 2 });
        assert_eq!(receiver.on_data(1), gap(0, 1));
        assert_eq!(receiver.on_data(0), Ok(()));
        assert_eq!(receiver.on_data(0), gap(1, 0));
        assert_eq!(receiver.on_data(1), Ok(()));
        assert_eq!(receiver.on_data(2), gap(2, 2)); // In turn, but not granted.
        assert_eq!(receiver.held(), 2);
    }

    #[test]
    fn counts_its_overdraft() {
        let mut sender = CreditSender::default();
        assert!(sender.is_available());
        for buffer in 0..3 {
            sender.enqueue(buffer);
        }
        assert_eq!((sender.overdraft(), sender.backlog(), sender.credit()), (3, 3, 0));
        sender.on_grant(2);
        assert_eq!((sender.overdraft(), sender.is_available()), (1, false));
        sender.on_grant(3);
        assert_eq!((sender.overdraft(), sender.is_available()), (0, true));
        assert_eq!(sender.poll(), Some((0, 2, 0)));
        assert_eq!((sender.overdraft_max_seen(), sender.sent()), (3, 1));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Enqueue,
        Send,
        Deliver,
        Consume,
        /// Delivers the grant of that index among all made so far, again or out of order.
        Grant(usize),
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_two_counters(initial in 1_u64..6, steps in vec(
            prop_oneof![
                Just(Step::Enqueue), Just(Step::Send), Just(Step::Deliver), Just(Step::Consume),
                (0_usize..100).prop_map(Step::Grant),
            ],
            0..200,
        )) {
            // Goal: nothing is lost, doubled or overrun, whatever order grants come in. Model: how many were sent, and
            // the largest total that arrived.
            let (mut sender, mut receiver) = (CreditSender::new(initial), CreditReceiver::new(initial));
            let (mut wire, mut grants) = (VecDeque::new(), vec![initial]);
            let (mut enqueued, mut sent, mut arrived, mut largest) = (0_u64, 0_u64, 0_u64, initial);
            for step in steps {
                match step {
                    Step::Enqueue => {
                        sender.enqueue(enqueued);
                        enqueued += 1;
                    }
                    Step::Send => {
                        let frame = sender.poll();
                        prop_assert_eq!(frame.is_some(), sent < enqueued && sent < largest);
                        if let Some((seq, backlog, buffer)) = frame {
                            prop_assert_eq!((seq, backlog as u64, buffer), (sent, enqueued - sent - 1, sent));
                            sent += 1;
                            wire.push_back(seq);
                        }
                    }
                    Step::Deliver => if let Some(seq) = wire.pop_front() {
                        prop_assert_eq!(seq, arrived);
                        prop_assert_eq!(receiver.on_data(seq), Ok(()));
                        arrived += 1;
                    }
                    Step::Consume => if receiver.held() > 0 {
                        receiver.on_consumed();
                    }
                    Step::Grant(index) => {
                        let total = grants[index % grants.len()];
                        sender.on_grant(total);
                        largest = largest.max(total);
                    }
                }
                grants.extend(receiver.poll_grant());
                prop_assert!(receiver.held() <= initial);
                prop_assert_eq!(sender.credit(), largest - sent);
                prop_assert_eq!(sender.overdraft() as u64, (enqueued - sent).saturating_sub(largest - sent));
            }
            // And nothing is stuck: once every message arrives, all is sent.
            wire.drain(..).for_each(|seq| receiver.on_data(seq).unwrap());
            while sender.sent() < enqueued {
                let before = sender.sent();
                while receiver.held() > 0 {
                    receiver.on_consumed();
                }
                receiver.poll_grant();
                sender.on_grant(receiver.granted());
                while let Some((seq, ..)) = sender.poll() {
                    receiver.on_data(seq).unwrap();
                }
                prop_assert!(sender.sent() > before);
            }
        }
    }
}
