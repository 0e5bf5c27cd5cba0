//! `/ws/tasks/{id}/logs`: the log of a task while it is written, run after run, until the task has ended.
//!
//! What is kept of a log stands in the log store, so a slow client only falls behind, and is told what was cut meanwhile; it
//! holds up neither the task nor anybody else.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use bytes::Buf;
use shared::error::{ApiError, ErrorCode};
use shared::id::{ElementId, TaskRef};
use shared::link::LogStream;
use shared::task::TaskState;
use shared::view::{LogEvent, TaskView};
use tokio::sync::watch;

use super::Shared;
use super::error::{Failure, internal};
use super::extract::{Caller, Params, TaskPath};
use super::socket::{self, Admitted, Client, Kind, Stop};
use super::visible::{open_visible, single_element};
use crate::master::logs::{LogChunk, LogChunks, LogItem, LogOffsets};

pub(crate) mod plan;
mod start;

use plan::{Plan, Step, has_ended};
use start::{Begin, Start};

/// `GET /ws/tasks/{id}/logs`
pub(super) async fn follow(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    params: Params,
    admitted: Admitted,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let start = Start::parse(params)?;
    let view = open_visible(&state, &principal, task).await?;
    let shared = state.clone();
    Ok(socket::open(upgrade, &state, admitted, move |client| converse(client, shared, task, view, start))?)
}

async fn converse(mut client: Client, state: Shared, task: TaskRef, view: TaskView, start: Start) {
    let ended = match single_element(task, &view) {
        Ok(element) => Follower::new(&mut client, state, element, view, start).run().await,
        Err(error) => Err(error.into()),
    };
    client.end(ended).await;
}

/// Sends the log of one element.
struct Follower<'a> {
    start: Start,
    client: &'a mut Client,
    state: Shared,
    element: ElementId,
    view: TaskView,
    changes: watch::Receiver<u64>,
    told: Option<TaskState>,
}

impl<'a> Follower<'a> {
    fn new(client: &'a mut Client, state: Shared, element: ElementId, view: TaskView, start: Start) -> Self {
        let mut changes = state.cluster.subscribe(element.task);
        // The view was read before: look once more.
        changes.mark_changed();
        Self { start, client, state, element, view, changes, told: None }
    }

    async fn run(mut self) -> Result<(), Stop> {
        let first = self.start.first_attempt(&self.view);
        let mut plan = Plan { next: first };
        loop {
            self.refresh().await?;
            match plan.step(&self.view) {
                Step::Send(attempt) => {
                    let from = if attempt == first { self.begin(attempt).await? } else { LogOffsets::default() };
                    self.send_attempt(attempt, from).await?;
                    if self.start.only {
                        return self.over().await;
                    }
                }
                Step::Wait if !self.start.follow => return self.over().await,
                Step::Wait => self.pause(None).await?,
                Step::End => return self.over().await,
            }
        }
    }

    /// Nothing more is sent; says where the task stands.
    async fn over(&mut self) -> Result<(), Stop> {
        let TaskView { state, exit_code, verdict, .. } = &self.view;
        let end = LogEvent::End { state: *state, exit_code: *exit_code, verdict: verdict.clone() };
        self.client.tell(&end).await
    }

    /// What of a run the client does not want, or has.
    async fn begin(&mut self, attempt: u32) -> Result<LogOffsets, Stop> {
        let (logs, element) = (&self.state.logs, self.element);
        let found = match self.start.begin {
            Begin::At(offsets) => Ok(offsets),
            Begin::LastLines(count) => logs.start_of_last(element, attempt, self.start.select, count).await,
            Begin::Since(since) => logs.start_since(element, attempt, since).await,
        };
        Ok(found.map_err(unreadable)?)
    }

    /// Sends the log of a run until the run is over and all of it was sent.
    async fn send_attempt(&mut self, attempt: u32, from: LogOffsets) -> Result<(), Stop> {
        let LogOffsets { stdout: stdout_offset, stderr: stderr_offset } = from;
        self.client.tell(&LogEvent::Attempt { attempt, stdout_offset, stderr_offset }).await?;
        let mut chunks = self.state.logs.chunks_from(self.element, attempt, from).await.map_err(unreadable)?;
        loop {
            self.refresh().await?;
            // Asked before reading: what is over now has all of its log in the store.
            let is_over = chunks.is_sealed() || has_ended(&self.view, attempt);
            loop {
                let batch = chunks.next_batch().await.map_err(unreadable)?;
                if batch.is_empty() {
                    break;
                }
                for item in &batch {
                    self.send_item(item).await?;
                }
                self.client.listen()?;
                self.client.check()?;
            }
            if is_over || !self.start.follow {
                return Ok(());
            }
            self.pause(Some(&mut chunks)).await?;
        }
    }

    async fn send_item(&mut self, item: &LogItem) -> Result<(), Stop> {
        match item {
            LogItem::Chunk(chunk) if self.start.select.takes(chunk.stream) => {
                let head = head(chunk, self.start.times);
                self.client.send(Kind::Binary, (&head[..]).chain(&chunk.data[..])).await
            }
            LogItem::Chunk(_) => Ok(()),
            LogItem::Cut(cut) if self.start.select.count(cut.bytes()) > 0 => {
                let (LogOffsets { stdout, stderr }, bytes) = (cut.to, cut.bytes());
                self.client
                    .tell(&LogEvent::Cut {
                        stdout_offset: stdout,
                        stderr_offset: stderr,
                        stdout_bytes: bytes.stdout,
                        stderr_bytes: bytes.stderr,
                    })
                    .await
            }
            LogItem::Cut(_) => Ok(()),
        }
    }

    /// Looks at the task again if it has changed, and tells its state.
    async fn refresh(&mut self) -> Result<(), Stop> {
        self.client.check()?;
        if self.changes.has_changed().unwrap_or_else(|_| !self.view.state.is_final()) {
            self.changes.mark_unchanged();
            self.view = self.state.cluster.task(self.element.into()).await?;
        }
        let state = self.view.state;
        if self.told.replace(state) != Some(state) {
            self.client.tell(&LogEvent::State { state }).await?;
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
            () = self.state.shutdown.cancelled() => Err(stopping().into()),
            alive = self.client.stay() => alive,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over by value")]
fn unreadable(error: std::io::Error) -> ApiError {
    internal("the log cannot be read", &error)
}

fn stopping() -> ApiError {
    let hint = "connect again later, with the attempt and offsets that you have";
    ApiError::new(ErrorCode::Unavailable, "the master is about to stop", hint)
}

/// What stands before the bytes: one byte for the stream, eight for the offset, with `times` eight for the time.
fn head(chunk: &LogChunk, times: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17);
    bytes.push(match chunk.stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    });
    bytes.extend(chunk.offset.to_be_bytes());
    if times {
        bytes.extend(chunk.at.0.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use shared::time::WallTime;

    use super::*;

    #[test]
    fn before_the_bytes_stand_their_stream_and_offset() {
        let data = bytes::Bytes::from_static(b"hi");
        let chunk = LogChunk { stream: LogStream::Stderr, offset: 258, at: WallTime(772), data };
        assert_eq!(head(&chunk, false), [2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(head(&chunk, true), [2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 3, 4]);
    }
}
