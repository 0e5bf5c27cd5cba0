//! What is told to the core of the runs of a worker, kept until it is durable.

use std::collections::VecDeque;

use parking_lot::Mutex;
use shared::error::ApiError;
use shared::id::{AttemptKey, SessionId, WorkerId};
use shared::link::{AttemptChange, Report};
use tokio::sync::oneshot;

use crate::master::handle::ClusterHandle;

/// The reports of a worker.
#[derive(Debug)]
pub(super) struct Reports {
    cluster: ClusterHandle,
    worker: WorkerId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    session: Option<SessionId>,
    /// Of the session.
    last: u64,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    report: Report,
    /// Told when it is durable.
    done: oneshot::Sender<()>,
}

impl Reports {
    pub(super) fn new(cluster: ClusterHandle, worker: WorkerId) -> Self {
        Self { cluster, worker, state: Mutex::default() }
    }

    /// Reports, now or as soon as there is a session. What is returned is told when it is durable.
    pub(super) async fn report(&self, key: AttemptKey, change: AttemptChange) -> oneshot::Receiver<()> {
        let (done, durable) = oneshot::channel();
        let (session, report) = {
            let mut state = self.state.lock();
            state.last += 1;
            let report = Report { sequence: state.last, key, change };
            state.waiting.push_back(Waiting { report: report.clone(), done });
            (state.session, report)
        };
        if let Some(session) = session {
            self.send(session, vec![report]).await;
        }
        durable
    }

    /// A session has begun: what was not acknowledged in the one before comes again.
    pub(super) async fn begin(&self, session: SessionId) {
        let reports: Vec<Report> = {
            let mut state = self.state.lock();
            state.session = Some(session);
            state.last = state.waiting.len() as u64;
            let numbered = state.waiting.iter_mut().zip(1..).map(|(waiting, sequence)| {
                waiting.report.sequence = sequence;
                waiting.report.clone()
            });
            numbered.collect()
        };
        if !reports.is_empty() {
            self.send(session, reports).await;
        }
    }

    /// There is no session any more.
    pub(super) fn end(&self) {
        self.state.lock().session = None;
    }

    /// All up to this one are durable.
    pub(super) fn acknowledged(&self, through: u64) {
        let mut state = self.state.lock();
        while let Some(waiting) = state.waiting.pop_front_if(|waiting| waiting.report.sequence <= through) {
            // Not everybody waits.
            let _ = waiting.done.send(());
        }
    }

    async fn send(&self, session: SessionId, reports: Vec<Report>) {
        let sent: Result<(), ApiError> = self.cluster.worker_reported(self.worker.clone(), session, reports).await;
        if let Err(error) = sent {
            tracing::debug!(worker = %self.worker, error = %error.message, "reports were not taken");
        }
    }
}
