//! What the flags of `task` and `dispatch` say about a task.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use shared::error::exit;
use shared::id::InputId;
use shared::submit::{CommandInput, SubmitRequest};
use shared::text::printable;

use crate::args::SubmitArgs;
use crate::exit::CtlError;

/// The flags, read and ready to be put over any number of tasks.
#[derive(Debug)]
pub(super) struct Overrides<'a> {
    args: &'a SubmitArgs,
    worker: Option<&'a str>,
    env: BTreeMap<String, String>,
    input: Option<InputId>,
}

impl<'a> Overrides<'a> {
    /// Uploaded files that all of them read.
    pub(super) fn read_input(&mut self, input: Option<InputId>) {
        self.input = input;
    }

    /// Reads what the flags name.
    ///
    /// # Errors
    /// A file of variables cannot be read, or is none.
    pub(super) fn read(args: &'a SubmitArgs, worker: Option<&'a str>) -> Result<Self, CtlError> {
        let mut env = BTreeMap::new();
        for path in &args.env_file {
            let shown = path.display().to_string();
            let bytes = fs::read(path).map_err(CtlError::local(format!("cannot read {shown}")))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                CtlError::refused(exit::DATA, format!("{shown} is not text in UTF-8"), "write NAME=VALUE, one a line")
            })?;
            // Some editors mark their files.
            let text = text.trim_start_matches('\u{feff}');
            env.extend(parse_env(text, path, |name| std::env::var(name).ok())?);
        }
        env.extend(args.env.iter().cloned());
        Ok(Self { args, worker, env, input: None })
    }

    /// The task that the flags alone make.
    pub(super) fn task(&self, image: &str) -> SubmitRequest {
        let mut request = SubmitRequest { image: image.to_owned(), ..SubmitRequest::default() };
        self.apply(&mut request);
        request
    }

    /// Puts what was given over what the task has.
    pub(super) fn apply(&self, request: &mut SubmitRequest) {
        fn put<T: Clone>(to: &mut Option<T>, from: Option<&T>) {
            if let Some(value) = from {
                *to = Some(value.clone());
            }
        }
        let args = self.args;
        put(&mut request.name, args.name.as_ref());
        put(&mut request.pull, args.pull.as_ref());
        put(&mut request.profile, args.profile.as_ref());
        put(&mut request.network, args.network.as_ref());
        put(&mut request.cpu_cores, args.cpu_cores.as_ref());
        put(&mut request.mem, args.mem.as_ref());
        put(&mut request.mem_max, args.mem_max.as_ref());
        put(&mut request.storage, args.storage.as_ref());
        put(&mut request.gpu_cores, args.gpu_cores.as_ref());
        put(&mut request.time_limit, args.time_limit.as_ref());
        put(&mut request.queue_time_limit, args.queue_time_limit.as_ref());
        put(&mut request.stop_grace, args.stop_grace.as_ref());
        put(&mut request.retries, args.retries.as_ref());
        put(&mut request.retry_on, (!args.retry_on.is_empty()).then_some(&args.retry_on));
        put(&mut request.backoff, args.backoff.as_ref());
        put(&mut request.at_most_once, args.at_most_once.then_some(&true));
        put(&mut request.blocking_log, args.blocking_log.then_some(&true));
        if args.count.is_some() || args.array.is_some() {
            (request.count, request.array) = (args.count, args.array.clone());
        }
        put(&mut request.worker_id, self.worker.map(str::to_owned).as_ref());
        match &args.command {
            Some(line) => request.command = Some(CommandInput::Shell(line.clone())),
            None if args.argv.is_empty() => {}
            None => request.command = Some(CommandInput::Argv(args.argv.clone())),
        }
        put(&mut request.input, self.input.map(|input| input.to_string()).as_ref());
        request.env.extend(self.env.clone());
        request.labels.extend(args.label.iter().cloned());
        let given = &args.worker_label;
        request.worker_labels.retain(|own| given.iter().all(|wish| wish.name() != own.name()));
        request.worker_labels.extend(given.iter().cloned());
    }
}

