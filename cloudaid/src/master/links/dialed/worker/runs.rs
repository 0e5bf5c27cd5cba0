//! The runs of a worker, compared with what it names.

use std::collections::BTreeSet;
use std::sync::Arc;

use shared::id::AttemptKey;
use shared::link::Assignment;
use shared::proto::seed::RunningTask;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError};

use super::Worker;
use crate::master::links::dialed::progress::Progress;
use crate::master::links::dialed::run::{self, Event, Run};
use crate::master::links::dialed::wire_id;

/// What a run is still to be told.
const WAITING_EVENTS: usize = 16;
/// A run that so many heartbeats in a row do not name is lost.
const MISSING_LIMIT: u32 = 3;
/// Runs that it is told to stop after one heartbeat; the next ones bring the others.
const TOLD_AT_ONCE: usize = 64;

/// A run that it holds.
pub(super) struct HeldRun {
    name: String,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) progress: Arc<Progress>,
    task: AbortHandle,
    is_seen: bool,
    missing: u32,
}

impl HeldRun {
    /// The worker has named its runs.
    fn is_named(&mut self, named: &BTreeSet<&str>) {
        if named.contains(self.name.as_str()) {
            self.missing = 0;
            if !self.is_seen {
                // If there is no room now there is with the next heartbeat.
                self.is_seen = self.events.try_send(Event::Seen).is_ok();
            }
        } else if self.progress.is_to_be_named() {
            self.missing += 1;
            if self.missing >= MISSING_LIMIT {
                let _ = self.events.try_send(Event::Lost);
            }
        } else {
            self.missing = 0;
        }
    }
}

impl Worker {
    /// Gives it runs, but for those that it has.
    pub(super) fn assign(&mut self, assignments: Vec<Assignment>) {
        for assignment in assignments {
            if !self.runs.contains_key(&assignment.key) {
                self.begin(assignment.key, Some(assignment));
            }
        }
    }

    /// A run that it holds, be it since before this master started.
    pub(super) fn ensure_run(&mut self, key: AttemptKey) -> &HeldRun {
        if !self.runs.contains_key(&key) {
            self.begin(key, None);
        }
        &self.runs[&key]
    }

    /// Sees to a run from now on.
    fn begin(&mut self, key: AttemptKey, assignment: Option<Assignment>) {
        let (events, receiver) = mpsc::channel(WAITING_EVENTS);
        let (name, progress) = (self.name_of(key), Arc::<Progress>::default());
        let run = Run {
            inner: Arc::clone(&self.inner),
            worker: self.id.clone(),
            line: self.line.clone(),
            key,
            name: name.clone(),
            progress: Arc::clone(&progress),
            reports: Arc::clone(&self.reports),
            events: receiver,
            events_sender: events.clone(),
            is_silent: self.is_silent.clone(),
            started_at: None,
        };
        let task = self.tasks.spawn(run.run(assignment));
        self.runs.insert(key, HeldRun { name, events, progress, task, is_seen: false, missing: 0 });
    }

    /// What the worker calls a run.
    pub(super) fn name_of(&self, key: AttemptKey) -> String {
        let live = self.inner.cluster.live().find(key.element()).filter(|live| live.key == key);
        let shown = live.map_or_else(|| key.element().into(), |live| live.shown);
        self.runs.get(&key).map_or_else(|| wire_id::name(shown, key.attempt), |run| run.name.clone())
    }

    /// Tells a run something, if it is there.
    pub(super) fn tell(&self, key: AttemptKey, event: Event) {
        if let Some(run) = self.runs.get(&key)
            && run.events.try_send(event).is_err()
        {
            tracing::warn!("{} has too much to do to be told more", run.name);
        }
    }

    /// A run is somebody else's business.
    pub(super) fn forget(&mut self, key: AttemptKey) {
        if let Some(run) = self.runs.remove(&key) {
            run.task.abort();
        }
    }

    /// Forgets what the core has given up while there was no session.
    pub(super) fn forget_ended(&mut self) {
        let live = self.inner.cluster.live();
        let ended: Vec<_> = self.runs.keys().filter(|key| !live.contains(**key)).copied().collect();
        ended.into_iter().for_each(|key| self.forget(key));
    }

    /// The task of a run has ended.
    pub(super) fn on_ended(&mut self, ended: Result<AttemptKey, JoinError>) {
        match ended {
            Ok(key) => drop(self.runs.remove(&key)),
            Err(error) if error.is_cancelled() => {}
            Err(error) => {
                tracing::error!("A run at worker {} is not seen to any more: {error}", self.id);
                self.runs.retain(|_, run| !run.task.is_finished());
            }
        }
    }

    /// Compares what the worker names with what it should hold.
    pub(super) fn reconcile(&mut self, running: &[RunningTask]) {
        self.named = u32::try_from(running.len()).unwrap_or(u32::MAX);
        // Before the core has answered it is not known what it should hold.
        if !self.session.as_ref().is_some_and(|session| session.is_welcome) {
            return;
        }
        let named: BTreeSet<&str> = running.iter().map(|run| run.task_id.as_str()).collect();
        self.runs.values_mut().for_each(|run| run.is_named(&named));
        let known: BTreeSet<&str> = self.runs.values().map(|run| run.name.as_str()).collect();
        let unknown: BTreeSet<&str> = named.difference(&known).copied().collect();
        // Whom it does not name any more is forgotten, so this is never longer than a heartbeat.
        self.told.retain(|name| unknown.contains(name.as_str()));
        let news = unknown.into_iter().filter(|name| !self.told.contains(*name)).take(TOLD_AT_ONCE);
        for name in news.map(ToOwned::to_owned).collect::<Vec<_>>() {
            let shown: String = shared::text::printable(&name).chars().take(80).collect();
            tracing::warn!("Worker {} names {shown}, which is no live run of it: it is told to stop it", self.id);
            tokio::spawn(run::cancel(self.line.clone(), name.clone()));
            self.told.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_heartbeats_without_it_and_a_run_is_lost() {
        let (events, mut receiver) = mpsc::channel(WAITING_EVENTS);
        let task = tokio::spawn(async {}).abort_handle();
        let progress = Arc::<Progress>::default();
        let (name, held) = ("task-1".to_owned(), Arc::clone(&progress));
        let mut run = HeldRun { name, events, progress: held, task, is_seen: false, missing: 0 };
        let (with, without) = (BTreeSet::from(["task-1"]), BTreeSet::from(["task-10"]));
        for _ in 0..5 {
            run.is_named(&without);
        }
        assert!(receiver.try_recv().is_err(), "it was not given to the worker yet");
        progress.accept();
        run.is_named(&without);
        run.is_named(&without);
        run.is_named(&with);
        run.is_named(&with);
        assert!(matches!(receiver.try_recv(), Ok(Event::Seen)));
        assert!(receiver.try_recv().is_err(), "once");
        run.is_named(&without);
        run.is_named(&without);
        progress.begin();
        run.is_named(&without);
        progress.end();
        run.is_named(&without);
        run.is_named(&without);
        assert!(receiver.try_recv().is_err(), "its files were arriving in between");
        run.is_named(&without);
        assert!(matches!(receiver.try_recv(), Ok(Event::Lost)));
    }
}
