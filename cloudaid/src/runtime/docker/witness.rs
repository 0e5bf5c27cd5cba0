//! Looks at a container's own control group for as long as it is there.
//!
//! The engine removes the group before it tells of the end, but not before it has heard of it itself. The kernel tells us at
//! the same time: what is counted then is all that there is. Where it does not tell, or the group is gone already, there is what
//! was seen before. The looks begin at once and become rarer, so that of what runs for a moment something is known too.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shared::link::ContainerUsage;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::usage::{self, Group};

/// Between the first two looks. Each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// No pause is longer.
const PAUSE: Duration = Duration::from_secs(1);
/// The same where the kernel keeps all that matters until the last look.
const RARE: Duration = Duration::from_secs(30);

/// A container that runs.
#[derive(Debug)]
pub(super) struct Witness {
    group: Group,
    /// Its first process, with which all others in it end; none: this kernel does not tell of ends.
    first: Option<AsyncFd<OwnedFd>>,
}

/// What was seen of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// At the last look.
    pub(super) last: Option<ContainerUsage>,
    /// After its end; none: its group was gone.
    pub(super) end: Option<ContainerUsage>,
}

impl Witness {
    /// Of a container that has a group around its own; none: it has ended.
    pub(super) async fn inside(around: &Group, container: &str) -> Option<Self> {
        let (own, id) = (around.own(container), container.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            let processes = own.processes().into_iter().map(i64::from);
            // A container may have others in it, each with a first process of its own.
            let (_, first) = processes.filter_map(|process| Some((depth_of_first(process)?, process))).min()?;
            let ends = open(first);
            // From here on the number cannot become another one's unnoticed.
            Group::of(&id, first).map(|_| (own, ends))
        });
        let (group, ends) = found.await.ok()??;
        Some(Self::new(group, ends))
    }

    /// Of a container whose first process is this one; none: it cannot be seen from here.
    pub(super) async fn of(container: &str, process: i64) -> Option<Self> {
        let id = container.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let ends = open(process);
            Some((Group::of(&id, process)?, ends))
        });
        let (group, ends) = found.await.ok()??;
        Some(Self::new(group, ends))
    }

    #[expect(deprecated, reason = "the unsafe one that takes its place asks for no more than an OwnedFd promises")]
    fn new(group: Group, ends: Option<OwnedFd>) -> Self {
        let first = ends.and_then(|ends| AsyncFd::with_interest(ends, Interest::READABLE).ok());
        Self { group, first }
    }

    /// Whether the kernel tells it of the end.
    pub(super) fn hears(&self) -> bool {
        self.first.is_some()
    }

    /// Looks until it has ended, or whoever has the other end of `stopped` drops it.
    pub(super) async fn watch(self, mut stopped: oneshot::Receiver<()>) -> Seen {
        let longest = if self.first.is_some() && self.group.keeps_peak() { RARE } else { PAUSE };
        let mut last = None;
        let mut pause = FIRST_PAUSE;
        loop {
            last = self.look(last).await.or(last);
            tokio::select! {
                () = self.ended() => break,
                _ = &mut stopped => break,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            }
        }
        Seen { last, end: usage::read(Some(self.group)).await }
    }

    async fn look(&self, before: Option<ContainerUsage>) -> Option<ContainerUsage> {
        let group = self.group.clone();
        tokio::task::spawn_blocking(move || group.look(before)).await.ok().flatten()
    }

    async fn ended(&self) {
        if let Some(first) = &self.first
            && first.readable().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// What becomes readable when the process ends. Kernels before 5.3 have no such thing.
fn open(process: i64) -> Option<OwnedFd> {
    let process = Pid::from_raw(i32::try_from(process).ok()?)?;
    pidfd_open(process, PidfdFlags::empty()).ok()
}

/// How deep a process is that is the first one of some container.
fn depth_of_first(process: i64) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(depth_of_number_one)
}

/// `NSpid: 4711 1`, with tabs: its numbers, of which the last one is that in its container.
fn depth_of_number_one(line: &str) -> Option<usize> {
    let numbers: Vec<_> = line.strip_prefix("NSpid:")?.split_ascii_whitespace().collect();
    let depth = numbers.len().checked_sub(1).filter(|depth| *depth > 0)?;
    (numbers[depth] == "1").then_some(depth)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A group of the second generation in which so much CPU time was counted.
    fn count(group: &Path, millis: u64) {
        fs::write(group.join("cpu.stat"), format!("usage_usec {}\n", millis * 1000)).expect("written");
    }

    fn usage(cpu_ms: u64) -> Option<ContainerUsage> {
        Some(ContainerUsage { cpu_ms, ..ContainerUsage::default() })
    }

    /// A process that ends when it is told to.
    fn process() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a process")
    }

    #[tokio::test]
    async fn the_last_look_is_when_its_first_process_has_ended() {
        let folder = tempfile::tempdir().expect("a directory");
        count(folder.path(), 5);
        let mut child = process();
        let ends = open(child.id().into());
        assert!(ends.is_some(), "this kernel tells of ends");
        let (_engine, stopped) = oneshot::channel();
        let watched = tokio::spawn(Witness::new(Group::Second(folder.path().to_owned()), ends).watch(stopped));
        let mut input = child.stdin.take().expect("its input");
        input.write_all(b"go on").expect("it runs");
        count(folder.path(), 70);
        drop(input);
        // Nobody else says that it is over.
        let watched = tokio::time::timeout(Duration::from_secs(30), watched).await.expect("its end is seen");
        let seen = watched.expect("what was seen");
        assert_eq!(seen.end, usage(70), "{seen:?}");
        assert!(child.wait().expect("an end").success());
    }

    #[tokio::test]
    async fn of_what_is_gone_there_is_what_was_seen_before() {
        let folder = tempfile::tempdir().expect("a directory");
        let group = folder.path().join("x");
        fs::create_dir(&group).expect("a directory");
        count(&group, 5);
        let (engine, stopped) = oneshot::channel();
        let mut watched = Box::pin(Witness::new(Group::Second(group.clone()), None).watch(stopped));
        // Longer than a look and its pause take: it looks again and again.
        let looks = tokio::time::timeout(Duration::from_millis(200), &mut watched).await;
        assert!(looks.is_err(), "{looks:?}");
        fs::remove_dir_all(&group).expect("removed");
        drop(engine);
        assert_eq!(watched.await, Seen { last: usage(5), end: None });
    }

    #[tokio::test]
    async fn a_container_is_known_by_its_first_process() {
        assert_eq!(depth_of_number_one("NSpid:\t4711\t1"), Some(1));
        assert_eq!(depth_of_number_one("NSpid:\t4711\t12\t1"), Some(2));
        assert_eq!(depth_of_number_one("NSpid:\t4711\t11"), None);
        assert_eq!(depth_of_number_one("Pid:\t4711\t1"), None);
        // The first one of all is in no container.
        assert_eq!(depth_of_number_one("NSpid:\t1"), None);
        let own = i64::from(std::process::id());
        assert!(Witness::of("/", own).await.is_some());
        assert!(Witness::of("1cc3e057d311", own).await.is_none());
        assert!(Witness::inside(&Group::Second("/nowhere".into()), "x").await.is_none());
    }
}
