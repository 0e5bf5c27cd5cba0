//! Where in a file which bytes of a stream stand: a few places per log, so that any offset is found without reading
//! from the start; and in which files.

use std::ops::RangeInclusive;
use std::sync::Arc;

use shared::link::LogStream;

use super::keep::{Keep, Size};
use super::part::Part;
use super::{LogCut, LogOffsets, LogSelect};

/// Bytes of the file between two checkpoints at first.
const FIRST_STRIDE: u64 = 64 * 1024;
/// Checkpoints per log; when there are more, every other one goes and the stride doubles. So an index never takes more
/// than 24 KiB, whatever the size of its log.
const CHECKPOINTS: usize = 1024;
/// Files per log. Only one that is cut all the time by its worker comes to so many; to more, if all of it is kept and there is
/// something in each.
const SPANS: usize = 1024;

/// The start of a record, and how much of each stream stands before it. Positions count all records that were ever written,
/// those that were cut out too, and the bytes that never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) offsets: LogOffsets,
}

/// What a record adds to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes of the file.
    pub(super) disk: u64,
    /// Bytes of each stream.
    pub(super) data: LogOffsets,
}

impl Step {
    pub(super) fn size(&self) -> Size {
        Size { data: LogSelect::Both.count(self.data), disk: self.disk }
    }
}

/// A place to read on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    /// Bytes of records that were read of the file with the remains which begins there.
    pub(super) inside: u64,
    /// Which remains there were.
    pub(super) edition: u64,
}

/// A file, and where it ends. If the next one begins later, what was between them is gone.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) part: Arc<Part>,
    pub(super) end: Checkpoint,
    /// What is in it.
    pub(super) size: Size,
    /// Of the one that holds what is left of files that have gone (see `thin.rs`): what is missing between its two parts.
    pub(super) thin: Option<LogCut>,
}

impl Span {
    pub(super) fn start(&self) -> Checkpoint {
        self.part.start()
    }

    /// How much of a stream it stands for, and holds unless it is thin.
    pub(super) fn bytes(&self, stream: LogStream) -> u64 {
        self.end.offsets.of(stream).saturating_sub(self.start().offsets.of(stream))
    }
}

/// The index of one log.
#[derive(Debug)]
pub(super) struct Index {
    /// In their order.
    spans: Vec<Span>,
    /// Ascending; the first is the start of the log.
    checkpoints: Vec<Checkpoint>,
    stride: u64,
    end: Checkpoint,
    /// Counts the remains that there were.
    edition: u64,
}

impl Default for Index {
    fn default() -> Self {
        let checkpoints = vec![Checkpoint::default()];
        Self { spans: Vec::new(), checkpoints, stride: FIRST_STRIDE, end: Checkpoint::default(), edition: 0 }
    }
}

impl Index {
    /// Ascending; the first is the start of the log.
    pub(super) fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// What is there.
    pub(super) fn stored(&self) -> Size {
        self.spans.iter().fold(Size::default(), |sum, span| sum.plus(span.size))
    }

    /// The files, in their order.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The file that is written.
    pub(super) fn last(&self) -> Option<&Arc<Part>> {
        self.spans.last().map(|span| &span.part)
    }

    /// How much more the file that is written may hold; none: a new one is needed.
    pub(super) fn room(&self, keep: Keep) -> Option<Size> {
        let last = self.spans.last().filter(|last| last.thin.is_none())?;
        keep.of_file(self.spans.len() == 1).without(last.size)
    }

    /// Goes on in another file. What is missing before it is gone.
    pub(super) fn begin(&mut self, part: Arc<Part>) {
        self.end = part.start();
        self.spans.push(Span { part, end: self.end, size: Size::default(), thin: None });
    }

    /// Goes on behind what a file holds.
    pub(super) fn adopt(&mut self, span: Span) {
        self.end = span.end;
        self.spans.push(span);
    }

    /// Which of the files is to go now, if there is too much of all: the oldest behind the beginning and the remains. Where there
    /// are only too many, one between two cuts that has nothing goes before it; and where everything is kept, no other. Never
    /// the one that is written.
    pub(super) fn surplus(&self, keep: Keep) -> Option<usize> {
        let oldest = 1 + usize::from(self.spans.get(1).is_some_and(|span| span.thin.is_some()));
        let older = self.spans.get(oldest..self.spans.len().saturating_sub(1))?;
        let has_much = !self.stored().is_within(keep.most);
        if older.is_empty() || !has_much && self.spans.len() <= SPANS {
            return None;
        }
        let empty = older.iter().position(|span| span.size == Size::default()).filter(|_| !has_much);
        empty.or_else(|| (keep != Keep::ALL).then_some(0)).map(|index| oldest + index)
    }

