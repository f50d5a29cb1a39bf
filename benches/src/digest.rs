//! A result in sixteen bytes: how many records, and the sum of their hashes. The order of records does not matter.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use thalweg::{Result, Sink, SinkContext, SinkWriter};

/// The number of records and the wrapping sum of what was made of each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Records.
    pub count: u64,
    /// The sum, modulo 2^64.
    pub sum: u64,
}

impl Digest {
    /// Takes a record.
    #[inline]
    pub fn add(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// Takes all of another digest.
    pub fn merge(&mut self, other: Digest) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, digest {:016x}", self.count, self.sum)
    }
}

/// A sink that digests: `value` makes a number of each record.
#[derive(Debug)]
pub struct DigestSink<T, F> {
    value: F,
    mine: Digest,
    all: Arc<Mutex<Digest>>,
    record: PhantomData<fn(T)>,
}

impl<T, F> DigestSink<T, F> {
    /// A sink, and where its digest is once the job has run.
    pub fn new(value: F) -> (Self, Arc<Mutex<Digest>>) {
        let all = Arc::<Mutex<Digest>>::default();
        (Self { value, mine: Digest::default(), all: all.clone(), record: PhantomData }, all)
    }
}

impl<T, F: Clone> Clone for DigestSink<T, F> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), mine: self.mine, all: self.all.clone(), record: PhantomData }
    }
}

impl<T: 'static, F: Fn(&T) -> u64 + Clone + Send + Sync + 'static> Sink<T> for DigestSink<T, F> {
    type Writer = Self;

    fn writer(&self, _: &SinkContext) -> Result<Self> {
        Ok(self.clone())
    }
}

impl<T: 'static, F: Fn(&T) -> u64 + 'static> SinkWriter<T> for DigestSink<T, F> {
    #[inline]
    fn write(&mut self, record: &T, _timestamp: i64) -> Result<()> {
        self.mine.add((self.value)(record));
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).merge(self.mine);
        Ok(())
    }
}
