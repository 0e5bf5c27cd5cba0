//! What a container has used, as its control group counts it.
//!
//! A container's own group is gone with it, before anybody hears of its end. Where the engine leaves groups to whoever asks
//! for them, and this process may remove them again, each container gets one around its own, which is read at the end: what
//! it says is exact. Elsewhere the container's own is read while it runs, once a second: what it uses between the last look
//! and its end is not counted, and of one that is quicker than that nothing is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum};
use shared::id::AttemptKey;
use shared::link::ContainerUsage;

use super::labels::container_name;

/// Where control groups are, on every system.
const GROUPS: &str = "/sys/fs/cgroup";
/// Between two looks at a group that will be gone.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// How often a group is removed that is still in use, and between two tries.
const REMOVE_TRIES: u32 = 10;
const REMOVE_PAUSE: Duration = Duration::from_millis(20);

/// Whether containers can have a group around their own.
pub(super) fn can_surround(engine: &SystemInfo) -> bool {
    engine.cgroup_driver == Some(SystemInfoCgroupDriverEnum::CGROUPFS) && rustix::process::geteuid().is_root()
}

/// The group around the container's own, as the engine is told. It stands where the container's own would: whoever has limited
/// all containers together has limited this one.
pub(super) fn surrounding(parent: &str, key: &AttemptKey) -> String {
    format!("{parent}/{}", container_name(key))
}

/// Where the kernel counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// Each kind for itself.
    First { cpu: PathBuf, memory: PathBuf },
    /// Both in one place.
    Second(PathBuf),
}

impl Group {
    /// The one around a container's own.
    pub(super) fn around(parent: &str, key: &AttemptKey) -> Self {
        Self::at(Path::new(GROUPS), &surrounding(parent, key))
    }

    /// A container's own, of which this process is: by a number that may be another one's from here.
    pub(super) fn of(container: &str, process: i64) -> Option<Self> {
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        groups.contains(container).then(|| Self::parse(Path::new(GROUPS), &groups)).flatten()
    }

    fn at(root: &Path, path: &str) -> Self {
        let path = path.trim_start_matches('/');
        if root.join("cgroup.controllers").exists() {
            return Self::Second(root.join(path));
        }
        Self::First { cpu: root.join("cpuacct").join(path), memory: root.join("memory").join(path) }
    }

    /// Lines such as `4:cpu,cpuacct:/docker/<id>`, or `0::/system.slice/docker-<id>.scope`.
    fn parse(root: &Path, lines: &str) -> Option<Self> {
        let of = |kind: &str| {
            let mut lines = lines.lines().filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                Some((parts.next()?, parts.next()?))
            });
            lines.find(|(kinds, _)| kinds.split(',').any(|other| other == kind)).map(|(_, path)| path)
        };
        let below = |kind: &str, path: &str| root.join(kind).join(path.trim_start_matches('/'));
        match (of("cpuacct"), of("memory")) {
            (Some(cpu), Some(memory)) => {
                Some(Self::First { cpu: below("cpuacct", cpu), memory: below("memory", memory) })
            }
            _ => of("").map(|path| Self::Second(root.join(path.trim_start_matches('/')))),
        }
    }

    /// The processes in it and in those below it, as far as they have numbers here.
    pub(super) fn processes(&self) -> Vec<u32> {
        let (Self::First { memory: top, .. } | Self::Second(top)) = self;
        let mut groups = vec![top.clone()];
        let mut processes = Vec::new();
        while let Some(group) = groups.pop() {
            // Gone, or one of threads, which are those of a process above.
            let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            processes.extend(listed.lines().filter_map(|line| line.parse().ok()).filter(|process| *process != 0));
            let below = fs::read_dir(&group).into_iter().flatten().flatten();
            groups.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        processes
    }

    /// None: it is not there, or this kernel does not count it.
    pub(super) fn read(&self) -> Option<ContainerUsage> {
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let (cpu_ms, memory_peak_bytes) = match self {
            Self::First { cpu, memory } => {
                (number(cpu.join("cpuacct.usage"))? / 1_000_000, number(memory.join("memory.max_usage_in_bytes"))?)
            }
            Self::Second(group) => {
                let stat = fs::read_to_string(group.join("cpu.stat")).ok()?;
                let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok())?;
                (micros / 1000, number(group.join("memory.peak"))?)
            }
        };
        // Something has run in it, so that it had memory: a kernel that says nothing else does not count what is below.
        (memory_peak_bytes > 0).then_some(ContainerUsage { cpu_ms, memory_peak_bytes })
    }
}

