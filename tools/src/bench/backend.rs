//! Where a bench keeps its state: arguments that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use thalweg::{Backend, LsmBackend, LsmOptions};

/// Where keyed state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendKind {
    /// In memory.
    Heap,
    /// In files, with what has changed lately in memory.
    Lsm,
}

/// Where a job keeps its keyed state.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// Where keyed state is kept.
    #[arg(long, value_enum, default_value = "heap")]
    backend: BackendKind,
    /// With --backend lsm: where its files are while the job runs [default: the system's temporary directory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// With --backend lsm: bytes of memory for state, of all cores together, such as 256M or 2G.
    #[arg(long, value_name = "BYTES", default_value = "512M", value_parser = parse_size)]
    memory_budget: u64,
}

impl StateArgs {
    /// Whether there is a bound for what it takes of memory.
    pub fn has_memory_budget(&self) -> bool {
        self.backend == BackendKind::Lsm
    }

    /// The backend for a job on that many cores.
    pub fn backend(&self, cores: usize) -> Backend {
        match self.backend {
            BackendKind::Heap => Backend::Heap,
            BackendKind::Lsm => {
                let dir = self.state_dir.clone().unwrap_or_else(std::env::temp_dir);
                let budget = usize::try_from(self.memory_budget).unwrap_or(usize::MAX);
                let options = LsmOptions { memory_bytes: budget / cores.max(1), ..LsmOptions::nvme() };
                Backend::Lsm(LsmBackend::new(dir).options(options))
            }
        }
    }
}

/// A number of bytes, such as `4096`, `64K`, `256M` or `2G`.
///
/// Errors: what it must look like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, unit) =
        text.split_at(text.len() - text.chars().last().map_or(0, |c| usize::from(c.is_ascii_alphabetic())));
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("a size is a number, with K, M, G or T if need be".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "a size is a number, with K, M, G or T if need be")?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than can be counted".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4096"), Ok(4096));
        assert_eq!(parse_size("256M"), Ok(256 << 20));
        assert_eq!(parse_size("2g"), Ok(2 << 30));
        for wrong in ["", "M", "1X", "-1", "99999999999T", "1é"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
