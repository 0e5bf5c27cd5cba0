//! What `task` and `dispatch` do: submit, and with `--wait` see it through to its end.

use shared::submit::{CommandInput, SubmitRequest};
use shared::view::SubmitView;
use ulid::Ulid;

use super::{Session, wait};
use crate::args::{OutputFormat, SubmitArgs};
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Submits, and waits if that is wanted.
pub(super) async fn run(
    image: &str,
    worker: Option<&str>,
    args: &SubmitArgs,
    session: &Session<'_>,
) -> Result<Done, CtlError> {
    let submitted = submit(&request(image, worker, args), args, session).await?;
    for warning in &submitted.warnings {
        session.terminal.warn(warning);
    }
    if args.wait {
        return wait_for(submitted, session).await;
    }
    session.terminal.remark(format!("follow its log with `cloudctl monitor {}`", submitted.task_id));
    Ok(View::Submitted(submitted).into())
}

/// Asks again with the same key until it is known that there is one task, and one only.
async fn submit(request: &SubmitRequest, args: &SubmitArgs, session: &Session<'_>) -> Result<SubmitView, CtlError> {
    let key = args.idempotency_key.clone().unwrap_or_else(|| Ulid::generate().to_string().to_ascii_lowercase());
    let notice = |error: &CtlError| session.terminal.warn(format!("{error}; trying again"));
    let result = with_retries(notice, || session.client.submit(request, &key)).await;
    if let Err(error) = &result
        && error.is_transient()
    {
        session.terminal.note(format!(
            "it is not known whether the task was accepted; the same call with `--idempotency-key {key}` never makes two"
        ));
    }
    result
}

/// In table mode stdout is the log's; in the others it is for the result, and the log goes to stderr.
async fn wait_for(submitted: SubmitView, session: &Session<'_>) -> Result<Done, CtlError> {
    let id = submitted.task_id.clone();
    match session.terminal.format {
        OutputFormat::Table => session.terminal.note(format!("✓ Task {id} submitted successfully")),
        OutputFormat::Json => {}
        // Now, and not at the end, so that a script can already use it.
        OutputFormat::Quiet => session.terminal.print(&View::Submitted(submitted.clone()))?,
    }
    let exit = wait::run(&submitted, session).await?;
    if session.terminal.format != OutputFormat::Json {
        return Ok(Done { view: None, exit });
    }
    let id = id.parse().map_err(|error| wait::bad_id(session, &error))?;
    let task = with_retries(|_| (), || session.client.task(id)).await?;
    Ok(Done { view: Some(View::Task(Box::new(task))), exit })
}

fn request(image: &str, worker: Option<&str>, args: &SubmitArgs) -> SubmitRequest {
    let command = match &args.command {
        Some(line) => Some(CommandInput::Shell(line.clone())),
        None if args.argv.is_empty() => None,
        None => Some(CommandInput::Argv(args.argv.clone())),
    };
    SubmitRequest {
        image: image.to_owned(),
        command,
        name: args.name.clone(),
        cpu_cores: args.cpu_cores.clone(),
        mem: args.mem.clone(),
        storage: args.storage.clone(),
        gpu_cores: args.gpu_cores.clone(),
        env: args.env.iter().cloned().collect(),
        labels: args.label.iter().cloned().collect(),
        count: args.count,
        array: args.array.clone(),
        worker_id: worker.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Verb, normalise};

    fn parse(argv: &[&str]) -> serde_json::Value {
        let cli = Cli::try_parse_from(normalise(argv.iter().map(Into::into))).expect("parses");
        let request = match cli.verb {
            Verb::Task(args) => request(&args.image, None, &args.options),
            Verb::Dispatch(args) => request(&args.image, Some(&args.worker), &args.options),
            _ => panic!("another verb"),
        };
        serde_json::to_value(request).expect("json")
    }

    #[test]
    fn only_what_was_given_is_sent() {
        assert_eq!(parse(&["cloudctl", "task", "ubuntu"]), serde_json::json!({"image": "ubuntu"}));
    }

    #[test]
    fn everything_that_was_given_is_sent() {
        let request = parse(&[
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
    fn a_line_is_for_the_shell() {
        let request = parse(&["cloudctl", "task", "a", "--command", "echo hi"]);
        assert_eq!(request["command"], "echo hi");
    }
}
