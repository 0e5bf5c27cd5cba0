//! Which run of a task to send next.

use shared::task::AttemptState;
use shared::view::TaskView;

/// Which runs were sent.
pub(crate) struct Plan {
    /// The first that was not.
    pub(crate) next: u32,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Send(u32),
    Wait,
    End,
}

impl Plan {
    pub(crate) fn step(&mut self, view: &TaskView) -> Step {
        let attempts = view.attempts.iter().map(|run| run.attempt);
        match attempts.filter(|attempt| *attempt >= self.next).min() {
            Some(attempt) => {
                self.next = attempt.saturating_add(1);
                Step::Send(attempt)
            }
            None if view.state.is_final() => Step::End,
            None => Step::Wait,
        }
    }
}

/// Whether a run is over. The worker says so only when all of the log has arrived.
pub(crate) fn has_ended(view: &TaskView, attempt: u32) -> bool {
    let run = view.attempts.iter().find(|run| run.attempt == attempt);
    run.is_none_or(|run| run.state == AttemptState::Ended)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(state: &str, attempts: &[&str]) -> TaskView {
        let attempts: Vec<_> = (1..).zip(attempts).map(|(attempt, state)| {
            json!({"attempt": attempt, "worker_id": "w", "state": state, "placed_at": "2026-01-01T00:00:00Z"})
        }).collect();
        let view = json!({
            "task_id": "x", "state": state, "attempts": attempts, "submitted_at": "2026-01-01T00:00:00Z", "user": "u",
            "image": "i", "command": null, "resources": shared::resources::Resources::TASK_DEFAULT, "count": 1,
        });
        let command = serde_json::to_value(shared::task::Command::ImageDefault).expect("json");
        serde_json::from_value(merge(view, command)).expect("a view")
    }

    fn merge(mut view: serde_json::Value, command: serde_json::Value) -> serde_json::Value {
        view["command"] = command;
        view
    }

    #[test]
    fn every_run_is_sent_once_and_the_end_comes_last() {
        let mut plan = Plan { next: 0 };
        assert_eq!(plan.step(&view("queued", &[])), Step::Wait);
        assert_eq!(plan.step(&view("running", &["running"])), Step::Send(1));
        assert_eq!(plan.step(&view("running", &["running"])), Step::Wait);
        assert_eq!(plan.step(&view("queued", &["ended"])), Step::Wait);
        assert_eq!(plan.step(&view("completed", &["ended", "ended", "ended"])), Step::Send(2));
        assert_eq!(plan.step(&view("completed", &["ended", "ended", "ended"])), Step::Send(3));
        assert_eq!(plan.step(&view("completed", &["ended", "ended", "ended"])), Step::End);
    }

    #[test]
    fn a_client_may_begin_later() {
        let mut plan = Plan { next: 2 };
        assert_eq!(plan.step(&view("running", &["ended", "running"])), Step::Send(2));
        assert_eq!(Plan { next: 9 }.step(&view("failed", &["ended"])), Step::End);
        assert_eq!(Plan { next: 0 }.step(&view("cancelled", &[])), Step::End);
    }

    #[test]
    fn a_run_is_over_when_its_state_says_so() {
        assert!(!has_ended(&view("running", &["ended", "running"]), 2));
        assert!(has_ended(&view("running", &["ended", "running"]), 1));
    }
}
