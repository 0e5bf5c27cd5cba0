//! A client hands in work.

use std::sync::Arc;
use std::time::Duration;

use shared::confinement::NetworkAccess;
use shared::id::{RequestId, TaskId, UserName, WorkerId};
use shared::task::TaskSpec;
use shared::time::Now;
use shared::view::{SubmitView, Tally};

use super::{input_files, ring};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::input::Submission;
use crate::queue::Shape;
use crate::record::{Change, IdempotencyKey, Progress, TaskRecord};
use crate::reject::Reject;
use crate::settings::Settings;
use crate::task::Task;

pub(crate) fn on_submit(
    cluster: &mut Cluster,
    now: Now,
    request: RequestId,
    submission: Submission,
    known: Option<&TaskRecord>,
    effects: &mut Vec<Effect>,
) {
    let answer = match check(cluster, &submission, known) {
        Ok(Some(earlier)) => Ok(Answer::Submitted(earlier)),
        Ok(None) => Ok(Answer::Submitted(accept(cluster, now, submission, effects))),
        Err(reject) => Err(reject),
    };
    effects.push(Effect::Reply(request, answer));
}

/// All that is asked of a submission, also of one that is only tried. What it answers is the earlier task where it is a
/// repetition, of which nothing more is asked; none: it is a new task, and may be accepted.
pub(crate) fn check(
    cluster: &Cluster,
    submission: &Submission,
    known: Option<&TaskRecord>,
) -> Result<Option<SubmitView>, Reject> {
    if let Some(earlier) = find_earlier(cluster, submission, known)? {
        return Ok(Some(earlier));
    }
    let Submission { user, spec, .. } = submission;
    check_worker(cluster, spec.worker.as_ref())?;
    check_network(&cluster.settings, user, spec)?;
    cluster.settings.images.check(&spec.image)?;
    input_files::check(cluster, user, spec.input)?;
    Ok(None)
}

/// The answer to a repetition, if this is one.
fn find_earlier(
    cluster: &Cluster,
    submission: &Submission,
    known: Option<&TaskRecord>,
) -> Result<Option<SubmitView>, Reject> {
    let Some(key) = &submission.key else { return Ok(None) };
    let live = cluster.keys.get(&(submission.user.clone(), Arc::clone(&key.key)));
    let live = live.and_then(|id| cluster.tasks.get(id));
    let Some(earlier) = live.map(|task| &*task.record).or(known) else { return Ok(None) };
    let same = |earlier: &IdempotencyKey| earlier.digest == key.digest;
    if !earlier.key.as_ref().is_some_and(same) {
        return Err(Reject::KeyReused);
    }
    // A task that is over is only in the store; the shell fills its state in.
    let state = live.map_or(shared::task::TaskState::Completed, |task| task.tally().summary());
    Ok(Some(SubmitView {
        task_id: earlier.id.to_string(),
        state,
        count: earlier.count(),
        array: earlier.array.as_ref().map(ToString::to_string),
        warnings: Vec::new(),
        replayed: true,
    }))
}

/// A task can be for a worker only that has registered once.
fn check_worker(cluster: &Cluster, wanted: Option<&WorkerId>) -> Result<(), Reject> {
    match wanted {
        Some(worker) if !cluster.workers.contains_key(worker) => {
            Err(Reject::WorkerNotFound { worker: worker.clone(), known: cluster.workers.keys().cloned().collect() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Who says what network it needs is not run without it.
fn check_network(settings: &Settings, user: &UserName, spec: &TaskSpec) -> Result<(), Reject> {
    let (wanted, given) = (spec.confinement.network, settings.confinement(user, spec.confinement).network);
    if wanted == NetworkAccess::Public && given != wanted { Err(Reject::NoStrictNetwork) } else { Ok(()) }
}

fn accept(cluster: &mut Cluster, now: Now, submission: Submission, effects: &mut Vec<Effect>) -> SubmitView {
    cluster.last_sequence += 1;
    let record = as_strict_as(
        &cluster.settings,
        Arc::new(TaskRecord {
            id: submission.id,
            sequence: cluster.last_sequence,
            user: submission.user,
            spec: submission.spec,
            array: submission.array,
            retry_of: submission.retry_of,
            key: submission.key,
            submitted_at: now.wall,
        }),
    );
    effects.push(Effect::Save(Change::NewTask(Arc::clone(&record))));
    effects.push(Effect::Publish(Event::TaskSubmitted {
        task: record.id,
        user: record.user.clone(),
        name: record.spec.name.clone(),
        count: record.count(),
    }));
    input_files::begin_reading(cluster, now.wall, &record, effects);
    let progress = Progress { tally: Tally::default(), ..Progress::untouched(record.indices()) };
    let id = record.id;
    let view = enqueue(cluster, record, progress);
    ring::limit_waiting(cluster, now.boot, id, Duration::ZERO);
    view
}

/// As strict as the cluster wants it, also where it wanted less when the task was submitted.
pub(crate) fn as_strict_as(settings: &Settings, record: Arc<TaskRecord>) -> Arc<TaskRecord> {
    let spec = kept(settings, &record.user, &record.spec);
    if Arc::ptr_eq(&spec, &record.spec) { record } else { Arc::new(TaskRecord { spec, ..(*record).clone() }) }
}

/// What a user's task is kept with that asks for `spec`.
pub(crate) fn kept(settings: &Settings, user: &UserName, spec: &Arc<TaskSpec>) -> Arc<TaskSpec> {
    let confinement = settings.confinement(user, spec.confinement);
    if confinement == spec.confinement {
        return Arc::clone(spec);
    }
    Arc::new(TaskSpec { confinement, ..(**spec).clone() })
}

fn enqueue(cluster: &mut Cluster, record: Arc<TaskRecord>, progress: Progress) -> SubmitView {
    let id: TaskId = record.id;
    let shape = cluster.queue.intern(Shape::of(&record));
    cluster.queue.insert(&shape, record.sequence, id);
    if let Some(key) = &record.key {
        cluster.keys.insert((record.user.clone(), Arc::clone(&key.key)), id);
    }
    cluster.dirty.insert(id);
    cluster.plan_stale = true;
    let view = SubmitView {
        task_id: id.to_string(),
        state: shared::task::TaskState::Queued,
        count: record.count(),
        array: record.array.as_ref().map(ToString::to_string),
        warnings: cluster.submit_warnings(&shape),
        replayed: false,
    };
    let task = Task { record, shape, progress, live: Default::default(), resting: Default::default() };
    cluster.tasks.insert(id, task);
    view
}
