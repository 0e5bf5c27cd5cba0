//! What a container has used, as its control group counts it.
//!
//! A container's own group is gone with it, before the engine tells of its end. Where the engine leaves groups to whoever asks
//! for them, and this process may remove them again, each container gets one around its own, which is read at the end: what
//! it says of CPU time and memory is exact. The rest is counted only in the container's own, and so is all of it elsewhere:
//! that one is looked at while the container runs, and once more when it has ended (see [`super::witness`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum};
use shared::id::AttemptKey;
use shared::link::ContainerUsage;

use super::labels::container_name;
use crate::runtime::nameless;

/// Where control groups are, on every system.
const GROUPS: &str = "/sys/fs/cgroup";
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
    First { cpu: PathBuf, memory: PathBuf, pids: PathBuf },
    /// Both in one place.
    Second(PathBuf),
}

impl Group {
    /// The one around a container's own.
    pub(super) fn around(parent: &str, key: &AttemptKey) -> Self {
        Self::at(Path::new(GROUPS), &surrounding(parent, key))
    }

    /// A container's own, where this one is around it.
    pub(super) fn own(&self, container: &str) -> Self {
        match self {
            Self::First { cpu, memory, pids } => {
                Self::First { cpu: cpu.join(container), memory: memory.join(container), pids: pids.join(container) }
            }
            Self::Second(group) => Self::Second(group.join(container)),
        }
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
        let of = |kind: &str| root.join(kind).join(path);
        Self::First { cpu: of("cpuacct"), memory: of("memory"), pids: of("pids") }
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
            (Some(cpu), Some(memory)) => Some(Self::First {
                cpu: below("cpuacct", cpu),
                memory: below("memory", memory),
                // Where nobody counts them, there is no such place.
                pids: below("pids", of("pids").unwrap_or_default()),
            }),
            _ => of("").map(|path| Self::Second(root.join(path.trim_start_matches('/')))),
        }
    }

    /// The processes in it and in those below it, as far as they have numbers here.
    pub(super) fn processes(&self) -> Vec<u32> {
        nameless::processes(self.place())
    }

    /// The directory that lists them.
    pub(super) fn place(&self) -> &Path {
        let (Self::First { memory: place, .. } | Self::Second(place)) = self;
        place
    }

    /// Whether the kernel keeps the most memory that was in use.
    pub(super) fn keeps_peak(&self) -> bool {
        match self {
            Self::First { .. } => true,
            Self::Second(group) => group.join("memory.peak").exists(),
        }
    }

    /// What has been counted so far. None: it is not there, or nothing has run in it.
    pub(super) fn read(&self) -> Option<ContainerUsage> {
        let usage = match self {
            Self::First { cpu, memory, pids } => ContainerUsage {
                cpu_ms: number(&cpu.join("cpuacct.usage"))? / 1_000_000,
                // 0 too, where the kernel does not count what is below.
                memory_peak_bytes: number(&memory.join("memory.max_usage_in_bytes")).unwrap_or(0),
                oom_kills: field(&memory.join("memory.oom_control"), "oom_kill").unwrap_or(0),
                forks_refused: field(&pids.join("pids.events"), "max").unwrap_or(0),
            },
            Self::Second(group) => ContainerUsage {
                cpu_ms: field(&group.join("cpu.stat"), "usage_usec")? / 1000,
                // Kernels before 5.19 do not have it.
                memory_peak_bytes: number(&group.join("memory.peak")).unwrap_or(0),
                oom_kills: field(&group.join("memory.events"), "oom_kill").unwrap_or(0),
                forks_refused: field(&group.join("pids.events"), "max").unwrap_or(0),
            },
        };
        (usage.cpu_ms > 0 || usage.memory_peak_bytes > 0).then_some(usage)
    }

    /// The same while something runs in it, after what was there `before`: where the kernel keeps no peak, it is the most that
    /// was there at a look.
    pub(super) fn look(&self, before: Option<ContainerUsage>) -> Option<ContainerUsage> {
        let mut usage = self.read()?;
        if usage.memory_peak_bytes == 0
            && let Self::Second(group) = self
        {
            let now = number(&group.join("memory.current")).unwrap_or(0);
            usage.memory_peak_bytes = before.map_or(now, |before| now.max(before.memory_peak_bytes));
        }
        Some(usage)
    }
}

/// What is all of a file.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What is behind a name, at the beginning of a line.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// What is counted in a group: see [`Group::read`].
pub(super) async fn read(group: Option<Group>) -> Option<ContainerUsage> {
    let group = group?;
    tokio::task::spawn_blocking(move || group.read()).await.ok().flatten()
}

