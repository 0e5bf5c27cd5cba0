//! The other end of a WebSocket: what is sent to it has a deadline, its silence is noticed, and whether it may still be here
//! is asked now and then.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, Version};
use axum::response::Response;
use bytes::{Buf, Bytes};
use futures_util::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use tokio::io::AsyncWriteExt;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role as WebSocketRole, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::Shared;
use super::authenticate::Guest;
use super::counted::Share;
use super::error::{Failure, internal, invalid};
use super::extract::Caller;
use crate::connections::Stranger;
use crate::master::auth::Auth;

const PING_EVERY: Duration = Duration::from_secs(20);
/// A client that answers none of this many pings is gone.
const PINGS_UNANSWERED: u32 = 3;
/// As long as a silent client is borne.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// A goodbye that cannot be sent by then is left unsaid.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients have nothing to say here but pongs and goodbye.
const INBOUND_LIMIT: usize = 4 * 1024;
/// What is read ahead of a client that says next to nothing: there may be ten thousand of them.
const READ_BUFFER: usize = 1024;
/// The most control frames that wait for a slow client in memory; messages are written from where they are.
const WRITE_BUFFER_LIMIT: usize = 4 * 1024 * 1024;
/// Closed because who came in may be here no longer; a code for private use, after the HTTP status.
const UNAUTHENTICATED: u16 = 4401;

/// Lets a client in, to a conversation that [`Client::end`] ends. Whether the request is a good one is
/// checked by axum; the connection is ours, because what goes to thousands is written from the same bytes.
pub(super) fn open<F: Future<Output = ()> + Send + 'static>(
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    state: &Shared,
    mut admitted: Admitted,
    converse: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<Response, ApiError> {
    const HINT: &str = "connect here with a WebSocket client";
    let _checked = upgrade.map_err(|error| invalid(error.to_string(), HINT))?;
    let connection = admitted.connection.take();
    let connection = connection.ok_or_else(|| invalid("the connection cannot become a WebSocket", HINT))?;
    let mut response = Response::default();
    if let Some(accept) = admitted.accept.take() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend([
            (CONNECTION, HeaderValue::from_static("upgrade")),
            (UPGRADE, HeaderValue::from_static("websocket")),
            (SEC_WEBSOCKET_ACCEPT, accept),
        ]);
    }
    let auth = state.auth.clone();
    tokio::spawn(async move {
        // An error: the client has gone before it began.
        if let Ok(connection) = connection.await {
            let client = Client::new(TokioIo::new(connection), admitted, auth).await;
            converse(client).await;
        }
    });
    Ok(response)
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(INBOUND_LIMIT))
        .max_frame_size(Some(INBOUND_LIMIT))
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_LIMIT)
}

/// Who may come in, their place, and their connection.
#[derive(Debug)]
pub(super) struct Admitted {
    guest: Guest,
    _seat: Share<UserName>,
    _stranger: Option<Stranger>,
    connection: Option<OnUpgrade>,
    /// The answer to their key. None over HTTP/2, which has none.
    accept: Option<HeaderValue>,
}

