//! Counts the words of a text file: after each word, how often it has come so far.
//!
//! ```sh
//! cargo run --release --example word_count -- FILE
//! ```
//!
//! Without a file it counts the words of this program.

use std::path::{Path, PathBuf};

use thalweg::{Chain, Env, Result, Stream};

fn main() -> Result<()> {
    let path = std::env::args_os().nth(1).map_or_else(this_file, PathBuf::from);
    let env = Env::new().name("word count");
    word_count(&env, &path).print();
    env.execute()?;
    Ok(())
}

/// The words of a file, each with its count so far.
pub(crate) fn word_count(env: &Env, path: &Path) -> Stream<impl Chain<Out = (String, u64)>> {
    env.read_text_file(path) // Each core reads its part of the file ...
        .flat_map(|line, out| out.extend(words(line)))
        .key_by(|word| word.clone()) // ... and sends a word to the core that counts it.
        .count()
}

/// The words of a line, in lower case.
fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

fn this_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/word_count.rs")
}
