//! A task as the master words it, and as the agent takes it.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::id::{AttemptKey, Fence, InvalidId, TaskId, UserName};
use shared::link::Assignment;
use shared::proto::seed::{RunningTask, Task};
use shared::resources::{GIB, Quantity, Resources};
use shared::submit::{CommandInput, SubmitRequest, TEXT_LIMIT};
use shared::text::printable;
use ulid::Ulid;

use super::ledger::Record;

/// The longest name that a master may give to a task, a user or a task's user, in bytes.
const NAME_LIMIT: usize = 256;
/// Between TERM and KILL, as `docker stop` has it: the protocol has no field for it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// Whose task it is where the master's name for the user is none of ours.
const SOMEBODY: &str = "seed";

/// A task to run, as the answer to the master has it.
///
/// # Errors
/// What is wrong with it, in words for the master.
pub(super) fn accept(task: Task, fence: Fence) -> Result<Record, String> {
    wire_id(&task.task_id)?;
    // The older and the newer generation have it in different places, and both may be sent.
    let task_name = if task.newer_task_name.is_empty() { task.task_name } else { task.newer_task_name };
    for (field, text) in [("user_id", &task.user_id), ("task_name", &task_name)] {
        if text.len() > NAME_LIMIT {
            return Err(format!("{field}: it is longer than {NAME_LIMIT} bytes"));
        }
    }
    let asked = SubmitRequest {
        image: task.docker_image,
        command: Some(task.command).filter(|line| !line.is_empty()).map(CommandInput::Shell),
        cpu_cores: amount(task.req_cpu),
        mem: amount(task.req_memory),
        storage: amount(task.req_storage),
        gpu_cores: amount(task.req_gpu),
        ..SubmitRequest::default()
    };
    let (spec, _) = asked.validate().map_err(|error| format!("{} ({})", error.message, error.hint))?;
    let assignment = Assignment {
        key: AttemptKey { task: TaskId(Ulid::generate()), index: 0, attempt: 1, fence },
        image: spec.image,
        command: spec.command,
        resources: spec.resources,
        env: BTreeMap::new(),
        input: None,
        user: user(&task.user_id).map_err(|error| format!("user_id: {error}"))?,
        // Only shown; the master's own text goes back with the files.
        name: Some(printable(&task_name)).filter(|name| (1..=TEXT_LIMIT).contains(&name.chars().count())),
        stop_grace: STOP_GRACE,
        time_limit: None,
        at_most_once: false,
        blocking_log: false,
        storage_reserved: spec.policy.storage_reserved,
        pull: Default::default(),
        confinement: Default::default(),
        gpus: Vec::new(),
    };
    Ok(Record { wire_id: task.task_id, user_id: task.user_id, task_name, assignment, cancelled: false, end: None })
}

/// Whether a text can be the name of a task.
pub(super) fn wire_id(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > NAME_LIMIT || text.chars().any(char::is_control) {
        return Err(format!("task_id: give 1 to {NAME_LIMIT} bytes without control characters"));
    }
    Ok(())
}

/// What is 0 was not given. Everything that is no amount is for the check of submissions to refuse.
fn amount(number: f64) -> Option<Quantity> {
    (number != 0.0).then_some(Quantity::Number(number))
}

fn user(text: &str) -> Result<UserName, InvalidId> {
    text.parse().or_else(|_| SOMEBODY.parse())
}

/// A task in a heartbeat.
pub(super) fn running(record: &Record) -> RunningTask {
    let resources = record.assignment.resources;
    RunningTask {
        task_id: record.wire_id.clone(),
        cpu_allocated: units(resources.cpu_millis),
        memory_allocated: gibibytes(resources.memory_bytes),
        status: "running".to_owned(),
        gpu_allocated: units(resources.gpu_millis),
    }
}

/// What a worker has, in the protocol's units: cores, GiB, GiB, GPUs.
pub(super) fn totals(capacity: Resources) -> (f64, f64, f64, f64) {
    (
        units(capacity.cpu_millis),
        gibibytes(capacity.memory_bytes),
        gibibytes(capacity.storage_bytes),
        units(capacity.gpu_millis),
    )
}

fn units(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

fn gibibytes(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

#[cfg(test)]
pub(super) mod tests {
    use shared::resources::MIB;
    use shared::task::Command;

    use super::*;

    fn task() -> Task {
        Task {
            task_id: "their-7".to_owned(),
            docker_image: "busybox".to_owned(),
            command: "echo hi".to_owned(),
            req_cpu: 0.5,
            req_memory: 0.25,
            user_id: "ada".to_owned(),
            ..Task::default()
        }
    }

    /// A record of a small task.
    pub(in super::super) fn record(wire_id: &str) -> Record {
        accept(Task { task_id: wire_id.to_owned(), ..task() }, Fence(7)).expect("a good one")
    }

    #[test]
    fn amounts_are_cores_and_gibibytes_and_0_is_the_default() {
        let record = accept(task(), Fence(7)).expect("a good one");
        let expected = Resources { cpu_millis: 500, memory_bytes: 256 * MIB, ..Resources::TASK_DEFAULT };
        assert_eq!(record.assignment.resources, expected);
        assert_eq!(record.assignment.command, Command::Shell("echo hi".to_owned()));
        let image_default = accept(Task { command: String::new(), ..task() }, Fence(7)).expect("a good one");
        assert_eq!(image_default.assignment.command, Command::ImageDefault);
        let shown = running(&record);
        assert_eq!((shown.cpu_allocated, shown.memory_allocated, shown.gpu_allocated), (0.5, 0.25, 0.0));
    }

    #[test]
    fn a_name_is_found_where_either_generation_has_it() {
        for (old, new, expected) in [("", "", ""), ("a", "", "a"), ("", "b", "b"), ("a", "b", "b")] {
            let named = Task { task_name: old.to_owned(), newer_task_name: new.to_owned(), ..task() };
            assert_eq!(accept(named, Fence(7)).expect("a good one").task_name, expected);
        }
    }

    #[test]
    fn users_and_names_that_are_none_of_ours_are_kept_for_the_master() {
        let odd = Task { user_id: "ada@x.example".to_owned(), task_name: "a\nb".to_owned(), ..task() };
        let record = accept(odd, Fence(7)).expect("a good one");
        assert_eq!((record.user_id.as_str(), record.assignment.user.as_str()), ("ada@x.example", SOMEBODY));
        assert_eq!((record.task_name.as_str(), record.assignment.name.as_deref()), ("a\nb", Some("a\\nb")));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_reason() {
        type Change = fn(&mut Task);
        let cases: [(Change, &str); 10] = [
            (|task| task.task_id.clear(), "task_id"),
            (|task| task.task_id = "a\u{1b}".to_owned(), "task_id"),
            (|task| task.task_id = "x".repeat(NAME_LIMIT + 1), "task_id"),
            (|task| task.user_id = "x".repeat(NAME_LIMIT + 1), "user_id"),
            (|task| task.docker_image.clear(), "image"),
            (|task| task.docker_image = "NO SUCH".to_owned(), "image"),
            (|task| task.req_cpu = f64::NAN, "cpu_cores"),
            (|task| task.req_memory = -1.0, "mem"),
            (|task| task.req_storage = f64::INFINITY, "storage"),
            (|task| task.req_gpu = 1e300, "gpu_cores"),
        ];
        for (change, field) in cases {
            let mut bad = task();
            change(&mut bad);
            let refused = accept(bad, Fence(7)).expect_err(field);
            assert!(refused.starts_with(field), "{refused}");
        }
    }
}
