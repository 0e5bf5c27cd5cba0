//! Places in a log that a later reading can begin at: the engine drops the oldest part of a log that becomes too long, so
//! that counting from its first byte leads astray.
//!
//! The engine can be asked for what was written from a time on, in whole seconds. So a place is such a time, and how much
//! of each stream was written before it. The two streams are written side by side, and a piece of one may be noted a
//! moment after a later one of the other; within a stream times go up. A place is given out when that moment has passed.

use bytes::Bytes;
use shared::link::LogStream;

use crate::runtime::{LogMark, RuntimeError};

use super::short;

/// No two pieces that were written at once are noted so many seconds apart.
const MOMENT: i64 = 1;
/// Bytes of a time up to its second: `2026-11-25T14:08:05`.
const SECOND: usize = 19;
/// The longest time that the engine writes: with nanoseconds and an offset, and the space behind it.
const LONGEST: usize = 36;

/// Counts what is read, and finds places.
#[derive(Debug)]
pub(super) struct Marks {
    /// Bytes between two places, at the least.
    step: u64,
    last: LogMark,
    /// Where everything can be read from that is there, if that is known.
    start: LogMark,
    /// Bytes of each stream up to here.
    bytes: [u64; 2],
    /// Whether a stream stands behind a line that was cut.
    cut: [bool; 2],
    /// Whether a stream stands inside such a line, and when its last piece was noted.
    inside: [bool; 2],
    seconds: [i64; 2],
    newest: i64,
    candidate: Option<Candidate>,
    clock: Clock,
}

#[derive(Debug)]
struct Candidate {
    mark: LogMark,
    /// Streams of which something later has come.
    passed: [bool; 2],
}

impl Marks {
    /// Of a reading that begins at `last`.
    pub(super) fn after(last: LogMark, step: u64) -> Self {
        let LogMark { bytes, cut, .. } = last;
        Self {
            step,
            last,
            start: if last.first { last } else { LogMark::default() },
            bytes,
            cut,
            inside: [false; 2],
            seconds: [0; 2],
            newest: last.at,
            candidate: None,
            clock: Clock::default(),
        }
    }

    /// The last place that was found.
    pub(super) fn last(&self) -> LogMark {
        self.last
    }

    /// Takes the time off the front of a frame: seconds since the epoch.
    pub(super) fn time(&mut self, frame: &mut Bytes) -> Result<i64, RuntimeError> {
        self.clock.take(frame)
    }

    /// A piece of `length` bytes, noted at `second`, behind which its stream may stand at a cut line's end, or inside such a
    /// line: all its pieces are noted at the time of the first, so that there is no place until it ends. Returns a place before it, if that can be given out now.
    pub(super) fn pass(
        &mut self,
        stream: LogStream,
        second: i64,
        length: u64,
        cut: bool,
        inside: bool,
    ) -> Option<LogMark> {
        let of = stream as usize;
        let mut found = None;
        if second < self.last.at && !self.last.first {
            // The clock was set back: from there on nothing may be asked for by that time.
            self.last = self.start;
            self.candidate = None;
            found = Some(self.last);
        }
        match &mut self.candidate {
            Some(candidate) if second < candidate.mark.at => match candidate.passed[of] {
                true => self.candidate = None,
                false => {
                    candidate.mark.bytes[of] += length;
                    candidate.mark.cut[of] = cut;
                }
            },
            Some(candidate) => {
                candidate.passed[of] = true;
                let at = candidate.mark.at;
                // More of a line that began before it may come, for as long as that line goes on.
                let is_open = (0..2).any(|of| self.inside[of] && self.seconds[of] < at);
                if second >= at + MOMENT {
                    if !is_open {
                        self.last = candidate.mark;
                        found = Some(self.last);
                    }
                    self.candidate = None;
                }
            }
            None if self.inside != [false; 2] => {}
            None => {
                let passed: u64 = self.bytes.iter().sum::<u64>() - self.last.bytes.iter().sum::<u64>();
                if passed >= self.step && second > self.newest {
                    let mut passed = [false; 2];
                    passed[of] = true;
                    let mark = LogMark { at: second, bytes: self.bytes, cut: self.cut, first: false };
                    self.candidate = Some(Candidate { mark, passed });
                }
            }
        }
        self.newest = self.newest.max(second);
        self.seconds[of] = second;
        self.inside[of] = inside;
        self.bytes[of] += length;
        self.cut[of] = cut;
        found
    }
}

/// Reads times, most of which are of the same second as the one before.
#[derive(Debug, Default)]
struct Clock {
    text: [u8; SECOND],
    second: i64,
}

impl Clock {
    fn take(&mut self, frame: &mut Bytes) -> Result<i64, RuntimeError> {
        let head = &frame[..frame.len().min(LONGEST)];
        let none = || RuntimeError::Engine(format!("no time in the log: {}", short(&String::from_utf8_lossy(head))));
        let space = head.iter().position(|byte| *byte == b' ').ok_or_else(none)?;
        let time = &head[..space];
        if !time.starts_with(&self.text) || !time.ends_with(b"Z") {
            let text = std::str::from_utf8(time).map_err(|_| none())?;
            self.second = text.parse::<jiff::Timestamp>().map_err(|_| none())?.as_second();
            self.text = [0; SECOND];
            if let Some(start) = time.first_chunk().filter(|_| time.ends_with(b"Z")) {
                self.text = *start;
            }
        }
        let _ = frame.split_to(space + 1);
        Ok(self.second)
    }
}

