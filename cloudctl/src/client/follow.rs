//! Following the log of a task over a WebSocket, through restarts of the master.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{StatusCode, header};
use shared::error::ApiError;
use shared::id::TaskRef;
use shared::link::LogStream;
use shared::task::{TaskState, Verdict};
use shared::view::LogEvent;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::frame::{LogCursor, parse_chunk, parse_event};
use super::{CONNECT_TIMEOUT, Client, build, transport};
use crate::exit::CtlError;

/// How long a master that went away is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// Before the first further try; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that held this long was a good one: the pauses start anew.
const STEADY: Duration = Duration::from_secs(2);
/// The server sends at most 256 KiB at once; much more is a fault and not a log.
const MESSAGE_LIMIT: usize = 4 << 20;

/// What a follower sees next.
#[derive(Debug)]
pub(crate) enum Followed {
    /// New bytes of the log.
    Bytes {
        /// Where the container wrote them to.
        stream: LogStream,
        /// Bytes before them that the server does not have.
        gap: u64,
        /// As the container wrote them.
        data: Bytes,
    },
    /// What follows is the log of this run, which is another one than before.
    Attempt(u32),
    /// Where the task stands now.
    State(TaskState),
    /// The task has ended, and all of its log was seen.
    End(Outcome),
    /// The server cannot give the log.
    NoLog(ApiError),
    /// The connection broke; the next call tries to get it back.
    Lost(CtlError),
    /// It is there again.
    Back,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// One of the final states.
    pub(crate) state: TaskState,
    /// How.
    pub(crate) verdict: Option<Verdict>,
}

type Socket = WebSocketStream<reqwest::Upgraded>;

/// Follows one task. Reconnects by offsets, so that nothing is lost and nothing comes twice.
pub(crate) struct Follower<'a> {
    client: &'a Client,
    /// Speaks HTTP/1.1 only, as an upgrade needs it, and knows no read timeout: a task may be silent for days.
    http: reqwest::Client,
    task: TaskRef,
    cursor: LogCursor,
    /// As last said, because the server says it again after each reconnect.
    state: Option<TaskState>,
    link: Link,
}

enum Link {
    Up {
        socket: Box<Socket>,
        since: Instant,
        pause: Duration,
    },
    /// Not connected yet.
    Fresh,
    Down {
        since: Instant,
        pause: Duration,
    },
}

