//! The buffer that a head reads, typed for its operator.
//!
//! ```text
//!   prepare: all records ──▶ operator      asks for state that is not in memory
//!   open                                   announces the first records
//!   read: records, a signal, records, … ─▶ operator, with what comes a little later announced
//! ```

use std::cell::Cell;

use thalweg_net::{Buffer, Item, RawRecord, Reader, Run, Signal, WrongType};

use super::subtask::Guard;
use crate::api::record::{Key, Record};
use crate::operator::{OneInput, Operator, Received, TwoInput};
use crate::time::Timestamp;

/// How many records ahead of the current one the operator's state is prefetched.
const LOOK_AHEAD_RECORDS: usize = 16;
/// How many records ahead what the state owns is prefetched: late enough for the state itself to be there.
const LOOK_AHEAD_OWNED_RECORDS: usize = 8;
/// How many records have been announced at most, and what their state owns has not: they are announced in groups, one ahead.
const ANNOUNCED_MAX: usize = 2 * LOOK_AHEAD_RECORDS;

/// Why reading stopped.
pub(crate) enum Read {
    /// The buffer has been read to its end.
    Empty,
    /// A signal stood before the next record.
    Signal(Signal),
    /// The operator may take no further record now.
    Stopped,
}

/// The buffer being read, typed for the operator `O`.
pub(crate) trait Inbox<O>: 'static {
    /// Shows all records of a buffer to the operator, which may then ask for what they need. Returns how many there are.
    fn prepare(
        &self,
        input: usize,
        buffer: Buffer,
        operator: &mut O,
        guard: &Guard,
    ) -> Result<u32, WrongType>;
    fn open(&mut self, input: usize, buffer: Buffer, operator: &O) -> Result<(), WrongType>;
    fn read(&mut self, operator: &mut O, guard: &Guard) -> Read;
}

/// A buffer being read, and whether its keys are announced ahead.
pub(crate) struct Open<K: Key, T: Record> {
    reader: Reader<K, T>,
    looks_ahead: bool,
    /// How many records were read, if the operator prepares.
    number: u32,
    /// If what the state owns is announced too.
    announced: Option<Announced>,
}

/// The key hashes that have been announced, in a ring, until what their state owns is prefetched.
#[derive(Default)]
struct Announced {
    hashes: [Cell<u64>; ANNOUNCED_MAX],
    pushed: Cell<usize>,
    popped: Cell<usize>,
}

impl Announced {
    /// What finds no place is left out: these are hints.
    #[inline]
    fn push(&self, key_hash: u64) {
        let pushed = self.pushed.get();
        if pushed - self.popped.get() < ANNOUNCED_MAX {
            self.hashes[pushed % ANNOUNCED_MAX].set(key_hash);
            self.pushed.set(pushed + 1);
        }
    }

    #[inline]
    fn pop(&self) -> Option<u64> {
        let popped = self.popped.get();
        (popped < self.pushed.get()).then(|| {
            self.popped.set(popped + 1);
            self.hashes[popped % ANNOUNCED_MAX].get()
        })
    }
}

/// The inbox of an operator with one input.
pub(crate) struct One<K: Key, T: Record>(Option<Open<K, T>>);

impl<K: Key, T: Record> Default for One<K, T> {
    fn default() -> Self {
        Self(None)
    }
}

/// The inbox of an operator with two inputs: at any time one of them is being read.
#[derive(Default)]
pub(crate) enum Two<K: Key, A: Record, B: Record> {
    #[default]
    Empty,
    Left(Open<K, A>),
    Right(Open<K, B>),
}

impl<K: Key, T: Record> Open<K, T> {
    fn new<O>(
        buffer: Buffer,
        (looks_ahead, owns): (bool, bool),
        operator: &O,
        prefetch: impl Fn(&O, u64, Timestamp),
        prefetch_owned: impl Fn(&O, u64),
    ) -> Result<Self, WrongType> {
        let mut reader = Reader::open(buffer)?;
        let announced = (looks_ahead && owns).then(Announced::default);
        if looks_ahead {
            reader.ahead(LOOK_AHEAD_RECORDS, |key_hash, timestamp| {
                prefetch(operator, key_hash, timestamp);
                announced.iter().for_each(|announced| announced.push(key_hash));
            });
        }
        if let Some(announced) = &announced {
            for _ in 0..LOOK_AHEAD_OWNED_RECORDS {
                announced.pop().into_iter().for_each(|key_hash| prefetch_owned(operator, key_hash));
            }
        }
        Ok(Self { reader, looks_ahead, number: 0, announced })
    }

