//! Results for people.

mod cluster;
mod files;
mod grid;
mod listing;
mod message;
#[cfg(test)]
pub(super) mod sample;
mod task;

use shared::time::WallTime;

use super::{Style, View};

/// The text of a result, with its last line end; empty if there is nothing to say.
pub(super) fn render(view: &View, style: &Style, now: WallTime) -> String {
    match view {
        View::LoggedIn(view) => message::logged_in(view),
        View::Status(view) => cluster::status(view, now),
        View::Workers(view) => cluster::workers(view, now),
        View::Submitted(view) => message::submitted(view),
        View::Tasks(view) => listing::tasks(view, style, now),
        View::Task(view) => task::show(view, style, now),
        View::Why(view) => task::why(view),
        View::Cancelled(view) => message::cancelled(view),
        View::CancelledAll(views) => views.iter().map(message::cancelled).collect(),
        View::Queue(view) => listing::queue(view, style, now),
        View::Files(view) => files::list(view, style),
        View::Downloaded(view) => files::downloaded(view),
        View::Shutdown(view) => message::shutdown(view),
        View::Version(view) => format!("cloudctl {}\n", view.version),
    }
}
