//! What of a log a client wants.

use shared::error::ApiError;
use shared::time::WallTime;
use shared::view::TaskView;

use crate::http::error::invalid;
use crate::http::extract::Params;
use crate::http::logs::{TAIL_LIMIT, select};
use crate::master::logs::{LogOffsets, LogSelect};

/// The query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The first run to send; none: the first there is, or with a `begin` of its own the last there is.
    attempt: Option<u32>,
    /// What of that run.
    pub(super) begin: Begin,
    /// Which streams.
    pub(super) select: LogSelect,
    /// Wait for what comes, until the task has ended.
    pub(super) follow: bool,
    /// No run after the first one that is sent.
    pub(super) only: bool,
    /// Each frame with the time at which it arrived.
    pub(super) times: bool,
}

/// Where to begin in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// Behind what the client has.
    At(LogOffsets),
    /// With so many lines before the end.
    LastLines(usize),
    /// With what arrived then.
    Since(WallTime),
}

impl Start {
    pub(super) fn parse(mut params: Params) -> Result<Self, ApiError> {
        let attempt = params.one("attempt")?;
        let stdout: Option<u64> = params.one("stdout_offset")?;
        let stderr: Option<u64> = params.one("stderr_offset")?;
        let tail = params.number("tail", 0, TAIL_LIMIT)?;
        let since: Option<WallTime> = params.one("since")?;
        let select = select(&mut params)?;
        let follow = params.one("follow")?.unwrap_or(true);
        let only = params.one("only")?.unwrap_or(false);
        let times = params.one("times")?.unwrap_or(false);
        params.finish()?;
        let offsets = stdout.is_some() || stderr.is_some();
        if attempt.is_none() && offsets {
            return Err(invalid("the offsets belong to no attempt", "give `attempt` with them"));
        }
        let begin = match (offsets, tail, since) {
            (false, Some(lines), None) => Begin::LastLines(lines),
            (false, None, Some(since)) => Begin::Since(since),
            (_, None, None) => Begin::At(LogOffsets { stdout: stdout.unwrap_or(0), stderr: stderr.unwrap_or(0) }),
            (true, _, _) | (false, Some(_), Some(_)) => {
                return Err(invalid("there is more than one place to begin at", "give offsets, or tail, or since"));
            }
        };
        Ok(Self { attempt, begin, select, follow, only, times })
    }

    /// The run to begin with.
    pub(super) fn first_attempt(&self, view: &TaskView) -> u32 {
        let last = || view.attempts.last().map_or(0, |run| run.attempt);
        match (self.attempt, self.begin) {
            (Some(attempt), _) => attempt,
            (None, Begin::At(_)) if !self.only => view.attempts.first().map_or(0, |run| run.attempt),
            (None, _) => last(),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequestParts;
    use axum::http::Request;
    use shared::link::LogStream;

    use super::*;

    async fn start(query: &str) -> Result<Start, ApiError> {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).expect("a request").into_parts();
        Start::parse(Params::from_request_parts(&mut parts, &()).await.expect("parameters"))
    }

    #[tokio::test]
    async fn one_place_to_begin_at() {
        let all = Start {
            attempt: None,
            begin: Begin::At(LogOffsets::default()),
            select: LogSelect::Both,
            follow: true,
            only: false,
            times: false,
        };
        assert_eq!(start("").await.expect("valid"), all);
        let begin = Begin::At(LogOffsets { stdout: 5, stderr: 0 });
        assert_eq!(start("attempt=2&stdout_offset=5").await.expect("valid"), Start { attempt: Some(2), begin, ..all });
        let begin = Begin::LastLines(3);
        let select = LogSelect::One(LogStream::Stderr);
        let found = start("tail=3&stream=stderr&follow=false&only=true&times=true").await.expect("valid");
        assert_eq!(found, Start { attempt: None, begin, select, follow: false, only: true, times: true });
        let since = start("since=2026-01-02T03:04:05Z").await.expect("valid").begin;
        assert!(matches!(since, Begin::Since(time) if time.to_string() == "2026-01-02T03:04:05.000Z"));
        for bad in [
            "stderr_offset=1",
            "attempt=-1",
            "attempt=1&stdout_offset=x",
            "follow=1",
            "tail=10001",
            "tail=1&since=2026-01-02T03:04:05Z",
            "attempt=1&stdout_offset=1&tail=1",
            "stream=stdin",
            "since=yesterday",
        ] {
            assert!(start(bad).await.is_err(), "{bad}");
        }
    }
}
