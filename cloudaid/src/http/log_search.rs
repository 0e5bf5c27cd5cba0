//! `GET /api/tasks/{id}/logs/search`: the lines of a log that match.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use regex::bytes::RegexBuilder;
use shared::error::ApiError;
use shared::view::{LogMatchView, LogSearchView};

use super::Shared;
use super::error::{Failure, internal, invalid};
use super::extract::{Caller, Params, TaskPath};
use super::logs::{cuts_of, select};
use super::visible::{find_attempt, open_visible, single_element};
use crate::master::logs::{Found, LogOffsets, Match, Search};

/// The longest pattern, in bytes.
const PATTERN_LIMIT: usize = 1000;
/// The most memory of a compiled pattern, in bytes. Its time is linear in the log whatever it is.
const COMPILED_LIMIT: usize = 1024 * 1024;
/// The most lines of an answer.
const LINES_LIMIT: usize = 1000;
/// Lines of an answer if the client does not say.
const LINES_DEFAULT: usize = 100;

/// `GET /api/tasks/{id}/logs/search`
pub(super) async fn search(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    mut params: Params,
) -> Result<Response, Failure> {
    let wanted = params.one("attempt")?;
    let search = parse(params)?;
    let view = open_visible(&state, &principal, task).await?;
    let element = single_element(task, &view)?;
    let attempt = find_attempt(&view, wanted)?;
    let Some(attempt) = attempt else {
        return Ok(Json(LogSearchView { attempt: None, matches: Vec::new(), next_cursor: None }).into_response());
    };
    let cuts = cuts_of(&state.logs, element, attempt, search.select).await;
    let cuts = cuts.map_err(|error| internal("the log cannot be read", &error))?;
    let found = state.logs.search(element, attempt, search).await;
    let Found { matches, next } = found.map_err(|error| internal("the log cannot be read", &error))?;
    let matches = matches.into_iter().map(shown).collect();
    let next_cursor = next.map(|LogOffsets { stdout, stderr }| format!("{stdout}.{stderr}"));
    let mut response = Json(LogSearchView { attempt: Some(attempt), matches, next_cursor }).into_response();
    response.headers_mut().extend(cuts);
    Ok(response)
}

fn shown(found: Match) -> LogMatchView {
    let Match { stream, offset, at, line } = found;
    LogMatchView { stream, offset, at, text: String::from_utf8_lossy(&line).into_owned() }
}

fn parse(mut params: Params) -> Result<Search, ApiError> {
    let select = select(&mut params)?;
    let pattern: String = params.one("pattern")?.unwrap_or_default();
    let is_regex = params.one("regex")?.unwrap_or(false);
    let ignore_case = params.one("ignore_case")?.unwrap_or(false);
    let limit = params.number("limit", 1, LINES_LIMIT)?.unwrap_or(LINES_DEFAULT);
    let from = params.one::<String>("cursor")?.as_deref().map_or_else(|| Ok(LogOffsets::default()), cursor)?;
    params.finish()?;
    if pattern.is_empty() || pattern.len() > PATTERN_LIMIT {
        let message = format!("pattern: must have 1 to {PATTERN_LIMIT} bytes");
        return Err(invalid(message, "say what a line has to contain"));
    }
    let pattern = if is_regex { pattern } else { regex::escape(&pattern) };
    let pattern = RegexBuilder::new(&pattern).case_insensitive(ignore_case).size_limit(COMPILED_LIMIT).build();
    let pattern = pattern.map_err(|error| {
        let last = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        invalid(format!("pattern: {last}"), "see https://docs.rs/regex, or leave `regex` out to look for a text")
    })?;
    Ok(Search { select, pattern, from, limit })
}

fn cursor(text: &str) -> Result<LogOffsets, ApiError> {
    let offsets = text
        .split_once('.')
        .and_then(|(stdout, stderr)| Some(LogOffsets { stdout: stdout.parse().ok()?, stderr: stderr.parse().ok()? }));
    offsets.ok_or_else(|| invalid("cursor: it is none", "take it from `next_cursor`"))
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequestParts;
    use axum::http::Request;

    use super::*;

    async fn parsed(query: &str) -> Result<Search, ApiError> {
        let (mut parts, ()) = Request::get(format!("/x?{query}")).body(()).expect("a request").into_parts();
        parse(Params::from_request_parts(&mut parts, &()).await.expect("parameters"))
    }

    #[tokio::test]
    async fn a_text_is_a_text_and_a_pattern_a_pattern() {
        let finds = async |query: &str, line: &[u8]| parsed(query).await.expect("good").pattern.is_match(line);
        assert!(finds("pattern=a.c", b"xa.cx").await && !finds("pattern=a.c", b"abc").await);
        assert!(finds("pattern=a.c&regex=true", b"abc").await && finds("pattern=A&ignore_case=true", b"a").await);
        assert!(finds("pattern=%C3%BC", "ü".as_bytes()).await);
        for bad in
            ["", "pattern=", "pattern=(&regex=true", "pattern=a&limit=1001", "pattern=a&cursor=1", "pattern=a&x=1"]
        {
            assert!(parsed(bad).await.is_err(), "{bad}");
        }
        assert!(parsed(&format!("pattern={}", "a".repeat(1001))).await.is_err());
        let huge = parsed("pattern=(a{1000}){1000}&regex=true").await.expect_err("too large");
        assert!(huge.message.contains("size limit") || huge.message.contains("exceeds"), "{huge:?}");
    }
}