impl<'a> Follower<'a> {
    /// Follows `task` from the start of its first run, or of the run that is named.
    pub(crate) fn new(client: &'a Client, task: TaskRef, attempt: Option<u32>) -> Result<Self, CtlError> {
        let http = build(transport(&client.server).http1_only())?;
        let cursor = LogCursor { attempt, ..LogCursor::default() };
        Ok(Self { client, http, task, cursor, state: None, link: Link::Fresh })
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// The server refuses, or has been away for [`PATIENCE`].
    pub(crate) async fn next(&mut self) -> Result<Followed, CtlError> {
        loop {
            match &mut self.link {
                Link::Up { socket, .. } => {
                    let message = socket.next().await;
                    if let Some(followed) = self.on_message(message)? {
                        return Ok(followed);
                    }
                }
                Link::Fresh => match self.connect().await {
                    Ok(socket) => self.up(socket, FIRST_PAUSE),
                    Err(error) if error.is_transient() => return Ok(self.lost(error)),
                    Err(error) => return Err(error),
                },
                Link::Down { since, pause } => {
                    let (since, pause) = (*since, *pause);
                    sleep(pause).await;
                    match self.connect().await {
                        Ok(socket) => {
                            self.up(socket, pause);
                            return Ok(Followed::Back);
                        }
                        Err(error) if error.is_transient() && since.elapsed() < PATIENCE => {
                            self.link = Link::Down { since, pause: LONGEST_PAUSE.min(pause * 2) };
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    fn up(&mut self, socket: Socket, pause: Duration) {
        self.link = Link::Up { socket: Box::new(socket), since: Instant::now(), pause };
    }

    fn lost(&mut self, error: CtlError) -> Followed {
        let pause = match self.link {
            // It came up and broke at once: do not hurry.
            Link::Up { since, pause, .. } if since.elapsed() < STEADY => LONGEST_PAUSE.min(pause * 2),
            _ => FIRST_PAUSE,
        };
        self.link = Link::Down { since: Instant::now(), pause };
        Followed::Lost(error)
    }

    /// Returns none for what is nothing to see.
    fn on_message(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<Option<Followed>, CtlError> {
        match message {
            Some(Ok(Message::Binary(frame))) => {
                let chunk = parse_chunk(frame).map_err(|cause| self.client.not_understood(&cause))?;
                let stream = chunk.stream;
                let fresh = self.cursor.take(chunk);
                let silent = fresh.gap == 0 && fresh.data.is_empty();
                Ok((!silent).then_some(Followed::Bytes { stream, gap: fresh.gap, data: fresh.data }))
            }
            Some(Ok(Message::Text(text))) => {
                let event = parse_event(&text).map_err(|cause| self.client.not_understood(&cause))?;
                Ok(event.and_then(|event| self.on_event(event)))
            }
            Some(Ok(Message::Close(_))) | None => Ok(Some(self.lost(self.gone(&"the server closed the connection")))),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Ok(Some(self.lost(self.gone(&error)))),
        }
    }

    fn on_event(&mut self, event: LogEvent) -> Option<Followed> {
        match event {
            LogEvent::Attempt { attempt } => self.cursor.begin(attempt).then_some(Followed::Attempt(attempt)),
            LogEvent::State { state } => (self.state.replace(state) != Some(state)).then_some(Followed::State(state)),
            LogEvent::End { state, verdict, .. } => Some(Followed::End(Outcome { state, verdict })),
            LogEvent::Error { error } => {
                let error = CtlError::Api(error);
                match error {
                    error if error.is_transient() => Some(self.lost(error)),
                    CtlError::Api(error) => Some(Followed::NoLog(error)),
                    _ => None,
                }
            }
        }
    }

    fn gone(&self, cause: &dyn std::fmt::Display) -> CtlError {
        CtlError::Unreachable { server: self.client.server().to_owned(), cause: cause.to_string() }
    }

    /// The handshake is an ordinary request of the same client library, so that proxies, TLS and refusals are as
    /// everywhere else.
    async fn connect(&self) -> Result<Socket, CtlError> {
        // Offsets mean something within one attempt only.
        let query = self.cursor.attempt.map(|attempt| {
            [
                ("attempt", u64::from(attempt)),
                ("stdout_offset", self.cursor.stdout),
                ("stderr_offset", self.cursor.stderr),
            ]
        });
        let query: Vec<_> = query.into_iter().flatten().collect();
        let key = generate_key();
        let request = self
            .http
            .get(self.client.url(&format!("ws/tasks/{}/logs", self.task))?)
            .query(&query)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        let handshake = async {
            let response = self.client.send(request).await?;
            let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes());
            let right = accepted == Some(derive_accept_key(key.as_bytes()).as_bytes());
            if response.status() != StatusCode::SWITCHING_PROTOCOLS || !right {
                return Err(self.client.not_understood(&"no WebSocket where the log should be"));
            }
            response.upgrade().await.map_err(|error| self.client.broken(&error))
        };
        let upgraded =
            timeout(CONNECT_TIMEOUT, handshake).await.unwrap_or_else(|_| Err(self.gone(&"no answer in time")))?;
        let config =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_LIMIT)).max_frame_size(Some(MESSAGE_LIMIT));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

    use super::*;
    use crate::context::{Target, parse_server};

    const TASK: &str = "task-01arz3ndektsv4rrffq69g5fav";

    fn chunk(offset: u8, data: &str) -> Message {
        Message::Binary([&[1, 0, 0, 0, 0, 0, 0, 0, offset], data.as_bytes()].concat().into())
    }

    fn event(json: &str) -> Message {
        Message::text(json)
    }

    /// A server that gives each connection its part of the script, then breaks it. Returns what was asked for.
    async fn serve(script: Vec<Vec<Message>>) -> (Client, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = parse_server(&listener.local_addr().expect("an address").to_string()).expect("a server");
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for part in script {
                let (stream, _) = listener.accept().await.expect("a connection");
                #[allow(clippy::result_large_err, reason = "the signature of the library")]
                let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
                    asked.push(request.uri().to_string());
                    Ok(response)
                };
                let mut socket = tokio_tungstenite::accept_hdr_async(stream, note).await.expect("a handshake");
                for message in part {
                    socket.send(message).await.expect("sent");
                }
            }
            asked
        });
        let client = Client::new(&Target { server, token: Some("t".into()) }).expect("a client");
        (client, asked)
    }

    #[tokio::test]
    async fn a_broken_connection_loses_and_repeats_nothing() {
        let attempt = || event(r#"{"type":"attempt","attempt":1}"#);
        let (client, asked) = serve(vec![
            vec![attempt(), chunk(0, "hello "), chunk(6, "wor")],
            vec![attempt(), chunk(6, "world"), chunk(11, "!"), event(END)],
        ])
        .await;
        const END: &str =
            r#"{"type":"end","state":"failed","exit_code":3,"verdict":{"kind":"exit_code","exit_code":3}}"#;
        let mut follower = Follower::new(&client, TASK.parse().expect("an id"), None).expect("a follower");
        let (mut log, mut outages) = (Vec::new(), 0);
        let outcome = loop {
            match follower.next().await.expect("goes on") {
                Followed::Bytes { data, gap, .. } => {
                    assert_eq!(gap, 0);
                    log.extend_from_slice(&data);
                }
                Followed::Back => outages += 1,
                Followed::End(outcome) => break outcome,
                _ => {}
            }
        };
        assert_eq!(String::from_utf8_lossy(&log), "hello world!");
        assert_eq!(outages, 1);
        let verdict = Some(Verdict::ExitCode { exit_code: 3 });
        assert_eq!(outcome, Outcome { state: TaskState::Failed, verdict });
        let asked = asked.await.expect("the server ran");
        assert_eq!(asked[0], format!("/ws/tasks/{TASK}/logs"));
        assert_eq!(asked[1], format!("/ws/tasks/{TASK}/logs?attempt=1&stdout_offset=9&stderr_offset=0"));
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_had_is_said_once() {
        let error = r#"{"type":"error","error":{"code":"not_found","message":"no log","hint":""}}"#;
        let (client, _asked) = serve(vec![vec![event(error)]]).await;
        let mut follower = Follower::new(&client, TASK.parse().expect("an id"), None).expect("a follower");
        let Followed::NoLog(error) = follower.next().await.expect("an answer") else { panic!("something else") };
        assert_eq!(error.message, "no log");
    }
}
