//! `GET /api/tasks/{id}/logs`: the bytes that a task wrote, as it wrote them.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use shared::error::ApiError;
use shared::id::ElementId;
use shared::link::LogStream;

use super::Shared;
use super::error::{Failure, internal, invalid};
use super::extract::{Caller, Params, TaskPath};
use super::visible::{find_attempt, open_visible, single_element};
use crate::master::logs::{LogCut, LogSelect, LogStore, READ_LIMIT};

/// Says what of the log was cut out.
const CUT: HeaderName = HeaderName::from_static("cloudai-log-cut");

/// The most lines of a `tail`.
pub(super) const TAIL_LIMIT: usize = 10_000;

/// `GET /api/tasks/{id}/logs`
pub(super) async fn read(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    params: Params,
) -> Result<Response, Failure> {
    let wanted = Wanted::parse(params)?;
    let view = open_visible(&state, &principal, task).await?;
    let element = single_element(task, &view)?;
    let Some(attempt) = find_attempt(&view, wanted.attempt)? else { return Ok(raw(Body::empty(), 0)) };
    let log = Selected { store: state.logs.clone(), element, attempt, select: wanted.select };
    let answer = match wanted.tail {
        Some(lines) => log.tail(lines).await,
        None => {
            // A log that is read is kept for its reader, whatever is cut meanwhile.
            let seat = state.load.admit_download(&principal)?;
            log.range(wanted.offset, wanted.limit, seat).await
        }
    };
    Ok(answer.map_err(|error| internal("the log cannot be read", &error))?)
}

/// The query.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    select: LogSelect,
    attempt: Option<u32>,
    offset: u64,
    limit: u64,
    tail: Option<usize>,
}

impl Wanted {
    fn parse(mut params: Params) -> Result<Self, ApiError> {
        let select = select(&mut params)?;
        let attempt = params.one("attempt")?;
        let (offset, limit) = (params.one("offset")?, params.one("limit")?);
        let tail = params.number("tail", 0, TAIL_LIMIT)?;
        params.finish()?;
        if tail.is_some() && (offset.is_some() || limit.is_some()) {
            return Err(invalid("tail: counts lines from the end", "leave offset and limit out, or tail"));
        }
        Ok(Self { select, attempt, offset: offset.unwrap_or(0), limit: limit.unwrap_or(u64::MAX), tail })
    }
}

/// The parameter `stream`.
pub(super) fn select(params: &mut Params) -> Result<LogSelect, ApiError> {
    match params.one::<String>("stream")?.as_deref() {
        None | Some("both") => Ok(LogSelect::Both),
        Some("stdout") => Ok(LogSelect::One(LogStream::Stdout)),
        Some("stderr") => Ok(LogSelect::One(LogStream::Stderr)),
        Some(_) => Err(invalid("stream: there is no such stream", "give stdout, stderr or both")),
    }
}

/// A log and what to read of it.
struct Selected {
    store: LogStore,
    element: ElementId,
    attempt: u32,
    select: LogSelect,
}

impl Selected {
    /// What stands there now; what comes meanwhile is for the next request.
    async fn range<T: Send + Sync + 'static>(self, offset: u64, limit: u64, seat: T) -> io::Result<Response> {
        let range = self.store.range(self.element, self.attempt, self.select, offset, limit).await?;
        let cuts = cuts(range.cuts());
        let length = range.len();
        let pieces = stream::try_unfold((range, seat), |(mut range, seat)| async move {
            let data = range.next(READ_LIMIT).await?;
            Ok::<_, io::Error>((!data.is_empty()).then_some((data, (range, seat))))
        });
        let mut response = raw(Body::from_stream(pieces), length);
        response.headers_mut().extend(cuts.map(|cuts| (CUT, cuts)));
        Ok(response)
    }

    /// The last lines, each with a line end.
    async fn tail(self, count: usize) -> io::Result<Response> {
        let cuts = cuts_of(&self.store, self.element, self.attempt, self.select).await?;
        let lines = self.store.tail_lines_of(self.element, self.attempt, self.select, count).await?;
        let mut text = Vec::new();
        for (_, line) in lines {
            text.extend(line);
            text.push(b'\n');
        }
        let length = text.len() as u64;
        let mut response = raw(Body::from(Bytes::from(text)), length);
        response.headers_mut().extend(cuts);
        Ok(response)
    }
}

