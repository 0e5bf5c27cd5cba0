//! Many submissions in one request: lines in, one answer per line out, in their order.
//!
//! Nothing waits for the whole body: lines are taken in groups as they arrive, a group is one call of the cluster, and
//! two groups are on their way at a time. So memory is bounded however many lines there are.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use shared::error::{ApiError, ErrorBody, ErrorCode};
use shared::id::UserName;
use shared::view::{SubmitLineResult, SubmitLineView};
use tokio::time::Instant;

use super::counted::Share;
use super::submit::{no_answer, prepare};
use super::{Shared, json};
use crate::master::auth::Principal;
use crate::master::call::Call;

/// The longest line, in bytes.
const LINE_LIMIT: usize = 1024 * 1024;
/// Lines of one group: as many as one commit takes well.
const GROUP_LINES: usize = 1024;
/// Bytes of one group, more or less.
const GROUP_BYTES: usize = 4 * LINE_LIMIT;
/// While one group is being committed the next one is parsed.
const GROUPS_AT_ONCE: usize = 2;
/// How long a client may be silent, and how long a line may take to arrive.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// The keys of the tasks of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// What the client gave.
    pub(super) key: Arc<str>,
    /// The number of the first task of this body among all that go by the key: a client may send them in several bodies.
    /// 1-based.
    pub(super) first: u64,
}

impl Keys {
    /// The key of the task with this number in the body. The very first has the key itself, so that one task is the same
    /// task in either form.
    fn of(&self, task: u64) -> Arc<str> {
        match self.first.saturating_add(task - 1) {
            1 => Arc::clone(&self.key),
            number => format!("{}#{number}", self.key).into(),
        }
    }
}

/// The answers to the lines of `body`, made while it arrives.
pub(super) fn answers(
    state: Shared,
    principal: Principal,
    keys: Option<Keys>,
    body: Body,
    seat: Share<UserName>,
) -> Body {
    let groups = stream::unfold((Groups::new(body), seat), |(mut groups, seat)| async move {
        let group = groups.next().await?;
        Some((group, (groups, seat)))
    });
    let client = Arc::new(Client { state, principal, keys });
    // The answer is made after the call has returned, but for it: each group is noted with what it makes.
    let call = Call::current().inspect(|call| call.is_noted_later());
    let submit = move |group| {
        let (client, call) = (client.clone(), call.clone());
        async move {
            match call {
                Some(call) => call.scope(submit_group(client, group)).await,
                None => submit_group(client, group).await,
            }
        }
    };
    let answers = groups.map(submit).buffered(GROUPS_AT_ONCE);
    Body::from_stream(answers.map(Ok::<_, Infallible>))
}

struct Client {
    state: Shared,
    principal: Principal,
    keys: Option<Keys>,
}

/// Submits the lines that are good and answers all of them.
async fn submit_group(client: Arc<Client>, group: Vec<Line>) -> Bytes {
    let mut submissions = Vec::with_capacity(group.len());
    let mut refusals = Vec::with_capacity(group.len());
    for line in group {
        let key = client.keys.as_ref().map(|keys| keys.of(line.task));
        let parsed = line.content.and_then(|text| json::parse(&text));
        let refusal = match parsed.and_then(|request| prepare(request, &client.principal, key)) {
            Ok(submission) => {
                submissions.push(submission);
                None
            }
            Err(error) => Some(error),
        };
        refusals.push((line.number, refusal));
    }
    let submitted = if submissions.is_empty() { Vec::new() } else { client.state.cluster.submit(submissions).await };
    let mut submitted = submitted.into_iter();
    let mut out = Vec::with_capacity(refusals.len() * 128);
    for (line, refusal) in refusals {
        let result = match refusal {
            Some(error) => Err(error),
            None => submitted.next().unwrap_or_else(|| Err(no_answer())),
        };
        let result = match result {
            Ok(view) => SubmitLineResult::Accepted(view),
            Err(error) => SubmitLineResult::Refused(ErrorBody { error }),
        };
        if let Err(error) = serde_json::to_writer(&mut out, &SubmitLineView { line, result }) {
            tracing::error!(%error, "an answer could not be written");
        }
        out.push(b'\n');
    }
    out.into()
}

