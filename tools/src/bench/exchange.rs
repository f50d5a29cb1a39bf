//! `thalweg bench exchange`: what it costs to bring a record from one subtask to another, without an engine around it.
//!
//! ```text
//!   append ─▶ buffer ─▶ credit ─▶ ring ─▶ credit ─▶ read        sender's core, receiver's core; or both on one
//!      ▲         ◀── memory ◀────────── grants ◀────┘
//! ```
//!
//! Between two cores both poll, so the CPU time of both sides together is about twice the time of the slower one. Beside records
//! stand two bounds:
//! - a *hand-over* is the same with empty buffers: what a buffer costs beside its contents;
//! - *bare memory* is a buffer of plain words, written by one side and added up by the other: what the machine takes to bring the
//!   bytes across, without entries or credit. Where virtual CPUs move between real ones it changes tenfold from run to run, so
//!   it belongs beside any figure for two cores.

use std::hint::{black_box, spin_loop};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use thalweg_net::{
    Appender, BUFFER_BYTES_DEFAULT, Buffer, BufferPool, CreditReceiver, CreditSender, ENTRY_HEADER_BYTES,
    Item, Reader, ring,
};

use super::latency::noise::{cpus, pin};
use crate::report::{CpuTime, say};

/// Measures what a record and a buffer cost in an exchange, by the size of records.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg bench exchange
  thalweg bench exchange --megabytes 4000 --json")]
pub struct ExchangeArgs {
    /// How much each measurement sends, in MB of entries.
    #[arg(long, value_name = "MB", default_value_t = 1000)]
    megabytes: u64,
    /// Prints a line of JSON for each measurement, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
}

/// Buffers that may be in flight; as the engine's default.
const CREDIT_BUFFERS: u64 = 8;
/// Each measurement is made this often, and the best counts: others ran while the machine did something else.
const REPETITIONS: usize = 3;

/// Where the two sides run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Cores {
    One,
    Two,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Records,
    HandOver,
    BareMemory,
}

/// One measurement.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cost {
    what: What,
    cores: Cores,
    record_bytes: usize,
    /// Records sent, if any.
    records: u64,
    buffers: u64,
    seconds: f64,
    /// CPU time of both sides.
    cpu_seconds: f64,
    cpu_ns_per_record: f64,
    cpu_ns_per_buffer: f64,
    /// From the first record to the last, for each buffer.
    ns_per_buffer: f64,
}

/// Runs the command.
pub fn run(args: &ExchangeArgs) -> Result<()> {
    ensure!(args.megabytes > 0, "--megabytes must be at least 1");
    ensure!(args.megabytes <= 1_000_000, "--megabytes must be at most 1000000");
    let bytes = args.megabytes * 1_000_000;
    let mut costs = Vec::new();
    let has_two = cpus().len() >= 2;
    if !has_two {
        eprintln!("there is one CPU only, so nothing is measured between two");
    }
    for cores in if has_two { &[Cores::One, Cores::Two][..] } else { &[Cores::One] } {
        costs.push(best(|| measure::<1>(*cores, bytes, What::HandOver)));
        costs.push(best(|| measure::<1>(*cores, bytes, What::BareMemory)));
        costs.push(best(|| measure::<1>(*cores, bytes, What::Records)));
        costs.push(best(|| measure::<2>(*cores, bytes, What::Records)));
        costs.push(best(|| measure::<4>(*cores, bytes, What::Records)));
        costs.push(best(|| measure::<8>(*cores, bytes, What::Records)));
        costs.push(best(|| measure::<16>(*cores, bytes, What::Records)));
        costs.push(best(|| measure::<32>(*cores, bytes, What::Records)));
        costs.push(best(|| measure::<64>(*cores, bytes, What::Records)));
    }
    match args.json {
        true => costs.iter().try_for_each(|cost| say(&format!("{}\n", to_json(cost)?))),
        false => say(&table(&costs)),
    }
}

fn best(measure: impl Fn() -> Cost) -> Cost {
    let runs = (0..REPETITIONS).map(|_| measure());
    runs.min_by(|a, b| a.seconds.total_cmp(&b.seconds)).expect("there is at least one repetition")
}

