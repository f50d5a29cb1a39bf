//! The tail of a chain: it writes records into the buffers of its channels.
//!
//! ```text
//!   record ─▶ KeyedWriter: key, hash, key group ─┐
//!   record ─▶ PartitionWriter: which channel? ───┴▶ ChannelWriter: one open buffer for each channel ─▶ Switch
//! ```
//!
//! A buffer leaves when it is full, when the input has run dry, or at the buffer timeout.

use std::rc::Rc;

use thalweg_net::{AppendError, Appender, Signal};
use thalweg_state::{KeyGroupRange, MaxParallelism, key_group, subtask_of};

use super::subtask::{Guard, SubtaskContext};
use super::switch::{ChannelId, Peer, Switch};
use crate::api::record::{Key, Record};
use crate::graph::PortId;
use crate::operator::output::{Control, Output, Stage};
use crate::time::Timestamp;

/// The largest buffer that is made for a single record, in bytes: a record must fit, with its key and a header.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// One open buffer for each receiver, written by type.
pub(crate) struct ChannelWriter<K: Key, T: Record> {
    appenders: Vec<Appender<K, T>>,
    /// For each receiver the channels that get its buffers: one for each edge of the port.
    targets: Vec<Vec<ChannelId>>,
    switch: Rc<Switch>,
    guard: Guard,
    buffer_bytes: usize,
}

impl<K: Key, T: Record> ChannelWriter<K, T> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId) -> Self {
        let edges: Vec<_> = cx.graph.edges_of(port).collect();
        let mut targets: Vec<Vec<ChannelId>> = Vec::new();
        for &edge in &edges {
            let channels = cx.graph.channels_from(edge, cx.subtask);
            targets.resize(targets.len().max(channels.len()), Vec::new());
            for (target, (channel, core)) in targets.iter_mut().zip(channels) {
                let peer = if core == cx.switch.core() { Peer::SameCore } else { Peer::Core(core) };
                cx.switch.open_outgoing(channel, peer, cx.blocked.clone(), cx.name.clone());
                target.push(channel);
            }
        }
        let buffer_bytes = cx.config.buffer_bytes;
        let appenders = targets.iter().map(|_| Appender::new(cx.switch.take_buffer(buffer_bytes))).collect();
        Self { appenders, targets, switch: cx.switch.clone(), guard: cx.guard(), buffer_bytes }
    }

    /// How many receivers there are.
    pub(crate) fn receivers(&self) -> usize {
        self.targets.len()
    }

    #[inline]
    pub(crate) fn write(&mut self, receiver: usize, timestamp: Timestamp, key_hash: u64, key: &K, value: &T) {
        match self.appenders[receiver].append(timestamp, key_hash, key, value) {
            Ok(()) => {}
            Err(error) => self.write_slowly(error, receiver, timestamp, key_hash, key, value),
        }
    }

    /// The buffer is full: sends it, and takes a larger one if the record fits in none of the usual size.
    #[cold]
    #[inline(never)]
    fn write_slowly(
        &mut self,
        error: AppendError,
        receiver: usize,
        timestamp: Timestamp,
        key_hash: u64,
        key: &K,
        value: &T,
    ) {
        let mut error = error;
        let mut bytes = self.buffer_bytes;
        while let AppendError::Full = error {
            self.send(receiver, bytes);
            match self.appenders[receiver].append(timestamp, key_hash, key, value) {
                Ok(()) => return,
                Err(AppendError::Full) if bytes >= RECORD_BYTES_MAX => {
                    return self.guard.fail(format!(
                        "a record is larger than {RECORD_BYTES_MAX} bytes, the most an exchange takes"
                    ));
                }
                Err(next) => error = next,
            }
            bytes = (bytes * 4).min(RECORD_BYTES_MAX);
        }
        self.guard.fail(format!("a record cannot be archived: {error}"));
    }

    /// Sends the open buffer of a receiver, if there is something in it, and opens one of `bytes`.
    fn send(&mut self, receiver: usize, bytes: usize) {
        let filled = self.appenders[receiver].swap(self.switch.take_buffer(bytes));
        if filled.bytes().is_empty() {
            return;
        }
        let channels = &self.targets[receiver];
        for &channel in &channels[1..] {
            self.switch.send(channel, filled.clone());
        }
        self.switch.send(channels[0], filled);
    }

    pub(crate) fn control(&mut self, control: Control) {
        match control {
            Control::Signal(signal) => {
                for receiver in 0..self.appenders.len() {
                    if self.appenders[receiver].signal(signal).is_err() {
                        self.send(receiver, self.buffer_bytes);
                        self.appenders[receiver]
                            .signal(signal)
                            .expect("an empty buffer has room for a signal");
                    }
                }
                if let Signal::End | Signal::Barrier { .. } = signal {
                    self.flush();
                }
            }
            Control::Flush => self.flush(),
            Control::BatchEnd | Control::Tick(_) => {}
        }
    }

    fn flush(&mut self) {
        for receiver in 0..self.appenders.len() {
            if !self.appenders[receiver].is_empty() {
                self.send(receiver, self.buffer_bytes);
            }
        }
    }
}

