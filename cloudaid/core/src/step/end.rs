//! Runs and elements end.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::id::{AttemptKey, WorkerId};
use shared::link::Outcome;
use shared::task::{TaskState, Verdict, VerdictKind};
use shared::time::Now;
use shared::worker::WorkerState;

use super::ring;
use crate::alarm::Alarm;
use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::event::Event;
use crate::failing::{End, LEFT_OUT};
use crate::notes;
use crate::recent::Recent;
use crate::record::{Change, Progress, Requeued, ResultRecord};
use crate::settings::Settings;
use crate::task::{Run, RunPhase, Task};
use crate::worker::Worker;

/// Why the worker of a run was told to stop it, as its task knows.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// A person wants it.
    cancelling: bool,
    /// The worker is drained.
    evicted: bool,
}

impl Told {
    /// Takes it from the task: it was about this run.
    fn take(task: &mut Task, index: u32) -> Self {
        task.progress.unreachable.remove(index);
        let cancelling = task.progress.cancelling.remove(index);
        let evicted = task.progress.evicting.remove(index);
        Self { cancelling, evicted: evicted && !cancelling }
    }

    /// What an end is recorded as that its worker, who knows less, calls `verdict`.
    fn judge(self, verdict: Verdict, task: &Task, run: &Run, outcome: Option<&Outcome>) -> Verdict {
        let began = matches!(run.phase, RunPhase::Running { .. })
            || outcome.is_some_and(|outcome| outcome.started_at.is_some());
        let time_limit = task.record.spec.policy.time_limit;
        let is_late = run.overdue || time_limit.zip(ran(outcome)).is_some_and(|(limit, ran)| ran >= limit.0);
        let is_told = self.cancelling || self.evicted || is_late;
        // A worker that has lost its journal does not know that it stopped it. What ended otherwise may have been over before.
        let (verdict, exit_code) = match stopped_with(&verdict, outcome).filter(|_| is_told) {
            Some(exit_code) => (Verdict::Cancelled, Some(exit_code)),
            None => (verdict, None),
        };
        match (verdict, time_limit) {
            // That is nobody's fault, and costs the element nothing.
            (Verdict::Cancelled, _) if self.evicted && began => {
                Verdict::WorkerLost { message: format!("{} was drained", run.worker) }
            }
            (Verdict::Cancelled, _) if self.evicted => {
                Verdict::Rejected { message: format!("{} was drained", run.worker) }
            }
            // Nobody else stops a run that no person wanted stopped; workers of the first generation do not say why.
            (Verdict::Cancelled, Some(limit)) if !self.cancelling => {
                Verdict::Timeout { limit_seconds: limit.whole_seconds(), exit_code }
            }
            (verdict, _) => verdict,
        }
    }
}

