//! Counts the words that come from a socket, until the other side closes it.
//!
//! ```sh
//! nc -lk 9999                                                             # in one terminal: type some lines
//! cargo run --release --example socket_word_count -- localhost:9999       # in another: see them counted at once
//! ```

use std::process::ExitCode;

use thalweg::{Chain, Env, Result, Stream};

fn main() -> ExitCode {
    let Some(address) = std::env::args().nth(1) else {
        eprintln!("usage: socket_word_count HOST:PORT");
        return ExitCode::from(2);
    };
    match run(&address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            eprintln!("{error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn run(address: &str) -> Result<()> {
    let env = Env::new().name("socket word count");
    socket_word_count(&env, address).print();
    env.execute()?;
    Ok(())
}

/// The words that come, each with its count so far.
pub(crate) fn socket_word_count(env: &Env, address: &str) -> Stream<impl Chain<Out = (String, u64)>> {
    env.socket_text(address) // One core reads the socket, ...
        .flat_map(|line, out| out.extend(line.split_whitespace().map(str::to_owned)))
        .key_by(|word| word.clone()) // ... all of them count.
        .count()
}