/// Key groups to receivers, as Flink assigns them.
///
/// A division for each record, or a look-up in a table; but where all receivers have equally many groups, rounding to a group first
/// changes nothing, and the hash leads to the receiver by one multiplication.
pub(crate) struct Router {
    max_parallelism: MaxParallelism,
    receivers: u16,
    /// Empty if all receivers have equally many groups.
    receiver_of: Box<[u16]>,
}

impl Router {
    pub(crate) fn new(max_parallelism: MaxParallelism, receivers: usize) -> Self {
        let receivers = u16::try_from(receivers).expect("there are at most as many receivers as key groups");
        let groups = KeyGroupRange::all(max_parallelism).iter();
        let receiver_of = groups.map(|group| subtask_of(group, max_parallelism, receivers.into()) as u16);
        let is_even = max_parallelism.get().is_multiple_of(receivers.into());
        let receiver_of = if is_even { Box::default() } else { receiver_of.collect() };
        Self { max_parallelism, receivers, receiver_of }
    }

    #[inline]
    pub(crate) fn receiver(&self, key_hash: u64) -> usize {
        if self.receiver_of.is_empty() {
            return ((u128::from(key_hash) * u128::from(self.receivers)) >> 64) as usize;
        }
        let group = key_group(key_hash, self.max_parallelism);
        usize::from(self.receiver_of[usize::from(group.0)])
    }
}

/// Writes values under their keys: each to the core that owns its key group.
pub(crate) struct KeyedChannelWriter<K: Key, V: Record> {
    router: Router,
    pub(crate) channels: ChannelWriter<K, V>,
}

impl<K: Key, V: Record> KeyedChannelWriter<K, V> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId) -> Self {
        let channels = ChannelWriter::new(cx, port);
        // The key groups are the receiving chain's; its maximum parallelism decides.
        let max_parallelism = cx.graph.receiving_max_parallelism(port);
        Self { router: Router::new(max_parallelism, channels.receivers()), channels }
    }

    #[inline(always)]
    pub(crate) fn write(&mut self, timestamp: Timestamp, key_hash: u64, key: &K, value: &V) {
        self.channels.write(self.router.receiver(key_hash), timestamp, key_hash, key, value);
    }
}

/// What the key and the value of a record are: made by [`crate::Stream::key_by`] and [`crate::KeyedStream::map_values`], with
/// closures.
pub trait Extract<T>: Clone + Send + Sync + 'static {
    /// The key.
    type Key: Key;
    /// What is sent: the record, or what was taken from it.
    type Value: 'static;

    /// Calls `use_it` with both; the value may be lent from the record.
    fn extract<R>(&mut self, record: &T, use_it: impl FnOnce(Self::Key, &Self::Value) -> R) -> R;
}

/// The end of a chain before an exchange by key: extracts the key, hashes it once for all that follows.
pub(crate) struct KeyedWriter<K: Key, V: Record, X> {
    extract: X,
    writer: KeyedChannelWriter<K, V>,
}

impl<K: Key, V: Record, X> KeyedWriter<K, V, X> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId, extract: X) -> Self {
        Self { extract, writer: KeyedChannelWriter::new(cx, port) }
    }
}

