//! Which cores the process may use, and whether the kernel has what the runtime needs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Locked memory that glommio needs for each executor, in bytes.
const MEMLOCK_BYTES_PER_CORE: u64 = 512 << 10;

/// Where the cores of a job run.
pub(super) struct Placement {
    /// The CPU of each core.
    pub(super) cpus: Vec<usize>,
    /// Several cores share a CPU, so none may poll for long.
    pub(super) oversubscribed: bool,
}

/// How many CPUs the process may use, at least 1.
pub(crate) fn available_cores() -> usize {
    allowed_cpus().len()
}

/// How many bytes of memory the process may use: the machine's, or fewer if its cgroup has a limit. `None` if that cannot be known.
pub(crate) fn memory_bytes() -> Option<u64> {
    let total = total_memory_bytes(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = cgroup_limit_files(&groups)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    limits.chain([total]).min()
}

/// What `/proc/meminfo` says of all memory, in bytes.
fn total_memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Where the limits of a process's cgroup and of those above it are, by `/proc/self/cgroup`. In a container its own group is the root
/// of what it sees.
fn cgroup_limit_files(groups: &str) -> Vec<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
    let root = Path::new("/sys/fs/cgroup");
    root.join(group)
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .map(|dir| dir.join("memory.max"))
        .collect()
}

/// Chooses CPUs, and checks that the kernel can do what is needed.
pub(super) fn place(cores: usize) -> Result<Placement> {
    check_kernel(cores)?;
    let allowed = allowed_cpus();
    let oversubscribed = cores > allowed.len();
    if oversubscribed {
        tracing::warn!(
            cores,
            cpus = allowed.len(),
            "more cores asked for than there are CPUs: several share one, and park when idle"
        );
    }
    Ok(Placement { cpus: (0..cores).map(|c| allowed[c % allowed.len()]).collect(), oversubscribed })
}

/// The CPUs that the process is allowed to run on, by affinity mask.
pub(super) fn allowed_cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap_or("");
    let cpus = parse_cpu_list(list);
    if cpus.is_empty() { vec![0] } else { cpus }
}

/// Parses the kernel's lists, such as `0-3,8`. What is not understood is left out.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

/// Names what is missing before anything starts: later it would be an error deep inside an executor.
fn check_kernel(cores: usize) -> Result<()> {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    if disabled.trim() == "2" {
        return Err(Error::Machine("io_uring is off: set kernel.io_uring_disabled to 0 (sysctl)".into()));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if kernel_version(&release).is_some_and(|version| version < (5, 8)) {
        let release = release.trim();
        return Err(Error::Machine(format!(
            "Linux {release} is too old: io_uring as used here needs 5.8 or newer"
        )));
    }
    let needed = cores as u64 * MEMLOCK_BYTES_PER_CORE;
    match memlock_limit() {
        Some(limit) if limit < needed => Err(Error::Machine(format!(
            "{cores} cores need {} KiB of locked memory, the limit is {} KiB: raise it with `ulimit -l` or LimitMEMLOCK=",
            needed >> 10,
            limit >> 10
        ))),
        _ => Ok(()),
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

/// The soft limit of locked memory in bytes, unless there is none or it cannot be known.
fn memlock_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|l| l.starts_with("Max locked memory"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_all_cgroups_above_count() {
        let files = |groups| -> Vec<String> {
            cgroup_limit_files(groups).iter().map(|file| file.display().to_string()).collect()
        };
        let (own, above, root) =
            ("/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max");
        assert_eq!(files("3:cpu:/x\n0::/a/b\n"), [own, above, root]);
        assert_eq!(files("0::/\n"), [root]);
        assert_eq!(files(""), [root]);
    }

    #[test]
    fn reads_the_kernels_lists() {
        assert_eq!(parse_cpu_list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(parse_cpu_list("5"), [5]);
        assert_eq!(parse_cpu_list("x,1"), [1]);
        assert_eq!(kernel_version("6.18.44-x"), Some((6, 18)));
        assert_eq!(kernel_version("?"), None);
        assert_eq!(
            total_memory_bytes("MemTotal:       24683520 kB\nMemFree: 1 kB\n"),
            Some(24_683_520 << 10)
        );
        assert_eq!(total_memory_bytes("MemFree: 1 kB\n"), None);
    }
}