/// A line of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// 1 is the first; empty lines count, but get no answer.
    number: u64,
    /// The same, but empty lines do not count: to write them or not makes no other request.
    task: u64,
    /// Without its end, or why there is none.
    content: Result<Bytes, ApiError>,
}

/// Takes lines as they arrive and makes groups of them.
struct Groups {
    body: BodyDataStream,
    lines: Lines,
    /// Since when half a line is there.
    began: Option<Instant>,
    silence_limit: Duration,
    ended: bool,
}

impl Groups {
    fn new(body: Body) -> Self {
        let (body, lines) = (body.into_data_stream(), Lines::default());
        Self { body, lines, began: None, silence_limit: SILENCE_LIMIT, ended: false }
    }

    /// What has arrived, as soon as there is a line. None at the end.
    async fn next(&mut self) -> Option<Vec<Line>> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        loop {
            while let Some(line) = self.lines.next() {
                self.began = None;
                bytes += line.content.as_ref().map_or(0, Bytes::len);
                group.push(line);
                if group.len() >= GROUP_LINES || bytes >= GROUP_BYTES {
                    return Some(group);
                }
            }
            if self.ended {
                return (!group.is_empty()).then_some(group);
            }
            let data = if group.is_empty() {
                let since = if self.lines.buffer.is_empty() {
                    Instant::now()
                } else {
                    *self.began.get_or_insert_with(Instant::now)
                };
                tokio::time::timeout_at(since + self.silence_limit, self.body.next()).await
            } else {
                // Whoever sends line by line gets each answer before the next line.
                let Some(data) = self.body.next().now_or_never() else { return Some(group) };
                Ok(data)
            };
            match data {
                Ok(Some(Ok(data))) => self.lines.push(&data),
                Ok(None) => {
                    self.ended = true;
                    self.lines.end();
                }
                // The client is gone; half a line is no submission.
                Ok(Some(Err(_))) => self.ended = true,
                Err(_) => {
                    self.ended = true;
                    group.push(self.lines.give_up(silent()));
                }
            }
        }
    }
}

fn silent() -> ApiError {
    let message = format!("no line came for {} s", SILENCE_LIMIT.as_secs());
    ApiError::new(ErrorCode::Timeout, message, "what was answered before is kept; send the rest again")
}

fn too_long() -> ApiError {
    let message = format!("the line is longer than {LINE_LIMIT} bytes");
    ApiError::new(ErrorCode::TooLarge, message, "put large data into the image or a file")
}

/// Cuts bytes into lines. Holds at most one line and what came with its end.
#[derive(Debug, Default)]
struct Lines {
    buffer: BytesMut,
    /// How much of the buffer has no line end in it.
    scanned: usize,
    /// Lines that ended.
    number: u64,
    /// Those of them that were empty.
    empty: u64,
    /// The rest of a line that is too long is dropped.
    skipping: bool,
}

