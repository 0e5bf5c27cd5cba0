//! The other end of a WebSocket: what is sent to it has a deadline, and its silence is noticed.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::Bytes;
use futures_util::FutureExt;
use shared::error::ApiError;
use shared::view::LogEvent;
use tokio::time::{Interval, MissedTickBehavior};

use crate::http::authenticate::Guest;
use crate::http::error::internal;

const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that answers none of this many pings is gone.
const PINGS_UNANSWERED: u32 = 3;
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// A connected client.
pub(super) struct Client {
    /// Who reads.
    pub(super) guest: Guest,
    socket: WebSocket,
    pings: Interval,
    unanswered: u32,
}

impl Client {
    pub(super) fn new(socket: WebSocket, guest: Guest) -> Self {
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { guest, socket, pings, unanswered: 0 }
    }

    pub(super) async fn tell(&mut self, event: &LogEvent) -> Result<(), Stop> {
        let text = serde_json::to_string(event).map_err(|error| internal("an event cannot be written", &error))?;
        self.send(Message::Text(text.into())).await
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), Stop> {
        match tokio::time::timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stop::Gone),
        }
    }

    /// Hears what the client has said, without waiting.
    pub(super) fn listen(&mut self) -> Result<(), Stop> {
        while let Some(message) = self.socket.recv().now_or_never() {
            self.heard(message.as_ref())?;
        }
        Ok(())
    }

    /// Waits for a sign of life, or asks for one. Returns now and then.
    pub(super) async fn stay(&mut self) -> Result<(), Stop> {
        tokio::select! {
            message = self.socket.recv() => self.heard(message.as_ref()),
            _ = self.pings.tick() => {
                if self.unanswered >= PINGS_UNANSWERED {
                    return Err(Stop::Gone);
                }
                self.unanswered += 1;
                self.send(Message::Ping(Bytes::new())).await
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

    pub(super) async fn close(&mut self, code: u16) {
        let frame = CloseFrame { code, reason: "".into() };
        // A client that is gone needs no goodbye.
        let _ = self.send(Message::Close(Some(frame))).await;
    }
}

/// Why a conversation stops before the end of the task.
pub(super) enum Stop {
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
