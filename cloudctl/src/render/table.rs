//! Results for people.

mod admission;
mod audit;
mod cluster;
mod context;
mod exit_codes;
mod files;
mod grid;
mod inputs;
mod internal;
mod listing;
mod message;
mod plan;
mod repair;
#[cfg(test)]
pub(crate) mod sample;
mod stats;
mod task;
mod users;

use shared::time::WallTime;

use super::{Style, View};
use grid::Widths;

/// The text of a result, with its last line end; empty if there is nothing to say.
pub(super) fn render(view: &View, style: &Style, now: WallTime) -> String {
    let mut widths = Widths::default();
    match view {
        View::Admitted(view) => admission::admitted(view, style),
        View::Authority(view) => admission::authority(view, style),
        View::Cancelled(view) => message::cancelled(view, style),
        View::CancelledAll(views) => views.iter().map(|view| message::cancelled(view, style)).collect(),
        View::Context(view) => context::show(view, style, now),
        View::Contexts(view) => context::list(view, style, now),
        View::Audit(view) if view.entries.is_empty() => audit::NONE.to_owned(),
        View::Audit(view) => audit::entries(&view.entries, style, &mut widths),
        View::Verified(view) => audit::verified(view, style),
        View::Deleted(view) => message::deleted(view, style),
        View::Downloaded(view) => files::downloaded(view, style),
        View::DryRun(view) => plan::show(view, style),
        View::DryRunAll(views) => views.iter().map(|view| plan::show(view, style)).collect::<Vec<_>>().join("\n"),
        View::ExitCodes(views) => exit_codes::list(views, style),
        View::Files(view) => files::list(view, style),
        View::Input(view) => inputs::show(view, style, now),
        View::Inputs(view) if view.inputs.is_empty() => inputs::none(view, style),
        View::Inputs(view) => inputs::list(&view.inputs, style, now, &mut widths),
        View::DeletedFiles(view) => files::deleted(view, style),
        View::InternalState(view) => internal::show(view, style, now),
        View::Invite(view) => users::invite(view, style),
        View::Keys(view) => users::keys(view, style),
        View::LoggedIn(view) => message::logged_in(view, style),
        View::LoggedOut(view) => message::logged_out(view, style),
        View::NewToken(view) => users::new_token(view, style),
        View::NewWorkerToken(view) => admission::new_token(view, style),
        View::PendingWorkers(view) => admission::pending(view, style, now),
        View::Queue(view) => listing::queue(view, style, now),
        View::Repair(view) => repair::show(view, style),
        View::Revoked(view) => users::revoked(view, style),
        View::Shutdown(view) => message::shutdown(view),
        View::Stats(view) => stats::show(view, style, now),
        View::Status(view) => cluster::status(view, style, now),
        View::Submitted(view) => message::submitted(view, style),
        View::SubmittedAll(views) => message::submitted_all(views, style),
        View::SubmittedEach(views) => views.iter().map(|view| message::submitted(view, style)).collect(),
        View::Task(view) => task::show(view, style, now),
        View::TaskAll(views) => views.iter().map(|view| task::show(view, style, now)).collect::<Vec<_>>().join("\n"),
        View::Tasks(view) if view.tasks.is_empty() => listing::NO_TASKS.to_owned(),
        View::Tasks(view) => listing::tasks(&view.tasks, style, now, &mut widths),
        View::Text(text) => text.clone(),
        View::Tokens(view) => users::tokens(view, style, now),
        View::Unregistered(view) => admission::unregistered(view, style),
        View::User(view) => users::show(view, style, now),
        View::Users(view) => users::list(view, style, now),
        View::UserFiles(view) if view.files.is_empty() => files::none_of_user(view, style),
        View::UserFiles(view) => files::of_user(&view.files, style, &mut widths),
        View::Version(view) => message::version(view, style),
        View::Waited(view) => listing::waited(view, style, now),
        View::WhoAmI(view) => message::who_am_i(view, style, now),
        View::Why(view) => task::why(view, style),
        View::Workers(view) => cluster::workers(view, style, now),
        View::Registries(view) => admission::registries(view, style),
        View::WorkerTokens(view) => admission::tokens(view, style),
    }
}

/// A table that comes page by page: one heading, and columns that stay where they are.
#[derive(Debug, Default)]
pub(super) struct Pages {
    widths: Widths,
    any: bool,
}

impl Pages {
    /// The lines of a page.
    pub(super) fn page(&mut self, view: &View, style: &Style, now: WallTime) -> String {
        match view {
            View::Tasks(view) if !view.tasks.is_empty() => {
                self.any = true;
                listing::tasks(&view.tasks, style, now, &mut self.widths)
            }
            View::UserFiles(view) if !view.files.is_empty() => {
                self.any = true;
                files::of_user(&view.files, style, &mut self.widths)
            }
            View::Audit(view) if !view.entries.is_empty() => {
                self.any = true;
                audit::entries(&view.entries, style, &mut self.widths)
            }
            View::Inputs(view) if !view.inputs.is_empty() => {
                self.any = true;
                inputs::list(&view.inputs, style, now, &mut self.widths)
            }
            View::Audit(_) | View::Inputs(_) | View::Tasks(_) | View::UserFiles(_) => String::new(),
            other => render(other, style, now),
        }
    }

    /// What to say behind the last page; `rest` is the view without rows.
    pub(super) fn finish(self, rest: &View) -> String {
        if self.any { String::new() } else { render(rest, &Style::default(), WallTime(0)) }
    }
}
