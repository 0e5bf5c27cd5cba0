//! THE loop: inputs in, one commit, effects out.
//!
//! A batch is stepped as a whole, committed once, and only then answered and sent: "durable before acknowledged" is the
//! order of the lines in [`Driver::run_batch`]. Nothing is stepped while the outcome of a commit is not known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cloudaid_core::Cluster;
use cloudaid_core::effect::Effect;
use cloudaid_core::input::Input;
use cloudaid_core::record::Change;
use shared::error::{ApiError, ErrorCode};
use shared::id::RequestId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::execute::Shell;
use crate::clock;
use crate::store::{CommitError, Position, Store, StoreError};

/// The most inputs of one batch. Larger batches cost fewer commits and make each caller wait longer.
const BATCH_LIMIT: usize = 4096;

/// The longest pause between two tries of a commit that the store does not take: how soon one that is back is noticed.
const HOLD_PAUSE: Duration = Duration::from_secs(1);

/// What callers may send.
pub(crate) enum Message {
    /// Things that happen, in their order.
    Inputs(Vec<Input>),
    /// A look at the state after everything that was sent before.
    Read(Look),
}

/// What a caller wants to know of the state.
pub(crate) type Look = Box<dyn FnOnce(&Cluster) + Send>;

/// Owns the core.
pub(crate) struct Driver {
    pub(crate) cluster: Cluster,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) position: Position,
    pub(crate) shell: Arc<Shell>,
    pub(crate) mailbox: mpsc::Receiver<Message>,
}

/// Why the loop ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Another master has written.
    #[error("another master has written to the store: this one steps down")]
    Fenced(#[source] CommitError),
    /// The store cannot be trusted any more.
    #[error("the store failed")]
    Store(#[source] CommitError),
}

impl Driver {
    /// Runs until told to stop, and then until what was sent before is done.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), DriverError> {
        loop {
            let wake = self.cluster.next_wake();
            let shell = Arc::clone(&self.shell);
            let first = tokio::select! {
                biased;
                message = self.mailbox.recv() => match message {
                    Some(message) => Some(message),
                    None => return Ok(()),
                },
                () = shell.heard.news() => None,
                () = clock::sleep_until(wake) => None,
                () = shutdown.cancelled(), if self.mailbox.is_empty() => return Ok(()),
            };
            let (inputs, reads) = self.collect(first);
            self.run_batch(inputs).await?;
            self.shell.pulse.notify_one();
            for read in reads {
                read(&self.cluster);
            }
        }
    }

    /// The first message and whatever else is there already.
    fn collect(&mut self, first: Option<Message>) -> (Vec<Input>, Vec<Look>) {
        let (mut inputs, mut reads) = (Vec::new(), Vec::new());
        let mut next = first;
        while let Some(message) = next {
            match message {
                Message::Inputs(more) => inputs.extend(more),
                Message::Read(read) => reads.push(read),
            }
            next = if inputs.len() < BATCH_LIMIT { self.mailbox.try_recv().ok() } else { None };
        }
        (inputs, reads)
    }

    async fn run_batch(&mut self, mut inputs: Vec<Input>) -> Result<(), DriverError> {
        self.look_up_keys(&mut inputs).await;
        let now = clock::now();
        let mut effects = Vec::new();
        for heard in self.shell.heard.take() {
            self.cluster.step(now, heard, &mut effects);
        }
        if self.cluster.next_wake().is_some_and(|wake| wake <= now.boot) {
            self.cluster.step(now, Input::TimerFired, &mut effects);
        }
        for input in inputs {
            self.cluster.step(now, input, &mut effects);
        }
        self.cluster.settle(now, &mut effects);
        let (changes, effects) = split(effects);
        let effects = self.commit(changes, effects).await?;
        for effect in effects {
            self.shell.execute(effect);
        }
        Ok(())
    }

    /// Asks the store, once for the whole batch, for idempotency keys of tasks that are over. If it cannot answer, the
    /// submissions with such keys are refused: to guess could make a task twice.
    async fn look_up_keys(&self, inputs: &mut Vec<Input>) {
        let mut wanted = Vec::new();
        let mut places = Vec::new();
        for (place, input) in inputs.iter().enumerate() {
            let Input::SubmitTask { submission, .. } = input else { continue };
            let Some(key) = &submission.key else { continue };
            if !self.cluster.knows_key(&submission.user, &key.key) {
                wanted.push((submission.user.clone(), Arc::clone(&key.key)));
                places.push(place);
            }
        }
        if wanted.is_empty() {
            return;
        }
        match self.store.find_keys(wanted).await {
            Ok(found) => {
                for (place, record) in places.into_iter().zip(found) {
                    if let Input::SubmitTask { known, .. } = &mut inputs[place] {
                        *known = record;
                    }
                }
            }
            Err(error) => {
                warn!("Idempotency keys cannot be looked up: {error}");
                let mut place = 0;
                inputs.retain(|input| {
                    let refused = places.contains(&place);
                    place += 1;
                    if let (true, Some(request)) = (refused, request_of(input)) {
                        self.shell.replies.answer(request, Err(unavailable()));
                    }
                    !refused
                });
            }
        }
    }

    /// Makes the changes durable, however often that has to be tried. Returns the effects that may then be carried out.
    async fn commit(&mut self, changes: Vec<Change>, effects: Vec<Effect>) -> Result<Vec<Effect>, DriverError> {
        if changes.is_empty() {
            return Ok(effects);
        }
        let copy = changes.clone();
        match self.store.commit(changes, self.position).await {
            Ok(position) => {
                self.position = position;
                Ok(effects)
            }
            Err(error @ CommitError::Fenced { .. }) => Err(DriverError::Fenced(error)),
            Err(error @ CommitError::Fatal(_)) => Err(DriverError::Store(error)),
            Err(CommitError::Unavailable(error) | CommitError::Unknown(error)) => {
                self.hold(copy, effects, &error).await
            }
        }
    }

    /// The batch is stepped, so it must be committed before anything else is. Its callers are told that the outcome is
    /// not known, later ones that the store is not available; reads go on.
    async fn hold(
        &mut self,
        changes: Vec<Change>,
        effects: Vec<Effect>,
        reason: &StoreError,
    ) -> Result<Vec<Effect>, DriverError> {
        self.shell.held.store(true, Ordering::Relaxed);
        error!("The store does not take a commit: {reason}. New work is refused until it does");
        let effects: Vec<_> = effects.into_iter().filter_map(|effect| self.answer_unknown(effect)).collect();
        let mut delay = Duration::from_millis(100);
        let mut kept: VecDeque<Input> = VecDeque::new();
        loop {
            self.serve_during(tokio::time::sleep(delay), &mut kept).await;
            delay = (delay * 2).min(HOLD_PAUSE);
            let store = Arc::clone(&self.store);
            match self.serve_during(store.commit(changes.clone(), self.position), &mut kept).await {
                Ok(position) => {
                    self.position = position;
                    break;
                }
                Err(error @ CommitError::Fenced { .. }) => return Err(DriverError::Fenced(error)),
                Err(error @ CommitError::Fatal(_)) => return Err(DriverError::Store(error)),
                Err(CommitError::Unavailable(_) | CommitError::Unknown(_)) => {}
            }
        }
        self.shell.held.store(false, Ordering::Relaxed);
        info!("The store takes commits again");
        let mut effects = effects;
        let now = clock::now();
        let before = effects.len();
        for input in kept {
            self.cluster.step(now, input, &mut effects);
        }
        self.cluster.settle(now, &mut effects);
        let (changes, later) = split(effects.split_off(before));
        for effect in effects {
            self.shell.execute(effect);
        }
        Box::pin(self.commit(changes, later)).await
    }

    /// Until `work` is done: serves reads, refuses what clients want, keeps what workers say.
    async fn serve_during<T>(&mut self, work: impl Future<Output = T>, kept: &mut VecDeque<Input>) -> T {
        tokio::pin!(work);
        loop {
            let message = tokio::select! {
                done = &mut work => return done,
                message = self.mailbox.recv() => message,
            };
            match message {
                Some(Message::Read(read)) => read(&self.cluster),
                Some(Message::Inputs(inputs)) => {
                    for input in inputs {
                        match request_of(&input) {
                            Some(request) => self.shell.replies.answer(request, Err(unavailable())),
                            None => kept.push_back(input),
                        }
                    }
                }
                None => return work.await,
            }
        }
    }

    fn answer_unknown(&self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Reply(request, Ok(_)) => {
                self.shell.replies.answer(request, Err(outcome_unknown()));
                None
            }
            other => Some(other),
        }
    }
}