/// Sends records of `WORDS` words, about `bytes` bytes of entries; or as many bytes of bare memory; or buffers with nothing in them.
fn measure<const WORDS: usize>(cores: Cores, bytes: u64, what: What) -> Cost
where
    [u64; WORDS]: thalweg_net::Exchange,
    <[u64; WORDS] as rkyv::Archive>::Archived: FirstWord,
{
    let entry_bytes = (ENTRY_HEADER_BYTES + WORDS * 8) as u64;
    let records = if what == What::Records { (bytes / entry_bytes).max(1) } else { 0 };
    let cpu = CpuTime::now();
    let (took, buffers) = match (what, cores) {
        (What::BareMemory, _) => bare_memory(cores, (bytes / BUFFER_BYTES_DEFAULT as u64).max(1)),
        // More hand-overs than full buffers, as each takes so little.
        (What::HandOver, Cores::One) => one_core::<WORDS>(0, (bytes / 1_000).max(1)),
        (What::HandOver, Cores::Two) => two_cores::<WORDS>(0, (bytes / 1_000).max(1)),
        (What::Records, Cores::One) => one_core::<WORDS>(records, 0),
        (What::Records, Cores::Two) => two_cores::<WORDS>(records, 0),
    };
    let (seconds, cpu_seconds) = (took.as_secs_f64(), cpu.elapsed().as_secs_f64());
    Cost {
        what,
        cores,
        record_bytes: if what == What::Records { WORDS * 8 } else { 0 },
        records,
        buffers,
        seconds,
        cpu_seconds,
        cpu_ns_per_record: if records > 0 { cpu_seconds * 1e9 / records as f64 } else { 0.0 },
        cpu_ns_per_buffer: cpu_seconds * 1e9 / buffers as f64,
        ns_per_buffer: seconds * 1e9 / buffers as f64,
    }
}

/// Reads a word of an archived record.
trait FirstWord {
    fn first_word(&self) -> u64;
}

impl<const N: usize> FirstWord for [rkyv::rend::u64_le; N] {
    #[inline]
    fn first_word(&self) -> u64 {
        self[0].to_native()
    }
}

/// Makes buffers until all records were sent.
struct Sending<const WORDS: usize>
where
    [u64; WORDS]: thalweg_net::Exchange,
{
    out: Appender<(), [u64; WORDS]>,
    pool: BufferPool,
    sent: u64,
    records: u64,
    empty_buffers: u64,
}

impl<const WORDS: usize> Sending<WORDS>
where
    [u64; WORDS]: thalweg_net::Exchange,
{
    fn new(records: u64, empty_buffers: u64) -> Self {
        let pool = BufferPool::new(BUFFER_BYTES_DEFAULT).expect("the default size is a size");
        Self { out: Appender::new(pool.take()), pool, sent: 0, records, empty_buffers }
    }

    fn next_buffer(&mut self) -> Option<Buffer> {
        let Self { out, sent, records, .. } = self;
        while *sent < *records && out.append(0, *sent, &(), &[*sent; WORDS]).is_ok() {
            *sent += 1;
        }
        if out.is_empty() {
            self.empty_buffers = self.empty_buffers.checked_sub(1)?;
        }
        Some(self.out.swap(self.pool.take()))
    }
}

/// What arrived.
#[derive(Default)]
struct Received {
    records: u64,
    sum: u64,
}

impl Received {
    #[inline]
    fn read<const WORDS: usize>(&mut self, buffer: Buffer)
    where
        [u64; WORDS]: thalweg_net::Exchange,
        <[u64; WORDS] as rkyv::Archive>::Archived: FirstWord,
    {
        let mut reader = Reader::<(), [u64; WORDS]>::open(buffer).expect("it was written with these types");
        while let Some(Item::Record { value, .. }) = reader.next() {
            self.records += 1;
            self.sum = self.sum.wrapping_add(value.first_word());
        }
    }

    /// The numbers 0 to `records` - 1, each once.
    fn check(&self, records: u64) {
        let sum = (u128::from(records) * u128::from(records.saturating_sub(1)) / 2) as u64;
        assert_eq!((self.records, self.sum), (records, sum), "the exchange lost or changed records");
    }
}