    /// Takes these files out; `remains` are in their place. Returns what is not a part of the log any more.
    pub(super) fn take_out(&mut self, files: RangeInclusive<usize>, remains: Option<Span>) -> Vec<Span> {
        self.edition += u64::from(remains.is_some());
        let gone: Vec<Span> = self.spans.splice(files, remains).collect();
        if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
            let range = first.start().position..last.end.position;
            self.checkpoints.retain(|checkpoint| !range.contains(&checkpoint.position));
        }
        self.join();
        gone
    }

    /// What is missing behind the remains is missing in them, if that says the same.
    pub(super) fn join(&mut self) {
        let [_, remains, next, ..] = &mut self.spans[..] else { return };
        let (Some(cut), start) = (&mut remains.thin, next.start()) else { return };
        let (to, end, next) = (cut.to, remains.end.offsets, start.offsets);
        let ends_with_cut = |stream: LogStream| to.of(stream) == end.of(stream);
        if LogStream::ALL.into_iter().any(|stream| !ends_with_cut(stream) && end.of(stream) != next.of(stream)) {
            return;
        }
        for stream in LogStream::ALL.into_iter().filter(|stream| ends_with_cut(*stream)) {
            *cut.to.of_mut(stream) = next.of(stream);
        }
        remains.end = start;
    }

    /// The end of the last record.
    pub(super) fn end(&self) -> Checkpoint {
        self.end
    }

    /// Takes in the record that stands at the end.
    pub(super) fn push(&mut self, step: &Step) {
        self.end.position += step.disk;
        self.end.offsets = self.end.offsets.plus(step.data);
        if let Some(span) = self.spans.last_mut() {
            span.end = self.end;
            span.size = span.size.plus(step.size());
        }
        let last = self.checkpoints.last().map_or(0, |last| last.position);
        if self.end.position - last < self.stride {
            return;
        }
        self.checkpoints.push(self.end);
        if self.checkpoints.len() > CHECKPOINTS {
            let mut keep = false;
            self.checkpoints.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// The last known place before which nothing is wanted. `before` is true up to some place and false from there.
    pub(super) fn last_where(&self, before: impl Fn(LogOffsets) -> bool) -> Checkpoint {
        self.last_place(|place| before(place.offsets))
    }

    /// Where who has read up to there goes on: in the same place, unless the remains are others now.
    pub(super) fn resume(&self, place: Place, reached: LogOffsets) -> Place {
        if place.edition == self.edition { place } else { self.place_before(reached) }
    }

    /// The last known place before which nothing is wanted by who has read up to there.
    pub(super) fn place_before(&self, reached: LogOffsets) -> Place {
        let is_read = |offsets: LogOffsets| LogStream::ALL.into_iter().all(|one| offsets.of(one) <= reached.of(one));
        self.place_at(self.last_where(is_read).position)
    }

    /// The start of a record.
    pub(super) fn place_at(&self, position: u64) -> Place {
        Place { position, inside: 0, edition: self.edition }
    }

    /// The last known place with at least `bytes` of the log behind it; the start if there are fewer.
    pub(super) fn before_last(&self, bytes: u64) -> Checkpoint {
        let wanted = self.end.position.saturating_sub(bytes);
        self.last_place(|place| place.position <= wanted)
    }

    fn last_place(&self, before: impl Fn(&Checkpoint) -> bool) -> Checkpoint {
        let checkpoint = self.checkpoints[..self.checkpoints.partition_point(&before)].last().copied();
        let after = self.spans.partition_point(|span| before(&span.start()));
        let start = self.spans[..after].last().map(Span::start);
        checkpoint.into_iter().chain(start).max_by_key(|place| place.position).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use shared::link::LogStream::{Stderr, Stdout};

    use super::*;

    #[test]
    fn finds_the_place_and_stays_small() {
        let mut index = Index::default();
        for number in 0..100_000u64 {
            let mut data = LogOffsets::default();
            *data.of_mut(if number % 10 == 0 { Stderr } else { Stdout }) = 10_000;
            index.push(&Step { disk: 10_030, data });
        }
        assert!(index.checkpoints.len() <= CHECKPOINTS);
        assert_eq!(index.end().offsets, LogOffsets { stdout: 900_000_000, stderr: 100_000_000 });
        for wanted in [0, 1, 77_777, 450_000_000, 899_999_999] {
            let found = index.last_where(|offsets| offsets.stdout <= wanted);
            assert!(found.offsets.stdout <= wanted && wanted - found.offsets.stdout <= 2 * index.stride);
            assert_eq!(found.position, (found.offsets.stdout + found.offsets.stderr) / 10_000 * 10_030);
        }
        assert_eq!(index.before_last(u64::MAX), Checkpoint::default());
        assert!(index.end().position - index.before_last(1).position <= 2 * index.stride);
    }

    #[test]
    fn of_too_many_files_those_go_that_have_nothing_and_of_what_is_all_kept_no_other() {
        let record = Step { disk: 40, data: LogOffsets { stdout: 10, stderr: 0 } };
        let cut = |index: &mut Index| {
            let Checkpoint { position, offsets } = index.end();
            let offsets = LogOffsets { stdout: offsets.stdout + 1, ..offsets };
            index.begin(Arc::new(Part::later(PathBuf::new(), Checkpoint { position: position + 1, offsets })));
        };
        for keep in [Keep::ALL, Keep::at_most(1 << 40)] {
            let mut index = Index::default();
            index.begin(Arc::new(Part::head(PathBuf::new())));
            let mut written = 0;
            for number in 0..SPANS + 100 {
                cut(&mut index);
                if number < 3 || number % 100 == 0 {
                    index.push(&record);
                    written += 10;
                }
                while let Some(number) = index.surplus(keep) {
                    index.take_out(number..=number, None);
                }
            }
            assert_eq!((index.spans().len(), index.stored().data), (SPANS, written));
            // Something is in each.
            let mut index = Index::default();
            for _ in 0..=SPANS {
                cut(&mut index);
                index.push(&record);
            }
            assert_eq!(index.surplus(keep), (keep != Keep::ALL).then_some(1));
        }
        // Where there is too much, what has nothing makes no room.
        let mut index = Index::default();
        for number in 0..10 {
            cut(&mut index);
            if number != 4 {
                index.push(&Step { data: LogOffsets { stdout: 100_000, stderr: 0 }, ..record });
            }
        }
        assert_eq!(index.surplus(Keep::at_most(0)), Some(1));
    }
}
