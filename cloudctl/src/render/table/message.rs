//! Results that are one sentence, or a few.

use shared::time::WallTime;
use shared::view::{CancelView, ShutdownView, SubmitLineResult, SubmitLineView, SubmitView};

use crate::render::{DeletedView, LoggedInView, LoggedOutView, Style, VersionView, WhoAmIView};

/// `login`
pub(super) fn logged_in(view: &LoggedInView, style: &Style) -> String {
    let LoggedInView { context, server, username, .. } = view;
    let line = format!("✓ Logged in to {server} as {username} (context {context})");
    format!("{}\n", style.text(&line))
}

/// `logout`
pub(super) fn logged_out(view: &LoggedOutView, style: &Style) -> String {
    if view.contexts.is_empty() {
        return "There was no token to forget.\n".to_owned();
    }
    view.contexts.iter().map(|context| format!("✓ Logged out of {}\n", style.text(context))).collect()
}

/// `whoami`
pub(super) fn who_am_i(view: &WhoAmIView, style: &Style, now: WallTime) -> String {
    let mut lines = vec![format!("{} ({}) at {}", view.username, view.role, style.text(&view.server))];
    lines.push(match &view.context {
        Some(context) => format!("Context: {}", style.text(context)),
        None => "Context: none, the token is from CLOUDCTL_TOKEN".to_owned(),
    });
    if let Some(end) = view.expires_at {
        let over = if end < now { ", which is over: `cloudctl login`" } else { "" };
        lines.push(format!("Token until: {}{over}", style.time(end)));
    }
    lines.join("\n") + "\n"
}

/// `task`, `dispatch`, `retry`
pub(super) fn submitted(view: &SubmitView, style: &Style) -> String {
    let elements = match (&view.array, view.count) {
        (Some(array), count) => format!(" ({count} elements, {array})"),
        (None, _) => String::new(),
    };
    let how = if view.replayed { "was submitted before with this key" } else { "submitted successfully" };
    format!("✓ Task {}{elements} {how}\n", style.text(&view.task_id))
}

/// `task --file`
pub(super) fn submitted_all(views: &[SubmitLineView], style: &Style) -> String {
    let mut out = String::new();
    let mut refused = 0;
    for view in views {
        match &view.result {
            SubmitLineResult::Accepted(view) => out.push_str(&submitted(view, style)),
            SubmitLineResult::Refused(_) => refused += 1,
        }
    }
    if refused > 0 {
        out.push_str(&format!("✗ {refused} of {} were refused\n", views.len()));
    }
    out
}

/// `cancel`
pub(super) fn cancelled(view: &CancelView, style: &Style) -> String {
    let id = style.text(&view.task_id);
    if view.cancelling {
        format!("✓ Task {id} is being stopped by its worker\n")
    } else {
        format!("✓ Task {id} is {}\n", view.state)
    }
}

/// `delete`
pub(super) fn deleted(view: &DeletedView, style: &Style) -> String {
    view.deleted.iter().map(|id| format!("✓ Task {} is deleted\n", style.text(id))).collect()
}

/// `shutdown`
pub(super) fn shutdown(view: &ShutdownView) -> String {
    match (view.draining, view.live_attempts) {
        (_, 0) => "✓ The master stops\n".to_owned(),
        (true, 1) => "✓ The master starts nothing new and stops when 1 running task has ended\n".to_owned(),
        (true, live) => format!("✓ The master starts nothing new and stops when {live} running tasks have ended\n"),
        (false, live) => format!("✓ The master stops; {live} running tasks go on at their workers\n"),
    }
}

/// `version`
pub(super) fn version(view: &VersionView, style: &Style) -> String {
    let mut out = format!("cloudctl {} (output version {})\n", view.version, view.output_version);
    if let Some(server) = &view.server {
        out.push_str(&format!("master   {} at {}\n", style.text(&server.version), style.text(&server.url)));
    }
    out
}

#[cfg(test)]
mod tests {
    use shared::error::{ApiError, ErrorBody, ErrorCode};
    use shared::task::TaskState;

    use super::*;

    fn submit() -> SubmitView {
        SubmitView {
            task_id: "task-x".into(),
            state: TaskState::Queued,
            count: 1,
            array: None,
            warnings: vec![],
            replayed: false,
        }
    }

    #[test]
    fn a_submission_names_its_task() {
        let style = Style::default();
        let mut view = submit();
        assert_eq!(submitted(&view, &style), "✓ Task task-x submitted successfully\n");
        (view.count, view.array, view.replayed) = (3, Some("0-2".into()), true);
        let expected = "✓ Task task-x (3 elements, 0-2) was submitted before with this key\n";
        assert_eq!(submitted(&view, &style), expected);
    }

    #[test]
    fn of_many_submissions_the_refused_are_counted() {
        let error = ApiError::new(ErrorCode::InvalidArgument, "", "");
        let results = [SubmitLineResult::Accepted(submit()), SubmitLineResult::Refused(ErrorBody { error })];
        let views: Vec<_> = (1..).zip(results).map(|(line, result)| SubmitLineView { line, result }).collect();
        let expected = "✓ Task task-x submitted successfully\n✗ 1 of 2 were refused\n";
        assert_eq!(submitted_all(&views, &Style::default()), expected);
    }

    #[test]
    fn a_cancel_says_whether_it_is_done() {
        let style = Style::default();
        let mut view = CancelView { task_id: "task-x".into(), state: TaskState::Cancelled, cancelling: false };
        assert_eq!(cancelled(&view, &style), "✓ Task task-x is cancelled\n");
        (view.state, view.cancelling) = (TaskState::Running, true);
        assert_eq!(cancelled(&view, &style), "✓ Task task-x is being stopped by its worker\n");
    }

    #[test]
    fn a_shutdown_says_what_goes_on() {
        let say = |live_attempts, draining| shutdown(&ShutdownView { live_attempts, draining });
        assert_eq!(say(0, true), "✓ The master stops\n");
        assert!(say(2, true).contains("when 2 running tasks have ended"));
        assert!(say(2, false).contains("go on at their workers"));
    }

    #[test]
    fn a_login_names_the_context_and_no_token() {
        let view = LoggedInView {
            context: "dev".into(),
            server: "http://h".into(),
            username: "admin".into(),
            expires_at: WallTime(0),
        };
        let expected = "✓ Logged in to http://h as admin (context dev)\n";
        assert_eq!(logged_in(&view, &Style::default()), expected);
    }
}
