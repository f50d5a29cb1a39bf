//! The partitioners that come with thalweg.

use crate::data_plane::writer::Partitioner;

/// The only receiver there is: forward, global, or one branch of a shared stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forward;

impl<T> Partitioner<T> for Forward {
    #[inline]
    fn select(&mut self, _record: &T, _receivers: usize) -> Option<usize> {
        Some(0)
    }
}

/// All branches of a shared stream read one buffer; with no branch the records go nowhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared;

impl<T> Partitioner<T> for Shared {
    #[inline]
    fn select(&mut self, _record: &T, receivers: usize) -> Option<usize> {
        if receivers == 0 { None } else { Some(0) }
    }
}

/// One after the other. The first receiver differs from sender to sender, so that few records spread evenly too.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundRobin {
    next: usize,
}

impl<T> Partitioner<T> for RoundRobin {
    fn open(&mut self, subtask: usize, receivers: usize) {
        self.next = subtask.checked_rem(receivers).unwrap_or(0);
    }

    #[inline]
    fn select(&mut self, _record: &T, receivers: usize) -> Option<usize> {
        let receiver = self.next;
        self.next = if receiver + 1 >= receivers { 0 } else { receiver + 1 };
        Some(receiver)
    }
}

/// At random, by a counter through a hash: seeded by the sender, so that a run can be repeated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shuffle {
    state: u64,
}

impl<T> Partitioner<T> for Shuffle {
    fn open(&mut self, subtask: usize, _receivers: usize) {
        self.state = thalweg_state::hash_word(subtask as u64);
    }

    #[inline]
    fn select(&mut self, _record: &T, receivers: usize) -> Option<usize> {
        self.state = self.state.wrapping_add(1);
        let random = thalweg_state::hash_word(self.state);
        Some(((u128::from(random) * receivers as u128) >> 64) as usize)
    }
}

/// To all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broadcast;

impl<T> Partitioner<T> for Broadcast {
    #[inline]
    fn select(&mut self, _record: &T, _receivers: usize) -> Option<usize> {
        None
    }
}