#[cfg(test)]
mod tests {
    use LogStream::{Stderr, Stdout};

    use super::*;

    fn mark(at: i64, bytes: [u64; 2]) -> LogMark {
        LogMark { at, bytes, cut: [false; 2], first: false }
    }

    #[test]
    fn a_place_is_a_second_and_what_was_written_before_it() {
        let mut marks = Marks::after(LogMark::default(), 100);
        assert_eq!(marks.pass(Stdout, 10, 99, false, false), None);
        assert_eq!(marks.pass(Stdout, 11, 1, false, false), None);
        assert_eq!(marks.pass(Stdout, 11, 5, false, false), None, "in the middle of a second is none");
        assert_eq!(marks.pass(Stdout, 12, 7, false, false), None);
        // It was written before the last one, and noted after it.
        assert_eq!(marks.pass(Stderr, 11, 3, true, false), None);
        let found = LogMark { cut: [false, true], ..mark(12, [105, 3]) };
        assert_eq!(marks.pass(Stderr, 13, 3, false, false), Some(found));
        assert_eq!(marks.pass(Stdout, 14, 1, false, false), None);
        assert_eq!(marks.last(), found);
        // The next one is as far away again.
        assert_eq!(marks.pass(Stdout, 15, 100, false, false), None);
        assert_eq!(marks.pass(Stdout, 16, 1, false, false), None);
        assert_eq!(marks.pass(Stdout, 17, 1, false, false), Some(mark(16, [213, 6])));
        // Who reads from there counts on.
        let mut later = Marks::after(found, 100);
        for (second, length) in [(12, 7), (14, 1), (15, 100), (16, 1)] {
            later.pass(Stdout, second, length, false, false);
        }
        let still = LogMark { cut: [false, true], ..mark(16, [213, 3]) };
        assert_eq!(later.pass(Stdout, 17, 1, false, false), Some(still));
    }

    #[test]
    fn there_is_no_place_inside_a_line_that_the_engine_cuts() {
        let mut marks = Marks::after(LogMark::default(), 10);
        marks.pass(Stderr, 10, 50, false, true);
        assert_eq!(marks.pass(Stdout, 12, 1, false, false), None);
        assert_eq!(marks.pass(Stdout, 14, 1, false, false), None);
        // It ends, noted when it began.
        assert_eq!(marks.pass(Stderr, 10, 5, true, false), None);
        assert_eq!(marks.pass(Stdout, 15, 1, false, false), None);
        // Of one that begins later nothing is before it.
        assert_eq!(marks.pass(Stderr, 15, 9, false, true), None);
        assert_eq!(marks.pass(Stdout, 16, 1, false, false), Some(LogMark { cut: [false, true], ..mark(15, [2, 55]) }));
        marks.pass(Stderr, 15, 9, true, false);
        // One that began before, and is noted a moment too late, goes on.
        assert_eq!(marks.pass(Stdout, 20, 20, false, false), None);
        assert_eq!(marks.pass(Stderr, 19, 9, false, true), None);
        assert_eq!(marks.pass(Stdout, 21, 1, false, false), None);
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_no_wrong_place() {
        let mut marks = Marks::after(LogMark::default(), 10);
        marks.pass(Stdout, 100, 10, false, false);
        marks.pass(Stdout, 101, 1, false, false);
        assert_eq!(marks.pass(Stdout, 50, 1, false, false), None, "before it is given out");
        assert_eq!(marks.pass(Stdout, 103, 1, false, false), None);
        assert_eq!(marks.pass(Stdout, 104, 1, false, false), Some(mark(103, [12, 0])));
        assert_eq!(marks.pass(Stdout, 60, 1, false, false), Some(LogMark::default()), "it is taken back");

        let first = LogMark { first: true, ..mark(100, [7, 0]) };
        let mut marks = Marks::after(first, 10);
        assert_eq!(marks.pass(Stdout, 100, 10, false, false), None);
        assert_eq!(marks.pass(Stderr, 99, 1, false, false), None, "nothing is asked for by the time of the first");
        assert_eq!(marks.pass(Stdout, 103, 1, false, false), None);
        assert_eq!(marks.pass(Stdout, 104, 1, false, false), Some(mark(103, [17, 1])));
        assert_eq!(marks.pass(Stdout, 60, 1, false, false), Some(first), "all that is there is behind it");
    }

    #[test]
    fn the_time_before_a_frame_is_not_part_of_it() {
        let mut clock = Clock::default();
        let mut take = |text: &'static str| {
            let mut frame = Bytes::from_static(text.as_bytes());
            clock.take(&mut frame).map(|second| (second, frame))
        };
        let second = 1_795_615_685;
        assert_eq!(take("2026-11-25T14:08:05.787412915Z  a b\n"), Ok((second, Bytes::from_static(b" a b\n"))));
        assert_eq!(take("2026-11-25T14:08:05.9Z "), Ok((second, Bytes::new())));
        assert_eq!(take("2026-11-25T14:08:05.787412915+02:00 x"), Ok((second - 7200, Bytes::from_static(b"x"))));
        assert_eq!(take("2026-11-25T14:08:06Z x"), Ok((second + 1, Bytes::from_static(b"x"))));
        for text in ["none", "not-a-time x", ""] {
            assert!(matches!(take(text), Err(RuntimeError::Engine(_))), "{text}");
        }
    }
}
