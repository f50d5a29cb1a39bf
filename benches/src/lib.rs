//! What the benches share: seeded workloads, a sink that digests, and how a job becomes a cost per record.
//!
//! ```sh
//! cargo bench -p thalweg-benches                                # ours
//! cargo bench -p thalweg-benches --features peers               # with timely beside it
//! cargo test -p thalweg-benches                                 # each bench once, on tiny inputs
//! ```
//!
//! An *iteration* of Criterion is one record here, so what it prints as time is the cost of a record: wall time while the job
//! runs, without the start of its cores. At parallelism 1 that is also the CPU time, of both sides of an exchange.
//! Before a bench is timed it runs once over [`checked_records`] records and prints the digest of its result; a peer must have the same.
#![forbid(unsafe_code)]

mod digest;
mod encoded;
mod measure;
#[cfg(feature = "peers")]
pub mod peer;
mod workload;

pub use digest::{Digest, DigestSink};
pub use encoded::{ENCODED_BYTES, EncodedKey, encode};
pub use measure::{Job, Run, bench, checked_records, config, run, timed_records_min};
pub use workload::{Keys, Row, Skew, mix};
