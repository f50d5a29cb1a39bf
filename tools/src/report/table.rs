//! Results as a table for a terminal.

use super::QueryResult;

/// The columns: a heading and, for numbers, how they are written.
type Column = (&'static str, fn(&QueryResult) -> String);

const COLUMNS: [Column; 12] = [
    ("engine", |r| r.engine.clone()),
    ("query", |r| r.query.clone()),
    ("P", |r| r.parallelism.to_string()),
    ("events", |r| grouped(r.events)),
    ("seconds", |r| format!("{:.3}", r.seconds)),
    ("M events/s", |r| format!("{:.2}", r.events_per_s / 1e6)),
    ("steady", |r| format!("{:.2}", r.steady_events_per_s / 1e6)),
    ("CPU ns/event", |r| format!("{:.1}", r.cpu_ns_per_event())),
    ("rows out", |r| grouped(r.out_count)),
    ("net", |r| r.net_count.to_string()),
    ("digest", |r| r.digest.clone()),
    ("peak MB", |r| grouped(r.peak_rss_bytes / 1_000_000)),
];

/// Columns that are words, and so begin at the left.
const WORDS: usize = 2;

/// A line for each result, below one of headings; the columns are as wide as they must be.
///
/// ```
/// # let line = r#"{"engine":"thalweg","version":"0.1.0","query":"q0","parallelism":1,"events":100,"seconds":0.5,"events_per_s":2e6,"steady_events_per_s":2e6,"out_count":92,"net_count":92,"digest":"00000000000000ff","cpu_seconds":0.4,"peak_rss_bytes":4096}"#;
/// # let result = serde_json::from_str(line)?;
/// let table = thalweg_tools::report::table(&[result]);
/// assert!(table.starts_with("engine   query  P"));
/// assert_eq!(table.lines().count(), 2);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn table(results: &[QueryResult]) -> String {
    let mut lines: Vec<Vec<String>> =
        vec![COLUMNS.iter().map(|(heading, _)| (*heading).to_owned()).collect()];
    lines.extend(results.iter().map(|result| COLUMNS.iter().map(|(_, cell)| cell(result)).collect()));
    aligned(&lines, |column| column < WORDS)
}

/// Lines of as many cells each, in columns as wide as they must be: words begin at the left, all else ends at the right.
pub(crate) fn aligned(lines: &[Vec<String>], is_word: impl Fn(usize) -> bool) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if is_word(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1 000"), (12_345_678, "12 345 678")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
