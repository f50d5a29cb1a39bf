//! Lines from a TCP socket.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::feed::{Chunks, Feed};
use super::lines::LineSplitter;
use super::reader::LineReader;
use crate::api::source::{Source, SourceContext};
use crate::error::{Error, Result};

/// Bytes read at a time. A read returns what has come, so a line waits for no other.
const CHUNK_BYTES: usize = 64 << 10;
/// How long an address may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines from a TCP socket. See [`crate::Env::socket_text`].
#[derive(Debug, Clone)]
pub struct SocketText {
    address: String,
}

impl SocketText {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// Connects to the first of the host's addresses that accepts.
    fn connect(&self) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn lines(&self, cx: &SourceContext) -> io::Result<LineReader> {
        let stream = self.connect()?;
        let reading = stream.try_clone()?;
        let interrupt = move || {
            let _ = stream.shutdown(Shutdown::Both); // It may be closed already.
        };
        let feed = Feed::start("thalweg-socket", reading, CHUNK_BYTES, cx.bell(), interrupt)?;
        let splitter = LineSplitter::new(0..u64::MAX);
        Ok(LineReader::new(self.address.clone().into(), Chunks::Feed(feed), splitter, None))
    }
}

impl Source for SocketText {
    type Item = String;
    type Reader = LineReader;

    fn reader(&self, cx: &SourceContext) -> Result<LineReader> {
        if cx.parallelism() > 1 {
            return Err(Error::Plan(format!(
                "a socket is read by one subtask, not by {}: put an exchange such as rebalance behind it",
                cx.parallelism()
            )));
        }
        if cx.is_simulated() {
            return Err(Error::Plan(
                "a socket cannot be simulated: what comes from it is not repeatable".into(),
            ));
        }
        self.lines(cx).map_err(|error| Error::io(&self.address, error))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::Env;

    /// What a job reads from a peer that does `serve` with its connection.
    fn read(serve: impl FnOnce(TcpStream) + Send + 'static) -> Result<Vec<String>> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || serve(listener.accept().unwrap().0));
        let env = Env::new().parallelism(2);
        let lines = env.socket_text(&address).collect();
        let result = env.execute();
        peer.join().unwrap();
        result.map(|_| lines.take())
    }

    #[test]
    fn lines_come_until_the_peer_closes() {
        assert_eq!(read(drop).unwrap(), [""; 0]);
        let lines = read(|mut peer| {
            for part in ["on", "e\r\ntwo\n\nthr", "ee"] {
                peer.write_all(part.as_bytes()).unwrap();
            }
        });
        assert_eq!(lines.unwrap(), ["one", "two", "", "three"]); // The last one has no line end.
    }

    #[test]
    fn more_than_fits_into_queues_and_sockets_comes_in_order() {
        let expected: Vec<String> = (0..200_000).map(|i| format!("line {i}")).collect();
        let text = expected.join("\n");
        let lines = read(move |mut peer| peer.write_all(text.as_bytes()).unwrap());
        assert!(lines.unwrap() == expected);
    }

    #[test]
    fn a_line_does_not_wait_for_the_next() {
        // The peer sends its second line when the first one has had its effect.
        let (seen, first_seen) = std::sync::mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || {
            let mut peer = listener.accept().unwrap().0;
            peer.write_all(b"one\n").unwrap();
            first_seen.recv().unwrap();
            peer.write_all(b"two\n").unwrap();
        });
        let env = Env::new().parallelism(1);
        let see = move |line: &String| {
            let _ = seen.send(());
            line.clone()
        };
        let lines = env.socket_text(&address).map(see).collect();
        env.execute().unwrap();
        peer.join().unwrap();
        assert_eq!(lines.take(), ["one", "two"]);
    }

    #[track_caller]
    fn check_error(result: Result<Vec<String>>, kind: ErrorKind) {
        match result {
            Err(Error::Io { path, source }) => {
                assert!(path.to_string_lossy().starts_with("127.0.0.1:"), "{path:?}");
                assert_eq!(source.kind(), kind);
            }
            other => panic!("expected {kind:?}, got {other:?}"),
        }
    }

    #[test]
    fn a_reset_is_an_error() {
        let result = read(|peer| {
            // Without lingering, closing resets.
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        });
        check_error(result, ErrorKind::ConnectionReset);
    }

    #[test]
    fn not_text_is_an_error() {
        check_error(read(|mut peer| peer.write_all(b"a\n\xff\n").unwrap()), ErrorKind::InvalidData);
    }

    #[test]
    fn nobody_there_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let env = Env::new();
        env.socket_text(&address).blackhole();
        check_error(env.execute().map(|_| Vec::new()), ErrorKind::ConnectionRefused);
        let env = Env::new();
        env.socket_text("no port").blackhole();
        assert!(matches!(env.execute(), Err(Error::Io { path, .. }) if path.as_os_str() == "no port"));
    }

    #[test]
    fn runs_as_one_subtask() {
        let env = Env::new();
        env.socket_text("127.0.0.1:1").parallelism(2).blackhole();
        assert!(matches!(env.execute(), Err(Error::Plan(_) | Error::Cancelled)));
    }

    /// A job that fails elsewhere ends although the peer says nothing: the reader's thread is woken.
    #[test]
    fn a_silent_peer_does_not_hold_a_failed_job() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = thread::spawn(move || listener.accept().unwrap().0.read_to_end(&mut Vec::new()));
        let env = Env::new().parallelism(1);
        env.socket_text(&address).blackhole();
        env.from_elements([0_u32]).map(|n| 1_u32.checked_div(*n).expect("divides by zero")).blackhole();
        assert!(matches!(env.execute(), Err(Error::Panic { .. })));
        let _ = peer.join().unwrap(); // Its connection has been closed.
    }
}
