//! The kernel's own word on who was killed for want of memory, or could start no further process.
//!
//! Of the one the engine hears by an event that may come too late or, with control groups of version 1, not at all, of the
//! other never. The kernel's log names the container. It is read only where the exit code, and what was counted, leave the
//! question open, and where it cannot be read (no right to it, a line lost to its rate limit) the answer is no.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Where each read gives one record, the oldest first.
const KERNEL_LOG: &str = "/dev/kmsg";
/// More than the longest record.
const RECORD: usize = 8192;
/// More records than any kernel keeps: the log may grow while it is read.
const RECORDS: usize = 1_000_000;

/// Whether a record is about the container.
type Names = fn(&[u8], &str) -> bool;

/// Whether the kernel killed something in the container for want of memory.
pub(super) async fn was_killed(id: &str) -> bool {
    is_named(id, names_killed).await
}

/// Whether the kernel refused the container a process, because it had as many as it may have. It says so once for each.
pub(super) async fn was_refused(id: &str) -> bool {
    is_named(id, names_refused).await
}

async fn is_named(id: &str, names: Names) -> bool {
    let id = id.to_owned();
    let search = tokio::task::spawn_blocking(move || search(Path::new(KERNEL_LOG), &id, names));
    matches!(search.await, Ok(Ok(true)))
}

fn search(log: &Path, id: &str, names: Names) -> io::Result<bool> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut log = OpenOptions::new().read(true).custom_flags(flags).open(log)?;
    let mut record = vec![0; RECORD];
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) if names(&record[..length], id) => return Ok(true),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Overwritten while it was read: the next read goes on behind.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PIPE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// `oom-kill:constraint=CONSTRAINT_MEMCG,...,task_memcg=/docker/<id>,task=...`
fn names_killed(record: &[u8], id: &str) -> bool {
    let text = String::from_utf8_lossy(record);
    text.contains("oom-kill:") && text.split("task_memcg=").nth(1).is_some_and(|group| group.contains(id))
}

/// `cgroup: fork rejected by pids controller in /docker/<id>`
fn names_refused(record: &[u8], id: &str) -> bool {
    let text = String::from_utf8_lossy(record);
    text.split("fork rejected by pids controller in ").nth(1).is_some_and(|group| group.contains(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1cc3e057d311fa0f538880f108953da4655ca4bba92a1c276b20db6b7d5cfdbe";

    #[test]
    fn the_killed_one_is_named_by_its_control_group() {
        let of = |group: &str| {
            format!("6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/x,task_memcg={group},task=sh")
        };
        for group in
            [format!("/docker/{ID}"), format!("/system.slice/docker-{ID}.scope"), format!("/docker/{ID}/inner")]
        {
            assert!(names_killed(of(&group).as_bytes(), ID), "{group}");
        }
        assert!(!names_killed(of("/docker/2cc3").as_bytes(), ID));
        assert!(!names_killed(format!("6,1,2,-;veth of {ID} went away").as_bytes(), ID));
        assert!(!names_killed(b"\xff\xfe", ID));
    }

    #[test]
    fn the_refused_one_is_named_by_its_control_group() {
        let of = |group: &str| format!("6,1,2,-;cgroup: fork rejected by pids controller in {group}");
        for group in [format!("/docker/{ID}"), format!("/docker/cloudai-x/{ID}")] {
            assert!(names_refused(of(&group).as_bytes(), ID), "{group}");
        }
        assert!(!names_refused(of("/docker/2cc3").as_bytes(), ID));
        assert!(!names_refused(format!("6,1,2,-;oom-kill:x,task_memcg=/docker/{ID}").as_bytes(), ID));
    }

    #[test]
    fn a_log_is_searched_to_its_end() {
        let folder = tempfile::tempdir().expect("a directory");
        let log = folder.path().join("kmsg");
        std::fs::write(&log, format!("6,1,2,-;oom-kill:x,task_memcg=/docker/{ID},task=sh\n")).expect("a log");
        assert!(search(&log, ID, names_killed).expect("a search"));
        assert!(!search(&log, "another", names_killed).expect("a search"));
        assert!(search(&folder.path().join("none"), ID, names_killed).is_err());
    }
}
