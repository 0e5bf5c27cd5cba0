//! The progress of a download, on stderr, where a person can see it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use shared::text::printable;

/// Characters of a path: more fit on no line.
const SHOWN: usize = 1000;

/// Shows itself only on a terminal, and is gone when it is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `total` bytes are to come.
    pub(crate) fn new(total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// This file is under way.
    pub(crate) fn file(&self, path: &str) {
        self.bar.set_message(printable(&path.chars().take(SHOWN).collect::<String>()));
    }

    /// So many bytes are there already, and say nothing of the speed.
    pub(crate) fn skip(&self, bytes: u64) {
        self.bar.inc(bytes);
        self.bar.reset_eta();
    }

    /// So many more bytes are there.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Lets `say` write to the terminal without the bar in between.
    pub(crate) fn pause<T>(&self, say: impl FnOnce() -> T) -> T {
        self.bar.suspend(say)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