impl Lines {
    fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next line that has ended, or that is too long to wait for its end.
    fn next(&mut self) -> Option<Line> {
        loop {
            let Some(at) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                return self.check_length();
            };
            let line = self.buffer.split_to(self.scanned + at + 1).freeze();
            self.scanned = 0;
            self.number += 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let content = line.slice(..line.len() - 1);
            if content.len() > LINE_LIMIT {
                return Some(self.line(self.number, Err(too_long())));
            }
            if !content.trim_ascii().is_empty() {
                return Some(self.line(self.number, Ok(content)));
            }
            self.empty += 1;
        }
    }

    /// Drops what can only be part of a line that is too long.
    fn check_length(&mut self) -> Option<Line> {
        if self.buffer.len() <= LINE_LIMIT {
            return None;
        }
        self.buffer.clear();
        self.scanned = 0;
        let is_new = !std::mem::replace(&mut self.skipping, true);
        is_new.then(|| self.line(self.number + 1, Err(too_long())))
    }

    /// The last line need not have an end.
    fn end(&mut self) {
        self.push(b"\n");
    }

    fn give_up(&self, why: ApiError) -> Line {
        self.line(self.number + 1, Err(why))
    }

    fn line(&self, number: u64, content: Result<Bytes, ApiError>) -> Line {
        Line { number, task: number - self.empty, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, text: &'static str) -> Line {
        Line { number, task: number, content: Ok(Bytes::from_static(text.as_bytes())) }
    }

    fn split(text: &[u8], step: usize) -> Vec<Line> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in text.chunks(step) {
            lines.push(piece);
            found.extend(std::iter::from_fn(|| lines.next()));
        }
        lines.end();
        found.extend(std::iter::from_fn(|| lines.next()));
        found
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = b"{\"a\":1}\r\n\n  \n{\"b\":2}\n{\"c\":3}";
        for step in 1..text.len() {
            let found = split(text, step);
            let second = Line { task: 2, ..line(4, "{\"b\":2}") };
            let third = Line { task: 3, ..line(5, "{\"c\":3}") };
            assert_eq!(found, [line(1, "{\"a\":1}\r"), second, third], "by {step}");
        }
        assert!(split(b"", 1).is_empty() && split(b"\n\n", 1).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_once_and_the_next_is_taken() {
        for (length, is_taken) in [(LINE_LIMIT, true), (LINE_LIMIT + 1, false), (3 * LINE_LIMIT, false)] {
            let text = [&vec![b'x'; length][..], b"\nnext\n"].concat();
            for step in [1000, 400_000, text.len()] {
                let found = split(&text, step);
                assert_eq!(found.len(), 2, "{length} by {step}");
                assert_eq!(found[0].content.is_ok(), is_taken, "{length} by {step}");
                assert_eq!(found[0].number, 1);
                assert_eq!(found[1], line(2, "next"));
            }
        }
    }

    #[test]
    fn the_first_task_has_the_key_itself_and_numbers_go_on_in_the_next_body() {
        let of = |first, task| Keys { key: "k".into(), first }.of(task).to_string();
        assert_eq!([of(1, 1), of(1, 2), of(1001, 1), of(1001, 2)], ["k", "k#2", "k#1001", "k#1002"]);
    }

    #[test]
    fn memory_stays_small_while_a_long_line_goes_on() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&vec![b'x'; 100_000]);
            lines.next();
            assert!(lines.buffer.len() <= LINE_LIMIT);
        }
    }

    fn body(pieces: Vec<Result<&'static str, std::io::Error>>) -> Body {
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn groups_are_bounded_and_what_has_arrived_is_not_kept_waiting() {
        let many: &'static str = "{}\n".repeat(GROUP_LINES + 1).leak();
        let mut groups = Groups::new(body(vec![Ok(many)]));
        assert_eq!(groups.next().await.expect("a group").len(), GROUP_LINES);
        assert_eq!(groups.next().await.expect("the rest").len(), 1);
        assert_eq!(groups.next().await, None);

        let slow = stream::iter([Ok::<_, Infallible>("{}\n{")]).chain(stream::pending());
        let mut groups = Groups::new(Body::from_stream(slow));
        assert_eq!(groups.next().await.expect("the first line at once"), [line(1, "{}")]);
    }

    #[tokio::test]
    async fn a_line_that_drips_is_given_up() {
        // For ever, if every drop gave it more time.
        let drops = stream::repeat("x").then(|drop| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(drop)
        });
        let mut groups = Groups::new(Body::from_stream(drops));
        groups.silence_limit = Duration::from_millis(200);
        let group = groups.next().await.expect("a group");
        assert_eq!(group[0].content.as_ref().expect_err("given up").code, ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn half_a_line_of_a_client_that_is_gone_is_no_submission() {
        let mut groups = Groups::new(body(vec![Ok("{}\n{\"image\":"), Err(std::io::Error::other("reset"))]));
        assert_eq!(groups.next().await.expect("a group"), [line(1, "{}")]);
        assert_eq!(groups.next().await, None);
    }
}
