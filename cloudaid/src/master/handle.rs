//! The one door to the cluster: everything that HTTP and gRPC do goes through here.
//!
//! What changes something goes to the driver and is durable when the answer is there. What is not over is asked of the
//! core, what the store knows better of the store; both only ever show what is committed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cloudaid_core::Cluster;
use cloudaid_core::admission::Proof;
use cloudaid_core::effect::Answer;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::record::TaskRecord;
use cloudaid_core::reject::Reject;
use cloudaid_core::trial::Trial;
use shared::error::{ApiError, ErrorCode};
use shared::id::{AttemptKey, ElementId, Elements, RequestId, SessionId, TaskId, TaskRef, UserName, WorkerId};
use shared::link::{Heartbeat, Hello, Inventory, Report};
use shared::submit::TaskEdit;
use shared::task::{AttemptState, TaskState};
use shared::view::{
    CancelView, DryRunView, InternalStateView, QueueView, ReasonView, ShutdownView, StatusView, StoreState, SubmitView,
    TaskCounts, TaskListView, TaskView, WhyView, WorkerListView, WorkerView,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::driver::Message;
use super::events::Events;
use super::execute::Shell;
use super::live::LiveRuns;
use super::{drain, view};
use crate::clock;
use crate::store::{Store, StoreError, StoredTask, TaskCursor, TaskQuery};

pub mod admission;
mod audit;
mod elements;
pub(crate) mod file_mark;
pub(crate) mod files;
mod people;
mod registries;
mod repair;
mod retry;
mod wait;

/// How long a caller waits for the driver before it is told that the outcome is not known.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClusterHandle {
    mailbox: mpsc::Sender<Message>,
    shell: Arc<Shell>,
    store: Arc<dyn Store>,
    shutdown: CancellationToken,
}

impl ClusterHandle {
    pub(crate) fn new(
        mailbox: mpsc::Sender<Message>,
        shell: Arc<Shell>,
        store: Arc<dyn Store>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { mailbox, shell, store, shutdown }
    }

    /// The handle of a master that has stopped: every call fails.
    #[cfg(test)]
    pub(crate) fn detached(logs: super::logs::LogStore) -> Self {
        let events = Events::new(shared::id::Epoch(1), []);
        let shell = Shell::new(logs, events, LiveRuns::default(), mpsc::unbounded_channel().0, false);
        let store = Arc::new(crate::store::memory::MemoryStore::default());
        Self::new(mpsc::channel(1).0, Arc::new(shell), store, CancellationToken::new())
    }

    /// Each is durable when its answer is there; one answer per submission, in their order.
    pub async fn submit(&self, submissions: Vec<Submission>) -> Vec<Result<SubmitView, ApiError>> {
        let mut of = Vec::with_capacity(submissions.len());
        let (inputs, answers): (Vec<_>, Vec<_>) = submissions
            .into_iter()
            .map(|submission| {
                let (request, answer) = self.shell.replies.open();
                of.push(request);
                (Input::SubmitTask { request, submission, known: None }, answer)
            })
            .unzip();
        let mut inputs: Vec<Input> = inputs;
        if let Some(note) = Call::each_note() {
            inputs.push(Input::Audit { note, of });
        }
        if self.mailbox.send(Message::Inputs(inputs)).await.is_err() {
            return answers.iter().map(|_| Err(stopping())).collect();
        }
        let mut views = Vec::with_capacity(answers.len());
        for answer in answers {
            views.push(match receive(answer).await {
                Ok(Answer::Submitted(view)) if view.replayed => self.with_present_state(view).await,
                Ok(Answer::Submitted(view)) => Ok(view),
                Ok(_) => Err(internal("a submission got another's answer")),
                Err(error) => Err(error),
            });
        }
        views
    }

    /// What would become of a submission. Nothing is kept.
    ///
    /// # Errors
    /// It would be refused, with this.
    pub async fn try_out(&self, submission: Submission) -> Result<DryRunView, ApiError> {
        let known = match &submission.key {
            Some(key) => self.record_of_key(submission.user.clone(), Arc::clone(&key.key)).await?,
            None => None,
        };
        let Submission { user, array, .. } = submission.clone();
        let tried = self.read(move |cluster| cluster.trial(&submission, known.as_deref())).await??;
        let Trial { spec, workers, warnings } = tried;
        Ok(DryRunView {
            user,
            spec: Arc::unwrap_or_clone(spec),
            count: array.as_ref().map_or(1, |array| array.indices.len()),
            array: array.map(|array| array.to_string()),
            warnings,
            workers,
        })
    }

