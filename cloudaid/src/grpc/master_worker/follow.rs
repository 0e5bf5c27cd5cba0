//! The log of a task over gRPC: what is kept, then what comes, until the task has ended.

use std::pin::Pin;
use std::time::Duration;

use shared::error::{ApiError, ErrorCode};
use shared::id::ElementId;
use shared::link::LogStream;
use shared::proto::seed;
use shared::task::TaskState;
use shared::time::WallTime;
use shared::view::TaskView;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::text::Lossy;
use crate::clock;
use crate::grpc::{status, stopping};
use crate::http::Shared;
use crate::http::authenticate::Guest;
use crate::http::follow::plan::{Plan, Step, has_ended};
use crate::master::auth::Principal;
use crate::master::logs::{LogChunk, LogChunks, LogItem, LogOffsets};

/// Pieces that wait for a slow reader.
const WAITING: usize = 4;
/// A log may be silent for days, and its reader be shut out meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What somebody wants to read.
pub(super) struct Wanted {
    /// As they call the task.
    pub(super) id: String,
    /// What that is.
    pub(super) element: ElementId,
    /// Whether to wait for what comes.
    pub(super) follow: bool,
}

/// The pieces. `seat`: kept as long as they come.
pub(super) fn stream<T: Send + 'static>(
    api: Shared,
    principal: Principal,
    view: TaskView,
    wanted: Wanted,
    seat: T,
) -> Pin<Box<dyn Stream<Item = Result<seed::LogChunk, Status>> + Send>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut changes = api.cluster.subscribe(wanted.element.task);
    // The view was read before: look once more.
    changes.mark_changed();
    let follower = Follower { guest: Guest::new(principal), api, wanted, view, changes, sender };
    tokio::spawn(async move {
        follower.run().await;
        drop(seat);
    });
    Box::pin(ReceiverStream::new(receiver))
}

struct Follower {
    api: Shared,
    guest: Guest,
    wanted: Wanted,
    view: TaskView,
    changes: watch::Receiver<u64>,
    sender: mpsc::Sender<Result<seed::LogChunk, Status>>,
}

/// Why nothing more is sent.
enum Stop {
    /// The reader has gone.
    Gone,
    /// It is told why.
    Error(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl Follower {
    async fn run(mut self) {
        if let Err(Stop::Error(error)) = self.send_all().await {
            // It may have gone meanwhile.
            let _ = self.sender.send(Err(status(&error))).await;
        }
    }

    async fn send_all(&mut self) -> Result<(), Stop> {
        let mut plan = Plan { next: 0 };
        loop {
            self.refresh().await?;
            match plan.step(&self.view) {
                Step::Send(attempt) => self.send_attempt(attempt).await?,
                Step::Wait if self.wanted.follow => self.pause(None).await?,
                Step::Wait | Step::End => break,
            }
        }
        let status = word(self.view.state).to_owned();
        let end = seed::LogChunk { is_complete: true, status, ..self.piece(String::new(), clock::wall()) };
        self.send(end).await
    }

    /// Sends the log of a run until the run is over and all of it was sent.
    async fn send_attempt(&mut self, attempt: u32) -> Result<(), Stop> {
        let chunks = self.api.logs.chunks_from(self.wanted.element, attempt, LogOffsets::default()).await;
        let mut chunks = chunks.map_err(unreadable)?;
        let mut texts = [Lossy::default(), Lossy::default()];
        loop {
            self.refresh().await?;
            // Asked before reading: what is over now has all of its log in the store.
            let is_over = chunks.is_sealed() || has_ended(&self.view, attempt);
            loop {
                let batch = chunks.next_batch().await.map_err(unreadable)?;
                if batch.is_empty() {
                    break;
                }
                for item in batch {
                    let [stdout, stderr] = &mut texts;
                    let (text, at) = match item {
                        LogItem::Chunk(LogChunk { stream: LogStream::Stdout, at, data, .. }) => {
                            (stdout.next(&data), at)
                        }
                        LogItem::Chunk(LogChunk { stream: LogStream::Stderr, at, data, .. }) => {
                            (stderr.next(&data), at)
                        }
                        LogItem::Cut(cut) => {
                            let LogOffsets { stdout: out, stderr: err } = cut.bytes();
                            let mark = format!("\n[{out} bytes of stdout and {err} of stderr were not kept]\n");
                            (format!("{}{}{mark}", stdout.end(), stderr.end()), clock::wall())
                        }
                    };
                    self.send_text(text, at).await?;
                }
                self.guest.check(&self.api.auth)?;
            }
            if is_over || !self.wanted.follow {
                break;
            }
            self.pause(Some(&mut chunks)).await?;
        }
        for mut text in texts {
            self.send_text(text.end(), clock::wall()).await?;
        }
        Ok(())
    }

    async fn send_text(&mut self, text: String, at: WallTime) -> Result<(), Stop> {
        if text.is_empty() {
            return Ok(());
        }
        let piece = self.piece(text, at);
        self.send(piece).await
    }

    fn piece(&self, content: String, at: WallTime) -> seed::LogChunk {
        let task_id = self.wanted.id.clone();
        let status = word(self.view.state).to_owned();
        seed::LogChunk { task_id, content, timestamp: at.to_string(), is_complete: false, status }
    }

    async fn send(&self, piece: seed::LogChunk) -> Result<(), Stop> {
        self.sender.send(Ok(piece)).await.map_err(|_| Stop::Gone)
    }

    /// Looks at the task again if it has changed.
    async fn refresh(&mut self) -> Result<(), Stop> {
        self.guest.check(&self.api.auth)?;
        if self.changes.has_changed().unwrap_or_else(|_| !self.view.state.is_final()) {
            self.changes.mark_unchanged();
            self.view = self.api.cluster.task(self.wanted.element.into()).await?;
        }
        Ok(())
    }

    /// Waits until there may be something to send.
    async fn pause(&mut self, chunks: Option<&mut LogChunks>) -> Result<(), Stop> {
        let grown = async {
            match chunks {
                Some(chunks) => chunks.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = grown => Ok(()),
            changed = self.changes.changed() => match changed {
                Ok(()) => {
                    // For `refresh`, which looks at the task.
                    self.changes.mark_changed();
                    Ok(())
                }
                // Nobody tells of changes any more; at the end of the task that is right.
                Err(_) if self.view.state.is_final() => Ok(()),
                Err(_) => Err(stopping().into()),
            },
            () = self.api.shutdown.cancelled() => Err(stopping().into()),
            () = self.sender.closed() => Err(Stop::Gone),
            // Whether they still may be here is looked at again.
            () = tokio::time::sleep(LOOK_AGAIN) => Ok(()),
        }
    }
}

/// The word of the first generation for how far a task is.
fn word(state: TaskState) -> &'static str {
    match state {
        TaskState::Completed => "success",
        TaskState::Queued | TaskState::Pending | TaskState::Running | TaskState::Failed | TaskState::Cancelled => {
            state.as_str()
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over by value")]
fn unreadable(error: std::io::Error) -> Stop {
    tracing::error!(%error, "A log cannot be read");
    ApiError::new(ErrorCode::Internal, "the log cannot be read", "the master's log says more").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_called_as_workers_call_them() {
        let words = [TaskState::Completed, TaskState::Failed, TaskState::Cancelled].map(word);
        assert_eq!(words, ["success", "failed", "cancelled"]);
    }
}
