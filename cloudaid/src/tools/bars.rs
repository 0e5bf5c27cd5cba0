//! How far a tool is, on stderr: a bar where somebody looks, nothing elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::store::transfer::Progress;
use crate::store::walk::{Part, Place};

/// One bar, which becomes another when another part begins.
pub(super) struct Bars {
    bar: ProgressBar,
    shown: Option<(&'static str, Part)>,
}

impl Bars {
    pub(super) fn new() -> Self {
        let target =
            if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bar: ProgressBar::with_draw_target(None, target), shown: None }
    }

    /// While nothing is known of how far it is.
    pub(super) fn wait(&self, what: &'static str) {
        self.bar.set_style(style("{spinner} {msg}"));
        self.bar.set_message(what);
        self.bar.enable_steady_tick(std::time::Duration::from_millis(100));
    }

    pub(super) fn copied(&mut self, progress: Progress) {
        match progress {
            Progress::Copying(place) => self.at("Copying", place),
            Progress::ReadingSource(place) => self.at("Checking the source", place),
            Progress::ReadingTarget(place) => self.at("Checking the target", place),
        }
    }

    pub(super) fn at(&mut self, what: &'static str, place: Place) {
        let part = match place.part {
            Part::Records => "accounts, workers, inputs",
            Part::Audit => "audit log",
            Part::Tasks => "tasks",
            Part::Totals => "totals",
        };
        if self.shown != Some((what, place.part)) {
            self.shown = Some((what, place.part));
            let template = if place.of == 0 { "{spinner} {msg}" } else { "{msg} {wide_bar} {pos}/{len} {eta}" };
            self.bar.set_style(style(template));
            self.bar.set_message(format!("{what}: {part}"));
            self.bar.reset();
        }
        self.bar.set_length(place.of);
        self.bar.set_position(place.done);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
