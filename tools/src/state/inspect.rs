//! `thalweg state inspect`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use rkyv::util::AlignedVec;
use serde::Serialize;
use thalweg_state::lsm::sst::{Block, Entry};
use thalweg_state::lsm::{Kind, MANIFEST_FORMAT, Run};

use super::dir::{SstFile, StoreDir};
use super::text::progress;
use crate::report::{aligned, grouped, say};

/// Says what is in a store or a snapshot: states, key groups, levels, sizes. Never writes.
#[derive(Debug, Args)]
#[command(after_help = "\
A snapshot is a store that nobody has open: both have the same format. Entries are counted as files have them, so a key that was
updated since the last compaction counts more than once. The figures of states are counted in all blocks, which are read for it.
What is in the memory of a running job only is not there.

Examples:
  thalweg state inspect /var/lib/thalweg/core-0
  thalweg state inspect --quick --json snapshot | jq .bytes")]
pub struct InspectArgs {
    /// A store or a snapshot: the directory that holds MANIFEST.
    dir: PathBuf,
    /// Reads no blocks: the figures of each state are left out.
    #[arg(long)]
    quick: bool,
    /// Prints one object of JSON instead of tables.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let dir = StoreDir::open(&args.dir)?;
    let mut summary = Summary::of(&dir);
    let counted = if args.quick { Ok(()) } else { summary.count(&dir) };
    match args.json {
        true => say(&format!("{}\n", serde_json::to_string(&summary)?))?,
        false => say(&summary.text())?,
    }
    dir.complain().and(counted)
}

/// What there is.
#[derive(Debug, Serialize)]
struct Summary {
    path: PathBuf,
    /// What tells the store's files from those of all others; nothing if it was never opened.
    store: Option<String>,
    /// The process that has it open.
    in_use_by: Option<u32>,
    manifest_format: u32,
    next_file: u64,
    total: Total,
    range_tombstones: u64,
    /// Files that could not be opened: `total` has their bytes and entries, the rest does not know them.
    unreadable_files: u64,
    states: Vec<State>,
    runs: Vec<RunSummary>,
    options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize)]
struct Total {
    files: u64,
    bytes: u64,
    entries: u64,
    deletes: u64,
    operands: u64,
    /// The lowest and the highest.
    key_groups: Option<(u16, u16)>,
}

#[derive(Debug, Serialize)]
struct State {
    id: u16,
    name: String,
    /// The fingerprints under which its values were written.
    schemas: BTreeSet<String>,
    files: u64,
    /// Unless no blocks were read.
    counts: Option<Counts>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Counts {
    entries: u64,
    deletes: u64,
    operands: u64,
    key_bytes: u64,
    value_bytes: u64,
    key_groups: Option<(u16, u16)>,
}

/// A run of level 0, or a level.
#[derive(Debug, Serialize)]
struct RunSummary {
    level: usize,
    /// In level 0.
    run: Option<u64>,
    total: Total,
}

impl Total {
    fn of(dir: &StoreDir, run: &Run) -> Self {
        let mut total = Self::default();
        run.files().iter().for_each(|file| {
            total.files += 1;
            total.bytes += file.bytes;
            total.entries += file.entries;
            if let Ok(file) = dir.file(file.number) {
                let meta = file.sst.meta();
                total.deletes += meta.deletes;
                total.operands += meta.merges;
                total.key_groups = cover(total.key_groups, meta.key_groups());
            }
        });
        total
    }

    fn add(mut self, other: &Self) -> Self {
        self.files += other.files;
        self.bytes += other.bytes;
        self.entries += other.entries;
        self.deletes += other.deletes;
        self.operands += other.operands;
        self.key_groups = cover(self.key_groups, other.key_groups);
        self
    }
}

/// The smallest range that holds both.
fn cover(a: Option<(u16, u16)>, b: Option<(u16, u16)>) -> Option<(u16, u16)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

impl Counts {
    fn add(&mut self, entry: &Entry<'_>, group: u16) {
        self.entries += 1;
        self.deletes += u64::from(entry.kind == Kind::Delete);
        self.operands += u64::from(entry.kind == Kind::Merge);
        self.key_bytes += (entry.prefix.len() + entry.suffix.len()) as u64;
        self.value_bytes += entry.value.len() as u64;
        self.key_groups = cover(self.key_groups, Some((group, group)));
    }
}

impl Summary {
    /// What manifest and metadata say.
    fn of(dir: &StoreDir) -> Self {
        let runs: Vec<RunSummary> = dir
            .version
            .newest_first()
            .filter(|run| !run.files().is_empty())
            .map(|run| {
                let level = run.files()[0].level;
                let number = (level == 0).then_some(run.number());
                RunSummary { level: usize::from(level), run: number, total: Total::of(dir, run) }
            })
            .collect();
        let mut states: BTreeMap<u16, State> = BTreeMap::new();
        for (id, name) in dir.state_names() {
            states.insert(id, State { id, name, schemas: BTreeSet::new(), files: 0, counts: None });
        }
        for (id, schema) in dir.version.files().flat_map(|file| &file.schemas) {
            // A name is in the file, so there is none if the file cannot be read.
            let unknown =
                || State { id: *id, name: "?".to_owned(), schemas: BTreeSet::new(), files: 0, counts: None };
            let state = states.entry(*id).or_insert_with(unknown);
            state.schemas.insert(schema.to_string());
            state.files += 1;
        }
        Self {
            path: dir.path.clone(),
            store: dir.version.options().get("store").cloned(),
            in_use_by: dir.holder(),
            manifest_format: MANIFEST_FORMAT,
            next_file: dir.version.next_file().0,
            total: runs.iter().fold(Total::default(), |sum, run| sum.add(&run.total)),
            range_tombstones: dir.files().map(|file| file.sst.meta().tombstones.len() as u64).sum(),
            unreadable_files: dir.unreadable().len() as u64,
            states: states.into_values().collect(),
            runs,
            options: dir.version.options().clone(),
        }
    }

