//! What Linux tells in `/proc`: the memory and processor time of a process, and the memory of the kernel.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The unit of times in `/proc`. It has been 1/100 s on every architecture but Alpha and Itanium.
const TICK: Duration = Duration::from_millis(10);

/// The memory of a process in bytes, with its share of what it shares with others (PSS).
pub(crate) fn pss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    parse_pss(&read(&path)?).with_context(|| format!("{path} tells no Pss"))
}

/// The time that all threads of a process have run so far, user and system, in ticks of 10 ms.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    parse_cpu_time(&read(&path)?).with_context(|| format!("{path} tells no times"))
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

fn parse_cpu_time(text: &str) -> Option<Duration> {
    // The program's name stands in parentheses and may hold spaces and parentheses itself.
    let (_, fields) = text.rsplit_once(')')?;
    // utime and stime are the fields 14 and 15, and the first after the name is the third.
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u32>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(TICK * user + TICK * system)
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

    #[test]
    fn times_stand_behind_any_name() {
        let stat =
            "4242 (a (b) c) S 1 4242 4242 0 -1 4194304 900 0 0 0 150 50 7 7 20 0 9 0 100 1 1";
        assert_eq!(parse_cpu_time(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse_cpu_time("4242 (short) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells_them_all() {
        let pid = std::process::id();
        assert!(pss_bytes(pid).unwrap() > 0);
        cpu_time(pid).unwrap();
        assert!(slab_bytes().is_some());
    }
}