    /// Cancels a task or one element. One that is cancelled already is no error. By force it ends without the word of its
    /// worker.
    ///
    /// # Errors
    /// Not found, or ended otherwise.
    pub async fn cancel(&self, task: TaskRef, force: bool) -> Result<CancelView, ApiError> {
        match self.ask(|request| Input::CancelTask { request, task, force }).await {
            Ok(Answer::Cancelled(view)) => Ok(view),
            Ok(_) => Err(internal("a cancel got another's answer")),
            // What is over is only in the store.
            Err(error) if error.code == ErrorCode::TaskNotFound => match self.task(task).await?.state {
                TaskState::Cancelled => {
                    Ok(CancelView { task_id: task.to_string(), state: TaskState::Cancelled, cancelling: false })
                }
                state => Err(Reject::TaskEnded(task, state).into()),
            },
            Err(error) => Err(error),
        }
    }

    /// Gives a task another name or other labels, while it waits.
    ///
    /// # Errors
    /// Not found, waits no longer, or the new name or labels are wrong.
    pub async fn edit(&self, task: TaskId, edit: TaskEdit) -> Result<(), ApiError> {
        let stored = self.stored(task.into()).await?;
        edit.check(&stored.record.spec)?;
        match self.ask(|request| Input::EditTask { request, task, edit }).await {
            // What is over is only in the store.
            Err(error) if error.code == ErrorCode::TaskNotFound => {
                let state = self.stored(task.into()).await?.progress.state();
                Err(Reject::NotQueued(task.into(), state).into())
            }
            answer => answer.map(|_done| ()),
        }
    }