impl FromRequestParts<Shared> for Admitted {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, Failure> {
        let Caller(principal) = Caller::from_request_parts(parts, state).await?;
        let seat = state.load.admit_socket(&principal)?;
        let key = parts.headers.get(SEC_WEBSOCKET_KEY).filter(|_| parts.version <= Version::HTTP_11);
        Ok(Self {
            guest: Guest::new(principal),
            _seat: seat,
            _stranger: parts.extensions.get::<Stranger>().cloned(),
            connection: parts.extensions.get::<OnUpgrade>().cloned(),
            accept: key.and_then(|key| derive_accept_key(key.as_bytes()).parse().ok()),
        })
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Binary,
}

/// What stands before a whole message of so many bytes that is not masked (RFC 6455, 5.2).
fn head(kind: Kind, length: usize) -> Vec<u8> {
    const FIN: u8 = 0x80;
    let first = FIN
        | match kind {
            Kind::Text => 1,
            Kind::Binary => 2,
        };
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..126), _) => head.push(length),
        (_, Ok(length)) => {
            head.push(126);
            head.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            head.push(127);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

/// A connected client.
pub(super) struct Client {
    admitted: Admitted,
    auth: Auth,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    pings: Interval,
    unanswered: u32,
}

impl Client {
    async fn new(connection: TokioIo<Upgraded>, admitted: Admitted, auth: Auth) -> Self {
        let socket = WebSocketStream::from_raw_socket(connection, WebSocketRole::Server, Some(limits())).await;
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
        self.send(Kind::Text, text.as_bytes()).await
    }

    /// Sends a message. Nothing of it is copied, so that nothing is kept of a large one.
    pub(super) async fn send(&mut self, kind: Kind, message: impl Buf) -> Result<(), Stop> {
        in_time(self.write(kind, message)).await
    }

    async fn write(&mut self, kind: Kind, message: impl Buf) -> Result<(), WebSocketError> {
        // What the socket has begun to say by itself, such as a pong, comes first.
        self.socket.flush().await?;
        let head = head(kind, message.remaining());
        let connection = self.socket.get_mut();
        connection.write_all_buf(&mut (&head[..]).chain(message)).await?;
        Ok(connection.flush().await?)
    }

    /// Hears what the client has said, without waiting.
    pub(super) fn listen(&mut self) -> Result<(), Stop> {
        while let Some(message) = self.socket.next().now_or_never() {
            self.heard(message.as_ref())?;
        }
        Ok(())
    }

    /// Waits for a sign of life, or asks for one. Returns now and then.
    pub(super) async fn stay(&mut self) -> Result<(), Stop> {
        tokio::select! {
            message = self.socket.next() => self.heard(message.as_ref()),
            _ = self.pings.tick() => {
                if self.unanswered >= PINGS_UNANSWERED {
                    return Err(Stop::Gone);
                }
                self.unanswered += 1;
                in_time(self.socket.send(Message::Ping(Bytes::new()))).await
            }
        }
    }

    fn heard(&mut self, message: Option<&Result<Message, WebSocketError>>) -> Result<(), Stop> {
        match message {
            Some(Err(WebSocketError::Capacity(_))) => Err(Stop::Broken(CloseCode::Size)),
            Some(Err(WebSocketError::Utf8(_))) => Err(Stop::Broken(CloseCode::Invalid)),
            Some(Err(WebSocketError::Protocol(_))) => Err(Stop::Broken(CloseCode::Protocol)),
            None | Some(Err(_) | Ok(Message::Close(_))) => Err(Stop::Gone),
            Some(Ok(_)) => {
                self.unanswered = 0;
                Ok(())
            }
        }
    }

    /// Ends the conversation, and says why where that was not its end.
    pub(super) async fn end(mut self, ended: Result<(), Stop>) {
        let is_listening = !matches!(ended, Err(Stop::Gone));
        let code = match ended {
            Ok(()) | Err(Stop::Gone) => CloseCode::Normal,
            Err(Stop::Broken(code)) => code,
            Err(Stop::Refused(error)) => {
                let is_shut_out = error.code == ErrorCode::Unauthenticated;
                // If this fails the client is gone.
                let _ = self.tell(&Last::Error { error }).await;
                if is_shut_out { CloseCode::Library(UNAUTHENTICATED) } else { CloseCode::Normal }
            }
        };
        let goodbye = async {
            // Refused if the client has said it first: then the answer to that is what is due. Who is gone hears neither.
            let _ = self.socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
            let _ = self.socket.flush().await;
            if is_listening {
                linger(self.socket.get_mut()).await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, goodbye).await;
    }
}

/// Takes what is still on its way: TCP resets a connection that is closed over unread bytes, and the reset overtakes the
/// goodbye (RFC 9112, 9.6).
async fn linger(connection: &mut TokioIo<Upgraded>) {
    let _ = connection.shutdown().await;
    let mut unread = [0; READ_BUFFER];
    while tokio::io::AsyncReadExt::read(connection, &mut unread).await.is_ok_and(|count| count > 0) {}
}

/// The last message of every conversation that ends too early.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Last {
    Error { error: ApiError },
}

/// Whoever does not take what is sent to them is gone.
async fn in_time(sending: impl Future<Output = Result<(), WebSocketError>>) -> Result<(), Stop> {
    match tokio::time::timeout(SEND_TIMEOUT, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Stop::Gone),
    }
}

/// Why a conversation stops before the end of the task.
pub(super) enum Stop {
    /// Nobody listens any more.
    Gone,
    /// What they send is against the protocol, or too large.
    Broken(CloseCode),
    /// The client is told why.
    Refused(ApiError),
}

impl From<ApiError> for Stop {
    fn from(error: ApiError) -> Self {
        Self::Refused(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_kind_and_its_length() {
        assert_eq!(head(Kind::Text, 0), [0x81, 0]);
        assert_eq!(head(Kind::Text, 125), [0x81, 125]);
        assert_eq!(head(Kind::Binary, 126), [0x82, 126, 0, 126]);
        assert_eq!(head(Kind::Text, 65_535), [0x81, 126, 255, 255]);
        assert_eq!(head(Kind::Text, 65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
