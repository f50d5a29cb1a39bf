//! `thalweg state ls`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use thalweg_state::lsm::sst::Codec;
use thalweg_state::lsm::{FileMeta, KeyRange};

use super::dir::StoreDir;
use super::entries::{Entry, each_entry};
use super::text::{ascii, hex_start, kind_name};
use crate::report::{aligned, grouped, say};

/// Lists the entries of a store or a snapshot in the order of their keys, or its files. Never writes.
#[derive(Debug, Args)]
#[command(after_help = "\
Entries are listed as files have them: of one key the newest first, operands that a look-up would add up one by one. What is
in the memory of a running job only is not there. A key is shown without its key group and state, in hexadecimal digits and as
text; its bytes, and those of values, are described in state/FORMAT.md and by the job's types.

Examples:
  thalweg state ls /var/lib/thalweg/core-0 --files
  thalweg state ls /var/lib/thalweg/core-0 --state count/counts --limit 20
  thalweg state ls snapshot --key-group 17 --all --full")]
pub struct LsArgs {
    /// A store or a snapshot: the directory that holds MANIFEST.
    dir: PathBuf,
    /// Only entries of this state.
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// Only entries of this key group; with --files, files that may have some.
    #[arg(long, value_name = "N")]
    key_group: Option<u16>,
    /// Lists files instead of entries.
    #[arg(long, conflicts_with_all = ["state", "limit", "all"])]
    files: bool,
    /// Lists this many entries at most; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// Also lists entries that newer ones, or range tombstones, hide.
    #[arg(long)]
    all: bool,
    /// Shows keys and values in full, however long they are.
    #[arg(long)]
    full: bool,
}

/// Of keys and values, in bytes, unless all is asked for.
const SHOWN_BYTES: usize = 32;

/// Runs the command.
pub(super) fn run(args: &LsArgs) -> Result<()> {
    let dir = StoreDir::open(&args.dir)?;
    match args.files {
        true => say(&files(&dir, args))?,
        false => entries(&dir, args)?,
    }
    dir.complain()
}

impl LsArgs {
    fn shown_bytes(&self) -> usize {
        if self.full { usize::MAX } else { SHOWN_BYTES }
    }
}