fn one_core<const WORDS: usize>(records: u64, empty_buffers: u64) -> (Duration, u64)
where
    [u64; WORDS]: thalweg_net::Exchange,
    <[u64; WORDS] as rkyv::Archive>::Archived: FirstWord,
{
    let thread = std::thread::spawn(move || {
        if let Some(&cpu) = cpus().first() {
            pin(cpu);
        }
        let mut sending = Sending::<WORDS>::new(records, empty_buffers);
        let mut received = Received::default();
        let mut to = CreditSender::new(CREDIT_BUFFERS);
        let mut from = CreditReceiver::new(CREDIT_BUFFERS);
        let mut buffers = 0;
        let began = Instant::now();
        while let Some(buffer) = sending.next_buffer() {
            to.enqueue(buffer);
            while let Some((sequence, _, buffer)) = to.poll() {
                from.on_data(sequence).expect("nothing is lost on the way");
                received.read::<WORDS>(buffer);
                from.on_consumed();
                from.poll_grant().into_iter().for_each(|total| to.on_grant(total));
                buffers += 1;
            }
        }
        let took = began.elapsed();
        black_box(received).check(records);
        (took, buffers)
    });
    thread.join().expect("what was sent has arrived")
}

fn two_cores<const WORDS: usize>(records: u64, empty_buffers: u64) -> (Duration, u64)
where
    [u64; WORDS]: thalweg_net::Exchange,
    <[u64; WORDS] as rkyv::Archive>::Archived: FirstWord,
{
    let cpus = cpus();
    // The credit bounds what is in a ring.
    let (mut data_to, mut data_from) = ring::channel::<(u64, Buffer)>(CREDIT_BUFFERS as usize * 2);
    let (mut grant_to, mut grant_from) = ring::channel::<u64>(CREDIT_BUFFERS as usize * 2);
    let receiver = cpus[1];
    let receiver = std::thread::spawn(move || {
        pin(receiver);
        let mut credit = CreditReceiver::new(CREDIT_BUFFERS);
        let mut received = Received::default();
        loop {
            let Some((sequence, buffer)) = data_from.pop() else {
                data_from.release();
                if data_from.is_closed() && data_from.is_empty() {
                    return (received, Instant::now());
                }
                spin_loop();
                continue;
            };
            credit.on_data(sequence).expect("a ring keeps its order");
            received.read::<WORDS>(buffer);
            credit.on_consumed();
            if let Some(total) = credit.poll_grant() {
                data_from.release();
                grant_to.try_push(total).expect("there are never more grants than credit");
                grant_to.publish();
            }
        }
    });
    let sender = cpus[0];
    let sender = std::thread::spawn(move || {
        pin(sender);
        let mut sending = Sending::<WORDS>::new(records, empty_buffers);
        let mut credit = CreditSender::new(CREDIT_BUFFERS);
        let mut buffers = 0;
        let began = Instant::now();
        while let Some(buffer) = sending.next_buffer() {
            credit.enqueue(buffer);
            buffers += 1;
            loop {
                while let Some((sequence, _, buffer)) = credit.poll() {
                    assert!(data_to.try_push((sequence, buffer)).is_ok(), "credit is room");
                    data_to.publish();
                }
                if credit.is_available() {
                    break;
                }
                match grant_from.pop() {
                    Some(total) => credit.on_grant(total),
                    None => spin_loop(),
                }
                grant_from.release();
            }
        }
        drop(data_to);
        // The pool goes last: what is still on its way comes home.
        (began, buffers, sending.pool)
    });
    let (began, buffers, _pool) = sender.join().expect("the sender only sends");
    let (received, ended) = receiver.join().expect("the receiver only receives");
    received.check(records);
    (ended - began, buffers)
}