/// What is counted in a group: see [`Group::read`].
pub(super) async fn read(group: Option<Group>) -> Option<ContainerUsage> {
    let group = group?;
    tokio::task::spawn_blocking(move || group.read()).await.ok().flatten()
}

/// Removes the group around a container that is gone, of whatever kinds. One that is used stays.
pub(super) async fn remove_surrounding(parent: &str, key: &AttemptKey) {
    let group = surrounding(parent, key);
    let removed = tokio::task::spawn_blocking(move || remove_below(Path::new(GROUPS), &group));
    if let Err(error) = removed.await {
        tracing::debug!(%error, "a control group was not removed");
    }
}

fn remove_below(root: &Path, path: &str) {
    let path = path.trim_start_matches('/');
    let kinds = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    for at in kinds.map(|kind| kind.join(path)).chain([root.join(path)]) {
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(&at) {
                // The kernel may not be done with what was in it.
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => std::thread::sleep(REMOVE_PAUSE),
                // Most are not there.
                Ok(()) | Err(_) => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_in_both_generations() {
        let root = Path::new("/g");
        let first = "12:memory:/docker/x\n4:cpu,cpuacct:/docker/y\n0::/\n";
        let expected = Group::First { cpu: "/g/cpuacct/docker/y".into(), memory: "/g/memory/docker/x".into() };
        assert_eq!(Group::parse(root, first), Some(expected));
        let second = Group::Second("/g/system.slice/docker-x.scope".into());
        assert_eq!(Group::parse(root, "0::/system.slice/docker-x.scope\n"), Some(second));
        assert_eq!(Group::parse(root, ""), None);
        assert_eq!(Group::parse(root, "x"), None);
    }

    #[test]
    fn what_the_kernel_counts_is_read_in_both_generations() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let usage = |cpu_ms, memory_peak_bytes| Some(ContainerUsage { cpu_ms, memory_peak_bytes });
        assert_eq!(Group::at(root.path(), "/cloudai/x").read(), None);
        write("cpuacct/cloudai/x/cpuacct.usage", "1234567890\n");
        write("memory/cloudai/x/memory.max_usage_in_bytes", "4096\n");
        assert_eq!(Group::at(root.path(), "/cloudai/x").read(), usage(1234, 4096));
        write("memory/cloudai/x/memory.max_usage_in_bytes", "0\n");
        assert_eq!(Group::at(root.path(), "/cloudai/x").read(), None, "it is not counted");
        write("cgroup.controllers", "cpu memory\n");
        write("cloudai/x/cpu.stat", "usage_usec 5600\nuser_usec 1\n");
        assert_eq!(Group::at(root.path(), "/cloudai/x").read(), None, "an old kernel");
        write("cloudai/x/memory.peak", "8192\n");
        assert_eq!(Group::at(root.path(), "/cloudai/x").read(), usage(5, 8192));
    }

    #[test]
    fn all_processes_of_a_container_are_found() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        let found = || {
            let mut found = Group::at(root.path(), "/cloudai/x").processes();
            found.sort_unstable();
            found
        };
        assert!(found().is_empty());
        write("memory/cloudai/x/cgroup.procs", "");
        write("memory/cloudai/x/1cc3/cgroup.procs", "7\n0\n12\n");
        write("memory/cloudai/x/1cc3/inner/cgroup.procs", "9\n");
        write("memory/cloudai/y/cgroup.procs", "4\n");
        write("cpuacct/cloudai/x/cgroup.procs", "5\n");
        assert_eq!(found(), [7_u32, 9, 12]);
        write("cgroup.controllers", "cpu memory\n");
        write("cloudai/x/1cc3/cgroup.procs", "3\n");
        assert_eq!(found(), [3_u32]);
    }

    #[test]
    fn a_group_that_is_used_stays() {
        let root = tempfile::tempdir().expect("a directory");
        for path in ["memory/cloudai/x", "cpuacct/cloudai/x", "cloudai/x", "pids/cloudai/x/inner", "memory/cloudai/y"] {
            fs::create_dir_all(root.path().join(path)).expect("a directory");
        }
        remove_below(root.path(), "/cloudai/x");
        let is_there = |path: &str| root.path().join(path).exists();
        assert!(!is_there("memory/cloudai/x") && !is_there("cpuacct/cloudai/x") && !is_there("cloudai/x"));
        assert!(is_there("pids/cloudai/x/inner") && is_there("memory/cloudai/y"));
    }

    #[test]
    fn this_process_has_a_group_and_is_of_no_container() {
        let process = i64::from(std::process::id());
        assert!(Group::of("/", process).is_some());
        assert_eq!(Group::of("1cc3e057d311", process), None);
        assert_eq!(Group::of("/", 0), None);
    }
}
