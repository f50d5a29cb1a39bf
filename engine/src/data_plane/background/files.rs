//! The operator of [`cold`](super::cold), over a real store that writes what it has to files every few steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rkyv::rend::u64_le;
use thalweg_state::lsm::Options;
use thalweg_state::storage::Storage;
use thalweg_state::{ArchivedKey, CoreState, Key, Lane, StateSet, ValueState};

use crate::api::chain::OneInputFactory;
use crate::data_plane::SubtaskContext;
use crate::error::Result;
use crate::operator::output::{Control, Output, Stage};
use crate::operator::stateless::pass_through;
use crate::operator::{OneInput, Operator, Received};
use crate::time::Timestamp;

/// Builds the operator.
#[derive(Debug, Clone)]
pub(super) struct InFiles {
    /// How many steps of its core lie between two freezes.
    pub(super) freeze_steps: u64,
    /// Reads that an operator had to wait for.
    pub(super) blocking_reads: Arc<AtomicU64>,
}

impl OneInputFactory<u64, u64> for InFiles {
    type Out = (u64, u64, u64);

    fn build<N: Output<Self::Out>>(
        &self,
        next: N,
        cx: &mut SubtaskContext,
    ) -> Result<impl OneInput<u64, u64>> {
        // Runs of a few keys each: they are compacted all the time.
        let options = Options { memory_bytes: 4 << 20, runs_max: 2, ..Options::nvme() };
        let (state, _) = CoreState::lsm(&Storage::memory(), options, 1).expect("the store can be made");
        cx.background.attach(state.clone(), cx.bell.clone());
        let backend = state.backend("count", cx.key_groups(), cx.max_parallelism);
        let counts = ValueState::new("count", &backend).expect("the only state");
        let files = self.clone();
        Ok(Counter { state, counts, files, steps: 0, encoded: Vec::new(), next })
    }
}

struct Counter<N> {
    state: CoreState,
    counts: ValueState<u64, u64>,
    files: InFiles,
    steps: u64,
    encoded: Vec<u8>,
    next: N,
}

pass_through!(Counter<N>);

impl<N> Drop for Counter<N> {
    fn drop(&mut self) {
        let reads = self.state.metrics().map_or(0, |metrics| metrics.blocking_reads);
        self.files.blocking_reads.fetch_add(reads, Ordering::Relaxed);
    }
}

impl<N: Output<(u64, u64, u64)>> Operator for Counter<N> {
    fn prepares(&self) -> bool {
        true
    }

    fn prepared(&mut self) -> bool {
        let mut is_complete = true;
        self.counts.each(&mut |state| is_complete &= state.resolve(Lane::Records));
        is_complete
    }

    fn batch_done(&mut self) {
        self.counts.each(&mut |state| state.begin_batch(Lane::Records));
    }

    fn maintain(&mut self) {
        self.counts.each(&mut |state| state.maintain());
        self.steps += 1;
        if self.steps.is_multiple_of(self.files.freeze_steps) {
            self.state.freeze();
            self.counts.each(&mut |state| state.maintain());
        }
    }
}

impl<N: Output<(u64, u64, u64)>> OneInput<u64, u64> for Counter<N> {
    fn prepare(&mut self, record: Received<'_, u64, u64>) {
        self.encoded.clear();
        record.key.to_native().encode(&mut self.encoded);
        let Self { counts, encoded, .. } = self;
        counts.each(&mut |state| state.prepare(record.number, record.key_hash, encoded));
    }

    fn process(&mut self, record: Received<'_, u64, u64>) {
        let key = ArchivedKey::new(record.key, record.key_hash, record.number);
        let count = self.counts.get(key).copied().unwrap_or(0) + 1;
        self.counts.set(key, count);
        self.next
            .collect(&(record.key.to_native(), u64_le::to_native(*record.value), count), record.timestamp);
    }
}
