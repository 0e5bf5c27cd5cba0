//! After a restart: what the journal says, joined with the containers that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use shared::id::{AttemptKey, Fence};
use shared::link::RunLimits;
use shared::task::Verdict;

use super::effect::AgentEffect;
use super::input::{ContainerState, FoundContainer};
use super::journal::{Exited, JournalEntry, JournalRecord, Starting, StopOrder, StopReason};
use super::out::Out;
use super::run::{Harvest, Run, Stage, Stop};
use super::verdict;

/// Takes up every run again. What runs, or ran, is watched at once; what never started waits for the master, who may
/// have given it to another worker meanwhile.
pub(super) fn recover(
    runs: &mut BTreeMap<AttemptKey, Run>,
    journal: Vec<JournalEntry>,
    found: Option<Vec<FoundContainer>>,
    out: &mut Out<'_>,
) {
    let Some(found) = found else {
        runs.extend(journal.into_iter().map(|entry| (entry.key, take_up_unseen(entry, out))));
        return;
    };
    let mut found: BTreeMap<_, _> = found.into_iter().map(|container| (container.key, container)).collect();
    for entry in journal {
        let container = found.remove(&entry.key);
        runs.insert(entry.key, take_up(&entry, container, out));
    }
    for (key, container) in found {
        runs.insert(key, adopt(container, out));
    }
}

/// The engine answers for the first time: what may have begun is taken up as at a start, and so is what no journal speaks
/// of.
pub(super) fn survey(
    runs: &mut BTreeMap<AttemptKey, Run>,
    gone: &BTreeSet<Fence>,
    found: Vec<FoundContainer>,
    out: &mut Out<'_>,
) {
    let mut found: BTreeMap<_, _> = found.into_iter().map(|container| (container.key, container)).collect();
    for (key, run) in runs.iter_mut() {
        let container = found.remove(key);
        let Stage::Unseen(entry) = &run.stage else { continue };
        let is_running = container.is_some_and(|container| container.state == ContainerState::Running);
        let is_discarded = run.is_discarded();
        if is_discarded && !is_running {
            run.forget(out);
            continue;
        }
        // It may have been ordered to stop meanwhile; what was over by then did not end because the worker leaves.
        let has_ended = container.is_some_and(|container| container.state == ContainerState::Exited);
        let counts = |order: &&StopOrder| !(has_ended && order.reason == StopReason::HandedBack);
        let since = || run.stop.as_ref().and_then(Stop::order).filter(counts);
        let stop = entry.stop.as_ref().or_else(since).cloned();
        *run = take_up(&JournalEntry { stop, ..JournalEntry::clone(entry) }, container, out);
        if is_discarded {
            run.give_up(out);
        }
    }
    for (key, container) in found {
        if !gone.contains(&key.fence) {
            runs.insert(key, adopt(container, out));
        }
    }
}

/// What the journal alone can say. A run that has certainly not begun goes on like a new one; of another nobody knows
/// whether it runs.
fn take_up_unseen(entry: JournalEntry, out: &mut Out<'_>) -> Run {
    let has_ended = entry.exited.is_some() || entry.outcome.is_some();
    if has_ended || (entry.assignment.is_some() && entry.starting.is_none()) {
        return take_up(&entry, None, out);
    }
    let mut run = Run::new(entry.key, entry.assignment.as_deref().map(RunLimits::of), Stage::WaitsToStart);
    run.started_at = entry.starting.map(|starting| starting.at);
    run.stop = entry.stop.clone().map(Stop::Order);
    run.stage = Stage::Unseen(Box::new(entry));
    run
}

/// Takes up a container that no journal speaks of.
pub(super) fn adopt(container: FoundContainer, out: &mut Out<'_>) -> Run {
    out.journal(JournalRecord::Adopted(container.key));
    take_up(&JournalEntry::new(container.key), Some(container), out)
}

