//! An allocator that counts: what proves that a job allocates nothing per record, and keeps nothing that it no longer needs.
//!
//! A test binary installs [`Counting`] as its global allocator. It counts the allocations of all threads, from the first to the
//! last, but for what runs inside [`uncounted`]. With `THALWEG_ALLOCATIONS=<n>` the first n between [`trace`] and its end are
//! shown on stderr with the calls that led there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The system's allocator, and a count of what it was asked for.
#[derive(Debug)]
pub struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// What is allocated now, and the most that was since the last [`peak_of`] began, in bytes.
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
static LIVE_BYTES_MAX: AtomicI64 = AtomicI64::new(0);
/// How many more allocations shall be shown.
static TO_SHOW: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// This thread's allocations do not count now.
    static UNCOUNTED: Cell<bool> = const { Cell::new(false) };
}

/// How many allocations there have been in this process; growing one in place or elsewhere counts as one.
pub fn count() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Runs something, and returns how much more memory all threads held at most meanwhile than before it, in bytes as asked for:
/// what the allocator itself keeps, which depends on chance, does not count. One caller at a time.
pub fn peak_of(run: impl FnOnce()) -> u64 {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    LIVE_BYTES_MAX.store(before, Ordering::Relaxed);
    run();
    (LIVE_BYTES_MAX.load(Ordering::Relaxed) - before).unsigned_abs()
}

/// Runs something whose allocations are the caller's own affair.
pub fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    let before = UNCOUNTED.replace(true);
    let result = run();
    UNCOUNTED.set(before);
    result
}

/// Begins or ends showing allocations, if `THALWEG_ALLOCATIONS` asks for it.
pub fn trace(on: bool) {
    let asked = || std::env::var("THALWEG_ALLOCATIONS").ok()?.parse().ok();
    let to_show = if on { uncounted(asked).unwrap_or(0) } else { 0 };
    TO_SHOW.store(to_show, Ordering::Relaxed);
}

fn hold(bytes: i64) {
    let live = LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
    LIVE_BYTES_MAX.fetch_max(live, Ordering::Relaxed);
}

fn note(layout: Layout) {
    if UNCOUNTED.get() {
        return;
    }
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    if TO_SHOW.load(Ordering::Relaxed) > 0 && TO_SHOW.fetch_sub(1, Ordering::Relaxed) > 0 {
        uncounted(|| eprintln!("allocation of {} bytes\n{}", layout.size(), Backtrace::force_capture()));
    }
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout);
        hold(layout.size() as i64);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout);
        hold(layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout);
        hold(size as i64 - layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        hold(-(layout.size() as i64));
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}
