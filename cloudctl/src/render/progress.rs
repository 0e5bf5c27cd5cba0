//! The progress of a download, on stderr, where a person can see it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use shared::text::printable;

/// Shows itself only on a terminal, and is gone when it is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// `total` bytes are to come.
    pub(crate) fn new(total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// This file is under way.
    pub(crate) fn file(&self, path: &str) {
        self.bar.set_message(printable(path));
    }

    /// So many more bytes have come.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
