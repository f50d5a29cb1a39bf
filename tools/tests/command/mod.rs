//! Runs the `thalweg` command, under a watchdog, as a command that hangs is worse than one that fails.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// Far longer than any run here takes.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// What a run did.
pub(crate) struct Ran {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the command with these arguments, split at spaces; `{dir}` stands for `dir`.
pub(crate) fn thalweg(dir: &Path, arguments: &str) -> Ran {
    let dir = dir.to_str().expect("a path that is text");
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command.args(arguments.split(' ').map(|argument| argument.replace("{dir}", dir)));
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    fn read(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
        thread::spawn(move || {
            let mut text = String::new();
            from.read_to_string(&mut text).expect("the output is text");
            text
        })
    }
    let (stdout, stderr) =
        (read(child.stdout.take().expect("piped")), read(child.stderr.take().expect("piped")));
    let (done, ended) = channel();
    let readers = thread::spawn(move || {
        let texts = (stdout.join().expect("it is read"), stderr.join().expect("it is read"));
        let _ = done.send(());
        texts
    });
    if ended.recv_timeout(HANGS_AFTER).is_err() {
        child.kill().expect("it still runs");
        panic!("thalweg {arguments} hangs");
    }
    let (stdout, stderr) = readers.join().expect("it has read all");
    let status = child.wait().expect("it has ended");
    assert!(status.code().is_some(), "thalweg {arguments} was killed by a signal: {stderr}");
    Ran { succeeded: status.success(), stdout, stderr }
}

/// The command fails; stderr holds all of `reasons`, stdout nothing, and nobody panicked.
#[track_caller]
pub(crate) fn fails(dir: &Path, arguments: &str, reasons: &[&str]) {
    let ran = thalweg(dir, arguments);
    assert!(!ran.succeeded, "thalweg {arguments} succeeded: {}", ran.stdout);
    assert_eq!(ran.stdout, "", "thalweg {arguments}");
    let dir = dir.to_str().expect("a path that is text");
    for reason in reasons {
        let reason = reason.replace("{dir}", dir);
        assert!(ran.stderr.contains(&reason), "thalweg {arguments}: no {reason:?} in {:?}", ran.stderr);
    }
    assert!(!ran.stderr.contains("panicked"), "thalweg {arguments}: {}", ran.stderr);
}
