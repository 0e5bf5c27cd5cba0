//! Containers that their engine has lost.
//!
//! An engine that is killed in the middle of a start may leave a container that it takes for one that was never started,
//! while the layer below has it, waiting or running. It can neither be started nor stopped through the engine any more.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::errors::Failure;

/// Whether a start failed because of that.
pub(super) fn is_lost(failure: &Failure) -> bool {
    failure.is(500) && failure.mentions("task ") && failure.mentions("already exists")
}

/// Kills what runs in it, as far as it can be seen and reached from here: its attempt is given up, and another one may
/// start at once. Returns how many processes there were.
pub(super) async fn kill(id: &str) -> usize {
    let id = id.to_owned();
    let killed = tokio::task::spawn_blocking(move || {
        let members = members(Path::new("/proc"), &id);
        members.into_iter().filter(|pid| kill_process(*pid, Signal::KILL).is_ok()).count()
    });
    killed.await.unwrap_or(0)
}

/// The processes whose control group is that of the container.
fn members(proc: &Path, id: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let pid = |entry: fs::DirEntry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let groups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
        // One line of several: hierarchy, controllers, and the path, in which the engine has the whole id.
        groups.lines().any(|line| line.split(['/', '-', '.']).any(|part| part == id)).then_some(pid)
    };
    entries.flatten().filter_map(pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_start_of_what_is_there_already_is_one_of_a_lost_container() {
        let failure = |status, message: &str| Failure::Answer { status, message: message.to_owned() };
        assert!(is_lost(&failure(500, "task 03d9f4fdf5bf: already exists")));
        assert!(!is_lost(&failure(409, "Conflict. The container name is already in use")));
        assert!(!is_lost(&failure(500, "network with name cloudai already exists")));
        assert!(!is_lost(&Failure::Lost("task already exists".to_owned())));
    }

    #[test]
    fn members_are_found_by_their_control_group() {
        let id = "1cc3e057d311fa0f538880f108953da4655ca4bba92a1c276b20db6b7d5cfdbe";
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, group) in [
            ("10", format!("12:memory:/docker/{id}\n1:name=systemd:/docker/{id}\n")),
            ("11", format!("0::/system.slice/docker-{id}.scope\n")),
            ("12", "0::/system.slice/docker-2cc3.scope\n".to_owned()),
            ("self", format!("0::/docker/{id}\n")),
        ] {
            let directory = proc.path().join(pid);
            fs::create_dir(&directory).expect("a directory");
            fs::write(directory.join("cgroup"), group).expect("written");
        }
        let mut found: Vec<i32> = members(proc.path(), id).into_iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        found.sort_unstable();
        assert_eq!(found, [10, 11]);
    }
}