impl Cluster {
    /// A run is over: frees its worker and decides whether the element is over too. `outcome` is what its worker said.
    pub(crate) fn end_run(
        &mut self,
        now: Now,
        key: AttemptKey,
        verdict: Verdict,
        outcome: Option<Outcome>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(task) = self.tasks.get_mut(&key.task) else { return };
        let Some(run) = task.live.remove(&key.index) else { return };
        self.ledger.release(&run.worker, key.element());
        self.alarms.clear(&Alarm::TimeLimit(key));
        self.dirty.insert(key.task);
        self.plan_stale = true;
        if task.progress.unreachable.contains(key.index) {
            self.kept.remove(&task.shape_with(run.memory), key.element());
            self.alarms.clear(&Alarm::WaitedAgain(key.element()));
        }
        let told = Told::take(task, key.index);
        let verdict = told.judge(verdict, task, &run, outcome.as_ref());
        let in_good_order = told.evicted || outcome.as_ref().is_some_and(|outcome| outcome.handed_back);
        if verdict.is_infrastructure() && in_good_order {
            task.spare(key.index);
        }
        let failures = run.infrastructure_failures + u32::from(verdict.is_infrastructure());
        let spared = task.spared(key.index);
        let policy = &task.record.spec.policy;
        let pause = |verdict: &Verdict, failures| match told.cancelling {
            true => None,
            false => self.settings.pause_before_next(policy, verdict, run.attempt, (failures, spared)),
        };
        // Where the infrastructure has no run left to give, how it ended is still the best that is known.
        let host = self.workers.get(&run.worker);
        let blamed = host.and_then(|host| blame_gpus(&verdict, &run, host));
        let blamed = blamed.filter(|blamed| pause(blamed, failures + 1).is_some());
        let failures = failures + u32::from(blamed.is_some());
        let verdict = blamed.unwrap_or(verdict);
        let pause = pause(&verdict, failures);
        // What one worker ruins is not held against the work.
        let is_ruined = host.is_some_and(|host| host.failing.is_left_out);
        // With more memory it runs otherwise than those that are to come, and what a task says that it ends with now and then
        // is no trouble.
        let is_expected = !policy.retry_on.is_empty() || matches!(verdict, Verdict::Oom { .. });
        if !(is_ruined || pause.is_some() && is_expected) {
            task.remember_end(&verdict);
        }
        let mut record = task.ended_record(key.index, &run, verdict.clone(), now.wall);
        // Otherwise its result has them.
        if let (Some(outcome), Some(_)) = (&outcome, pause) {
            record.notes = notes::bounded(&outcome.output_notes);
        }
        effects.push(Effect::Save(Change::Attempt(record)));
        effects.push(Effect::Publish(Event::AttemptEnded {
            task: task.shown(key.index),
            key,
            worker: run.worker.clone(),
            verdict: verdict.clone(),
            again: pause.is_some(),
        }));
        let end = End {
            task: key.task,
            took: now.boot.since(run.placed),
            // Who sends tasks to one worker only may want it to look bad.
            says_nothing: told.cancelling
                || in_good_order
                || task.record.spec.worker.is_some()
                || verdict.kind() == VerdictKind::Cancelled,
            failed: verdict.state() == TaskState::Failed,
            lost: verdict.kind() == VerdictKind::WorkerLost,
        };
        let worker = run.worker.clone();
        if let Some(pause) = pause {
            let attempts = run.attempt;
            let memory = match verdict {
                Verdict::Oom { .. } => grown(&self.settings, &self.workers, task, run.memory),
                _ => run.memory,
            };
            task.requeue(Requeued { index: key.index, attempts, infrastructure_failures: failures, memory, pause });
            self.queue.insert(&task.shape_with(memory), task.record.sequence, key.task);
            ring::limit_requeued(self, now.boot, key.element(), pause);
        } else {
            // Who was lost while somebody wanted it cancelled is cancelled.
            let verdict = if told.cancelling && verdict.is_infrastructure() { Verdict::Cancelled } else { verdict };
            end_with_run(task, now, (key, run), verdict, outcome, effects);
        }
        self.look_at_worker(now, &worker, end, effects);
    }

    /// Whether the worker of a run that has ended should get no more for a while.
    fn look_at_worker(&mut self, now: Now, id: &WorkerId, end: End, effects: &mut Vec<Effect>) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        worker.failing.ended(now.boot, end);
        let others = self.workers.iter().filter(|(other, _)| *other != id).map(|(_, other)| &other.failing);
        if !self.workers.get(id).is_some_and(|worker| worker.failing.is_black_hole(others)) {
            return;
        }
        if let Some(worker) = self.workers.get_mut(id) {
            worker.failing.is_left_out = true;
            self.alarms.set(Alarm::Failing(id.clone()), now.boot + LEFT_OUT);
            for id in worker.failing.tasks() {
                if let Some(task) = self.tasks.get_mut(&id).filter(|task| !task.progress.recent.is_empty()) {
                    task.progress.recent = Recent::default();
                    self.dirty.insert(id);
                }
            }
            let reason = worker.failing.describe().unwrap_or_default();
            effects.push(Effect::Publish(Event::WorkerLeftOut { worker: id.clone(), reason }));
        }
    }
}

