//! Goal: state in files takes the memory that it was given, seen from outside, however large it is.
//!
//! Method: the benchmark of stores runs as a process of its own, with state ten times its budget, while its resident memory is
//! looked at: anonymous pages and those of files together. What a process takes besides is seen from a run with hardly any state.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// What is given to the store.
const BUDGET_BYTES: u64 = 24 << 20;
/// What a budget may come to: tables are measured by samples, and counted in steps of 1/64.
const FACTOR: f64 = 1.5;
/// What a store takes besides, however large its budget is: what a flush and a compaction work with (buffers, the index and the filter
/// of the file that is written), and what the allocator keeps of what they have freed.
const CONSTANT_BYTES: u64 = 64 << 20;

/// The process, which is not left behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a load, and returns the most that it had in memory, in bytes.
fn peak_rss_bytes(load: &str, keys: u64, budget_bytes: u64) -> u64 {
    let dir = TempDir::new().expect("a folder");
    let (keys, budget) = (keys.to_string(), budget_bytes.to_string());
    let child = Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["bench", "state", "--backend", "lsm", "--seconds", "2", "--json", "--load", load])
        .args(["--keys", &keys, "--memory-budget", &budget, "--state-dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    let mut running = Running(child.expect("the command starts"));
    let status_file = format!("/proc/{}/status", running.0.id());
    let mut peak = 0;
    loop {
        if let Some(status) = running.0.try_wait().expect("it is our child") {
            assert!(status.success(), "{load} fails");
            return peak;
        }
        let status = fs::read_to_string(&status_file).unwrap_or_default(); // It may end just now.
        peak = peak.max(kib_of(&status, "RssAnon:") + kib_of(&status, "RssFile:"));
        thread::sleep(Duration::from_millis(2)); // Between two looks; nothing depends on how long it is.
    }
}

/// A field of a process's status that is in KiB, in bytes.
fn kib_of(status: &str, field: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0");
    value.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn state_ten_times_the_budget_takes_the_budget() {
    /// A key of 8 bytes and a value of 100.
    const ENTRY_BYTES: u64 = 108;
    let floor = peak_rss_bytes("rmw-100", 1_000, BUDGET_BYTES);
    let peak = peak_rss_bytes("rmw-100", 10 * BUDGET_BYTES / ENTRY_BYTES, BUDGET_BYTES);
    let most = floor + CONSTANT_BYTES + (BUDGET_BYTES as f64 * FACTOR) as u64;
    println!("{} MiB, {} with hardly any state, at most {}", peak >> 20, floor >> 20, most >> 20);
    assert!(peak <= most, "{peak} bytes, with hardly any state {floor}, at most {most}");
}
