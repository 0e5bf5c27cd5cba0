//! Files that have no name any more, and that a container still has open or mapped. They take room until it lets go of them,
//! and neither the engine nor a walk over its files finds them: only whoever asks its processes.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstatfs, openat, statat};

use crate::file_bytes::file_bytes;

/// Where the kernel lists what a process has open, and what it has mapped.
const LISTS: [&str; 2] = ["fd", "map_files"];
/// tmpfs and hugetlbfs: what is in memory has a limit of its own.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x9584_58f6];
/// The most that is looked at. Of more than that some may be missed.
const LOOKS: usize = 1_000_000;

/// Who may hold such files: the processes of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameless {
    group: PathBuf,
    container: String,
}

impl Nameless {
    /// Those of the processes in this directory of control groups and below it, as far as their own control group has the
    /// container's id in its name: a number of a process may be another one's soon.
    #[must_use]
    pub fn of(group: PathBuf, container: String) -> Self {
        Self { group, container }
    }

    /// How many bytes of disks they take now, each file once; as far as this process may see that. Looks at every file that any
    /// of the processes has open or mapped, and may block for as long as that takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        bytes(&processes(&self.group), &self.container)
    }
}

/// The processes in a control group and in those below it, as far as they have numbers here.
pub(super) fn processes(group: &Path) -> Vec<u32> {
    let mut groups = vec![group.to_owned()];
    let mut processes = Vec::new();
    while let Some(group) = groups.pop() {
        // Gone, or one of threads, which are those of a process above.
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        processes.extend(listed.lines().filter_map(|line| line.parse().ok()).filter(|process: &u32| *process != 0));
        let below = fs::read_dir(&group).into_iter().flatten().flatten();
        groups
            .extend(below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
    processes
}

fn bytes(processes: &[u32], container: &str) -> u64 {
    let mut search = Search::default();
    for process in processes {
        // One that has ended holds nothing, and one that may not be looked into nothing that can be known.
        let _ = search.process(*process, container);
    }
    search.bytes
}

/// Device and number: what makes a file the same.
type Identity = (u64, u64);

#[derive(Debug, Default)]
struct Search {
    bytes: u64,
    seen: BTreeSet<Identity>,
    looks: usize,
}

impl Search {
    fn process(&mut self, process: u32, container: &str) -> io::Result<()> {
        // Once it is open it stays that of this process, whose number may be another one's soon.
        let place = File::open(format!("/proc/{process}"))?;
        let mut groups = String::new();
        let file = openat(&place, "cgroup", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        File::from(file).read_to_string(&mut groups)?;
        if !groups.contains(container) {
            return Ok(());
        }
        // The init of the engine is no file of the container, and loses its name when the engine is upgraded.
        let program = statat(&place, "exe", AtFlags::empty()).ok().map(|stat| identity(&stat));
        for list in LISTS {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.list(openat(&place, list, flags, Mode::empty())?, program)?;
        }
        Ok(())
    }

    fn list(&mut self, list: OwnedFd, program: Option<Identity>) -> io::Result<()> {
        let mut list = Dir::new(list)?;
        while let Some(entry) = list.read() {
            self.looks += 1;
            if self.looks > LOOKS {
                break;
            }
            let entry = entry?;
            let (folder, name) = (list.fd()?, entry.file_name());
            // Of what it has let go meanwhile there is none.
            let Ok(stat) = statat(folder, name, AtFlags::empty()) else { continue };
            let file = identity(&stat);
            if is_nameless(&stat) && program != Some(file) && !self.seen.contains(&file) && is_on_disk(folder, name) {
                self.seen.insert(file);
                self.bytes = self.bytes.saturating_add(file_bytes(&stat));
            }
        }
        Ok(())
    }
}

fn identity(stat: &Stat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// By its names and not by the word `(deleted)` of the kernel, which also stands at a file of the image that is only hidden: that
/// takes no room, and keeps its name below.
fn is_nameless(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 0
}

fn is_on_disk(folder: BorrowedFd<'_>, name: &CStr) -> bool {
    // Opens nothing but the way to it.
    let file = openat(folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    file.and_then(fstatfs).is_ok_and(|system| !IN_MEMORY.contains(&system.f_type))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A library that this process has loaded, and that another one can load without being changed by it.
    fn library() -> PathBuf {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("what is mapped");
        let mut paths = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5));
        paths.find(|path| path.contains("/libgcc_s.so")).expect("a library").into()
    }

    /// Whether this process may see what is mapped: it takes more than to see what is open.
    fn sees_maps() -> bool {
        let maps = std::fs::read_dir("/proc/self/map_files").into_iter().flatten().flatten();
        maps.map(|map| map.path()).any(|map| std::fs::metadata(map).is_ok())
    }

    #[test]
    fn what_has_no_name_and_is_held_is_counted_once_and_nothing_else() {
        // Where this was built, which is a disk; temporary files may be in memory.
        let built = std::env::current_exe().expect("this program");
        let scratch = tempfile::tempdir_in(built.parent().expect("a directory")).expect("a directory");
        let loaded = scratch.path().join("library");
        std::fs::copy(library(), &loaded).expect("copied");
        let whole = std::fs::metadata(&loaded).expect("it is there").len().next_multiple_of(4096);
        let mapped = if sees_maps() { whole } else { 0 };
        let script = "cd \"$1\"; head -c 3145728 /dev/zero > gone; head -c 1048576 /dev/zero > kept; exec 3<gone 4<gone 5<kept; \
            exec 6<>/dev/shm/cloudai-held-$$; head -c 65536 /dev/zero >&6; rm gone library /dev/shm/cloudai-held-$$; \
            echo ready; read end";
        let mut child = Command::new("sh");
        child.args(["-ec", script, "sh"]).arg(scratch.path()).env("LD_PRELOAD", &loaded);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
        let (held, of_another) = (bytes(&[child.id(), child.id()], "/"), bytes(&[child.id()], "1cc3e057d311"));
        // It ends when it reads no more.
        drop(child.stdin.take());
        child.wait().expect("an end");
        assert_eq!((said.as_str(), held, of_another), ("ready\n", 3 * MIB + mapped, 0));
    }
}