/// How long a run took, by the clock of its worker.
fn ran(outcome: Option<&Outcome>) -> Option<Duration> {
    let outcome = outcome?;
    Some(outcome.finished_at.since(outcome.started_at?))
}

/// What a run ended with that its worker may have stopped without knowing it; none: its worker knows how it ended.
fn stopped_with(verdict: &Verdict, outcome: Option<&Outcome>) -> Option<i32> {
    let is_unsure = matches!(verdict, Verdict::Signal { .. }) && outcome.is_some_and(|outcome| outcome.perhaps_stopped);
    verdict.exit_code().filter(|_| is_unsure)
}

/// A command that fails while something is wrong with a GPU that it has is not to blame.
fn blame_gpus(verdict: &Verdict, run: &Run, worker: &Worker) -> Option<Verdict> {
    if !matches!(verdict, Verdict::ExitCode { .. } | Verdict::Signal { .. } | Verdict::Setup { .. }) {
        return None;
    }
    let (uuid, problem) = run.gpus.iter().find_map(|lease| Some((&lease.uuid, worker.gpu_problem(&lease.uuid)?)))?;
    Some(Verdict::WorkerLost { message: format!("{verdict}, and something is wrong with its GPU {uuid}: {problem}") })
}

/// The memory for the run after one that had too little: twice as much, but no more than the task may have, and no more
/// than any worker has that could run it, for it would wait there for ever.
fn grown(settings: &Settings, workers: &BTreeMap<WorkerId, Worker>, task: &Task, memory: Option<u64>) -> Option<u64> {
    let most = task.record.spec.policy.memory_max_bytes?;
    let had = task.shape_with(memory);
    let could = |(id, worker): &(&WorkerId, &Worker)| had.could_ever_fit(id, worker, settings);
    let has = |(_, worker): (&WorkerId, &Worker)| worker.record.facts.capacity.memory_bytes;
    let in_use =
        |(_, worker): &(&WorkerId, &Worker)| worker.state() != WorkerState::Inactive && worker.record.cordon.is_none();
    // Where none that is in use could run it, it waits for one of the others.
    let largest = workers.iter().filter(in_use).filter(could).map(has).max();
    let largest = largest.or_else(|| workers.iter().filter(could).map(has).max());
    let had = had.resources.memory_bytes;
    let next = had.saturating_mul(2).min(most).min(largest.unwrap_or(most));
    if next > had { Some(next) } else { memory }
}

/// An element is over with its last run.
fn end_with_run(
    task: &mut Task,
    now: Now,
    (key, run): (AttemptKey, Run),
    verdict: Verdict,
    outcome: Option<Outcome>,
    effects: &mut Vec<Effect>,
) {
    task.progress.spared.retain(|spared| spared.index != key.index);
    let started_at = match run.phase {
        RunPhase::Pending => outcome.as_ref().and_then(|outcome| outcome.started_at),
        RunPhase::Running { started_at } => Some(started_at),
    };
    let result = ResultRecord {
        element: key.element(),
        verdict,
        attempt: run.attempt,
        worker: Some(run.worker),
        started_at,
        finished_at: now.wall,
        outcome,
    };
    end_element(task, result, effects);
}

/// An element is over while it waited.
pub(super) fn end_waiting(task: &mut Task, now: Now, waiting: Requeued, verdict: Verdict, effects: &mut Vec<Effect>) {
    let result = ResultRecord {
        element: task.element(waiting.index),
        verdict,
        attempt: waiting.attempts,
        worker: None,
        started_at: None,
        finished_at: now.wall,
        outcome: None,
    };
    end_element(task, result, effects);
}

/// An element is over, for ever.
fn end_element(task: &mut Task, result: ResultRecord, effects: &mut Vec<Effect>) {
    let Progress { untouched, ended, .. } = &mut task.progress;
    ended.entry(result.verdict.kind()).or_insert_with(|| untouched.emptied()).insert(result.element.index);
    effects.push(Effect::Publish(Event::ElementEnded {
        task: task.shown(result.element.index),
        verdict: result.verdict.clone(),
    }));
    effects.push(Effect::Save(Change::Result(result)));
}