/// What of a log was cut out, wherever in it, as a header; none: nothing.
pub(super) async fn cuts_of(
    store: &LogStore,
    element: ElementId,
    attempt: u32,
    select: LogSelect,
) -> io::Result<Option<(HeaderName, HeaderValue)>> {
    let range = store.range(element, attempt, select, 0, u64::MAX).await?;
    Ok(cuts(range.cuts()).map(|cuts| (CUT, cuts)))
}

/// The offsets of what was cut out, the first that is gone and the first that is there again, of each stream.
fn cuts(cuts: &[LogCut]) -> Option<HeaderValue> {
    let cut = |cut: &LogCut| {
        let LogCut { from, to } = cut;
        format!("stdout={}..{}; stderr={}..{}", from.stdout, to.stdout, from.stderr, to.stderr)
    };
    let text = cuts.iter().map(cut).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).ok().filter(|_| !text.is_empty())
}

/// Never shown by a browser as anything but bytes.
fn raw(body: Body, length: u64) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, length.to_string())], body)
        .into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::extract::FromRequestParts;
    use axum::http::Request;
    use shared::id::{AttemptKey, Epoch, Fence, TaskId};
    use ulid::Ulid;

    use super::*;
    use crate::master::logs::{Keep, LogPiece};

    async fn wanted(query: &str) -> Result<Wanted, ApiError> {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).expect("a request").into_parts();
        Wanted::parse(Params::from_request_parts(&mut parts, &()).await.expect("parameters"))
    }

    #[tokio::test]
    async fn the_query_is_checked() {
        let all = Wanted { select: LogSelect::Both, attempt: None, offset: 0, limit: u64::MAX, tail: None };
        assert_eq!(wanted("").await.expect("valid"), all);
        let some = wanted("stream=stderr&attempt=2&offset=3&limit=4").await.expect("valid");
        let stderr = LogSelect::One(LogStream::Stderr);
        assert_eq!(some, Wanted { select: stderr, attempt: Some(2), offset: 3, limit: 4, tail: None });
        for bad in ["stream=stdin", "attempt=x", "offset=-1", "tail=10001", "tail=1&offset=0", "lines=1"] {
            assert!(wanted(bad).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_was_cut_out_is_said_of_the_last_lines_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = LogStore::open_keeping(directory.path(), Keep::at_most(64 * 1024)).expect("open");
        let key = AttemptKey { task: TaskId(Ulid::nil()), index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) };
        let log = || Selected { store: store.clone(), element: key.element(), attempt: 1, select: LogSelect::Both };
        let mut cuts = Vec::new();
        for offset in [0, 300_000] {
            let data = Bytes::from(b"a line\n".repeat(300_000 / 7 + 1)[..300_000].to_vec());
            let piece = LogPiece { key, stream: LogStream::Stdout, offset, data };
            store.append(vec![piece]).await.pop().expect("an answer").1.expect("appended");
            let response = log().tail(1).await.expect("a line");
            let range = log().range(0, u64::MAX, ()).await.expect("a range");
            assert_eq!(response.headers().get(CUT), range.headers().get(CUT));
            cuts.extend(response.headers().get(CUT).cloned());
        }
        assert!(!cuts.is_empty(), "something was cut out");
    }

    #[tokio::test]
    async fn a_large_log_is_streamed_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = LogStore::open(directory.path()).expect("open");
        let key = AttemptKey { task: TaskId(Ulid::nil()), index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) };
        let data = Bytes::from((0..3_000_000u32).map(|at| at as u8).collect::<Vec<_>>());
        let piece = LogPiece { key, stream: LogStream::Stdout, offset: 0, data: data.clone() };
        store.append(vec![piece]).await.pop().expect("an answer").1.expect("appended");
        let log = || Selected { store: store.clone(), element: key.element(), attempt: 1, select: LogSelect::Both };
        for (offset, limit) in [(0, u64::MAX), (1_048_575, 2), (2_999_999, 5), (3_000_000, 5), (9_000_000, 1)] {
            let response = log().range(offset, limit, ()).await.expect("range");
            let start = data.len().min(offset as usize);
            let expected = &data[start..data.len().min(start.saturating_add(limit as usize))];
            assert_eq!(response.headers()[CONTENT_LENGTH], expected.len().to_string());
            assert_eq!(to_bytes(response.into_body(), usize::MAX).await.expect("a body"), expected);
        }
    }
}
