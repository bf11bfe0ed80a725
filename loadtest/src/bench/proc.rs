//! What Linux tells of a process, its memory and processor time, and of the memory of the kernel.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;

/// The memory of a process in bytes, with its share of what it shares with others (PSS).
pub(crate) fn pss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    parse_pss(&read(&path)?).with_context(|| format!("{path} tells no Pss"))
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

fn parse_pss(text: &str) -> Option<u64> {
    parse_kib(text, "Pss:")
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
        assert_eq!(parse_pss(rollup), Some(10 << 20));
        assert_eq!(parse_pss("Rss: 1 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_them_all() {
        let pid = std::process::id();
        assert!(pss_bytes(pid).unwrap() > 0);
        assert!(cpu_time(pid).unwrap() > Duration::ZERO);
        assert!(slab_bytes().is_some());
    }
}
