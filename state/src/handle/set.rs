//! Several handles at once, and what the driver of an operator does with each.

/// Of what batches are: those of one kind leave alone what was prepared for the other.
///
/// ```
/// use thalweg_state::Lane;
/// assert_eq!(Lane::Records.first(), 0);
/// assert!(Lane::Timers.first() > 1 << 30);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The records of a buffer.
    Records,
    /// Timers that are due, which may fire while a buffer is read in part.
    Timers,
}

impl Lane {
    /// The number of the first record of a batch.
    #[inline(always)]
    pub fn first(self) -> u32 {
        match self {
            Self::Records => 0,
            Self::Timers => 1 << 31,
        }
    }

    /// The lane of a record's number.
    #[inline(always)]
    pub(crate) fn of(record: u32) -> Self {
        if record < Self::Timers.first() { Self::Records } else { Self::Timers }
    }
}

/// A state as the driver of its operator knows it: without its types.
///
/// On the heap there is nothing to do, but for `on_records`. State that may be larger than memory is looked up ahead, a batch of records at a time:
/// `begin_batch`, `prepare` for each record, `resolve`; the function then finds what it asks for in memory, if it asks with
/// [`KeyContext::prepared_as`](crate::KeyContext::prepared_as). What was not prepared is found too, but may wait for a disk.
///
/// See [`CoreState`](crate::CoreState) for an example.
pub trait KeyedState {
    /// Forgets the batch before on the same lane.
    fn begin_batch(&mut self, lane: Lane);

    /// A record of the batch: its number, from [`Lane::first`] on, and its key, as a hash and as
    /// [`Key::encode`](crate::Key::encode) writes it.
    fn prepare(&mut self, record: u32, hash: u64, user_key: &[u8]);

    /// Looks all keys up that are not in memory. `false`: some of them are on a disk and were asked for; to be begun again when
    /// [`CoreState::arrivals`](crate::CoreState::arrivals) has risen.
    fn resolve(&mut self, lane: Lane) -> bool;

    /// Freezes what has changed if the core asks for it, and lets go what has been written. To be called between batches.
    fn maintain(&mut self);

    /// Whether `on_records` does anything. Always the same.
    fn wants_records(&self) -> bool {
        false
    }

    /// The operator has taken so many records: time to clear away some of what has expired.
    fn on_records(&mut self, records: usize) {
        let _ = records; // Nothing, unless its TTL asks for it.
    }
}

/// The states an operator uses: a handle, a tuple of up to six, `()` for none, or a struct of one's own by [`state_set!`](crate::state_set).
///
/// The engine walks a batch ahead of the user's function and calls `prefetch` for each record.
///
/// ```
/// use thalweg_state::{StateBackend, KeyGroupRange, ListState, MaxParallelism, StateSet, ValueState};
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let states = (ValueState::<u64, u64>::new("sum", &backend)?, ListState::<u64, u8>::new("bytes", &backend)?);
/// states.prefetch(42);
/// # Ok::<(), thalweg_state::Error>(())
/// ```
pub trait StateSet {
    /// Asks the processor for what a key of that hash has here. A hint, without an effect.
    fn prefetch(&self, hash: u64);

    /// Shows each state to `f`. One that is left out is never written, and what it takes in memory is not bounded.
    fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState));

    /// Whether `prefetch_owned` does anything.
    fn owns(&self) -> bool {
        false
    }

    /// The same for what the key's values own outside the tables. To be called some time after `prefetch`, as it reads
    /// what that has asked for.
    fn prefetch_owned(&self, hash: u64) {
        let _ = hash; // Nothing, unless there is a way to know what values own.
    }

    /// The size of the tables, in bytes, without what keys and values own elsewhere. Decides whether `prefetch` is worth calling;
    /// by default it always is. O(key groups).
    fn memory_bytes(&self) -> usize {
        usize::MAX
    }
}

/// Makes a struct a [`StateSet`], by the names of its fields.
///
/// ```
/// use thalweg_state::{KeyGroupRange, ListState, MaxParallelism, StateBackend, StateSet, ValueState, state_set};
/// struct Account {
///     balance: ValueState<u64, i64>,
///     bookings: ListState<u64, i64>,
/// }
/// state_set!(Account: balance, bookings);
///
/// let max = MaxParallelism::default();
/// let backend = StateBackend::heap(KeyGroupRange::all(max), max);
/// let balance = ValueState::new("balance", &backend)?;
/// let account = Account { balance, bookings: ListState::new("bookings", &backend)? };
/// account.prefetch(42);
/// # Ok::<(), thalweg_state::Error>(())
/// ```
#[macro_export]
macro_rules! state_set {
    ($set:ty: $($state:ident),* $(,)?) => {
        impl $crate::StateSet for $set {
            #[inline(always)]
            fn prefetch(&self, hash: u64) {
                $($crate::StateSet::prefetch(&self.$state, hash);)*
            }

            fn each(&mut self, f: &mut dyn FnMut(&mut dyn $crate::KeyedState)) {
                $($crate::StateSet::each(&mut self.$state, f);)*
            }

            fn owns(&self) -> bool {
                false$(|| $crate::StateSet::owns(&self.$state))*
            }

            #[inline(always)]
            fn prefetch_owned(&self, hash: u64) {
                $($crate::StateSet::prefetch_owned(&self.$state, hash);)*
            }

            fn memory_bytes(&self) -> usize {
                0_usize$(.saturating_add($crate::StateSet::memory_bytes(&self.$state)))*
            }
        }
    };
}

macro_rules! tuple_set {
    ($($set:ident $index:tt)*) => {
        impl<$($set: StateSet),*> StateSet for ($($set,)*) {
            #[inline(always)]
            fn prefetch(&self, hash: u64) {
                let _ = hash; // Not used by `()`.
                $(self.$index.prefetch(hash);)*
            }

            fn each(&mut self, f: &mut dyn FnMut(&mut dyn KeyedState)) {
                let _ = &f;
                $(self.$index.each(f);)*
            }

            fn owns(&self) -> bool {
                false$(|| self.$index.owns())*
            }

            #[inline(always)]
            fn prefetch_owned(&self, hash: u64) {
                let _ = hash;
                $(self.$index.prefetch_owned(hash);)*
            }

            fn memory_bytes(&self) -> usize {
                0_usize$(.saturating_add(self.$index.memory_bytes()))*
            }
        }
    };
}
tuple_set!();
tuple_set!(A 0);
tuple_set!(A 0 B 1);
tuple_set!(A 0 B 1 C 2);
tuple_set!(A 0 B 1 C 2 D 3);
tuple_set!(A 0 B 1 C 2 D 3 E 4);
tuple_set!(A 0 B 1 C 2 D 3 E 4 F 5);
