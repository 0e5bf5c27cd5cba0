//! The log of a task for its master: line by line while it grows, and its end within the report.

use std::io;
use std::sync::Arc;

use shared::proto::seed::LogChunk;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status as Refusal;

use super::desk::{Known, blocking};
use super::ledger::Status;
use super::lines::{Line, Lines};
use super::spool::{Progress, Spool};
use crate::clock;

/// The most of a log that goes into a report, in bytes: of a longer one its end. Masters take 64 MiB, and bytes that are
/// no text become longer.
pub(super) const REPORT_LIMIT: usize = 32 << 20;
/// Chunks between the disk and the network.
const CHUNKS_LIMIT: usize = 64;
/// What a task that has not ended is called.
const RUNNING: &str = "running";

/// A chunk per line, in order, and a last one that is complete and says how the task stands. With `follow` that comes
/// when the task has ended.
pub(super) fn stream(known: Known, follow: bool) -> ReceiverStream<Result<LogChunk, Refusal>> {
    let (chunks, stream) = mpsc::channel(CHUNKS_LIMIT);
    tokio::spawn(async move {
        if let Err(Some(error)) = send(&known, follow, &chunks).await {
            tracing::warn!(task = %known.record.assignment.key, %error, "The log cannot be read");
            let _gone =
                chunks.send(Err(Refusal::unavailable("the log cannot be read; the worker's log says more"))).await;
        }
    });
    ReceiverStream::new(stream)
}

/// Nothing is wrong where nobody listens any more.
async fn send(
    known: &Known,
    follow: bool,
    chunks: &mpsc::Sender<Result<LogChunk, Refusal>>,
) -> Result<(), Option<io::Error>> {
    let spool = Arc::clone(&known.spool);
    let mut watch = blocking(move || spool.watch()).await?;
    let mut lines = Lines::new(known.spool.directory().to_owned());
    let chunk = |content: String, ended: Option<Option<Status>>| LogChunk {
        task_id: known.record.wire_id.clone(),
        content,
        timestamp: clock::wall().to_string(),
        is_complete: ended.is_some(),
        status: ended.flatten().map_or(RUNNING, Status::as_str).to_owned(),
    };
    let say = async |chunk| chunks.send(Ok(chunk)).await.map_err(|_| None);
    loop {
        let progress = *watch.borrow_and_update();
        loop {
            let (back, next) = blocking(move || {
                let next = lines.next(progress)?;
                Ok((lines, next))
            })
            .await?;
            lines = back;
            let Some(next) = next else { break };
            for line in next {
                say(chunk(line.text, None)).await?;
            }
        }
        if progress.ended.is_some() || !follow {
            for line in lines.rest() {
                say(chunk(line.text, None)).await?;
            }
            return say(chunk(String::new(), Some(progress.ended))).await;
        }
        tokio::select! {
            // The sender is where the task is: for as long as the task is remembered.
            changed = watch.changed() => changed.map_err(|_| None)?,
            () = chunks.closed() => return Ok(()),
        }
    }
}

/// The end of the whole log as one text, and behind it what there is to remark. Blocks.
pub(super) fn tail(spool: &Spool, remarks: &[String]) -> io::Result<String> {
    let progress: Progress = *spool.watch()?.borrow();
    let mut lines = Lines::new(spool.directory().to_owned());
    let mut text = String::new();
    let mut left_out = 0;
    while let Some(next) = lines.next(progress)? {
        next.iter().for_each(|line| add(&mut text, line));
        if text.len() > 2 * REPORT_LIMIT {
            left_out += cut(&mut text);
        }
    }
    lines.rest().iter().for_each(|line| add(&mut text, line));
    left_out += cut(&mut text);
    if left_out > 0 {
        text.insert_str(0, &format!("cloudaid: the first {left_out} bytes of what is kept of this log are left out\n"));
    }
    for remark in remarks {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        add(&mut text, &Line { text: remark.clone(), whole: true });
    }
    Ok(text)
}

fn add(text: &mut String, line: &Line) {
    text.push_str(&line.text);
    if line.whole {
        text.push('\n');
    }
}

/// Leaves the end of a text that is too long, from the beginning of a character; returns how much went.
fn cut(text: &mut String) -> usize {
    let mut from = text.len().saturating_sub(REPORT_LIMIT);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.drain(..from).count();
    from
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::link::LogStream;

    use super::*;

    fn with(data: &[&[u8]]) -> (tempfile::TempDir, Spool) {
        let scratch = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(scratch.path().to_owned());
        let mut offset = 0;
        for piece in data {
            spool.append(&[(LogStream::Stdout, offset, Bytes::copy_from_slice(piece))]).expect("appended");
            offset += piece.len() as u64;
        }
        (scratch, spool)
    }

    #[test]
    fn a_report_has_the_log_as_it_was_and_remarks_on_lines_of_their_own() {
        for (log, remarks, expected) in [
            ("", &[][..], ""),
            ("hi", &[], "hi"),
            ("hi\n\n", &[], "hi\n\n"),
            ("", &["why".to_owned()], "why\n"),
            ("hi", &["why".to_owned()], "hi\nwhy\n"),
            ("hi\n", &["a".to_owned(), "b".to_owned()], "hi\na\nb\n"),
        ] {
            let (_scratch, spool) = with(&[log.as_bytes()]);
            assert_eq!(tail(&spool, remarks).expect("read"), expected);
        }
    }

    #[test]
    fn of_a_long_log_the_end_is_reported_and_bytes_that_are_no_text_count_as_they_are_sent() {
        let piece = vec![0xff; 1 << 20];
        let (_scratch, spool) = with(&[&piece[..]; 40]);
        let text = tail(&spool, &[]).expect("read");
        assert!(text.len() <= REPORT_LIMIT + 200 && text.len() > REPORT_LIMIT - 200, "{}", text.len());
        let (first, rest) = text.split_once('\n').expect("a remark on what is left out");
        assert!(first.contains("left out") && rest.chars().all(|c| c == '\u{fffd}'), "{first}");
    }
}
