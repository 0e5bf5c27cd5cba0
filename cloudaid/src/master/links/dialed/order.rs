//! An assignment as a worker of the first generation takes it: an image and a command for the shell.

use std::collections::BTreeMap;

use shared::link::Assignment;
use shared::proto::seed::Task;
use shared::resources::GIB;
use shared::task::Command;
use shared::time::WallTime;

/// What cannot be told to such a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untellable {
    /// It takes no files.
    #[error("workers of the first generation take no input files; give the task a worker that has joined")]
    Input,
    /// The environment stands in the command, and there is none.
    #[error(
        "workers of the first generation take environment variables only with a command; give the task one, or a worker \
         that has joined"
    )]
    Environment,
}

/// The message that gives a run to a worker.
pub(super) fn task_of(
    assignment: &Assignment,
    (task_id, worker): (&str, &str),
    now: WallTime,
) -> Result<Task, Untellable> {
    if assignment.input.is_some() {
        return Err(Untellable::Input);
    }
    let (name, seconds) = (assignment.name.clone().unwrap_or_default(), now.0 / 1000);
    let resources = assignment.resources;
    let gib = |bytes: u64| bytes as f64 / GIB as f64;
    Ok(Task {
        task_id: task_id.to_owned(),
        docker_image: assignment.image.clone(),
        command: command_of(&assignment.command, &assignment.env)?,
        req_cpu: resources.cpu_millis as f64 / 1000.0,
        req_memory: gib(resources.memory_bytes),
        req_storage: gib(resources.storage_bytes),
        req_gpu: resources.gpu_millis as f64 / 1000.0,
        target_worker_id: worker.to_owned(),
        user_id: assignment.user.to_string(),
        task_name: name.clone(),
        submitted_at: seconds,
        newer_task_name: name,
        newer_submitted_at: seconds,
    })
}

/// The command with its environment, for `sh -c`.
fn command_of(command: &Command, env: &BTreeMap<String, String>) -> Result<String, Untellable> {
    let line = match command {
        Command::ImageDefault if env.is_empty() => return Ok(String::new()),
        Command::ImageDefault => return Err(Untellable::Environment),
        Command::Shell(line) => line.clone(),
        Command::Argv(argv) => format!("exec {}", shell_words::join(argv)),
    };
    if env.is_empty() {
        return Ok(line);
    }
    if env.keys().all(|name| is_identifier(name)) {
        let set: Vec<_> = env.iter().map(|(name, value)| format!("{name}={}", shell_words::quote(value))).collect();
        return Ok(format!("export {}\n{line}", set.join(" ")));
    }
    // Names that no shell can set.
    let set = env.iter().map(|(name, value)| format!("{name}={value}"));
    let words = std::iter::once("env".to_owned()).chain(set).chain(["sh".to_owned(), "-c".to_owned(), line]);
    Ok(format!("exec {}", shell_words::join(words)))
}

/// Whether a shell takes it for the name of a variable.
fn is_identifier(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word) && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use shared::id::{AttemptKey, Epoch, Fence};
    use shared::resources::Resources;

    use super::*;

    fn assignment(command: Command, env: &[(&str, &str)]) -> Assignment {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        Assignment {
            key: AttemptKey { task, index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) },
            image: "alpine".to_owned(),
            command,
            resources: Resources { cpu_millis: 1500, memory_bytes: GIB / 2, storage_bytes: GIB, gpu_millis: 0 },
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            input: None,
            user: "ada".parse().expect("a name"),
            name: Some("nightly".to_owned()),
            stop_grace: std::time::Duration::from_secs(30),
            time_limit: None,
            at_most_once: false,
            blocking_log: false,
            storage_reserved: false,
            pull: Default::default(),
            confinement: Default::default(),
            gpus: Vec::new(),
        }
    }

    fn told(assignment: &Assignment) -> Result<Task, Untellable> {
        task_of(assignment, ("t-1", "w1"), WallTime(7_500))
    }

    /// What a shell prints.
    fn run(command: &str) -> String {
        let output = std::process::Command::new("sh").arg("-c").arg(command).output().expect("a shell");
        String::from_utf8(output.stdout).expect("text")
    }

    #[test]
    fn name_and_time_stand_where_either_generation_looks() {
        let task = told(&assignment(Command::Shell("date".into()), &[])).expect("told");
        assert_eq!((task.task_name.as_str(), task.newer_task_name.as_str()), ("nightly", "nightly"));
        assert_eq!((task.submitted_at, task.newer_submitted_at), (7, 7));
        assert_eq!((task.req_cpu, task.req_memory, task.req_storage), (1.5, 0.5, 1.0));
        assert_eq!((task.task_id.as_str(), task.target_worker_id.as_str()), ("t-1", "w1"));
        assert_eq!(task.command, "date");
    }

    #[test]
    fn words_stay_words_and_values_stay_values() {
        let argv = ["printf", "%s|", "a b", "it's", "$HOME", "", "x\ny", "`id`"].map(str::to_owned);
        let command = told(&assignment(Command::Argv(argv.to_vec()), &[])).expect("told").command;
        assert_eq!(run(&command), "a b|it's|$HOME||x\ny|`id`|");
        let shell = || Command::Shell("printf '%s' \"$A\"; printf '%s' \"$B\"".to_owned());
        let env = [("A", "it's $HOME\n"), ("B", "")];
        assert_eq!(run(&told(&assignment(shell(), &env)).expect("told").command), "it's $HOME\n");
        let odd = [("A", "x y"), ("my.name", "1")];
        assert_eq!(run(&told(&assignment(shell(), &odd)).expect("told").command), "x y");
    }

    #[test]
    fn what_cannot_be_told_is_refused_in_words() {
        assert_eq!(told(&assignment(Command::ImageDefault, &[])).expect("told").command, "");
        assert_eq!(told(&assignment(Command::ImageDefault, &[("A", "1")])), Err(Untellable::Environment));
        let mut reads = assignment(Command::Shell("cat".into()), &[]);
        reads.input = Some("input-01arz3ndektsv4rrffq69g5fav".parse().expect("an id"));
        assert_eq!(told(&reads), Err(Untellable::Input));
        assert!(Untellable::Input.to_string().contains("joined"));
    }
}