    /// How many tasks there are in each state, of those that a query selects.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn count_tasks(&self, query: TaskQuery) -> Result<TaskCounts, ApiError> {
        self.store.count_tasks(query).await.map_err(|error| unreadable(&error))
    }

    /// Why it waits, or that it does not.
    ///
    /// # Errors
    /// Not found.
    pub async fn why(&self, task: TaskRef) -> Result<WhyView, ApiError> {
        if let Some(why) = self.read(move |cluster| cluster.why(task)).await? {
            return Ok(why);
        }
        let ended = self.task(task).await?;
        let summary = view::end_in_words(ended.state, ended.verdict.as_ref());
        Ok(WhyView {
            task_id: ended.task_id,
            state: ended.state,
            position: None,
            can_never_run: false,
            reasons: vec![ReasonView { code: "ended".to_owned(), workers: 0, message: summary.clone() }],
            summary,
            hint: format!("`cloudctl show {task}` tells more"),
        })
    }

    /// One task, or one element of it, with its attempts.
    ///
    /// # Errors
    /// Not found, or the store cannot be read.
    pub async fn task(&self, task: TaskRef) -> Result<TaskView, ApiError> {
        let alike = match task.elements {
            Elements::Range(..) => self.alike(task).await?,
            Elements::All | Elements::One(_) => Vec::new(),
        };
        let stored = self.stored(task).await?;
        let attempts = async |index| {
            let element = ElementId { task: task.task, index };
            self.store.list_attempts(element).await.map_err(|error| unreadable(&error))
        };
        let (index, mut view) = match task.elements {
            Elements::All if stored.record.array.is_none() => (0, view::task(&stored, Some(&attempts(0).await?))),
            Elements::All => return Ok(view::task(&stored, None)),
            Elements::Range(..) => return Ok(view::elements(&stored, task, elements::tally(&alike))),
            Elements::One(index) => {
                let element = ElementId { task: task.task, index };
                let attempts = attempts(index).await?;
                let result = self.store.find_result(element).await.map_err(|error| unreadable(&error))?;
                (index, view::element(&stored, element, &attempts, result.as_ref()))
            }
        };
        if let Some(run) = view.attempts.last_mut().filter(|run| run.state == AttemptState::Pending) {
            let element = ElementId { task: task.task, index };
            run.pulling = self.read(move |cluster| cluster.pull_of(element)).await?;
        }
        Ok(view)
    }

    /// A page of tasks, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn list_tasks(&self, query: TaskQuery) -> Result<TaskListView, ApiError> {
        let (tasks, next) = self.store.list_tasks(query).await.map_err(|error| unreadable(&error))?;
        Ok(TaskListView {
            tasks: tasks.iter().map(|stored| view::task(stored, None)).collect(),
            next_cursor: next.map(|TaskCursor(sequence)| sequence.to_string()),
        })
    }

    /// All workers.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn workers(&self) -> Result<WorkerListView, ApiError> {
        Ok(WorkerListView { workers: self.read(Cluster::worker_views).await? })
    }

    /// One worker.
    ///
    /// # Errors
    /// Not found, with the known ones.
    pub async fn worker(&self, worker: WorkerId) -> Result<WorkerView, ApiError> {
        let workers = self.workers().await?.workers;
        let known = workers.iter().map(|view| view.worker_id.clone()).collect();
        let found = workers.into_iter().find(|view| view.worker_id == worker);
        found.ok_or_else(|| Reject::WorkerNotFound { worker, known }.into())
    }

    /// The first `limit` rows of what waits.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn queue(&self, limit: usize) -> Result<QueueView, ApiError> {
        self.read(move |cluster| cluster.queue_view(limit)).await
    }

    /// Everything that the core knows, and what each connection has sent.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn internal_state(&self) -> Result<InternalStateView, ApiError> {
        let mut view = self.read(|cluster| cluster.internal_state(clock::now())).await?;
        self.shell.links.fill_in(&mut view.links);
        Ok(view)
    }

    /// The cluster in numbers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn status(&self) -> Result<StatusView, ApiError> {
        let ended = self.store.count_ended().await.map_err(|error| unreadable(&error))?;
        let store = (self.store.name(), self.store_state().await);
        self.read(move |cluster| cluster.status_view(env!("CARGO_PKG_VERSION"), store, ended)).await
    }

    /// Whether the store answers and takes commits, and whether it is the one that should.
    async fn store_state(&self) -> StoreState {
        if self.is_held() || self.store.probe().await.is_err() {
            StoreState::Unavailable
        } else if self.store.stands_in() {
            StoreState::Fallback
        } else {
            StoreState::Ok
        }
    }

    /// Messages to the server of the store so far, if it has one.
    #[must_use]
    pub fn store_round_trips(&self) -> Option<u64> {
        self.store.round_trips()
    }

    /// Begins to stop: at once, or with `drain` when nothing runs any more. What runs goes on at its worker in either
    /// case, what waits stays queued.
    ///
    /// # Errors
    /// The master is stopping already.
    pub async fn shutdown(&self, drain: bool) -> Result<ShutdownView, ApiError> {
        self.ask(|request| Input::Drain { request }).await?;
        let live_attempts = self.read(Cluster::live_attempts).await? as u64;
        tokio::spawn(drain::then_stop(self.clone(), drain, self.shutdown.clone()));
        Ok(ShutdownView { live_attempts, draining: drain && live_attempts > 0 })
    }

    /// Runs that workers hold.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn live_attempts(&self) -> Result<usize, ApiError> {
        self.read(Cluster::live_attempts).await
    }

    /// What has happened to tasks and workers.
    #[must_use]
    pub fn events(&self) -> Arc<Events> {
        Arc::clone(&self.shell.events)
    }

    /// Returns when something may have changed since it last did.
    pub async fn pulse(&self) {
        self.shell.pulse.notified().await;
    }

    /// Whether the store takes no commits at the moment.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.shell.held.load(Ordering::Relaxed)
    }

    /// Changes whenever the task has changed.
    #[must_use]
    pub fn subscribe(&self, task: TaskId) -> watch::Receiver<u64> {
        self.shell.watchers.subscribe(task)
    }

    /// Which runs are live.
    #[must_use]
    pub fn live(&self) -> Arc<LiveRuns> {
        Arc::clone(&self.shell.live)
    }

    /// A worker has connected.
    pub(crate) async fn worker_connected(
        &self,
        session: SessionId,
        proof: Proof,
        hello: Hello,
    ) -> Result<(), ApiError> {
        self.send(Input::WorkerConnected { session, proof, hello }).await
    }

    /// A worker's connection has ended.
    pub(crate) async fn worker_disconnected(&self, worker: WorkerId, session: SessionId) -> Result<(), ApiError> {
        self.send(Input::WorkerDisconnected { worker, session }).await
    }

    /// A worker reports. Waits while the driver is busy, so that the worker does too.
    pub(crate) async fn worker_reported(
        &self,
        worker: WorkerId,
        session: SessionId,
        reports: Vec<Report>,
    ) -> Result<(), ApiError> {
        self.send(Input::WorkerReported { worker, session, reports }).await
    }

    /// A worker says what it holds.
    pub(crate) async fn worker_inventoried(
        &self,
        worker: WorkerId,
        session: SessionId,
        inventory: Inventory,
    ) -> Result<(), ApiError> {
        self.send(Input::WorkerInventoried { worker, session, inventory }).await
    }

    /// A sign of life; never waits.
    pub(crate) fn worker_heard(&self, worker: &WorkerId, session: SessionId, heartbeat: Option<Heartbeat>) {
        self.shell.heard.mark(worker, session, heartbeat);
    }

    /// Whether a run is live that its worker was told to stop.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn is_stopping(&self, key: AttemptKey) -> Result<bool, ApiError> {
        self.read(move |cluster| cluster.is_stopping(key)).await
    }

    /// The task that a user has submitted with an idempotency key.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn task_of_key(&self, user: UserName, key: Arc<str>) -> Result<Option<TaskId>, ApiError> {
        Ok(self.record_of_key(user, key).await?.map(|record| record.id))
    }

    async fn record_of_key(&self, user: UserName, key: Arc<str>) -> Result<Option<Arc<TaskRecord>>, ApiError> {
        let found = self.store.find_keys(vec![(user, key)]).await.map_err(|error| unreadable(&error))?;
        Ok(found.into_iter().flatten().next())
    }

    pub(crate) fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    async fn stored(&self, task: TaskRef) -> Result<StoredTask, ApiError> {
        let stored = self.store.find_task(task.task).await.map_err(|error| unreadable(&error))?;
        let (first, last) = task.elements.bounds();
        let exists = |stored: &StoredTask| stored.record.indices().next_within(first, last).is_some();
        stored.filter(exists).ok_or_else(|| Reject::TaskNotFound(task).into())
    }

    /// The answer to a repetition carries the state of today.
    async fn with_present_state(&self, view: SubmitView) -> Result<SubmitView, ApiError> {
        let id: TaskId = view.task_id.parse().map_err(|_| internal("a task id that is none"))?;
        let stored = self.stored(id.into()).await?;
        Ok(SubmitView { state: stored.progress.state(), ..view })
    }

    async fn ask(&self, input: impl FnOnce(RequestId) -> Input) -> Result<Answer, ApiError> {
        let (request, answer) = self.shell.replies.open();
        let mut inputs = vec![input(request)];
        inputs.extend(Call::first_note().map(|note| Input::Audit { note, of: vec![request] }));
        self.mailbox.send(Message::Inputs(inputs)).await.map_err(|_| stopping())?;
        receive(answer).await
    }

    async fn send(&self, input: Input) -> Result<(), ApiError> {
        self.mailbox.send(Message::Inputs(vec![input])).await.map_err(|_| stopping())
    }

    async fn read<T: Send + 'static>(&self, look: impl FnOnce(&Cluster) -> T + Send + 'static) -> Result<T, ApiError> {
        let (sender, receiver) = oneshot::channel();
        let look = move |cluster: &Cluster| {
            let _gone = sender.send(look(cluster));
        };
        self.mailbox.send(Message::Read(Box::new(look))).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())
    }
}

async fn receive(answer: oneshot::Receiver<Result<Answer, ApiError>>) -> Result<Answer, ApiError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_closed)) => Err(unknown("the master stopped before it could answer")),
        Err(_elapsed) => Err(unknown("the master did not answer in time")),
    }
}

fn unknown(message: &str) -> ApiError {
    let hint = "try again with the same Idempotency-Key: it never makes a second task";
    ApiError::new(ErrorCode::OutcomeUnknown, message, hint)
}

fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the master is stopping", "try again when it has started again")
}

fn internal(what: &str) -> ApiError {
    tracing::error!("internal error: {what}");
    ApiError::new(ErrorCode::Internal, "internal error", "the log of the master says more")
}

fn unreadable(error: &StoreError) -> ApiError {
    tracing::error!("the store cannot be read: {error}");
    ApiError::new(ErrorCode::Unavailable, "the store cannot be read at the moment", "the log of the master says more")
}