    /// Counts the entries of each state, in all blocks.
    ///
    /// Errors: blocks that cannot be read, or are damaged; all others were counted.
    fn count(&mut self, dir: &StoreDir) -> Result<()> {
        let bar = progress(self.total.bytes, "counting");
        let mut counts: BTreeMap<u16, Counts> = BTreeMap::new();
        let mut damaged = 0_u64;
        for file in dir.files() {
            if let Err(error) = count_file(file, &mut counts, &mut damaged) {
                bar.suspend(|| eprintln!("warning: {error:#}"));
            }
            bar.inc(file.meta.bytes);
        }
        bar.finish_and_clear();
        for state in &mut self.states {
            state.counts = Some(counts.remove(&state.id).unwrap_or_default());
        }
        match damaged {
            0 => Ok(()),
            damaged => Err(anyhow!(
                "{damaged} blocks could not be read and were left out: thalweg state verify {} says what is damaged",
                dir.path.display()
            )),
        }
    }

    fn text(&self) -> String {
        let user = self.in_use_by.map_or("nobody".to_owned(), |process| format!("process {process}"));
        let mut facts = vec![
            ("path", self.path.display().to_string()),
            ("store", self.store.clone().unwrap_or("never opened".to_owned())),
            ("kind", "store or snapshot, which have one format".to_owned()),
            ("open in", user),
            ("manifest", format!("format {}, next file {}", self.manifest_format, self.next_file)),
            ("key groups", groups_text(self.total.key_groups)),
            ("files", format!("{}, {} bytes", grouped(self.total.files), grouped(self.total.bytes))),
            (
                "entries",
                format!(
                    "{}, of which {} deletes and {} operands",
                    grouped(self.total.entries),
                    grouped(self.total.deletes),
                    grouped(self.total.operands)
                ),
            ),
            ("range tombstones", grouped(self.range_tombstones)),
        ];
        let kept = |name: &String| name == "store" || name.starts_with("state.");
        let options = self.options.iter().filter(|(name, _)| !kept(name));
        facts.extend(options.map(|(name, value)| ("option", format!("{name} = {value}"))));
        let facts: Vec<Vec<String>> =
            facts.into_iter().map(|(name, fact)| vec![name.to_owned(), fact]).collect();
        let states = aligned(&self.state_lines(), |column| (1..3).contains(&column));
        let runs = aligned(&self.run_lines(), |column| column == 7);
        format!("{}\n{states}\n{runs}", aligned(&facts, |_| true))
    }

    fn state_lines(&self) -> Vec<Vec<String>> {
        let headings = [
            "id",
            "state",
            "schema",
            "files",
            "entries",
            "deletes",
            "operands",
            "key bytes",
            "value bytes",
            "key groups",
        ];
        let line = |state: &State| {
            let figure =
                |of: fn(&Counts) -> u64| state.counts.as_ref().map_or("-".to_owned(), |c| grouped(of(c)));
            let schemas: Vec<&str> = state.schemas.iter().map(String::as_str).collect();
            vec![
                state.id.to_string(),
                state.name.clone(),
                if schemas.is_empty() { "-".to_owned() } else { schemas.join(",") },
                grouped(state.files),
                figure(|counts| counts.entries),
                figure(|counts| counts.deletes),
                figure(|counts| counts.operands),
                figure(|counts| counts.key_bytes),
                figure(|counts| counts.value_bytes),
                groups_text(state.counts.as_ref().and_then(|counts| counts.key_groups)),
            ]
        };
        let headings = headings.map(str::to_owned).to_vec();
        std::iter::once(headings).chain(self.states.iter().map(line)).collect()
    }

    fn run_lines(&self) -> Vec<Vec<String>> {
        let headings = ["level", "run", "files", "bytes", "entries", "deletes", "operands", "key groups"];
        let line = |RunSummary { level, run, total }: &RunSummary| {
            vec![
                level.to_string(),
                run.map_or("-".to_owned(), |run| run.to_string()),
                grouped(total.files),
                grouped(total.bytes),
                grouped(total.entries),
                grouped(total.deletes),
                grouped(total.operands),
                groups_text(total.key_groups),
            ]
        };
        let headings = headings.map(str::to_owned).to_vec();
        std::iter::once(headings).chain(self.runs.iter().map(line)).collect()
    }
}

fn groups_text(groups: Option<(u16, u16)>) -> String {
    groups.map_or("-".to_owned(), |(low, high)| format!("{low} to {high}"))
}

/// Counts the entries of a file by state, and the blocks that cannot be read.
///
/// Errors: the first of those.
fn count_file(file: &SstFile, counts: &mut BTreeMap<u16, Counts>, damaged: &mut u64) -> Result<()> {
    let mut image = AlignedVec::new();
    let mut result = Ok(());
    for number in 0..file.sst.blocks() {
        if let Err(error) = file.read_block(number, &mut image) {
            *damaged += 1;
            result = result.and(Err(error));
            continue;
        }
        let block = Block::parse(&image)?;
        for entry in (0..block.len()).filter_map(|index| block.entry(index)) {
            let mut head = entry.prefix.iter().chain(entry.suffix).copied();
            let mut number = || Some(u16::from_be_bytes([head.next()?, head.next()?]));
            if let Some((group, id)) = number().zip(number()) {
                counts.entry(id).or_default().add(&entry, group);
            }
        }
    }
    result
}
