//! Effects as short lines of text, so that a test can compare the whole list.

use shared::id::{AttemptKey, ElementId, TaskId};
use shared::link::{Decision, ToWorker};

use crate::effect::{Answer, Effect};
use crate::files::Leftover;
use crate::record::Change;

/// One line per effect. Tasks are numbers, sessions are `s<n>`, attempts `task.index#attempt`. Events are left out:
/// nothing hangs on them.
#[must_use]
pub fn brief(effects: &[Effect]) -> Vec<String> {
    effects.iter().filter_map(line).collect()
}

fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Save(change) => format!("save {}", save(change)),
        Effect::Send(session, message) => format!("s{} {}", session.0, send(message)),
        Effect::Close(session, reject) => format!("close s{}: {reject:?}", session.0),
        Effect::Reply(_, Ok(Answer::Submitted(view))) => {
            let words: String = view.warnings.iter().map(|warning| format!(" ({warning})")).collect();
            let again = if view.replayed { " again" } else { "" };
            format!("reply submitted{again}{words}")
        }
        Effect::Reply(_, Ok(Answer::Cancelled(view))) => {
            format!("reply {}{}", view.state, if view.cancelling { ", cancelling" } else { "" })
        }
        Effect::Reply(_, Ok(Answer::Inquired(inquired))) => {
            format!("reply asked {}, absent {}", inquired.asked.len(), inquired.absent.len())
        }
        Effect::Reply(_, Ok(Answer::Joined(identity))) => format!("reply joined as {}", identity.id.0),
        Effect::Reply(_, Ok(Answer::Admitted(address))) => format!("reply admitted at {address}"),
        Effect::Reply(_, Ok(Answer::Waits)) => "reply waits".to_owned(),
        Effect::Reply(_, Ok(Answer::Done)) => "reply done".to_owned(),
        Effect::Reply(_, Err(reject)) => format!("refuse {reject:?}"),
        Effect::Publish(_) => return None,
    })
}

fn save(change: &Change) -> String {
    match change {
        Change::Cluster(cluster) => format!("epoch {}", cluster.epoch.0),
        Change::NewTask(record) => format!("task {} x{}", task(record.id), record.count()),
        Change::Progress(id, progress) => {
            let over = if progress.finished_at.is_some() { ", over" } else { "" };
            format!("progress {} {}{over}", task(*id), progress.state())
        }
        Change::Attempt(attempt) => {
            let verdict = attempt.verdict.as_ref().map(|verdict| format!(" {verdict}")).unwrap_or_default();
            format!("attempt {} on {} {:?}{verdict}", key(attempt.key), attempt.worker, attempt.state)
        }
        Change::Result(result) => format!("result {} {}", element(result.element), result.verdict),
        Change::Worker(id, Some(_)) => format!("worker {id}"),
        Change::Worker(id, None) => format!("worker {id} is no more"),
        Change::JoinToken(id, record) => {
            format!(
                "join token {id}: {}",
                record.as_ref().map_or_else(|| "gone".to_owned(), |token| token.uses_left.to_string())
            )
        }
        Change::Registry(name, record) => {
            format!("registry {name}{}", if record.is_some() { "" } else { " is no more" })
        }
        Change::Pending(id, Some(_)) => format!("worker {id} waits"),
        Change::Pending(id, None) => format!("worker {id} waits no longer"),
        Change::Token(id, Some(_)) => format!("token {id}"),
        Change::Spec(id, spec) => format!("spec {} {:?}", task(*id), spec.name),
        Change::Gone(id) => format!("gone {}", task(*id)),
        Change::Left(leftover) => format!("left {leftover}"),
        Change::Swept(Leftover::Task(id)) => format!("swept {}", task(*id)),
        Change::Swept(leftover) => format!("swept {leftover}"),
        Change::FilesGone(files) => format!("files gone x{}", files.len()),
        Change::RunFilesGone(of, _) => format!("files gone {}", key(*of)),
        Change::FilesAdded(of, files) => format!("files {} +{}", key(*of), files.len()),
        Change::Upload(of, upload) => {
            format!(
                "upload {} {}",
                key(*of),
                upload.as_ref().map_or_else(|| "ended".into(), |upload| upload.size.files.to_string())
            )
        }
        Change::Input(input) => format!("input {} of {}, {} missing", input.id.0.0, input.user, input.missing),
        Change::InputFiles(id, files) => format!("input files {} x{}", id.0.0, files.len()),
        Change::InputGone(id) => format!("input gone {}", id.0.0),
        Change::Totals(totals) => format!("totals {totals:?}"),
        Change::FileUsage(user, usage) => format!("{user} keeps {} in {}", usage.bytes, usage.files),
        Change::Audit(entry) => format!("audit {} {}: {}", entry.action, entry.object, entry.outcome),
        Change::Login(id, Some(login)) => format!("login {id} {}", login.serial),
        Change::Login(id, None) => format!("no login {id}"),
        Change::Guess(key, count) => format!("guesses {} {}", key.name, count.map_or(0, |count| count.failures)),
        Change::Token(id, None) => format!("no token {id}"),
        Change::User(user) => format!("user {}", user.name),
        Change::Files(of, files) => format!("files {} x{}", key(*of), files.len()),
    }
}

fn send(message: &ToWorker) -> String {
    let keys = |keys: &mut dyn Iterator<Item = AttemptKey>| keys.map(key).collect::<Vec<_>>().join(" ");
    match message {
        ToWorker::Welcome(welcome) => {
            format!("welcome{}", decided(&welcome.decisions))
        }
        ToWorker::Inquire { .. } => "inquire".to_owned(),
        ToWorker::Decide(decisions) => format!("decide{}", decided(decisions)),
        ToWorker::Assign(orders) => format!("assign {}", keys(&mut orders.iter().map(|order| order.key))),
        ToWorker::Cancel(orders) => format!("cancel {}", keys(&mut orders.iter().map(|order| order.key))),
        ToWorker::Ack { through } => format!("ack {through}"),
        ToWorker::Heard { number } => format!("heard {number}"),
        ToWorker::Goodbye { reason } => format!("goodbye {reason}"),
    }
}

fn decided(decisions: &[(AttemptKey, Decision)]) -> String {
    decisions.iter().map(|(of, decision)| format!(" {decision:?} {}", key(*of))).collect()
}

fn task(id: TaskId) -> u128 {
    id.0.0
}

fn element(id: ElementId) -> String {
    format!("{}.{}", task(id.task), id.index)
}

fn key(key: AttemptKey) -> String {
    format!("{}#{}", element(key.element()), key.attempt)
}
