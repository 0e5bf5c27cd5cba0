//! Following the log of a task over a WebSocket, through restarts of the master.

use std::time::Duration;

use futures_util::StreamExt;
use http::{StatusCode, header};
use shared::error::{ApiError, ErrorCode};
use shared::id::TaskRef;
use shared::task::{TaskState, Verdict};
use shared::view::LogEvent;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::frame::{Fresh, LogCursor, parse_chunk, parse_event};
use super::{CONNECT_TIMEOUT, Client, build, tls, transport};
use crate::exit::CtlError;
use crate::render::LogPiece;

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
        /// Bytes before them that the server does not have.
        gap: u64,
        /// They.
        piece: LogPiece,
    },
    /// Bytes that the server did not keep.
    Cut {
        /// Of stdout.
        stdout: u64,
        /// Of stderr.
        stderr: u64,
    },
    /// What follows is the log of this run, which is another one than before.
    Attempt(u32),
    /// Where the task stands now.
    State(TaskState),
    /// All of the log that was wanted was seen. The task has ended, unless only what there is was wanted.
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
    /// One of the final states, unless only a part of the log was wanted.
    pub(crate) state: TaskState,
    /// How.
    pub(crate) verdict: Option<Verdict>,
}

/// What of a log is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogQuery {
    /// This run; none: the first, or with a `begin` of its own the last there is.
    pub(crate) attempt: Option<u32>,
    /// Where in that run.
    pub(crate) begin: Begin,
    /// Only this stream.
    pub(crate) stream: Option<&'static str>,
    /// Also what is still to come.
    pub(crate) follow: bool,
    /// No run after the first.
    pub(crate) only: bool,
    /// With the times at which it reached the master.
    pub(crate) times: bool,
}

/// Where in a log to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With its first byte.
    Start,
    /// So many lines before its end.
    Tail(u32),
    /// With what reached the master then; RFC 3339.
    Since(String),
}

impl LogQuery {
    /// All of it, until the task has ended.
    pub(crate) fn all() -> Self {
        Self { attempt: None, begin: Begin::Start, stream: None, follow: true, only: false, times: false }
    }

    fn parameters(&self, cursor: &LogCursor) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        match (cursor.attempt, &self.begin) {
            // Offsets mean something within one attempt only.
            (Some(attempt), _) => query.extend([
                ("attempt", attempt.to_string()),
                ("stdout_offset", cursor.stdout.to_string()),
                ("stderr_offset", cursor.stderr.to_string()),
            ]),
            (None, begin) => {
                query.extend(self.attempt.map(|attempt| ("attempt", attempt.to_string())));
                match begin {
                    Begin::Start => {}
                    Begin::Tail(lines) => query.push(("tail", lines.to_string())),
                    Begin::Since(since) => query.push(("since", since.clone())),
                }
            }
        }
        query.extend(self.stream.map(|stream| ("stream", stream.to_owned())));
        query.extend((!self.follow).then(|| ("follow", "false".to_owned())));
        query.extend(self.only.then(|| ("only", "true".to_owned())));
        query.extend(self.times.then(|| ("times", "true".to_owned())));
        query
    }
}

type Socket = WebSocketStream<reqwest::Upgraded>;