fn entries(dir: &StoreDir, args: &LsArgs) -> Result<()> {
    let names = dir.state_names();
    let width = names.values().map(|name| name.chars().count()).max().unwrap_or(0).max("state".len());
    say(&format!(
        "{:>5}  {:<width$}  {:<17}  {:>9}  {:<8}  key, and value\n",
        "group", "state", "kind", "bytes", "file"
    ))?;
    let mut listed = 0;
    let mut list = |entry: Entry<'_>| {
        if entry.is_hidden && !args.all {
            return Ok(ControlFlow::Continue(()));
        }
        if args.limit > 0 && listed == args.limit {
            eprintln!("note: there are more entries than --limit {}", args.limit);
            return Ok(ControlFlow::Break(()));
        }
        listed += 1;
        let Some((head, key)) = entry.key.split_first_chunk::<4>() else {
            return Ok(ControlFlow::Continue(()));
        };
        let (group, id) = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        let name = names.get(&id).map_or_else(|| id.to_string(), Clone::clone);
        let hidden = if entry.is_hidden { ", hidden" } else { "" };
        let kind = format!("{}{hidden}", kind_name(entry.kind));
        let (key, text) =
            (hex_start(key, args.shown_bytes()), ascii(&key[..key.len().min(args.shown_bytes())]));
        let value = hex_start(entry.value, args.shown_bytes());
        let (bytes, file) = (entry.value.len(), entry.file.to_string());
        let line =
            format!("{group:>5}  {name:<width$}  {kind:<17}  {bytes:>9}  {file:<8}  {key} {text:?}  {value}");
        say(&format!("{}\n", line.trim_end()))?;
        Ok(ControlFlow::Continue(()))
    };
    for range in ranges(dir, args)? {
        if each_entry(dir, &range, &mut list)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The keys that are asked for, ascending.
fn ranges(dir: &StoreDir, args: &LsArgs) -> Result<Vec<KeyRange>> {
    let state = args.state.as_deref().map(|name| dir.state_id(name)).transpose()?;
    let groups = match (args.key_group, dir.key_groups()) {
        (Some(group), _) => group..=group,
        (None, Some((low, high))) => low..=high,
        (None, None) => return Ok(Vec::new()),
    };
    let Some(state) = state else {
        return Ok(vec![range_of(&groups.start().to_be_bytes(), &groups.end().to_be_bytes())]);
    };
    Ok(groups.map(|group| head_of(group, state)).map(|head| range_of(&head, &head)).collect())
}

/// The first bytes of the keys of a state in a key group.
pub(super) fn head_of(group: u16, state: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (group.to_be_bytes(), state.to_be_bytes());
    [a, b, c, d]
}

/// The keys from those that begin with `first` to those that begin with `last`.
fn range_of(first: &[u8], last: &[u8]) -> KeyRange {
    let mut end = last.to_vec();
    while let Some(byte) = end.pop() {
        if byte < 0xff {
            end.push(byte + 1);
            return KeyRange::new(first, &end);
        }
    }
    KeyRange::new(first, &[0xff; 4].repeat(1 << 14)) // No key is as long.
}

const FILE_HEADINGS: [&str; 13] = [
    "file",
    "level",
    "run",
    "key groups",
    "entries",
    "tombstones",
    "bytes",
    "blocks",
    "codec",
    "filter bits",
    "made by",
    "first key",
    "last key",
];

fn files(dir: &StoreDir, args: &LsArgs) -> String {
    let mut lines = vec![FILE_HEADINGS.map(str::to_owned).to_vec()];
    for run in dir.version.newest_first() {
        let is_asked_for = |file: &&FileMeta| {
            args.key_group
                .is_none_or(|group| file.keys.overlaps(&range_of(&group.to_be_bytes(), &group.to_be_bytes())))
        };
        lines.extend(
            run.files().iter().map(|file| &**file).filter(is_asked_for).map(|file| line_of(dir, file, args)),
        );
    }
    let words = [0, 3, 8, 10, 11, 12];
    aligned(&lines, |column| words.contains(&column))
}

fn line_of(dir: &StoreDir, file: &FileMeta, args: &LsArgs) -> Vec<String> {
    let run = if file.level == 0 { file.run.to_string() } else { "-".to_owned() };
    let (name, level) = (file.number.name(), file.level.to_string());
    let Ok(open) = dir.file(file.number) else {
        let mut line = vec![name, level, run];
        line.resize(FILE_HEADINGS.len(), "?".to_owned());
        return line;
    };
    let meta = open.sst.meta();
    let key = |key: &[u8]| hex_start(key, args.shown_bytes());
    let codec = if meta.codec == Codec::None { "none" } else { "lz4" };
    vec![
        name,
        level,
        run,
        meta.key_groups().map_or("-".to_owned(), |(low, high)| format!("{low} to {high}")),
        grouped(meta.entries),
        meta.tombstones.len().to_string(),
        grouped(file.bytes),
        grouped(u64::from(meta.blocks)),
        codec.to_owned(),
        meta.filter_bits_per_key.to_string(),
        format!("{:?}", meta.purpose).to_lowercase(),
        key(&meta.first_key),
        key(&meta.last_key),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_after_all_keys_of_a_prefix() {
        assert_eq!(range_of(&[0, 7], &[0, 7]), KeyRange::new(&[0, 7], &[0, 8]));
        assert_eq!(range_of(&[0, 0], &[0, 0xff]), KeyRange::new(&[0, 0], &[1]));
        assert!(range_of(&[0xff; 4], &[0xff; 4]).contains(&[0xff; 65_535]));
    }
}
