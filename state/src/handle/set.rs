//! Several handles at once.

/// The states an operator uses: a handle, a tuple of up to six, or `()` for none.
///
/// The engine walks a batch ahead of the user's function and calls `prefetch` for each record.
///
/// ```
/// use thalweg_state::{HeapBackend, KeyGroupRange, ListState, MaxParallelism, StateSet, ValueState};
/// let max = MaxParallelism::default();
/// let backend = HeapBackend::new(KeyGroupRange::all(max), max);
/// let states = (ValueState::<u64, u64>::new("sum", &backend)?, ListState::<u64, u8>::new("bytes", &backend)?);
/// states.prefetch(42);
/// # Ok::<(), thalweg_state::Error>(())
/// ```
pub trait StateSet {
    /// Asks the processor for what a key of that hash has here. A hint, without an effect.
    fn prefetch(&self, hash: u64);

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

macro_rules! tuple_set {
    ($($set:ident $index:tt)*) => {
        impl<$($set: StateSet),*> StateSet for ($($set,)*) {
            #[inline(always)]
            fn prefetch(&self, hash: u64) {
                let _ = hash; // Not used by `()`.
                $(self.$index.prefetch(hash);)*
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