/// Follows one task. Reconnects by offsets, so that nothing is lost and nothing comes twice.
pub(crate) struct Follower<'a> {
    client: &'a Client,
    /// Speaks HTTP/1.1 only, as an upgrade needs it, and knows no read timeout: a task may be silent for days.
    http: reqwest::Client,
    task: TaskRef,
    query: LogQuery,
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
    /// Follows the log of `task`.
    pub(crate) fn new(client: &'a Client, task: TaskRef, query: LogQuery) -> Result<Self, CtlError> {
        let http = build(client.guard.apply(transport(&client.server).http1_only(), tls::UPGRADE)?)?;
        Ok(Self { client, http, task, query, cursor: LogCursor::default(), state: None, link: Link::Fresh })
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// The server refuses, or has been away for [`PATIENCE`].
    pub(crate) async fn next(&mut self) -> Result<Followed, CtlError> {
        loop {
            match &mut self.link {
                Link::Up { socket, .. } => {
                    // The token is needed again when the connection breaks.
                    let message = tokio::select! {
                        biased;
                        message = socket.next() => message,
                        () = self.client.stay_fresh() => None,
                    };
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
                let chunk = parse_chunk(frame, self.query.times).map_err(|cause| self.client.not_understood(&cause))?;
                let (stream, time) = (chunk.stream, chunk.time);
                let end = chunk.offset + chunk.data.len() as u64;
                let Fresh { gap, data } = self.cursor.take(chunk);
                let silent = gap == 0 && data.is_empty();
                let attempt = self.cursor.attempt.unwrap_or_default();
                let piece = LogPiece { attempt, stream, offset: end - data.len() as u64, time, data };
                Ok((!silent).then_some(Followed::Bytes { gap, piece }))
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
            LogEvent::Attempt { attempt, stdout_offset, stderr_offset } => {
                let is_new = self.cursor.begin(attempt, stdout_offset, stderr_offset);
                is_new.then_some(Followed::Attempt(attempt))
            }
            LogEvent::Cut { stdout_offset, stderr_offset, .. } => {
                let (stdout, stderr) = self.cursor.skip(stdout_offset, stderr_offset);
                (stdout + stderr > 0).then_some(Followed::Cut { stdout, stderr })
            }
            LogEvent::State { state } => (self.state.replace(state) != Some(state)).then_some(Followed::State(state)),
            LogEvent::End { state, verdict, .. } => Some(Followed::End(Outcome { state, verdict })),
            LogEvent::Error { error } => {
                let error = CtlError::Api(error);
                match error {
                    error if error.is_transient() => Some(self.lost(error)),
                    // There may be a fresh token by now; if not, the next connection is refused.
                    CtlError::Api(error) if error.code == ErrorCode::Unauthenticated => Some(self.lost(error.into())),
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
        let key = generate_key();
        let request = self
            .http
            .get(self.client.url(&format!("ws/tasks/{}/logs", self.task))?)
            .query(&self.query.parameters(&self.cursor))
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
    use http::HeaderValue;
    use shared::version;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

    use super::*;
    use crate::context::{Target, parse_server};
    use crate::trust::Trust;

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
                let note = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
                    asked.push(request.uri().to_string());
                    response.headers_mut().insert(version::HEADER, HeaderValue::from_static(version::PRODUCT));
                    Ok(response)
                };
                let mut socket = tokio_tungstenite::accept_hdr_async(stream, note).await.expect("a handshake");
                for message in part {
                    socket.send(message).await.expect("sent");
                }
            }
            asked
        });
        let client = Client::new(&Target::new(server, Trust::System, Some("t".into()))).expect("a client");
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
        let mut follower = Follower::new(&client, TASK.parse().expect("an id"), LogQuery::all()).expect("a follower");
        let (mut log, mut outages) = (Vec::new(), 0);
        let outcome = loop {
            match follower.next().await.expect("goes on") {
                Followed::Bytes { piece, gap } => {
                    assert_eq!((gap, piece.offset), (0, log.len() as u64));
                    log.extend_from_slice(&piece.data);
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

    #[test]
    fn what_was_seen_counts_more_than_where_to_begin() {
        let query = LogQuery { attempt: Some(2), begin: Begin::Tail(5), follow: false, times: true, ..LogQuery::all() };
        let text = |cursor: &LogCursor| {
            let parameters = query.parameters(cursor);
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(text(&LogCursor::default()), "attempt=2&tail=5&follow=false&times=true");
        let cursor = LogCursor { attempt: Some(2), stdout: 7, stderr: 0 };
        assert_eq!(text(&cursor), "attempt=2&stdout_offset=7&stderr_offset=0&follow=false&times=true");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_had_is_said_once() {
        let error = r#"{"type":"error","error":{"code":"not_found","message":"no log","hint":""}}"#;
        let (client, _asked) = serve(vec![vec![event(error)]]).await;
        let mut follower = Follower::new(&client, TASK.parse().expect("an id"), LogQuery::all()).expect("a follower");
        let Followed::NoLog(error) = follower.next().await.expect("an answer") else { panic!("something else") };
        assert_eq!(error.message, "no log");
    }
}
