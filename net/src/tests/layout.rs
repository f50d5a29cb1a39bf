//! Golden bytes. rkyv's features are unified over the whole build; a crate that turned on another byte order or pointer
//! width would change the format in silence, were it not for these.

use rkyv::{Archive, Serialize};

use crate::{Appender, BufferPool, LatencyMarker, Signal};

#[derive(Archive, Serialize)]
struct Row {
    count: u32,
    total: i64,
    flag: bool,
    name: String,
    short: String,
    parts: Vec<u16>,
    limit: Option<u32>,
    none: Option<u64>,
}

fn bytes_of(fill: impl FnOnce(&mut Appender<u64, Row>)) -> Vec<u8> {
    let mut out = Appender::new(BufferPool::new(1024).unwrap().take());
    fill(&mut out);
    out.finish().bytes().to_vec()
}

/// `expected`: bytes in hexadecimal, blanks ignored.
#[track_caller]
fn check(bytes: &[u8], expected: &str) {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(bytes), expected.split_whitespace().collect::<String>());
}

#[test]
fn a_record_has_these_bytes() {
    // Goal: the format of entry and archive, byte for byte. Method: one record with each kind of field there is.
    let row = Row {
        count: 0x0403_0201,
        total: -2,
        flag: true,
        name: "out of line".into(),
        short: "inline".into(),
        parts: vec![0x1122, 0x3344, 0x5566],
        limit: Some(9),
        none: None,
    };
    let bytes = bytes_of(|out| out.append(0x0102, 0xa0b0_c0d0_e0f0_0010, &7, &row).unwrap());
    check(
        &bytes,
        "80000000 00 000000 0201000000000000 1000f0e0d0c0b0a0
         6f7574206f66206c696e65 00 2211 4433 6655 000000000000
         0700000000000000
         01020304 00000000 feffffffffffffff
         01 000000 8b000000ccffffff 696e6c696e65ffff c8ffffff03000000
         01 000000 09000000 00000000
         00 00000000000000 0000000000000000",
    );
}

#[test]
fn signals_have_these_bytes() {
    let marker = LatencyMarker { operator: 1, subtask: 2, marked_ns: 3 };
    let signals = [
        Signal::Watermark(-1),
        Signal::Idle,
        Signal::Active,
        Signal::Barrier { checkpoint: 5, timestamp_ms: 6 },
        Signal::Latency(marker),
        Signal::End,
    ];
    let bytes = bytes_of(|out| signals.into_iter().for_each(|signal| out.signal(signal).unwrap()));
    check(
        &bytes,
        "18000000 01 000000 ffffffffffffffff 0000000000000000
         18000000 02 000000 0000000000000000 0000000000000000
         18000000 03 000000 0000000000000000 0000000000000000
         18000000 04 000000 0600000000000000 0500000000000000
         18000000 05 000000 0200000001000000 0300000000000000
         18000000 06 000000 0000000000000000 0000000000000000",
    );
}

#[test]
fn integers_are_their_own_roots() {
    let mut out = Appender::<u32, u32>::new(BufferPool::new(1024).unwrap().take());
    out.append(1, 2, &3, &4).unwrap();
    check(out.finish().bytes(), "20000000 00 000000 0100000000000000 0200000000000000 03000000 04000000");
}
