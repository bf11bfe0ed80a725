//! What Linux tells of a process, its memory and processor time, and of the memory of the kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// What a process has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Files and directories.
    pub(crate) files: u64,
    /// All else: sockets, pipes, pollers.
    pub(crate) others: u64,
}

/// The memory of a process in bytes, with its share of what it shares with others (PSS).
pub(crate) fn pss_bytes(pid: u32) -> Result<u64> {
    memory(pid, "Pss:")
}

/// The same, with all of what it shares (RSS).
pub(crate) fn rss_bytes(pid: u32) -> Result<u64> {
    memory(pid, "Rss:")
}

fn memory(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    parse_kib(&read(&path)?, name).with_context(|| format!("{path} tells no {name}"))
}

/// The threads of a process.
pub(crate) fn threads(pid: u32) -> Result<u64> {
    Ok(entries(&format!("/proc/{pid}/task"))?.count() as u64)
}

/// What a process has open at this moment.
pub(crate) fn descriptors(pid: u32) -> Result<Descriptors> {
    let mut found = Descriptors { files: 0, others: 0 };
    for target in open_targets(pid)? {
        *if target.is_absolute() { &mut found.files } else { &mut found.others } += 1;
    }
    Ok(found)
}

/// The directory in which a process has a file of this name open.
pub(crate) fn directory_of(pid: u32, name: &str) -> Result<PathBuf> {
    let file = open_targets(pid)?.find(|target| target.file_name().is_some_and(|f| f == name));
    let directory = file.as_deref().and_then(Path::parent).map(Path::to_owned);
    directory.with_context(|| format!("process {pid} has no file {name} open"))
}

/// What the descriptors stand for: the path of a file, or what the kernel calls it. Some may be closed meanwhile.
fn open_targets(pid: u32) -> Result<impl Iterator<Item = PathBuf>> {
    let links = entries(&format!("/proc/{pid}/fd"))?;
    Ok(links.filter_map(|link| fs::read_link(link.ok()?.path()).ok()))
}

fn entries(path: &str) -> Result<fs::ReadDir> {
    fs::read_dir(path).with_context(|| format!("cannot read {path}; Linux has it"))
}

/// The time that all threads of a process have run so far, user and system.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    // Not `/proc/PID/stat`, whose unit is 10 ms.
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()));
    let time = clock.and_then(ClockId::now);
    time.map(Duration::from).with_context(|| format!("cannot tell the processor time of {pid}"))
}

/// Bytes of the kernel's own small objects in the whole system: sockets, files, entries of epoll, inodes. None where it does not tell.
pub(crate) fn slab_bytes() -> Option<u64> {
    parse_kib(&fs::read_to_string("/proc/meminfo").ok()?, "Slab:")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}; Linux has it"))
}

/// The sum of all lines of a name, in bytes.
fn parse_kib(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse::<u64>().ok()).flatten()
    });
    values.map(|kib| kib << 10).reduce(|sum, bytes| sum + bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_the_whole_and_not_its_parts() {
        let rollup = "\
55d0c0000000-7ffd1c5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               20480 kB
Pss:               10240 kB
Pss_Dirty:          9000 kB
Pss_Anon:           8000 kB
";
        assert_eq!(parse_kib(rollup, "Pss:"), Some(10 << 20));
        assert_eq!(parse_kib("Rss: 1 kB\n", "Pss:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_them_all() {
        let pid = std::process::id();
        assert!(pss_bytes(pid).unwrap() > 0);
        assert!(cpu_time(pid).unwrap() > Duration::ZERO);
        assert!(slab_bytes().is_some());
        assert!(rss_bytes(pid).unwrap() > 0);
        assert!(threads(pid).unwrap() > 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_and_other_descriptors_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let file = fs::File::create(directory.path().join("open.lock")).unwrap();
        let pid = std::process::id();
        assert_eq!(directory_of(pid, "open.lock").unwrap(), directory.path());
        assert!(directory_of(pid, "closed.lock").is_err());
        let found = descriptors(pid).unwrap();
        assert!(found.files > 0 && found.others > 0, "{found:?}");
        drop(file);
        assert!(directory_of(pid, "open.lock").is_err());
    }
}
