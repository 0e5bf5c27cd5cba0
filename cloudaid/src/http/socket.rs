//! The other end of a WebSocket: what is sent to it has a deadline, its silence is noticed, and whether it may still be here
//! is asked now and then.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;
use shared::error::{ApiError, ErrorCode};
use tokio::time::{Interval, MissedTickBehavior};

use super::Shared;
use super::authenticate::Guest;
use super::connections::Stranger;
use super::error::{internal, invalid};
use super::sockets::Seat;
use crate::master::auth::Auth;

const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that answers none of this many pings is gone.
const PINGS_UNANSWERED: u32 = 3;
/// As long as a silent client is borne.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Clients have nothing to say here but pongs and goodbye.
const INBOUND_LIMIT: usize = 4 * 1024;
/// What is read ahead of a client that says next to nothing: there may be ten thousand of them.
const READ_BUFFER: usize = 1024;
/// The most that waits for a slow client in memory.
const WRITE_BUFFER_LIMIT: usize = 4 * 1024 * 1024;
/// Closed because who came in may be here no longer; a code for private use, after the HTTP status.
const UNAUTHENTICATED: u16 = 4401;

/// Lets a client in, and tells it why the conversation ends where that is not its end.
pub(super) fn open<F: Future<Output = Result<(), Stop>> + Send + 'static>(
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    state: &Shared,
    admitted: Admitted,
    converse: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|error| invalid(error.to_string(), "connect here with a WebSocket client"))?;
    let auth = state.auth.clone();
    let upgrade = upgrade
        .max_message_size(INBOUND_LIMIT)
        .max_frame_size(INBOUND_LIMIT)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_LIMIT);
    Ok(upgrade.on_upgrade(move |socket| {
        let client = Client::new(socket, admitted, auth);
        converse(client).map(drop)
    }))
}

/// Who may come in, and their place.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) guest: Guest,
    pub(super) _seat: Seat,
    pub(super) _stranger: Option<Stranger>,
}

/// A connected client.
pub(super) struct Client {
    admitted: Admitted,
    auth: Auth,
    socket: WebSocket,
    pings: Interval,
    unanswered: u32,
}

impl Client {
    fn new(socket: WebSocket, admitted: Admitted, auth: Auth) -> Self {
        let mut pings = tokio::time::interval(PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { admitted, auth, socket, pings, unanswered: 0 }
    }

    /// Looks now and then whether they may still be here.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        Ok(self.admitted.guest.check(&self.auth)?)
    }

    pub(super) async fn tell(&mut self, event: &(impl Serialize + Sync)) -> Result<(), Stop> {
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

    /// Says goodbye; why, stands in `refused` if it was not the end.
    pub(super) async fn close(&mut self, refused: Option<&ApiError>) {
        let code = match refused.map(|error| error.code) {
            Some(ErrorCode::Unauthenticated) => UNAUTHENTICATED,
            _ => close_code::NORMAL,
        };
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