/// What was counted to the end, and what was seen before that: each knows things of which the other does not.
pub(super) fn joined(counted: Option<ContainerUsage>, seen: Option<ContainerUsage>) -> Option<ContainerUsage> {
    let (Some(counted), Some(seen)) = (counted, seen) else { return counted.or(seen) };
    let memory_peak_bytes = match counted.memory_peak_bytes {
        0 => seen.memory_peak_bytes,
        peak => peak,
    };
    Some(ContainerUsage {
        cpu_ms: counted.cpu_ms,
        memory_peak_bytes,
        oom_kills: counted.oom_kills.max(seen.oom_kills),
        forks_refused: counted.forks_refused.max(seen.forks_refused),
    })
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
        let group = |cpu: &str, memory: &str, pids: &str| Group::First {
            cpu: cpu.into(),
            memory: memory.into(),
            pids: pids.into(),
        };
        let first = "12:memory:/docker/x\n5:pids:/docker/z\n4:cpu,cpuacct:/docker/y\n0::/\n";
        let expected = group("/g/cpuacct/docker/y", "/g/memory/docker/x", "/g/pids/docker/z");
        assert_eq!(Group::parse(root, first), Some(expected));
        let nobody_counts = group("/g/cpuacct/y", "/g/memory/x", "/g/pids/");
        assert_eq!(Group::parse(root, "12:memory:/x\n4:cpu,cpuacct:/y\n"), Some(nobody_counts));
        let second = Group::Second("/g/system.slice/docker-x.scope".into());
        assert_eq!(Group::parse(root, "0::/system.slice/docker-x.scope\n"), Some(second));
        assert_eq!(Group::parse(root, ""), None);
        assert_eq!(Group::parse(root, "x"), None);
        let own = group("/g/cpuacct/a/c", "/g/memory/a/c", "/g/pids/a/c");
        assert_eq!(Group::at(root, "/a").own("c"), own);
        assert_eq!(Group::Second("/g/a".into()).own("c"), Group::Second("/g/a/c".into()));
    }

    /// A place for control groups, and how to write to it.
    fn groups() -> (tempfile::TempDir, impl Fn(&str, &str)) {
        let root = tempfile::tempdir().expect("a directory");
        let at = root.path().to_owned();
        let write = move |path: &str, text: &str| {
            let path = at.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        };
        (root, write)
    }

    fn usage(cpu_ms: u64, memory_peak_bytes: u64, oom_kills: u64, forks_refused: u64) -> Option<ContainerUsage> {
        Some(ContainerUsage { cpu_ms, memory_peak_bytes, oom_kills, forks_refused })
    }

    #[test]
    fn what_the_kernel_counts_is_read_in_the_first_generation() {
        let (root, write) = groups();
        let read = || Group::at(root.path(), "/cloudai/x").read();
        assert_eq!(read(), None);
        write("cpuacct/cloudai/x/cpuacct.usage", "1234567890\n");
        assert_eq!(read(), usage(1234, 0, 0, 0));
        write("memory/cloudai/x/memory.max_usage_in_bytes", "4096\n");
        assert_eq!(read(), usage(1234, 4096, 0, 0));
        // Kernels before 4.13 say no more than the first two.
        write("memory/cloudai/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
        assert_eq!(read(), usage(1234, 4096, 0, 0));
        write("memory/cloudai/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
        write("pids/cloudai/x/pids.events", "max 4\n");
        assert_eq!(read(), usage(1234, 4096, 3, 4));
        for path in ["memory/cloudai/x/memory.max_usage_in_bytes", "cpuacct/cloudai/x/cpuacct.usage"] {
            write(path, "0\n");
        }
        assert_eq!(read(), None, "nothing has run in it");
    }

    #[test]
    fn what_the_kernel_counts_is_read_in_the_second_generation() {
        let (root, write) = groups();
        write("cgroup.controllers", "cpu memory\n");
        let group = Group::at(root.path(), "/cloudai/x");
        assert_eq!(group.read(), None);
        write("cloudai/x/cpu.stat", "usage_usec 5600\nuser_usec 1\n");
        write("cloudai/x/memory.current", "700\n");
        assert_eq!(group.read(), usage(5, 0, 0, 0), "an old kernel keeps no peak");
        assert_eq!(group.look(None), usage(5, 700, 0, 0), "what is there now");
        assert_eq!(group.look(usage(1, 900, 0, 0)), usage(5, 900, 0, 0), "it was more");
        write("cloudai/x/memory.peak", "8192\n");
        write("cloudai/x/memory.events", "low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 5\n");
        write("cloudai/x/pids.events", "max 6\n");
        for found in [group.read(), group.look(usage(1, 9000, 0, 0))] {
            assert_eq!(found, usage(5, 8192, 1, 6));
        }
    }

    #[test]
    fn what_was_counted_to_the_end_and_what_was_seen_are_one() {
        let (counted, seen) = (usage(9, 100, 0, 0), usage(5, 80, 2, 3));
        assert_eq!(joined(counted, seen), usage(9, 100, 2, 3));
        assert_eq!(joined(usage(9, 0, 4, 0), seen), usage(9, 80, 4, 3), "the one keeps no peak");
        assert_eq!(joined(None, seen), seen);
        assert_eq!(joined(counted, None), counted);
        assert_eq!(joined(None, None), None);
    }

    #[test]
    fn all_processes_of_a_container_are_found() {
        let (root, write) = groups();
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
