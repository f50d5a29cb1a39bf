//! `thalweg state`: what is in a store or a snapshot, and whether all of it is as it was written.
//!
//! ```text
//!   DIR ─▶ MANIFEST ─▶ its files, all opened at once ─┬─▶ inspect   states, key groups, levels, sizes
//!                                                     ├─▶ ls        files, or entries in the order of their keys
//!                                                     └─▶ get       one key, in all files that say something of it
//!   DIR ──────────────────────────────────────────────▶ verify      every byte
//! ```
//!
//! In reading order: `dir` opens a store, `entries` reads its entries in order, `text` shows bytes; then a file for each command.
//!
//! Invariants:
//! - nothing is written, locked or removed;
//! - a store may be in use: what was opened stays readable whatever its owner removes, so an answer is as of the time when
//!   the manifest was read, without what is in the owner's memory only.

mod dir;
mod entries;
mod get;
mod inspect;
mod ls;
mod text;
mod verify;

pub use get::GetArgs;
pub use inspect::InspectArgs;
pub use ls::LsArgs;
pub use verify::VerifyArgs;

use anyhow::Result;
use clap::Subcommand;

/// The commands, with their arguments.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Says what is in it: states, key groups, levels, files, sizes.
    Inspect(InspectArgs),
    /// Lists entries in the order of their keys, or files.
    Ls(LsArgs),
    /// Says what the files say of one key.
    Get(GetArgs),
    /// Verifies every byte; says what is damaged, one line for each, and fails if anything is.
    Verify(VerifyArgs),
}

/// Runs a command.
///
/// Errors: what is wrong with the directory, the arguments, or a file; and that of writing the results.
pub fn run(command: &StateCommand) -> Result<()> {
    match command {
        StateCommand::Inspect(args) => inspect::run(args),
        StateCommand::Ls(args) => ls::run(args),
        StateCommand::Get(args) => get::run(args),
        StateCommand::Verify(args) => verify::run(args),
    }
}