/// What is to be saved, and everything else.
fn split(effects: Vec<Effect>) -> (Vec<Change>, Vec<Effect>) {
    let mut changes = Vec::with_capacity(effects.len());
    let mut rest = Vec::with_capacity(effects.len());
    for effect in effects {
        match effect {
            Effect::Save(change) => changes.push(change),
            other => rest.push(other),
        }
    }
    (changes, rest)
}

/// Who waits for the answer to an input.
fn request_of(input: &Input) -> Option<RequestId> {
    match input {
        Input::SubmitTask { request, .. }
        | Input::CancelTask { request, .. }
        | Input::EditTask { request, .. }
        | Input::DeleteTask { request, .. }
        | Input::CreateFirstUser { request, .. }
        | Input::ChangeAccount { request, .. }
        | Input::ChangeToken { request, .. }
        | Input::ChangeLogin { request, .. }
        | Input::ChangeJoinToken { request, .. }
        | Input::ChangeRegistry { request, .. }
        | Input::JoinWorker { request, .. }
        | Input::RegisterWorker { request, .. }
        | Input::WorkerAnnounced { request, .. }
        | Input::ApproveWorker { request, .. }
        | Input::CordonWorker { request, .. }
        | Input::UnregisterWorker { request, .. }
        | Input::KeepGuesses { request, .. }
        | Input::Drain { request }
        | Input::FixResources { request }
        | Input::AddInput { request, .. }
        | Input::InputFilesReceived { request, .. }
        | Input::DeleteInput { request, .. }
        | Input::DeleteFiles { request, .. }
        | Input::DeleteRunFiles { request, .. }
        | Input::FilesStaged { request, .. }
        | Input::UploadEnded { request, .. }
        | Input::DropUpload { request, .. }
        | Input::FilesStored { request, .. } => Some(*request),
        Input::WorkerConnected { .. }
        | Input::WorkerDisconnected { .. }
        | Input::WorkerHeard { .. }
        | Input::WorkerReported { .. }
        | Input::WorkerInventoried { .. }
        | Input::Audit { .. }
        | Input::Swept { .. }
        | Input::UseInput { .. }
        | Input::ExpireInputs { .. }
        | Input::TimerFired => None,
    }
}

fn unavailable() -> ApiError {
    ApiError::new(
        ErrorCode::Unavailable,
        "the store does not take new work at the moment",
        "nothing was kept; try again in a few seconds",
    )
}

fn outcome_unknown() -> ApiError {
    ApiError::new(
        ErrorCode::OutcomeUnknown,
        "the store did not confirm in time whether this was kept",
        "try again with the same Idempotency-Key: it never makes a second task",
    )
}