    /// Reads records until something else comes. This is the loop in which all work behind an exchange happens.
    #[inline]
    fn read<O: Operator>(
        &mut self,
        operator: &mut O,
        guard: &Guard,
        prefetch: impl Fn(&O, u64, Timestamp),
        prefetch_owned: impl Fn(&O, u64),
        process: impl Fn(&mut O, Received<'_, K, T>),
    ) -> Read {
        let announced = self.announced.as_ref();
        let announce = |operator: &O, key_hash, timestamp| {
            prefetch(operator, key_hash, timestamp);
            if let Some(announced) = announced {
                announced.push(key_hash);
            }
        };
        let mut number = self.number;
        let take = |operator: &mut O, record: RawRecord<'_, K, T>| {
            if let Some(key_hash) = announced.and_then(Announced::pop) {
                prefetch_owned(operator, key_hash);
            }
            let (key, value) = (record.key(), record.value());
            let (key_hash, timestamp) = (record.key_hash(), record.timestamp());
            process(operator, Received { key, key_hash, value, timestamp, number });
            number += u32::from(operator.prepares()); // Otherwise they cost 10 instructions more for nothing.
            !guard.should_stop()
        };
        let run = self.reader.records::<LOOK_AHEAD_RECORDS, _>(self.looks_ahead, operator, announce, take);
        self.number = number;
        match run {
            Run::Refused => Read::Stopped,
            Run::NoRecord => match self.reader.next() {
                Some(Item::Signal(signal)) => Read::Signal(signal),
                Some(Item::Record { .. }) => unreachable!("the run ended where no record is"),
                None => Read::Empty,
            },
        }
    }

    /// Gives all records to `prepare`, and returns how many there are; signals are for who reads.
    fn show<O: Operator>(
        mut self,
        operator: &mut O,
        guard: &Guard,
        prefetch: impl Fn(&O, u64, Timestamp),
        prefetch_owned: impl Fn(&O, u64),
        prepare: impl Fn(&mut O, Received<'_, K, T>),
    ) -> u32 {
        loop {
            // One that is stopped goes on: what is prepared is the whole buffer.
            if let Read::Empty = self.read(operator, guard, &prefetch, &prefetch_owned, &prepare) {
                return self.number;
            }
        }
    }
}

impl<K: Key, T: Record, O: OneInput<K, T>> Inbox<O> for One<K, T> {
    fn prepare(
        &self,
        _input: usize,
        buffer: Buffer,
        operator: &mut O,
        guard: &Guard,
    ) -> Result<u32, WrongType> {
        let ahead = (operator.looks_ahead(), operator.owns());
        let open = Open::new(buffer, ahead, operator, O::prefetch, O::prefetch_owned)?;
        Ok(open.show(operator, guard, O::prefetch, O::prefetch_owned, O::prepare))
    }

    fn open(&mut self, _input: usize, buffer: Buffer, operator: &O) -> Result<(), WrongType> {
        let ahead = (operator.looks_ahead(), operator.owns());
        self.0 = Some(Open::new(buffer, ahead, operator, O::prefetch, O::prefetch_owned)?);
        Ok(())
    }

    fn read(&mut self, operator: &mut O, guard: &Guard) -> Read {
        let Some(open) = &mut self.0 else { return Read::Empty };
        let result = open.read(operator, guard, O::prefetch, O::prefetch_owned, O::process);
        if let Read::Empty = result {
            self.0 = None;
        }
        result
    }
}

impl<K: Key, A: Record, B: Record, O: TwoInput<K, A, B>> Inbox<O> for Two<K, A, B> {
    fn prepare(
        &self,
        input: usize,
        buffer: Buffer,
        operator: &mut O,
        guard: &Guard,
    ) -> Result<u32, WrongType> {
        let ahead = (operator.looks_ahead(), operator.owns());
        if input == 0 {
            let open = Open::new(buffer, ahead, operator, O::prefetch, O::prefetch_owned)?;
            Ok(open.show(operator, guard, O::prefetch, O::prefetch_owned, O::prepare_left))
        } else {
            let open = Open::new(buffer, ahead, operator, O::prefetch, O::prefetch_owned)?;
            Ok(open.show(operator, guard, O::prefetch, O::prefetch_owned, O::prepare_right))
        }
    }

    fn open(&mut self, input: usize, buffer: Buffer, operator: &O) -> Result<(), WrongType> {
        let ahead = (operator.looks_ahead(), operator.owns());
        *self = match input {
            0 => Two::Left(Open::new(buffer, ahead, operator, O::prefetch, O::prefetch_owned)?),
            _ => Two::Right(Open::new(buffer, ahead, operator, O::prefetch, O::prefetch_owned)?),
        };
        Ok(())
    }

    fn read(&mut self, operator: &mut O, guard: &Guard) -> Read {
        let result = match self {
            Two::Empty => Read::Empty,
            Two::Left(open) => open.read(operator, guard, O::prefetch, O::prefetch_owned, O::process_left),
            Two::Right(open) => open.read(operator, guard, O::prefetch, O::prefetch_owned, O::process_right),
        };
        if let Read::Empty = result {
            *self = Two::Empty;
        }
        result
    }
}
