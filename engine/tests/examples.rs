//! The examples, run on small inputs. They are included as modules, so that no other build is needed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use thalweg::Env;
use thalweg::testing::{self, Simulator};

#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../examples/hot_items.rs"]
mod hot_items;
#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../examples/socket_word_count.rs"]
mod socket_word_count;
#[expect(dead_code, reason = "its `main` is not called here")]
#[path = "../examples/word_count.rs"]
mod word_count;

/// Checks that each word was counted one by one, and returns how often it came.
fn last_counts(counted: Vec<(String, u64)>) -> HashMap<String, u64> {
    let mut last = HashMap::new();
    for (word, count) in counted {
        let before = last.insert(word, count).unwrap_or(0);
        assert_eq!(count, before + 1);
    }
    last
}

fn counts(expected: &[(&str, u64)]) -> HashMap<String, u64> {
    expected.iter().map(|&(word, count)| (word.to_owned(), count)).collect()
}

#[test]
fn word_count_counts_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    std::fs::write(&path, "To be, or not to be:\nthat is the question.\n\n  Être?").unwrap();
    let expected = counts(&[
        ("to", 2),
        ("be", 2),
        ("or", 1),
        ("not", 1),
        ("that", 1),
        ("is", 1),
        ("the", 1),
        ("question", 1),
        ("être", 1),
    ]);
    for parallelism in [1, 2] {
        let env = Env::new().parallelism(parallelism);
        let counted = word_count::word_count(&env, &path).collect();
        env.execute().unwrap();
        assert_eq!(last_counts(counted.take()), expected);
    }
}

#[test]
fn socket_word_count_counts_what_comes() {
    for parallelism in [1, 2] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            let mut peer = listener.accept().unwrap().0;
            peer.write_all(b"to be or\nnot to be").unwrap();
        });
        let env = Env::new().parallelism(parallelism);
        let counted = socket_word_count::socket_word_count(&env, &address).collect();
        env.execute().unwrap();
        peer.join().unwrap();
        assert_eq!(last_counts(counted.take()), counts(&[("to", 2), ("be", 2), ("or", 1), ("not", 1)]));
    }
}

/// Goal: the rows of the job are those of a batch computation, on real cores and on simulated ones.
#[test]
fn hot_items_finds_the_auction_with_the_most_bids() {
    use hot_items::{Bid, HotItem, LENGTH, SLIDE, bid, hot_items};

    const BIDS: u64 = 5_000;
    let (length, slide) = (LENGTH.as_millis() as i64, SLIDE.as_millis() as i64);
    let mut counts: BTreeMap<i64, HashMap<u64, u64>> = BTreeMap::new();
    for Bid { auction, time } in (0..BIDS).map(bid) {
        let first_end = time - time.rem_euclid(slide) + slide;
        for window_end in (first_end..=time + length).step_by(slide as usize) {
            *counts.entry(window_end).or_default().entry(auction).or_default() += 1;
        }
    }
    let hottest = |(window_end, counts): (i64, HashMap<u64, u64>)| {
        let (auction, bids) = counts.into_iter().max_by_key(|&(auction, n)| (n, Reverse(auction))).unwrap();
        HotItem { window_end, auction, bids }
    };
    let expected: Vec<HotItem> = counts.into_iter().map(hottest).collect();

    let run = |parallelism: usize, execute: &dyn Fn(&Env)| {
        let env = Env::new().parallelism(parallelism);
        let items = hot_items(env.generate(BIDS, bid)).collect();
        execute(&env);
        assert_eq!(items.take(), expected);
    };
    for parallelism in [1, 2] {
        run(parallelism, &|env| assert!(env.execute().is_ok()));
    }
    testing::seeds(3, |seed| run(3, &|env| assert!(Simulator::new(seed).run(env).is_ok())));
}
