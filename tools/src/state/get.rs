//! `thalweg state get`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use rkyv::util::AlignedVec;
use thalweg_state::lsm::sst::Block;
use thalweg_state::lsm::{FileMeta, FileNumber, Kind};
use thalweg_state::{Key, hash_bytes};

use super::dir::{SstFile, StoreDir};
use super::ls::head_of;
use super::text::{ascii, hex, kind_name, parse_hex};
use crate::report::say;

/// Says what the files of a store or a snapshot say of one key, the newest first, and which file and block says so. Never writes.
#[derive(Debug, Args)]
#[command(after_help = "\
Values are shown as the bytes that are stored: what they mean is up to the job's types. A list, or an aggregate, may be in
several files: a value, and operands to be added to it, which only the job's own code can do. What is in the memory of a running
job only is not there.

The key group follows from the job's key and its maximal parallelism; without --key-group all are searched.
The bytes of keys are described in state/FORMAT.md: integers are big-endian, signed ones with the sign bit turned over.

Examples:
  thalweg state get /var/lib/thalweg/core-0 --state count/counts --key-u64 1007
  thalweg state get snapshot --state join/names --key-str alice
  thalweg state get snapshot --state window/sums --namespace 8000000000000000 --key 000003ef")]
pub struct GetArgs {
    /// A store or a snapshot: the directory that holds MANIFEST.
    dir: PathBuf,
    /// The state's name.
    #[arg(long, value_name = "NAME")]
    state: String,
    #[command(flatten)]
    key: KeyArgs,
    /// The bytes of the namespace, which come before the key: of a window, say.
    #[arg(long, value_name = "HEX", value_parser = parse_bytes, default_value = "")]
    namespace: Bytes,
    /// Searches this key group only.
    #[arg(long, value_name = "N")]
    key_group: Option<u16>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct KeyArgs {
    /// The key as it is stored, after key group and state: hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = parse_bytes)]
    key: Option<Bytes>,
    /// A key that is an unsigned integer of 64 bits.
    #[arg(long, value_name = "N")]
    key_u64: Option<u64>,
    /// A key that is a string.
    #[arg(long, value_name = "TEXT")]
    key_str: Option<String>,
}

/// As clap takes a `Vec` for several values.
#[derive(Debug, Clone)]
struct Bytes(Vec<u8>);

fn parse_bytes(text: &str) -> Result<Bytes, String> {
    parse_hex(text).map(Bytes)
}

impl GetArgs {
    /// What comes after key group and state.
    fn rest(&self) -> Vec<u8> {
        let mut rest = self.namespace.0.clone();
        let KeyArgs { key, key_u64, key_str } = &self.key;
        key.iter().for_each(|key| rest.extend_from_slice(&key.0));
        key_u64.iter().for_each(|key| key.encode(&mut rest));
        key_str.iter().for_each(|key| key.encode(&mut rest));
        rest
    }
}

/// Runs the command.
pub(super) fn run(args: &GetArgs) -> Result<()> {
    let dir = StoreDir::open(&args.dir)?;
    let id = dir.state_id(&args.state)?;
    let rest = args.rest();
    let groups = match (args.key_group, dir.key_groups()) {
        (Some(group), _) => group..=group,
        (None, Some((low, high))) => low..=high,
        (None, None) => bail!("{} has no entries yet", args.dir.display()),
    };
    let mut look_up = LookUp { dir: &dir, filters: BTreeSet::new(), image: AlignedVec::new() };
    let mut has_value = false;
    for group in groups {
        let key = [&head_of(group, id), &*rest].concat();
        let said = look_up.get(&key)?;
        if said.is_empty() {
            continue;
        }
        let mut text =
            format!("{:?} of key {} {:?} in key group {group}:\n", args.state, hex(&rest), ascii(&rest));
        said.iter().for_each(|said| text.push_str(&said.line()));
        text.push_str(&conclusion(&said));
        say(&text)?;
        has_value |= said[0].kind != Kind::Delete;
    }
    if !has_value {
        bail!("{:?} has no value of key {} {:?}", args.state, hex(&rest), ascii(&rest));
    }
    Ok(())
}

/// What all of it says of the value.
fn conclusion(said: &[Said]) -> String {
    let operands = said.iter().take_while(|said| said.kind == Kind::Merge).count();
    match (operands, said.last()) {
        (0, Some(Said { kind: Kind::Put, value, .. })) => format!("value: {}\n", hex(value)),
        (0, _) => "value: none\n".to_owned(),
        (_, Some(Said { kind: Kind::Put, .. })) => {
            format!("value: the last one above, and {operands} × operands to be added, the lowest first\n")
        }
        _ => format!("value: {operands} × operands to be added up, the lowest first\n"),
    }
}

/// What one file says of a key.
struct Said {
    kind: Kind,
    value: Vec<u8>,
    file: FileNumber,
    level: u8,
    run: u64,
    block: u32,
}

impl Said {
    fn line(&self) -> String {
        let Self { kind, value, file, level, run, block } = self;
        let run = if *level == 0 { format!(" run {run}") } else { String::new() };
        let value = if *kind == Kind::Delete {
            String::new()
        } else {
            format!(", {} bytes: {}", value.len(), hex(value))
        };
        format!("  {} in level {level}{run}, block {block}: {}{value}\n", file.name(), kind_name(*kind))
    }
}

/// Looks keys up without the store's own look-ups, which need the job's code to add operands up.
struct LookUp<'a> {
    dir: &'a StoreDir,
    /// Of these files it was verified.
    filters: BTreeSet<FileNumber>,
    image: AlignedVec<16>,
}

impl LookUp<'_> {
    /// What files say of a key, the newest first, up to where nothing older counts.
    ///
    /// Errors: a file that may say something cannot be read, or is damaged there.
    fn get(&mut self, key: &[u8]) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        for meta in self.dir.version.files_for(key) {
            let file = self.dir.file(meta.number)?;
            let found = self.get_in(file, meta, key)?;
            let is_last = found.as_ref().is_some_and(|found| found.kind != Kind::Merge);
            said.extend(found);
            if is_last || file.sst.meta().tombstones.iter().any(|range| range.contains(key)) {
                break;
            }
        }
        Ok(said)
    }

    fn get_in(&mut self, file: &SstFile, meta: &FileMeta, key: &[u8]) -> Result<Option<Said>> {
        if self.filters.insert(meta.number) {
            file.read_filter()?;
        }
        let block = file.sst.block_of(key);
        if block >= file.sst.blocks() || !file.sst.may_contain(hash_bytes(key)) {
            return Ok(None);
        }
        file.read_block(block, &mut self.image)?;
        let entries = Block::parse(&self.image)?;
        let entry = entries.entry(entries.seek(key)).filter(|entry| entry.is_key(key));
        Ok(entry.map(|entry| {
            let FileMeta { number, level, run, .. } = *meta;
            Said { kind: entry.kind, value: entry.value.to_vec(), file: number, level, run, block }
        }))
    }
}
