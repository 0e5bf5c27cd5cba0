//! Results that are one sentence.

use shared::view::{CancelView, ShutdownView, SubmitView};

use crate::render::LoggedIn;
use shared::text::printable;

/// `login`
pub(super) fn logged_in(view: &LoggedIn) -> String {
    let LoggedIn { context, server, username, expires_at } = view;
    printable(&format!("✓ Logged in to {server} as {username} until {expires_at} (context {context})")) + "\n"
}

/// `task`, `dispatch`
pub(super) fn submitted(view: &SubmitView) -> String {
    let elements = if view.count > 1 { format!(" ({} elements)", view.count) } else { String::new() };
    let how = if view.replayed { "was submitted before with this key" } else { "submitted successfully" };
    format!("✓ Task {}{elements} {how}\n", printable(&view.task_id))
}

/// `cancel`
pub(super) fn cancelled(view: &CancelView) -> String {
    let id = printable(&view.task_id);
    if view.cancelling {
        format!("✓ Task {id} is being stopped by its worker\n")
    } else {
        format!("✓ Task {id} is {}\n", view.state)
    }
}

/// `shutdown`
pub(super) fn shutdown(view: &ShutdownView) -> String {
    match (view.draining, view.live_attempts) {
        (_, 0) => "✓ The master stops\n".to_owned(),
        (true, live) => format!("✓ The master starts nothing new and stops when {live} running tasks have ended\n"),
        (false, live) => format!("✓ The master stops; {live} running tasks go on at their workers\n"),
    }
}

#[cfg(test)]
mod tests {
    use shared::task::TaskState;
    use shared::time::WallTime;

    use super::*;

    #[test]
    fn a_submission_names_its_task() {
        let mut view = SubmitView {
            task_id: "task-x".into(),
            state: TaskState::Queued,
            count: 1,
            array: None,
            warnings: vec![],
            replayed: false,
        };
        assert_eq!(submitted(&view), "✓ Task task-x submitted successfully\n");
        (view.count, view.replayed) = (3, true);
        assert_eq!(submitted(&view), "✓ Task task-x (3 elements) was submitted before with this key\n");
    }

    #[test]
    fn a_cancel_says_whether_it_is_done() {
        let mut view = CancelView { task_id: "task-x".into(), state: TaskState::Cancelled, cancelling: false };
        assert_eq!(cancelled(&view), "✓ Task task-x is cancelled\n");
        (view.state, view.cancelling) = (TaskState::Running, true);
        assert_eq!(cancelled(&view), "✓ Task task-x is being stopped by its worker\n");
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
        let view = LoggedIn {
            context: "dev".into(),
            server: "http://h".into(),
            username: "admin".into(),
            expires_at: WallTime(0),
        };
        assert_eq!(logged_in(&view), "✓ Logged in to http://h as admin until 1970-01-01T00:00:00.000Z (context dev)\n");
    }
}
