//! `thalweg state verify`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use thalweg_state::lsm::{DamageKind, MANIFEST, Verifier};

use super::dir::{open_storage, wait_for_append};
use super::text::progress;
use crate::report::{grouped, say};

/// Verifies every byte of a store or a snapshot: checksums, the order of keys, and that manifest and files agree. Never writes.
#[derive(Debug, Args)]
#[command(after_help = "\
Each damage is a line on stdout: the file, what is wrong with which block or section, and the bytes of the file in which the damage
is: the very byte, if it is a single one that can be found, or those under one checksum. Nothing there, and exit code 0, if there is
none; otherwise exit code 1.

A damaged snapshot cannot be repaired: go back to another one. A damaged store is made anew from the last checkpoint.
The store may be in use. Files that its owner replaces meanwhile are no damage, and said in a note; so are files that the
manifest does not name, such as what a crash has left or a job is just writing. What the system has in its page cache is verified
there; to read the disk itself, drop the cache first (echo 1 > /proc/sys/vm/drop_caches).

Examples:
  thalweg state verify /var/lib/thalweg/core-0
  thalweg state verify snapshot > damages.txt || mail -s damaged operator < damages.txt")]
pub struct VerifyArgs {
    /// A store or a snapshot: the directory that holds MANIFEST.
    dir: PathBuf,
}

/// Of so many damages, the first ones, the byte is looked for, which takes up to some seconds each.
const SEARCHES_MAX: u32 = 4;

/// Runs the command.
pub(super) fn run(args: &VerifyArgs) -> Result<()> {
    let storage = open_storage(&args.dir)?;
    let is_torn = |verifier: &Verifier| {
        verifier.manifest_damage().is_some_and(|damage| matches!(damage.kind, DamageKind::TornRecord { .. }))
    };
    let mut verifier = wait_for_append(&args.dir, || Ok(Verifier::open(&storage)?), is_torn)?;
    let mut damages = Vec::new();
    let bar = progress(verifier.totals().bytes_left, "verifying");
    let mut searches = 0;
    loop {
        let goes_on = verifier.step(&mut damages);
        for mut damage in damages.drain(..) {
            if searches < SEARCHES_MAX {
                searches += 1;
                verifier.locate(&mut damage);
            }
            bar.suspend(|| say(&format!("{damage}\n")))?;
        }
        bar.set_position(bar.length().unwrap_or(0) - verifier.totals().bytes_left);
        if !goes_on {
            break;
        }
    }
    bar.finish_and_clear();

    let totals = verifier.totals();
    for name in verifier.unnamed() {
        eprintln!("note: {} is not named by {MANIFEST}, and was not verified", args.dir.join(name).display());
    }
    if totals.replaced > 0 {
        eprintln!(
            "note: the owner has replaced {} files meanwhile: verify again for those that came",
            totals.replaced
        );
    }
    let (files, blocks, bytes) = (grouped(totals.files), grouped(totals.blocks), grouped(totals.bytes));
    eprintln!("verified {files} files, {blocks} blocks, {bytes} bytes");
    match totals.damages {
        0 => Ok(()),
        1 => bail!("{} is damaged", args.dir.display()),
        damages => bail!("{} is damaged in {damages} places", args.dir.display()),
    }
}
