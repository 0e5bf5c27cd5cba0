//! One run at a worker of the first generation, from the assignment until its end is durable.

use std::sync::Arc;

use shared::id::{AttemptKey, WorkerId};
use shared::link::{Assignment, AttemptChange, Outcome};
use shared::proto::seed::TaskResult;
use shared::task::Verdict;
use shared::time::WallTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::line::{CallError, Line};
use super::progress::Progress;
use super::reports::Reports;
use super::{Inner, finish, follow, order};
use crate::clock;
use crate::pause::Pauses;

/// How often a worker is asked to take a run, or to stop it.
const TRIES: u32 = 5;

/// What happens to a run.
#[derive(Debug)]
pub(super) enum Event {
    /// Its worker has named it, or its log has begun.
    Seen,
    /// Its worker does not name it any more.
    Lost,
    /// Somebody wants it stopped.
    Cancel,
    /// Its worker says how it ended, and waits until that is durable.
    Completed(TaskResult, oneshot::Sender<()>),
}

/// A run.
pub(super) struct Run {
    pub(super) inner: Arc<Inner>,
    pub(super) worker: WorkerId,
    pub(super) line: Line,
    pub(super) key: AttemptKey,
    /// What the worker calls it.
    pub(super) name: String,
    pub(super) progress: Arc<Progress>,
    pub(super) reports: Arc<Reports>,
    pub(super) events: mpsc::Receiver<Event>,
    /// For the log of the run to say that it has begun.
    pub(super) events_sender: mpsc::Sender<Event>,
    /// To have the worker told of its master again.
    pub(super) is_silent: watch::Sender<bool>,
    /// When it was first seen.
    pub(super) started_at: Option<WallTime>,
}

/// What became of an assignment.
enum Assigned {
    /// The worker has it, or may have it: its heartbeats will tell.
    Taken,
    /// It will never run there.
    Over(Verdict),
}

/// Who waits for the end of a run.
type Waiting = Vec<oneshot::Sender<()>>;

impl Run {
    /// Sees to the run until it is over. `assignment`: what the worker has to be given first.
    pub(super) async fn run(mut self, assignment: Option<Assignment>) -> AttemptKey {
        if let Some(assignment) = assignment {
            match self.assign(&assignment).await {
                Assigned::Taken => drop(self.reports.report(self.key, AttemptChange::Preparing).await),
                Assigned::Over(verdict) => {
                    self.end(self.outcome(verdict), Waiting::new()).await;
                    return self.key;
                }
            }
        }
        self.progress.accept();
        let stop = CancellationToken::new();
        let _stops = stop.clone().drop_guard();
        let follow = follow::Follow {
            key: self.key,
            name: self.name.clone(),
            line: self.line.clone(),
            events: self.events_sender.clone(),
        };
        let (inner, stopped) = (Arc::clone(&self.inner), stop.clone());
        let followed = tokio::spawn(async move { follow.run(&inner, stopped).await });
        match self.until_end().await {
            Some((result, waiting)) => {
                self.progress.begin();
                finish::end_of_log(followed, stop, &result).await;
                finish::end_of_uploads(&self).await;
                let outcome = finish::outcome(&self, &result).await;
                self.end(outcome, vec![waiting]).await;
            }
            None => {
                let message = format!("{} does not name it any more: it has lost it", self.worker);
                self.end(self.outcome(Verdict::WorkerLost { message }), Waiting::new()).await;
            }
        }
        self.key
    }

    /// Gives the run to the worker. It is asked again only where it has surely not taken it: one that is asked twice may
    /// run it twice.
    async fn assign(&mut self, assignment: &Assignment) -> Assigned {
        let task = match order::task_of(assignment, (&self.name, self.worker.as_str()), clock::wall()) {
            Ok(task) => task,
            Err(untellable) => return Assigned::Over(Verdict::Rejected { message: untellable.to_string() }),
        };
        let mut pauses = Pauses::default();
        for tries_left in (0..TRIES).rev() {
            let verdict = match self.line.assign(task.clone()).await {
                Ok(()) => return Assigned::Taken,
                Err(CallError::Unknown(why)) => {
                    tracing::warn!("Whether worker {} has taken {} is not known: {why}", self.worker, self.name);
                    return Assigned::Taken;
                }
                Err(CallError::Refused(why)) => {
                    // After a restart it knows no master.
                    if why.to_ascii_lowercase().contains("regist") {
                        self.is_silent.send_replace(true);
                    }
                    Verdict::Rejected { message: format!("{} refuses it: {why}", self.worker) }
                }
                Err(error @ CallError::Unreachable(_)) => {
                    Verdict::WorkerLost { message: format!("{}: {error}", self.worker) }
                }
            };
            if tries_left == 0 {
                return Assigned::Over(verdict);
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.next()) => {}
                event = self.events.recv() => match event {
                    Some(Event::Cancel) | None => return Assigned::Over(Verdict::Cancelled),
                    // It has it after all. What it says of it is looked at next.
                    Some(event) => {
                        let _full = self.events_sender.try_send(event);
                        return Assigned::Taken;
                    }
                },
            }
        }
        Assigned::Taken
    }

    /// Waits for the end; none: it is lost.
    async fn until_end(&mut self) -> Option<(TaskResult, oneshot::Sender<()>)> {
        // `self` has a sender, so this goes on until the end, or until the worker is no more.
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Seen => self.started().await,
                Event::Lost => return None,
                Event::Cancel => drop(tokio::spawn(cancel(self.line.clone(), self.name.clone()))),
                Event::Completed(result, waiting) => return Some((result, waiting)),
            }
        }
        None
    }

    async fn started(&mut self) {
        if self.started_at.is_some() {
            return;
        }
        let at = clock::wall();
        self.started_at = Some(at);
        let change = AttemptChange::Started { at, container: String::new(), image: None };
        drop(self.reports.report(self.key, change).await);
    }

    /// An end of which the worker has said nothing.
    fn outcome(&self, verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            started_at: self.started_at,
            finished_at: clock::wall(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            output_files: 0,
            output_bytes: Some(0),
            output_notes: Vec::new(),
            usage: None,
            handed_back: false,
            perhaps_stopped: false,
        }
    }

    /// Reports the end, and tells all who have said so once that is durable.
    async fn end(&mut self, outcome: Outcome, mut waiting: Waiting) {
        let durable = self.reports.report(self.key, AttemptChange::Finished(outcome)).await;
        // It is not told only if the worker is no more.
        let _ = durable.await;
        self.events.close();
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Completed(_, again) => waiting.push(again),
                Event::Seen | Event::Lost | Event::Cancel => {}
            }
        }
        for waiting in waiting {
            // It may have gone.
            let _ = waiting.send(());
        }
    }
}

/// Tells a worker to stop a run. If it cannot be told it is not known any more what the run does; its heartbeats tell.
pub(super) async fn cancel(line: Line, name: String) {
    let mut pauses = Pauses::default();
    for _ in 0..TRIES {
        match line.cancel(name.clone()).await {
            Ok(()) => return,
            Err(CallError::Refused(why)) => {
                tracing::info!("The worker at {} does not stop {name}: {why}", line.address());
                return;
            }
            Err(error) => tracing::debug!("The worker at {} was not told to stop {name}: {error}", line.address()),
        }
        tokio::time::sleep(pauses.next()).await;
    }
    tracing::warn!("The worker at {} could not be told to stop {name}", line.address());
}