/// Lines of `NAME=VALUE`, as Docker reads them: the value is taken as it stands; a name alone takes its value from the
/// environment, if it is there; `#` begins a comment.
fn parse_env(
    text: &str,
    path: &Path,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, CtlError> {
    let mut env = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), environment(line.trim_end())),
        };
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') || line.contains('\0') {
            return Err(CtlError::refused(
                exit::DATA,
                format!("{}, line {}: `{}` names no variable", path.display(), number + 1, printable(name)),
                "write NAME=VALUE, one a line",
            ));
        }
        if let Some(value) = value {
            env.insert(name.to_owned(), value);
        }
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::args::{Verb, parse};

    fn sent(argv: &[&str]) -> serde_json::Value {
        let cli = parse(argv.iter().map(OsString::from)).expect("parses");
        let request = match &cli.verb {
            Verb::Task(args) => {
                Overrides::read(&args.options, None).expect("read").task(args.image.as_deref().expect("an image"))
            }
            Verb::Dispatch(args) => Overrides::read(&args.options, Some(&args.worker))
                .expect("read")
                .task(args.image.as_deref().expect("an image")),
            _ => panic!("another verb"),
        };
        serde_json::to_value(request).expect("json")
    }

    #[test]
    fn only_what_was_given_is_sent() {
        assert_eq!(sent(&["cloudctl", "task", "ubuntu"]), serde_json::json!({"image": "ubuntu"}));
    }

    #[test]
    fn a_container_can_be_confined() {
        let request = sent(&["cloudctl", "task", "a", "--profile", "strict", "--network", "none"]);
        assert_eq!(request, serde_json::json!({"image": "a", "profile": "strict", "network": "none"}));
    }

    #[test]
    fn everything_that_was_given_is_sent() {
        let request = sent(&[
            "cloudctl",
            "dispatch",
            "worker-1",
            "ubuntu",
            "-name",
            "n",
            "-cpu_cores",
            "500m",
            "-mem",
            "8.0",
            "--env",
            "A=x=y",
            "--env",
            "B=",
            "--label",
            "k=v",
            "--count",
            "3",
            "--",
            "sh",
            "-c",
            "echo -mem",
        ]);
        let expected = serde_json::json!({
            "image": "ubuntu", "worker_id": "worker-1", "name": "n", "cpu_cores": "500m", "mem": "8.0",
            "env": {"A": "x=y", "B": ""}, "labels": {"k": "v"}, "count": 3, "command": ["sh", "-c", "echo -mem"],
        });
        assert_eq!(request, expected);
    }

    #[test]
    fn time_and_retries_are_sent_as_they_were_given() {
        let line = "cloudctl task a --time-limit 90m --queue-time-limit 600 --stop-grace 5s --retries 3 --retry-on \
                    oom,exit:137 --retry-on signal --backoff 10s..5m --mem-max 8GiB";
        let expected = serde_json::json!({
            "image": "a", "time_limit": "1h30m", "queue_time_limit": "10m", "stop_grace": "5s", "retries": 3,
            "retry_on": ["oom", "exit:137", "signal"], "backoff": "10s..5m", "mem_max": "8GiB",
        });
        assert_eq!(sent(&line.split_whitespace().collect::<Vec<_>>()), expected);
        let request = sent(&["cloudctl", "task", "a", "--at-most-once", "--blocking-log", "--pull", "always"]);
        let expected = serde_json::json!({"image": "a", "at_most_once": true, "blocking_log": true, "pull": "always"});
        assert_eq!(request, expected);
    }

    #[test]
    fn a_line_is_for_the_shell() {
        let request = sent(&["cloudctl", "task", "a", "--command", "echo hi"]);
        assert_eq!(request["command"], "echo hi");
    }

    #[test]
    fn flags_win_over_the_task_of_a_file_and_add_to_its_labels() {
        let argv = ["cloudctl", "task", "-f", "x", "--mem", "2", "--array", "0-3", "--label", "b=2", "--env", "A=9"];
        let cli = parse(argv.map(OsString::from)).expect("parses");
        let Verb::Task(args) = &cli.verb else { panic!("another verb") };
        let file = serde_json::json!({
            "image": "i", "name": "n", "mem": 1, "count": 7, "labels": {"a": "1", "b": "1"}, "env": {"A": "1"},
        });
        let mut request: SubmitRequest = serde_json::from_value(file).expect("a task");
        Overrides::read(&args.options, None).expect("read").apply(&mut request);
        let expected = serde_json::json!({
            "image": "i", "name": "n", "mem": "2", "array": "0-3", "labels": {"a": "1", "b": "2"}, "env": {"A": "9"},
        });
        assert_eq!(serde_json::to_value(request).expect("json"), expected);
    }

    #[test]
    fn what_flags_ask_of_a_label_stands_for_all_that_the_file_asks_of_it() {
        let line = "cloudctl task a --worker-label disk=ssd --worker-label gpu --worker-label zone!=b";
        let asked = serde_json::json!({"image": "a", "worker_labels": ["disk=ssd", "gpu", "zone!=b"]});
        assert_eq!(sent(&line.split_whitespace().collect::<Vec<_>>()), asked);
        let argv = ["cloudctl", "task", "-f", "x", "--worker-label", "zone=c", "--worker-label", "arch"];
        let cli = parse(argv.map(OsString::from)).expect("parses");
        let Verb::Task(args) = &cli.verb else { panic!("another verb") };
        let file = serde_json::json!({"image": "i", "worker_labels": ["zone!=a", "disk=ssd", "zone!=b"]});
        let mut request: SubmitRequest = serde_json::from_value(file).expect("a task");
        Overrides::read(&args.options, None).expect("read").apply(&mut request);
        let expected = serde_json::json!({"image": "i", "worker_labels": ["disk=ssd", "zone=c", "arch"]});
        assert_eq!(serde_json::to_value(request).expect("json"), expected);
    }

    #[test]
    fn variables_are_read_as_docker_reads_them() {
        let text = "# a comment\nA=1\n\n  B=x y=z \nHOME\nGONE\nEMPTY=\n";
        let env = parse_env(text, Path::new("f"), |name| (name == "HOME").then(|| "/h".to_owned())).expect("variables");
        let pairs: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["A=1", "B=x y=z ", "EMPTY=", "HOME=/h"]);
        for (bad, line) in [("A=1\n=2", "line 2"), ("two words=1", "line 1")] {
            let error = parse_env(bad, Path::new("f.env"), |_| None).expect_err(bad);
            assert!(error.to_string().contains("f.env") && error.to_string().contains(line), "{error}");
        }
    }
}
