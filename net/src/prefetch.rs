//! Memory asked for before it is read.

/// The size of a cache line on the processors this is for, in bytes.
const LINE_BYTES: usize = 64;

/// Asks for `LINES` cache lines in a row, from that of `bytes[at]`.
///
/// As [`prefetch`]: what lies past the end of `bytes` does no harm, so nothing is checked.
///
/// ```
/// let table = vec![0_u8; 4096];
/// thalweg_net::prefetch_lines::<4>(&table, 1024);
/// thalweg_net::prefetch_lines::<4>(&table, 4000); // Past the end.
/// ```
#[inline(always)]
pub fn prefetch_lines<const LINES: usize>(bytes: &[u8], at: usize) {
    for line in 0..LINES {
        prefetch(bytes, at.wrapping_add(line * LINE_BYTES));
    }
}

/// Asks the processor for the cache line in which `items[at]` begins, without waiting for it.
///
/// A hint: it changes no result, whatever `at` is. On a processor other than x86-64 it does nothing. Cost: one instruction,
/// and one of the core's ten or so outstanding misses.
///
/// ```
/// let table = vec![0_u8; 4096];
/// thalweg_net::prefetch(&table, 1000);
/// thalweg_net::prefetch(&table, 1_000_000); // Out of range, and harmless.
/// ```
#[inline(always)]
pub fn prefetch<T>(items: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address, mapped or not, neither faults nor has an effect on memory; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(items.as_ptr().wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, at);
}
