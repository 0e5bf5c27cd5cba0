//! Frames that the engine gives twice: when it goes on to a new file while somebody follows the log, some of the last frames
//! come once more (seen with Docker 20.10). They are known by their times, which go up from line to line of a stream; the
//! frames of one line share theirs, so that one which is not the last of the newest line is never taken for a repetition.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use shared::link::LogStream;

use super::long_lines::FULL;

/// Bytes that the engine stores for a frame besides its content, at the least.
const AROUND: u64 = 24;
/// Frames of a stream that are remembered.
const RECENT: usize = 64;

/// Looks for them, once there may have been a new file.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Bytes until then, at the least.
    left: u64,
    streams: [Recent; 2],
}

#[derive(Debug, Default)]
struct Recent {
    /// The last frame, of which only the time matters.
    last: Bytes,
    /// Digests of the last ones.
    frames: VecDeque<u64>,
}

impl Repeats {
    /// Of a reading from the start of the first file, which is of `file` bytes, or from somewhere else.
    pub(super) fn new(file: u64, is_from_start: bool) -> Self {
        // Somewhat early: how much the engine stores for a frame is a guess.
        Self { left: if is_from_start { file / 10 * 8 } else { 0 }, streams: Default::default() }
    }

    /// Whether this frame has been here: `whole` with its time, of which the last `content` bytes are the program's.
    pub(super) fn has(&mut self, stream: LogStream, whole: &Bytes, content: usize) -> bool {
        self.left = self.left.saturating_sub(AROUND + content as u64);
        if self.left > 0 {
            return false;
        }
        let Recent { last, frames } = &mut self.streams[stream as usize];
        let time = whole.slice(..whole.len() - content);
        let mut hasher = DefaultHasher::new();
        whole.hash(&mut hasher);
        let digest = hasher.finish();
        // The engine writes all times with as many digits. Of two at the same time both may be of one line.
        let may_be = time < *last || time == *last && content != FULL;
        if may_be && frames.contains(&digest) {
            return true;
        }
        if time > *last {
            *last = time;
        }
        frames.push_back(digest);
        if frames.len() > RECENT {
            frames.pop_front();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_twice_is_known_by_its_time_where_there_may_be_a_new_file() {
        use LogStream::{Stderr, Stdout};
        let frame = |time: u32, text: &str| Bytes::from(format!("{time} {text}"));
        let mut early = Repeats::new(1 << 20, true);
        assert!(!early.has(Stdout, &frame(1, "a"), 1) && !early.has(Stdout, &frame(1, "a"), 1));
        let mut repeats = Repeats::new(1 << 20, false);
        let mut has = |stream, time, text: &str| repeats.has(stream, &frame(time, text), text.len());
        assert!(!has(Stdout, 1, "a") && !has(Stderr, 2, "e") && !has(Stdout, 2, "b"));
        assert!(has(Stdout, 1, "a") && has(Stderr, 2, "e") && has(Stdout, 2, "b"), "some, in their order");
        assert!(!has(Stdout, 2, "c") && !has(Stdout, 3, "b") && !has(Stderr, 3, "b"));
        let full = "x".repeat(FULL);
        assert!(!has(Stdout, 4, &full) && !has(Stdout, 4, &full) && !has(Stdout, 4, "rest"));
        assert!(has(Stdout, 4, "rest"));
        assert!(!has(Stdout, 5, "x") && has(Stdout, 4, &full) && has(Stdout, 4, "rest") && has(Stdout, 5, "x"));
    }
}
