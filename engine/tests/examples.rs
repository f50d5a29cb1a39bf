//! The examples, run on small inputs. They are included as modules, so that no other build is needed.
#![allow(dead_code, reason = "the examples' `main`s are not called here")]

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

use thalweg::Env;

#[path = "../examples/socket_word_count.rs"]
mod socket_word_count;
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
