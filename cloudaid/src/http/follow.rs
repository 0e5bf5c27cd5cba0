//! `/ws/tasks/{id}/logs`: the log of a task while it is written, run after run, until the task has ended.
//!
//! The log store keeps everything, so a slow client only falls behind; it holds up neither the task nor anybody else.

use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::FutureExt;
use shared::error::{ApiError, ErrorCode};
use shared::id::{ElementId, TaskRef};
use shared::link::LogStream;
use shared::task::{AttemptState, TaskState};
use shared::view::{LogEvent, TaskView};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

use super::Shared;
use super::error::{Failure, internal, invalid};
use super::extract::{Caller, Params, TaskPath};
use super::visible::{find_visible, single_element};
use crate::master::logs::{LogChunk, LogChunks, LogOffsets};

/// Clients have nothing to say here but pongs and goodbye.
const INBOUND_LIMIT: usize = 4 * 1024;
/// The most that waits for a slow client in memory: a few frames of the log store.
const WRITE_BUFFER_LIMIT: usize = 4 * 1024 * 1024;
const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that answers none of this many pings is gone.
const PINGS_UNANSWERED: u32 = 3;
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /ws/tasks/{id}/logs`
pub(super) async fn follow(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let start = Start::parse(params)?;
    let view = find_visible(&state, &principal, task).await?;
    let upgrade = upgrade.map_err(|error| invalid(error.to_string(), "connect here with a WebSocket client"))?;
    let upgrade = upgrade
        .max_message_size(INBOUND_LIMIT)
        .max_frame_size(INBOUND_LIMIT)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_LIMIT);
    Ok(upgrade.on_upgrade(move |socket| converse(Client::new(socket), state, task, view, start)))
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Start {
    /// The first run to send.
    attempt: u32,
    /// What the client has of it.
    offsets: LogOffsets,
}

impl Start {
    fn parse(mut params: Params) -> Result<Self, ApiError> {
        let attempt = params.one("attempt")?;
        let stdout: Option<u64> = params.one("stdout_offset")?;
        let stderr: Option<u64> = params.one("stderr_offset")?;
        params.finish()?;
        if attempt.is_none() && (stdout.is_some() || stderr.is_some()) {
            return Err(invalid("the offsets belong to no attempt", "give `attempt` with them"));
        }
        let offsets = LogOffsets { stdout: stdout.unwrap_or(0), stderr: stderr.unwrap_or(0) };
        Ok(Self { attempt: attempt.unwrap_or(0), offsets })
    }
}

/// Why a conversation stops before the end of the task.
enum Stop {
    /// Nobody listens any more.
    Gone,
    /// The client is told why.
    Refused(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

async fn converse(mut client: Client, state: Shared, task: TaskRef, view: TaskView, start: Start) {
    let result = match single_element(task, &view) {
        Ok(element) => Follower::new(&mut client, state, element, view).run(start).await,
        Err(error) => Err(error.into()),
    };
    if let Err(Stop::Refused(error)) = result {
        // If this fails too, the client is gone.
        let _ = client.tell(&LogEvent::Error { error }).await;
    }
    client.close().await;
}

/// Sends the log of one element.
struct Follower<'a> {
    client: &'a mut Client,
    state: Shared,
    element: ElementId,
    view: TaskView,
    changes: watch::Receiver<u64>,
    told: Option<TaskState>,
}

impl<'a> Follower<'a> {
    fn new(client: &'a mut Client, state: Shared, element: ElementId, view: TaskView) -> Self {
        let mut changes = state.cluster.subscribe(element.task);
        // The view was read before: look once more.
        changes.mark_changed();
        Self { client, state, element, view, changes, told: None }
    }

    async fn run(mut self, start: Start) -> Result<(), Stop> {
        let mut plan = Plan { next: start.attempt };
        loop {
            self.refresh().await?;
            match plan.step(&self.view) {
                Step::Send(attempt) => {
                    let from = if attempt == start.attempt { start.offsets } else { LogOffsets::default() };
                    self.send_attempt(attempt, from).await?;
                }
                Step::Wait => self.pause(None).await?,
                Step::End => {
                    let view = &self.view;
                    let (state, exit_code, verdict) = (view.state, view.exit_code, view.verdict.clone());
                    return self.client.tell(&LogEvent::End { state, exit_code, verdict }).await;
                }
            }
        }
    }

    /// Sends the log of a run until the run is over and all of it was sent.
    async fn send_attempt(&mut self, attempt: u32, from: LogOffsets) -> Result<(), Stop> {
        let failed = |error: std::io::Error| internal("the log cannot be read", &error);
        self.client.tell(&LogEvent::Attempt { attempt }).await?;
        let mut chunks = self.state.logs.chunks_from(self.element, attempt, from).await.map_err(failed)?;
        loop {
            self.refresh().await?;
            // Asked before reading: what is over now has all of its log in the store.
            let is_over = chunks.is_sealed() || has_ended(&self.view, attempt);
            loop {
                let batch = chunks.next_batch().await.map_err(failed)?;
                if batch.is_empty() {
                    break;
                }
                for chunk in batch {
                    self.client.send(frame(&chunk)).await?;
                }
                self.client.listen()?;
            }
            if is_over {
                return Ok(());
            }
            self.pause(Some(&mut chunks)).await?;
        }
    }

    /// Looks at the task again if it has changed, and tells its state.
    async fn refresh(&mut self) -> Result<(), Stop> {
        if self.changes.has_changed().unwrap_or_else(|_| !self.view.state.is_final()) {
            self.changes.mark_unchanged();
            self.view =
                self.state.cluster.task(TaskRef { task: self.element.task, index: Some(self.element.index) }).await?;
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
                Ok(()) => Ok(()),
                // Nobody tells of changes any more; at the end of the task that is right.
                Err(_) if self.view.state.is_final() => Ok(()),
                Err(_) => Err(stopping().into()),
            },
            () = self.state.shutdown.cancelled() => Err(stopping().into()),
            alive = self.client.stay() => alive,
        }
    }
}

fn stopping() -> ApiError {
    let hint = "connect again later, with the attempt and offsets that you have";
    ApiError::new(ErrorCode::Unavailable, "the master is about to stop", hint)
}

/// Whether a run is over. The worker says so only when all of the log has arrived.
fn has_ended(view: &TaskView, attempt: u32) -> bool {
    let run = view.attempts.iter().find(|run| run.attempt == attempt);
    run.is_none_or(|run| run.state == AttemptState::Ended)
}

/// Which runs were sent.
struct Plan {
    /// The first that was not.
    next: u32,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Send(u32),
    Wait,
    End,
}

impl Plan {
    fn step(&mut self, view: &TaskView) -> Step {
        let attempts = view.attempts.iter().map(|run| run.attempt);
        match attempts.filter(|attempt| *attempt >= self.next).min() {
            Some(attempt) => {
                self.next = attempt.saturating_add(1);
                Step::Send(attempt)
            }
            None if view.state.is_final() => Step::End,
            None => Step::Wait,
        }
    }
}

/// One byte for the stream, eight for the offset, the bytes.
fn frame(chunk: &LogChunk) -> Message {
    let mut bytes = Vec::with_capacity(9 + chunk.data.len());
    bytes.push(match chunk.stream {
        LogStream::Stdout => 1,
        LogStream::Stderr => 2,
    });
    bytes.extend(chunk.offset.to_be_bytes());
    bytes.extend_from_slice(&chunk.data);
    Message::Binary(bytes.into())
}

/// The other end of the connection.
struct Client {
    socket: WebSocket,
    pings: Interval,
    unanswered: u32,
}

impl Client {
    fn new(socket: WebSocket) -> Self {
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { socket, pings, unanswered: 0 }
    }

    async fn tell(&mut self, event: &LogEvent) -> Result<(), Stop> {
        let text = serde_json::to_string(event).map_err(|error| internal("an event cannot be written", &error))?;
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Stop> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stop::Gone),
        }
    }

    /// Hears what the client has said, without waiting.
    fn listen(&mut self) -> Result<(), Stop> {
        while let Some(message) = self.socket.recv().now_or_never() {
            self.heard(message.as_ref())?;
        }
        Ok(())
    }

    /// Waits for a sign of life, or asks for one. Returns now and then.
    async fn stay(&mut self) -> Result<(), Stop> {
        tokio::select! {
            message = self.socket.recv() => self.heard(message.as_ref()),
            _ = self.pings.tick() => {
                if self.unanswered >= PINGS_UNANSWERED {
                    return Err(Stop::Gone);
                }
                self.unanswered += 1;
                self.send(Message::Ping(bytes::Bytes::new())).await
            }
        }
    }

    fn heard(&mut self, message: Option<&Result<Message, axum::Error>>) -> Result<(), Stop> {
        match message {
            None | Some(Err(_) | Ok(Message::Close(_))) => Err(Stop::Gone),
            Some(Ok(_)) => {
                self.unanswered = 0;
                Ok(())
            }
        }
    }

    async fn close(&mut self) {
        // A client that is gone needs no goodbye.
        let _ = self.send(Message::Close(None)).await;
    }
}
