//! Asking for a cache line before it is needed.

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for `LINES` cache lines in a row, from that of `bytes[at]`: one check for all of them.
///
/// As [`prefetch`]; near the end of `bytes`, where not all of them are in it, it asks for none.
///
/// ```
/// let table = vec![0_u8; 4096];
/// thalweg_net::prefetch_lines::<4>(&table, 1024);
/// thalweg_net::prefetch_lines::<4>(&table, 4000); // Out of range: nothing happens.
/// ```
#[inline(always)]
pub fn prefetch_lines<const LINES: usize>(bytes: &[u8], at: usize) {
    if let Some(lines) = at.checked_add(LINES * LINE_BYTES).and_then(|end| bytes.get(at..end)) {
        for line in 0..LINES {
            prefetch(lines, line * LINE_BYTES);
        }
    }
}

/// Asks the processor for the cache line that holds `bytes[at]`, without waiting for it.
///
/// A hint: it changes no result. Out of range, or on a processor other than x86-64, it does nothing. Cost: one
/// instruction, and one of the core's ten or so outstanding misses.
///
/// ```
/// let table = vec![0_u8; 4096];
/// thalweg_net::prefetch(&table, 1000);
/// thalweg_net::prefetch(&table, 1_000_000); // Out of range: nothing happens.
/// ```
#[inline(always)]
pub fn prefetch(bytes: &[u8], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(byte) = bytes.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching never faults and has no effect on memory; SSE is part of x86-64, and the address is
        // that of a live byte.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, at);
}