/// The bound that the machine sets: plain memory, filled on one side and read on the other.
fn bare_memory(cores: Cores, buffers: u64) -> (Duration, u64) {
    let words = BUFFER_BYTES_DEFAULT / 8;
    let cpus = cpus();
    let sum = |memory: &[u64]| memory.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
    if cores == Cores::One {
        let thread = std::thread::spawn(move || {
            if let Some(&cpu) = cpus.first() {
                pin(cpu);
            }
            let mut memory = vec![0_u64; words];
            let began = Instant::now();
            for i in 0..buffers {
                black_box(&mut memory).fill(i);
                black_box(sum(black_box(&memory)));
            }
            began.elapsed()
        });
        return (thread.join().expect("it only writes and reads"), buffers);
    }
    let slots = CREDIT_BUFFERS as usize * 2;
    let (mut to, mut from) = ring::channel::<Vec<u64>>(slots);
    let (mut home, mut back) = ring::channel::<Vec<u64>>(slots);
    for _ in 0..CREDIT_BUFFERS {
        home.try_push(vec![0_u64; words]).expect("there are more slots than buffers");
    }
    home.publish();
    let (sender, receiver) = (cpus[0], cpus[1]);
    let receiver = std::thread::spawn(move || {
        pin(receiver);
        for _ in 0..buffers {
            let memory = wait_for(&mut from);
            black_box(sum(&memory));
            home.try_push(memory).expect("there are more slots than buffers");
            home.publish();
        }
        Instant::now()
    });
    let sender = std::thread::spawn(move || {
        pin(sender);
        let began = Instant::now();
        for i in 0..buffers {
            let mut memory = wait_for(&mut back);
            memory.fill(i);
            to.try_push(memory).expect("there are more slots than buffers");
            to.publish();
        }
        began
    });
    let began = sender.join().expect("it only writes");
    (receiver.join().expect("it only reads") - began, buffers)
}

fn wait_for<T>(ring: &mut ring::Consumer<T>) -> T {
    loop {
        if let Some(item) = ring.pop() {
            ring.release();
            return item;
        }
        spin_loop();
    }
}

fn to_json(cost: &Cost) -> Result<String> {
    let mut json = serde_json::to_value(cost)?;
    json["engine"] = "thalweg".into();
    json["version"] = env!("CARGO_PKG_VERSION").into();
    Ok(json.to_string())
}

fn table(costs: &[Cost]) -> String {
    let mut out = String::from("cores  record bytes  CPU ns/record  CPU ns/buffer  ns/buffer       GB/s\n");
    for cost in costs {
        let cores = if cost.cores == Cores::One { "one" } else { "two" };
        let (what, record) = match cost.what {
            What::HandOver => ("hand-over".to_owned(), String::new()),
            What::BareMemory => ("bare memory".to_owned(), String::new()),
            What::Records => (cost.record_bytes.to_string(), format!("{:.2}", cost.cpu_ns_per_record)),
        };
        let bytes = match cost.what {
            What::HandOver => 0,
            What::BareMemory => cost.buffers as usize * BUFFER_BYTES_DEFAULT,
            What::Records => cost.records as usize * (cost.record_bytes + ENTRY_HEADER_BYTES),
        };
        let rate =
            if bytes > 0 { format!("{:.2}", bytes as f64 / 1e9 / cost.seconds) } else { String::new() };
        let (cpu, time) = (cost.cpu_ns_per_buffer, cost.ns_per_buffer);
        out.push_str(
            format!("{cores:<5}  {what:>12}  {record:>13}  {cpu:>13.0}  {time:>9.0}  {rate:>9}").trim_end(),
        );
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_records_and_buffers_arrive() {
        for cores in if cpus().len() >= 2 { &[Cores::One, Cores::Two][..] } else { &[Cores::One] } {
            let cost = measure::<4>(*cores, 200_000, What::Records);
            assert_eq!((cost.records, cost.record_bytes), (200_000 / 56, 32));
            // 585 entries of 56 bytes in each.
            assert_eq!(cost.buffers, 7);
            let cost = measure::<1>(*cores, 200_000, What::HandOver);
            assert_eq!((cost.records, cost.buffers), (0, 200));
            let cost = measure::<1>(*cores, 200_000, What::BareMemory);
            assert_eq!((cost.records, cost.buffers), (0, 6));
        }
    }

    #[test]
    fn refuses_what_cannot_be_measured() {
        for megabytes in [0, 1_000_001] {
            let error = run(&ExchangeArgs { megabytes, json: true }).unwrap_err();
            assert!(error.to_string().contains("--megabytes"));
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_measurement() {
        let costs = [What::HandOver, What::Records].map(|what| measure::<2>(Cores::One, 10_000, what));
        let table = table(&costs);
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("hand-over"));
        assert!(to_json(&costs[1]).unwrap().contains("\"cores\":\"one\""));
    }
}
