//! The rules of the house that no compiler knows: what is named where, and how folders open.
//!
//! Method: reads the sources of the workspace. What is in comments and string literals does not count.

use std::fs;
use std::path::{Path, PathBuf};

/// The packages, each a folder of the top level.
const PACKAGES: &[&str] = &["benches", "engine", "net", "state", "tests", "tools"];

/// The other files of the top level; hidden ones, build products and plots are not looked at.
const FILES: &[&str] = &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "rustfmt.toml"];

/// The leaves that may say `unsafe`. Another one needs a reason and a bench.
const UNSAFE: &[&str] = &[
    "net/src/appender.rs",
    "net/src/archive.rs",
    "net/src/buffer.rs",
    "net/src/prefetch.rs",
    "net/src/reader.rs",
    "net/src/ring.rs",
    "state/src/heap/table/group.rs",
    "state/src/heap/table/iter.rs",
    "state/src/heap/table.rs",
    "state/src/prefetch.rs",
    "state/src/storage/buffered.rs", // One call that std and rustix lack: what is written is on its way before the sync.
    "state/src/storage/mmap.rs", // Mapping a file, paging it, asking what is in memory: none of it has a safe form.
    "tests/src/allocations.rs",
    "tools/src/main.rs", // One call: an option of the allocator, which q18 shows the worth of.
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A path below the root, with slashes.
fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("a path below the root").to_str().expect("names are UTF-8").to_owned()
}

/// The files of a folder and all below it, sorted.
fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match path.is_dir() {
            _ if is_hidden || path.ends_with("target") => {}
            true => walk(&path, into),
            false => into.push(path),
        }
    }
}

/// The Rust files of all packages.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    PACKAGES.iter().for_each(|package| walk(&root().join(package), &mut files));
    files.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert!(files.len() > 100, "these are not all: {files:?}");
    files
}

/// The source files whose code holds one of `words`, as a whole word.
fn that_say(words: &[&str]) -> Vec<String> {
    let says = |path: &PathBuf| {
        let code = code(&fs::read_to_string(path).unwrap());
        words.iter().any(|word| has_word(&code, word))
    };
    sources().iter().filter(|path| says(path)).map(|path| name(path)).collect()
}

fn has_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !before.ends_with(is_part) && (word.ends_with('!') || !after.starts_with(is_part))
    })
}

/// The source without its comments and the contents of its literals.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            literal(rest, '"')
        } else if rest.starts_with('\'') && is_char(rest) {
            literal(rest, '\'')
        } else if c == 'r' && !code.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            raw_string(rest)
        } else {
            0
        };
        match skipped {
            0 => code.push(c),
            _ => code.push(' '),
        }
        rest = &rest[skipped.max(c.len_utf8())..];
    }
    code
}

/// The length of a block comment, which may hold others.
fn block_comment(source: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        if source[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if source[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += source[at..].chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at == source.len() {
            return at;
        }
    }
}

/// The length of a literal that ends with `quote`, which escapes may hide.
fn literal(source: &str, quote: char) -> usize {
    let mut escaped = true; // The quote that it begins with.
    for (at, c) in source.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    source.len()
}

/// The length of a raw string; 0 if it is something else.
fn raw_string(source: &str) -> usize {
    let hashes = source[1..].bytes().take_while(|&b| b == b'#').count();
    let start = 1 + hashes;
    if !source[start..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    source[start + 1..].find(&end).map_or(source.len(), |at| start + 1 + at + end.len())
}

/// Whether a quote begins a character, rather than a lifetime.
fn is_char(source: &str) -> bool {
    let mut chars = source[1..].chars();
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

#[test]
fn comments_and_literals_are_no_code() {
    let check = |source: &str, expected: &str| assert_eq!(code(source), expected);
    check("a // b\nc", "a  \nc");
    check("a /* b /* c */ d */ e", "a   e");
    check(r#"f("a \" b", 'c', '\'', b"d")"#, "f( ,  ,  , b )");
    check("fn f<'a>(r: &'a str) {}", "fn f<'a>(r: &'a str) {}");
    check("r#\"a \" b\"# var\"c\"", "  var ");
    assert!(has_word("x = unsafe { y }", "unsafe") && !has_word("forbid(unsafe_code)", "unsafe"));
    assert!(has_word("todo!()", "todo!") && !has_word("my_todo!()", "todo!"));
}

#[test]
fn the_top_level_holds_nothing_else() {
    let known = |name: &str| PACKAGES.contains(&name) || FILES.contains(&name);
    let is_made = |name: &str| name.starts_with('.') || name == "target" || name.ends_with(".svg");
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<String> = names.filter(|name| !known(name) && !is_made(name)).collect();
    assert!(strangers.is_empty(), "what are these for? {strangers:?}");
}

#[test]
fn glommio_stays_behind_the_runtime_seam() {
    let may = |path: &String| path.starts_with("engine/src/runtime/") || path.contains("/driver");
    let others: Vec<String> = that_say(&["glommio"]).into_iter().filter(|path| !may(path)).collect();
    assert!(others.is_empty(), "glommio is for `runtime` and `driver`s: {others:?}");
}

#[test]
fn unsafe_stays_in_the_leaves() {
    assert_eq!(that_say(&["unsafe"]), UNSAFE, "(left: where it is; right: where it may be)");
}

#[test]
fn nothing_is_left_to_do() {
    let files = that_say(&["todo!", "unimplemented!", "dbg!"]);
    assert!(files.is_empty(), "unfinished: {files:?}");
}

/// A folder of modules opens with `mod.rs`, `lib.rs`, or a file of its name beside it; and that with what it is about.
#[test]
fn folders_open_with_their_idea() {
    let mut folders: Vec<PathBuf> =
        sources().iter().filter_map(|path| Some(path.parent()?.to_owned())).collect();
    folders.retain(|folder| folder.components().any(|part| part.as_os_str() == "src"));
    folders.dedup();
    for folder in folders {
        let openings = ["lib.rs", "mod.rs"].map(|file| folder.join(file));
        let opening = openings.into_iter().find(|path| path.exists()).unwrap_or(folder.with_extension("rs"));
        let text = fs::read_to_string(&opening).unwrap_or_default();
        assert!(text.starts_with("//! "), "{}: {} does not say what it is", name(&folder), name(&opening));
    }
}