fn take_up(entry: &JournalEntry, container: Option<FoundContainer>, out: &mut Out<'_>) -> Run {
    let of_container = || container.and_then(|container| container.limits);
    let limits = entry.assignment.as_deref().map(RunLimits::of).or_else(of_container);
    let state = container.map(|container| container.state);
    let mut run = Run::new(entry.key, limits, Stage::WaitsToStart);
    run.started_at = entry.starting.map(|starting| starting.at);
    run.is_adopted = entry.assignment.is_none();
    run.was_started_again = entry.was_started_again;
    run.stop = entry.stop.clone().map(Stop::Order);
    if let Some(outcome) = &entry.outcome {
        run.stage = Stage::Reporting(outcome.clone());
        return run;
    }
    if let Some(exited) = &entry.exited {
        run.harvest_again(exited, out);
        return run;
    }
    match (state, run.stop.is_some()) {
        (Some(ContainerState::Running), _) => {
            run.limit_again(entry.starting, out);
            run.attach(out);
        }
        (Some(ContainerState::Exited), _) => {
            run.has_ended = true;
            run.attach(out);
        }
        (None, false) => match (&entry.assignment, entry.starting) {
            (Some(assignment), None) => run.stage = Stage::WaitsToPrepare(Arc::clone(assignment)),
            (Some(_), Some(_)) | (None, _) => run.harvest_gone(verdict::container_gone(), out),
        },
        (None | Some(ContainerState::Created), true) => match (entry.starting, &entry.stop) {
            (None, Some(order)) => run.finish_unstarted(verdict::unstarted(&order.reason), out),
            (_, _) if state.is_none() => run.harvest_gone(verdict::stopped(run.stop.as_ref()), out),
            (_, _) => run.finish_unstarted(verdict::stopped(run.stop.as_ref()), out),
        },
        // An engine that was killed right after the start knows nothing of it, so it may have run.
        (Some(ContainerState::Created), false) if run.at_most_once && entry.starting.is_some() => {
            run.finish_unstarted(verdict::container_gone(), out);
        }
        (Some(ContainerState::Created), false) => {}
    }
    run
}

impl Run {
    /// Brings to the master what a container has left whose end is known.
    fn harvest_again(&mut self, exited: &Exited, out: &mut Out<'_>) {
        let Exited { verdict, started_at, finished_at, usage, notes } = exited.clone();
        self.started_at = started_at;
        // What was kept of its log may end with its first life.
        self.reads_log_again = self.was_started_again;
        self.stage = Stage::Harvesting(Harvest {
            verdict,
            exit_code: None,
            finished_at,
            usage,
            notes,
            logs: None,
            outputs: None,
        });
        out.emit(AgentEffect::CollectLogs(self.key));
        out.emit(AgentEffect::UploadOutputs(self.key));
    }

    /// The same where nobody knows more than that it was started: what it has stored is still there.
    fn harvest_gone(&mut self, verdict: Verdict, out: &mut Out<'_>) {
        let (finished_at, notes) = (out.now.wall, self.notes(None));
        let exited = Exited { verdict, started_at: self.started_at, finished_at, usage: None, notes };
        out.journal(JournalRecord::Exited { key: self.key, exited: exited.clone() });
        self.harvest_again(&exited, out);
    }

    /// Its time limit goes on: by the clock of the host, which has not booted since, or the container would not run, unless
    /// somebody has started it again by hand. Where that is seen, or the journal does not say, by the wall clock.
    pub(super) fn limit_again(&mut self, starting: Option<Starting>, out: &Out<'_>) {
        let ran = match starting {
            Some(Starting { boot: Some(boot), .. }) if boot <= out.now.boot => out.now.boot.since(boot),
            Some(Starting { at, .. }) => out.now.wall.since(at),
            None => Duration::ZERO,
        };
        let left = |limit: Duration| limit.saturating_sub(ran);
        self.deadline = self.time_limit.map(|limit| out.now.boot + left(limit));
    }

    /// Watches a container that an earlier life has started.
    fn attach(&mut self, out: &mut Out<'_>) {
        self.watch(out);
        self.terminate_if_ordered(out);
    }
}
