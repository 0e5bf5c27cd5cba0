//! A worker reports on its runs.

use std::time::Duration;

use shared::error::ErrorCode;
use shared::id::{AttemptKey, SessionId, WorkerId};
use shared::link::{AttemptChange, Report, ToWorker};
use shared::pull::PullPolicy;
use shared::time::Now;

use super::{audit, ring};
use crate::audit::{AuditNote, Outcome};
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::{Event, RefusedReport};
use crate::record::Change;
use crate::task::{RunPhase, Task};

/// Every report is acknowledged, refused ones too: a worker that repeats them for ever helps nobody. But none is
/// acknowledged while an earlier one is missing. The acknowledgement is sent after the commit, like every effect.
pub(crate) fn on_reported(
    cluster: &mut Cluster,
    now: Now,
    worker: &WorkerId,
    session: SessionId,
    reports: Vec<Report>,
    effects: &mut Vec<Effect>,
) {
    let Some(known) = cluster.workers.get_mut(worker).filter(|known| known.session() == Some(session)) else { return };
    // Those of tasks that another store knows are not acknowledged, so they come again when it is there.
    let is_ours = |report: &Report| !cluster.settings.keep_unknown || cluster.tasks.contains_key(&report.key.task);
    let reports: Vec<Report> = reports.into_iter().filter(is_ours).collect();
    reports.iter().for_each(|report| known.reported.take(report.sequence));
    let through = known.reported.through();
    for report in reports {
        match check(cluster, worker, report.key) {
            Ok(()) => apply(cluster, now, report.key, report.change, effects),
            Err(reason) => {
                effects.push(Effect::Publish(Event::ReportRefused { worker: worker.clone(), key: report.key, reason }));
                if let Some(note) = note(worker, report.key, reason) {
                    audit::on_note(cluster, now.wall, note, &[], effects);
                }
            }
        }
    }
    effects.extend(through.map(|through| Effect::Send(session, ToWorker::Ack { through })));
}

/// What is noted of a refusal. That a report comes twice is nothing.
fn note(worker: &WorkerId, key: AttemptKey, reason: RefusedReport) -> Option<AuditNote> {
    let code = match reason {
        RefusedReport::Repeated => return None,
        RefusedReport::ForeignWorker => ErrorCode::PermissionDenied,
        RefusedReport::Superseded => ErrorCode::Conflict,
        RefusedReport::Unknown => ErrorCode::NotFound,
    };
    Some(AuditNote {
        user: None,
        via: format!("worker:{worker}"),
        address: None,
        request_id: String::new(),
        action: "report".to_owned(),
        object: key.to_string(),
        outcome: Some(Outcome::Refused(code)),
    })
}

/// Whether `key` is the present run of its element, and this worker's.
pub(crate) fn check(cluster: &Cluster, worker: &WorkerId, key: AttemptKey) -> Result<(), RefusedReport> {
    let Some(task) = cluster.tasks.get(&key.task) else { return Err(RefusedReport::Repeated) };
    if !task.record.has(key.index) {
        return Err(RefusedReport::Unknown);
    }
    let Some(run) = task.live.get(&key.index) else {
        let waits_again = task.progress.requeued.iter().any(|waiting| waiting.index == key.index);
        let untouched = task.progress.untouched.contains(key.index);
        return Err(match (waits_again, untouched) {
            (true, _) => RefusedReport::Superseded,
            (_, true) => RefusedReport::Unknown,
            (false, false) => RefusedReport::Repeated,
        });
    };
    if run.fence != key.fence || run.attempt != key.attempt {
        return Err(if key.fence < run.fence { RefusedReport::Superseded } else { RefusedReport::Unknown });
    }
    if run.worker != *worker {
        return Err(RefusedReport::ForeignWorker);
    }
    Ok(())
}

fn apply(cluster: &mut Cluster, now: Now, key: AttemptKey, change: AttemptChange, effects: &mut Vec<Effect>) {
    match change {
        AttemptChange::Preparing => {}
        AttemptChange::Started { at, container: _, image } => {
            let Some(task) = cluster.tasks.get_mut(&key.task) else { return };
            let Some(run) = task.live.get_mut(&key.index) else { return };
            match run.phase {
                // A repetition after a reconnect.
                RunPhase::Running { .. } => return,
                RunPhase::Pending => run.phase = RunPhase::Running { started_at: at },
            }
            let worker = run.worker.clone();
            task.progress.started_at.get_or_insert(at);
            pin(task, image);
            if let Some(run) = task.live.get(&key.index) {
                effects.push(Effect::Save(Change::Attempt(task.attempt_record(key.index, run))));
            }
            effects.push(Effect::Publish(Event::AttemptStarted { task: task.shown(key.index), key, worker }));
            cluster.dirty.insert(key.task);
            ring::limit_run(cluster, now.boot, key, Duration::ZERO);
        }
        AttemptChange::Finished(outcome) => {
            if let (Some(task), Some(at)) = (cluster.tasks.get_mut(&key.task), outcome.started_at) {
                task.progress.started_at.get_or_insert(at);
                match task.live.get_mut(&key.index).map(|run| &mut run.phase) {
                    Some(phase @ RunPhase::Pending) => *phase = RunPhase::Running { started_at: at },
                    // What was shown once is not changed by a more exact clock.
                    Some(RunPhase::Running { .. }) | None => {}
                }
            }
            let verdict = outcome.verdict.clone();
            cluster.end_run(now, key, verdict, Some(outcome), effects);
        }
    }
}

/// What the first run has had, all others of the task have too: a tag may name something else by then. Where each run is to have
/// what its worker has, they do.
fn pin(task: &mut Task, image: Option<String>) {
    let pinned = &mut task.progress.image;
    if task.record.spec.pull != PullPolicy::Never && pinned.is_none() {
        *pinned = image.filter(|image| image.contains("@sha256:"));
    }
}
