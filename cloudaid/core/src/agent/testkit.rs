//! Small values for tests.

use std::time::Duration;

use shared::id::{AttemptKey, Epoch, Fence};
use shared::link::{Assignment, Decision, Welcome};
use shared::resources::Resources;
use shared::task::Command;
use shared::time::{BootTime, Now, WallTime};

use super::Ended;

pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The first run of element `index`.
pub(super) fn key(index: u32) -> AttemptKey {
    attempt(index, 1)
}

/// A later run has a larger fence.
pub(super) fn attempt(index: u32, attempt: u32) -> AttemptKey {
    let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
    AttemptKey { task, index, attempt, fence: Fence(u64::from(attempt * 1000 + index)) }
}

pub(super) fn assignment_of(key: AttemptKey) -> Assignment {
    Assignment {
        key,
        image: "busybox".to_owned(),
        command: Command::Shell("true".to_owned()),
        resources: Resources::TASK_DEFAULT,
        env: std::collections::BTreeMap::new(),
        user: "ada".parse().expect("a name"),
        name: None,
        input: None,
        stop_grace: GRACE,
        time_limit: None,
        at_most_once: false,
        blocking_log: false,
        storage_reserved: false,
        pull: Default::default(),
        confinement: Default::default(),
        gpus: Vec::new(),
    }
}

pub(super) fn assignment(index: u32) -> Assignment {
    assignment_of(key(index))
}

pub(super) fn welcome(decisions: Vec<(AttemptKey, Decision)>) -> Welcome {
    Welcome {
        cluster: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
        epoch: Epoch(1),
        heartbeat: Duration::from_secs(5),
        lease: Duration::from_secs(30),
        decisions,
    }
}

/// Wall time is `millis` too, so that it shows where it ends up.
pub(super) fn at(millis: u64) -> Now {
    Now { boot: BootTime(millis), wall: WallTime(i64::try_from(millis).expect("a small time")) }
}

/// The end of a container of which only the exit code is known.
pub(super) fn exit(code: i32) -> Ended {
    Ended {
        code,
        oom: false,
        killed: None,
        by_engine: false,
        by_hand: None,
        runs_again: false,
        memory_peak: None,
        started_at: None,
        finished_at: None,
        usage: None,
    }
}
