//! Newlines that the engine has lost.
//!
//! The engine cuts lines longer than [`FULL`] into frames. Its `local` driver gives none of them a newline, the last one
//! of a line neither (`daemon/logger/local` of Moby; later versions do). That it was there is known when the same stream
//! goes on: a cut line ends with a newline or with the stream. Where the stream ends too, nothing is made up, so that a
//! log whose very last line is that long may lack its last newline.

use bytes::{BufMut, Bytes, BytesMut};
use shared::link::LogStream;

/// Bytes of a frame that is not the last of its line (`defaultBufSize` in Moby's `daemon/logger/copier.go`).
pub(super) const FULL: usize = 16 * 1024;

/// Where one stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// Where the frames say it is.
    #[default]
    Frame,
    /// Inside a line that was cut.
    Inside,
    /// Behind the last frame of such a line.
    End,
}

/// Puts them back, in the frames of one reading.
#[derive(Debug, Default)]
pub(super) struct LongLines([At; 2]);

impl LongLines {
    /// Of a reading that begins where each stream stands behind the end of such a line, or not.
    pub(super) fn after(cut: [bool; 2]) -> Self {
        Self(cut.map(|is_cut| if is_cut { At::End } else { At::Frame }))
    }

    /// Whether the stream stands behind the end of such a line.
    pub(super) fn is_cut(&self, stream: LogStream) -> bool {
        self.0[stream as usize] == At::End
    }

    /// Whether the stream stands inside such a line.
    pub(super) fn is_inside(&self, stream: LogStream) -> bool {
        self.0[stream as usize] == At::Inside
    }

    /// What the container wrote, as far as this frame says it.
    pub(super) fn mend(&mut self, stream: LogStream, frame: Bytes) -> Bytes {
        let at = &mut self.0[stream as usize];
        let before = std::mem::take(at);
        *at = match frame.len() {
            _ if frame.last() == Some(&b'\n') => At::Frame,
            FULL => At::Inside,
            _ if before == At::Inside => At::End,
            _ => At::Frame,
        };
        if before != At::End {
            return frame;
        }
        let mut mended = BytesMut::with_capacity(1 + frame.len());
        mended.put_u8(b'\n');
        mended.put(frame);
        mended.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(frames: &[(LogStream, &str)]) -> String {
        let mut lines = LongLines::default();
        let frames = frames.iter().map(|(stream, frame)| lines.mend(*stream, Bytes::from(frame.to_string())));
        frames.map(|frame| String::from_utf8_lossy(&frame).into_owned()).collect()
    }

    #[test]
    fn a_long_line_gets_its_newline_back_when_the_stream_goes_on() {
        use LogStream::{Stderr, Stdout};
        let full = "x".repeat(FULL);
        // A rest, no rest at all, and two such lines one after the other.
        assert_eq!(mended(&[(Stdout, &full), (Stdout, "yz"), (Stdout, "a\n")]), format!("{full}yz\na\n"));
        assert_eq!(mended(&[(Stdout, &full), (Stdout, ""), (Stdout, "a\n")]), format!("{full}\na\n"));
        let twice = [(Stdout, full.as_str()), (Stdout, "1"), (Stdout, &full), (Stdout, "2"), (Stdout, "\n")];
        assert_eq!(mended(&twice), format!("{full}1\n{full}2\n\n"));
        // The other stream has lines of its own.
        assert_eq!(mended(&[(Stdout, &full), (Stderr, "e\n"), (Stdout, "y")]), format!("{full}e\ny"));
    }

    #[test]
    fn nothing_is_made_up() {
        use LogStream::Stdout;
        let full = "x".repeat(FULL);
        let ended = format!("{}\n", "x".repeat(FULL - 1));
        for frames in [
            // As an engine does it that has not lost it.
            vec![(Stdout, full.as_str()), (Stdout, "y\n"), (Stdout, "a\n")],
            vec![(Stdout, &ended), (Stdout, "a\n")],
            vec![(Stdout, &full), (Stdout, &full)],
            // An engine that has frames for no reason.
            vec![(Stdout, "a"), (Stdout, "b"), (Stdout, ""), (Stdout, "c\n")],
        ] {
            let whole: String = frames.iter().map(|(_, frame)| *frame).collect();
            assert_eq!(mended(&frames), whole);
        }
    }
}
