//! Results as JSON, for scripts.

use super::View;

/// Indented, with a line end.
pub(super) fn render(view: &View) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(view)?;
    json.push(b'\n');
    Ok(json)
}

#[cfg(test)]
mod tests {
    use shared::task::TaskState;
    use shared::view::{CancelView, TaskListView};

    use super::*;
    use crate::render::table::sample;

    #[test]
    fn a_task_is_written_with_the_names_of_the_api() {
        let json = render(&View::Task(Box::new(sample::task()))).expect("json");
        let value: serde_json::Value = serde_json::from_slice(&json).expect("reads back");
        assert_eq!(value["state"], "failed");
        assert_eq!(value["exit_code"], 3);
        assert_eq!(value["verdict"]["kind"], "exit_code");
        assert_eq!(value["attempts"][0]["worker_id"], "worker-1");
        assert_eq!(value["submitted_at"], "2023-11-14T22:13:20.000Z");
        assert!(json.ends_with(b"}\n"));
    }

    #[test]
    fn lists_are_the_apis_objects() {
        let list = TaskListView { tasks: vec![], next_cursor: None };
        assert_eq!(render(&View::Tasks(list)).expect("json"), b"{\n  \"tasks\": [],\n  \"next_cursor\": null\n}\n");
        let cancel = CancelView { task_id: "task-x".into(), state: TaskState::Cancelled, cancelling: false };
        assert!(render(&View::Cancelled(cancel.clone())).expect("json").starts_with(b"{"));
        assert!(render(&View::CancelledAll(vec![cancel])).expect("json").starts_with(b"["));
    }
}
