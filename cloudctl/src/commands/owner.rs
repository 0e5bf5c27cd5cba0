//! Whose task it is.

use shared::error::{ApiError, ErrorCode};
use shared::text::printable;
use shared::view::TaskView;

use crate::exit::CtlError;

/// Where a user is named beside a task, it must be theirs: a script that mixes up two tasks should hear of it.
pub(super) fn check_owner(task: &TaskView, user: Option<&str>) -> Result<(), CtlError> {
    match user {
        Some(user) if user != task.user.as_str() => {
            let message = format!("{} is not a task of {}", task.task_id, printable(user));
            let hint = format!("it belongs to {}; the user may be left out", task.user);
            Err(ApiError::new(ErrorCode::TaskNotFound, message, hint).into())
        }
        _ => Ok(()),
    }
}
