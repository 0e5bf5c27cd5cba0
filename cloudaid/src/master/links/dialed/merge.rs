//! The log that a worker sends at the end, and what of it is there already.

use std::io;

use bytes::Bytes;
use shared::id::AttemptKey;
use shared::link::LogStream;

use crate::master::logs::{LogPiece, LogRefusal, LogStore, READ_LIMIT};

/// Appends what of `text` has not been followed. Line ends do not count: each line that was followed has one, whatever it
/// had. If the two have nothing to do with each other all of `text` is kept: lines that come twice are better than none.
///
/// # Errors
/// The log cannot be read or written.
pub(super) async fn complete(logs: &LogStore, key: AttemptKey, text: &str) -> io::Result<()> {
    let stored = logs.offsets(&key).await?.stdout;
    let text = text.as_bytes();
    let rest = match common_end(logs, key, stored, text).await? {
        Some(at) => &text[at..],
        // What was cut off at its beginning, and was followed in whole.
        None if is_end_of(logs, key, stored, text).await? => &[],
        None => text,
    };
    append(logs, key, stored, Bytes::copy_from_slice(rest)).await
}

/// Appends at an offset.
///
/// # Errors
/// The log cannot be written.
pub(super) async fn append(logs: &LogStore, key: AttemptKey, offset: u64, data: Bytes) -> io::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let piece = LogPiece { key, stream: LogStream::Stdout, offset, data };
    for (_, appended) in logs.append(vec![piece]).await {
        match appended {
            Ok(_) => {}
            Err(LogRefusal::Io(error)) => return Err(error),
            Err(gap @ LogRefusal::Gap { .. }) => return Err(io::Error::other(gap.to_string())),
        }
    }
    Ok(())
}

/// Where in `text` the log ends, if it begins as `text` does.
async fn common_end(logs: &LogStore, key: AttemptKey, stored: u64, text: &[u8]) -> io::Result<Option<usize>> {
    let (mut at, mut ends) = (0, 0);
    let mut offset = 0;
    while offset < stored {
        let piece = logs.read(key.element(), key.attempt, LogStream::Stdout, offset, READ_LIMIT).await?;
        if piece.is_empty() {
            break;
        }
        offset += piece.len() as u64;
        for byte in &piece {
            match byte {
                b'\n' => ends += 1,
                b'\r' => {}
                byte => {
                    ends = 0;
                    at += line_ends(&text[at..], usize::MAX);
                    match text.get(at) {
                        // What was followed goes further.
                        None => return Ok(Some(text.len())),
                        Some(other) if other != byte => return Ok(None),
                        Some(_) => at += 1,
                    }
                }
            }
        }
    }
    Ok(Some(at + line_ends(&text[at..], ends)))
}

/// How many bytes at the beginning are line ends, of which at most so many.
fn line_ends(text: &[u8], most: usize) -> usize {
    let mut left = most;
    let is_end = |byte: &&u8| match byte {
        b'\r' => left > 0,
        b'\n' if left > 0 => {
            left -= 1;
            true
        }
        _ => false,
    };
    text.iter().take_while(is_end).count()
}

/// Whether the log ends with `text`.
async fn is_end_of(logs: &LogStore, key: AttemptKey, stored: u64, text: &[u8]) -> io::Result<bool> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let with_end = stored.checked_sub(1).map(|last| (last, 1));
    let ends = match with_end {
        Some((last, limit)) => logs.read(key.element(), key.attempt, LogStream::Stdout, last, limit).await? == "\n",
        None => false,
    };
    let Some(mut offset) = stored.checked_sub(u64::from(ends)).and_then(|end| end.checked_sub(text.len() as u64))
    else {
        return Ok(false);
    };
    let mut left = text;
    while !left.is_empty() {
        let limit = left.len().min(READ_LIMIT);
        let piece = logs.read(key.element(), key.attempt, LogStream::Stdout, offset, limit).await?;
        match left.strip_prefix(&piece[..]) {
            Some(rest) if !piece.is_empty() => left = rest,
            _ => return Ok(false),
        }
        offset += piece.len() as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use shared::id::{Epoch, Fence};

    use super::*;

    fn key() -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) }
    }

    async fn merged(followed: &str, text: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let logs = LogStore::open(&directory.path().join("logs")).expect("opened");
        append(&logs, key(), 0, Bytes::copy_from_slice(followed.as_bytes())).await.expect("appended");
        complete(&logs, key(), text).await.expect("completed");
        let size = logs.offsets(&key()).await.expect("a size").stdout as usize;
        let mut read = Vec::new();
        while read.len() < size {
            let offset = read.len() as u64;
            let piece = logs.read(key().element(), 1, LogStream::Stdout, offset, READ_LIMIT).await.expect("read");
            read.extend_from_slice(&piece);
        }
        String::from_utf8(read).expect("text")
    }

    #[tokio::test]
    async fn what_was_not_followed_is_filled_in() {
        for (followed, text, whole) in [
            ("", "", ""),
            ("", "a", "a"),
            ("", "a\nb\n", "a\nb\n"),
            ("a\n", "a\nb\n", "a\nb\n"),
            ("a\nb\n", "a\nb\n", "a\nb\n"),
            ("a\nb\n", "a\nb", "a\nb\n"),
            ("a\n", "a\n\nb", "a\n\nb"),
            ("a\n\n", "a\n\nb", "a\n\nb"),
            ("a\n", "a\r\nb\r\n", "a\nb\r\n"),
            ("lo\nng\n", "long\nb\n", "lo\nng\nb\n"),
            ("a\nb\n", "", "a\nb\n"),
        ] {
            assert_eq!(merged(followed, text).await, whole, "{followed:?} {text:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_lost_of_what_does_not_fit() {
        assert_eq!(merged("a\nb\nc\n", "b\nc\n").await, "a\nb\nc\n", "only the end was sent");
        assert_eq!(merged("a\nb\nc\n", "b\nc").await, "a\nb\nc\n");
        assert_eq!(merged("b\n", "a\nb\n").await, "b\na\nb\n", "the beginning was not followed");
        assert_eq!(merged("x\n", "y\n").await, "x\ny\n");
    }

    #[tokio::test]
    async fn logs_of_more_than_one_piece_are_compared_to_their_end() {
        let text = "0123456789abcde\n".repeat(200_000);
        let half = &text[..text.len() / 2];
        assert!(merged(half, &text).await == text);
        assert!(merged(&text, half).await == text, "what was followed goes further");
    }
}
