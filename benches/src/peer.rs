//! timely dataflow, driven as its own examples do: a source that fills containers, operators over whole containers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Barrier;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};

use crate::{Digest, Run};

/// Records that a source makes in one activation.
const BATCH_RECORDS: u64 = 1024;

/// A stream of records.
pub type Records<'s, T> = Stream<'s, u64, Vec<T>>;
/// Fills vectors of timely's own size.
pub type Builder<T> = CapacityContainerBuilder<Vec<T>>;

/// What a worker of a peer's job is built with.
pub struct Place<'s> {
    /// The dataflow.
    pub scope: Scope<'s, u64>,
    worker: u64,
    workers: u64,
    digest: Rc<Cell<Digest>>,
}

impl<'s> Place<'s> {
    /// Whether this is the first of the workers.
    pub fn is_first(&self) -> bool {
        self.worker == 0
    }

    /// `count` records made from their numbers; worker w of n makes every n-th.
    pub fn generate<T: Clone + 'static>(
        &self,
        count: u64,
        make: impl FnMut(u64) -> T + 'static,
    ) -> Records<'s, T> {
        self.source(self.worker, self.workers, count, make)
    }

    /// `count` records, all made by this worker.
    pub fn generate_alone<T: Clone + 'static>(
        &self,
        count: u64,
        make: impl FnMut(u64) -> T + 'static,
    ) -> Records<'s, T> {
        self.source(0, 1, count, make)
    }

    fn source<T: Clone + 'static>(
        &self,
        mut next: u64,
        step: u64,
        count: u64,
        mut make: impl FnMut(u64) -> T + 'static,
    ) -> Records<'s, T> {
        let scope = self.scope;
        source::<_, Builder<T>, _, _>(scope, "Generate", move |capability, info| {
            let activator = scope.activator_for(info.address);
            let mut capability = Some(capability);
            move |output| {
                let Some(time) = &capability else { return };
                let mut session = output.session_with_builder(time);
                let end = count.min(next.saturating_add(BATCH_RECORDS * step));
                while next < end {
                    session.give(make(next));
                    next += step;
                }
                drop(session);
                if next >= count {
                    capability = None;
                } else {
                    activator.activate();
                }
            }
        })
    }

    /// Ends a stream.
    pub fn digest<T: Clone + 'static>(&self, records: Records<'s, T>, value: impl Fn(&T) -> u64 + 'static) {
        let digest = self.digest.clone();
        let _end: Records<'s, ()> = records.unary::<Builder<()>, _, _, _>(Pipeline, "Digest", move |_, _| {
            move |input, _| {
                input.for_each(|_, container| {
                    let mut sum = digest.get();
                    container.iter().for_each(|record| sum.add(value(record)));
                    digest.set(sum);
                });
            }
        });
    }
}

/// Runs a job on `workers` pinned threads.
pub fn run(workers: usize, build: impl for<'s> Fn(&Place<'s>) + Send + Sync + 'static) -> Run {
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    let start = Arc::new(Barrier::new(workers));
    let guards = timely::execute(config, move |worker| {
        if let Some(core) = core_affinity::get_core_ids().and_then(|c| c.get(worker.index()).copied()) {
            core_affinity::set_for_current(core);
        }
        let digest = Rc::new(Cell::new(Digest::default()));
        let (index, workers) = (worker.index() as u64, worker.peers() as u64);
        worker.dataflow::<u64, _, _>(|scope| {
            build(&Place { scope, worker: index, workers, digest: digest.clone() });
        });
        start.wait();
        let began = Instant::now();
        while worker.step_or_park(None) {}
        (began, Instant::now(), digest.get())
    });
    let mut digest = Digest::default();
    let mut times = Vec::new();
    for result in guards.expect("timely starts").join() {
        let (began, ended, part) = result.expect("a worker of timely runs to its end");
        digest.merge(part);
        times.push((began, ended));
    }
    let began = times.iter().map(|t| t.0).min();
    let ended = times.iter().map(|t| t.1).max();
    Run { elapsed: began.zip(ended).map(|(b, e)| e - b).unwrap_or_default(), digest }
}