impl<T, K: Key, V: Record, X: Extract<T, Key = K, Value = V>> Output<T> for KeyedWriter<K, V, X> {
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        let Self { extract, writer } = self;
        extract.extract(record, |key, value| writer.write(timestamp, key.key_hash(), &key, value));
    }
}

impl<K: Key, V: Record, X: 'static> Stage for KeyedWriter<K, V, X> {
    fn control(&mut self, control: Control) {
        self.writer.channels.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

/// Chooses the receivers of a record that has no key: what [`crate::Stream::partition_custom`] takes. One in each sending
/// subtask. Source: Flink's `Partitioner`.
///
/// ```
/// use thalweg::{Env, Partitioner};
///
/// /// Each sender keeps to one receiver.
/// #[derive(Clone, Default)]
/// struct Sticky {
///     receiver: usize,
/// }
///
/// impl<T> Partitioner<T> for Sticky {
///     fn open(&mut self, subtask: usize, receivers: usize) {
///         self.receiver = (subtask + 1) % receivers;
///     }
///
///     fn select(&mut self, _: &T, _: usize) -> Option<usize> {
///         Some(self.receiver)
///     }
/// }
///
/// let env = Env::new().parallelism(2);
/// let folder = tempfile::tempdir()?;
/// env.generate(4, |n| n).partition_custom(Sticky::default()).write_text_files(&folder);
/// env.execute()?;
/// assert_eq!(std::fs::read_to_string(folder.path().join("part-0"))?, "1\n3\n"); // From subtask 1.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Partitioner<T>: Clone + Send + Sync + 'static {
    /// Called once on the sending subtask before its first record.
    fn open(&mut self, _subtask: usize, _receivers: usize) {}

    /// The receiver of `record`, below `receivers`; `None` for all of them.
    fn select(&mut self, record: &T, receivers: usize) -> Option<usize>;
}

/// The end of a chain before any other exchange.
pub(crate) struct PartitionWriter<T: Record, P> {
    partitioner: P,
    channels: ChannelWriter<(), T>,
}

impl<T: Record, P: Partitioner<T>> PartitionWriter<T, P> {
    pub(crate) fn new(cx: &SubtaskContext, port: PortId, mut partitioner: P) -> Self {
        let channels = ChannelWriter::new(cx, port);
        partitioner.open(cx.subtask, channels.receivers());
        Self { partitioner, channels }
    }
}

impl<T: Record, P: Partitioner<T>> Output<T> for PartitionWriter<T, P> {
    #[inline]
    fn collect(&mut self, record: &T, timestamp: Timestamp) {
        let receivers = self.channels.receivers();
        match self.partitioner.select(record, receivers) {
            Some(receiver) if receiver < receivers => {
                self.channels.write(receiver, timestamp, 0, &(), record)
            }
            Some(receiver) => {
                self.channels.guard.fail(format!("the partitioner chose receiver {receiver} of {receivers}"));
            }
            None => {
                (0..receivers).for_each(|receiver| self.channels.write(receiver, timestamp, 0, &(), record))
            }
        }
    }
}

impl<T: Record, P: 'static> Stage for PartitionWriter<T, P> {
    fn control(&mut self, control: Control) {
        self.channels.control(control);
    }

    fn wakes_at(&self) -> Option<Timestamp> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_to_the_owner_of_the_key_group() {
        // Goal: with and without a table the receiver is the subtask that owns the hash's group, at all borders of groups.
        for (max, receivers) in
            [(128, 1), (128, 2), (128, 3), (128, 128), (96, 32), (100, 7), (1, 1), (32768, 5)]
        {
            let max = MaxParallelism::new(max).unwrap();
            let router = Router::new(max, receivers);
            for group in 0..u128::from(max.get()) {
                let border = ((group << 64) / u128::from(max.get())) as u64;
                for hash in [border.wrapping_sub(1), border, border.wrapping_add(1)] {
                    let owner = subtask_of(key_group(hash, max), max, receivers as u32);
                    assert_eq!(router.receiver(hash), owner as usize, "{hash} of {receivers} in {max:?}");
                }
            }
        }
    }
}
