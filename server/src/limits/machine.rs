//! How much memory there is: the limit of the container (cgroup v2 or v1), or the memory of the machine.

use std::fs;
use std::path::Path;

/// Where the system tells neither, a small machine is assumed.
const UNKNOWN: u64 = 1 << 30;

/// The memory that this process can have, in bytes.
pub(super) fn memory_bytes() -> u64 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let physical = total_bytes(&read("/proc/meminfo")).unwrap_or(UNKNOWN);
    let group = read("/proc/self/cgroup");
    let limits = [
        ("/sys/fs/cgroup", group_path(&group, ""), "memory.max"),
        ("/sys/fs/cgroup/memory", group_path(&group, "memory"), "memory.limit_in_bytes"),
    ];
    let limits = limits.into_iter().flat_map(|(root, group, file)| group_limits(root, group, file));
    limits.fold(physical, u64::min)
}

/// `MemTotal` of `proc_meminfo(5)`.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(total.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The path of this process's group, by its controller: the line of cgroup v2 names none.
fn group_path<'a>(cgroup: &'a str, controller: &str) -> &'a str {
    let path = cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    path.unwrap_or("/")
}

/// The limits of a group and of all groups around it. In a container the group itself may be the root of the mount.
fn group_limits<'a>(root: &'a str, group: &'a str, file: &'a str) -> impl Iterator<Item = u64> {
    let around = Path::new(group.trim_start_matches('/')).ancestors();
    around.filter_map(move |path| {
        let text = fs::read_to_string(Path::new(root).join(path).join(file)).ok()?;
        text.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_texts_are_read() {
        assert_eq!(total_bytes("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(total_bytes("MemFree: 1 kB\n"), None);
        assert_eq!(
            group_path("0::/system.slice/dormouse.service\n", ""),
            "/system.slice/dormouse.service"
        );
        let first = "5:cpu,cpuacct:/a\n4:memory:/docker/b\n";
        assert_eq!((group_path(first, "memory"), group_path(first, "")), ("/docker/b", "/"));
    }

    #[test]
    fn the_smallest_limit_of_the_groups_around_counts() {
        let root = tempfile::TempDir::new().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        for (file, limit) in
            [("memory.max", "max"), ("a/memory.max", "1000"), ("a/b/memory.max", "2000")]
        {
            fs::write(root.path().join(file), format!("{limit}\n")).unwrap();
        }
        let limits = group_limits(root.path().to_str().unwrap(), "/a/b", "memory.max");
        assert_eq!(limits.min(), Some(1000));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory_bytes() > 16 << 20);
    }
}
