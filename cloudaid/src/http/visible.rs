//! Finds a task for a caller. What belongs to others does not exist.

use cloudaid_core::audit::Outcome;
use cloudaid_core::files::InputRecord;
use cloudaid_core::reject::Reject;
use shared::error::{ApiError, ErrorCode};
use shared::id::{ElementId, Elements, InputId, TaskRef, UserName};
use shared::view::TaskView;

use super::Shared;
use super::error::invalid;
use crate::master::auth::{Principal, may_see};
use crate::master::call::Call;

/// The task, if there is one and the caller may see it. The two refusals read the same.
pub(crate) async fn find_visible(state: &Shared, principal: &Principal, task: TaskRef) -> Result<TaskView, ApiError> {
    match state.cluster.task(task).await {
        Ok(view) if may_see(principal, &view.user) => Ok(view),
        Ok(_) => Err(task_not_found(task)),
        Err(error) if error.code == ErrorCode::TaskNotFound => Err(no_such_element(state, principal, task).await),
        Err(error) => Err(error),
    }
}

/// The same, of a task whose contents are looked at: that an admin looks into what belongs to somebody else is noted.
pub(crate) async fn open_visible(state: &Shared, principal: &Principal, task: TaskRef) -> Result<TaskView, ApiError> {
    let view = find_visible(state, principal, task).await?;
    note_foreign(state, principal, &view.user).await?;
    Ok(view)
}

/// The input, if there is one and the caller may see it, with how many tasks read it. The two refusals read the same.
pub(super) async fn find_input(
    state: &Shared,
    principal: &Principal,
    id: InputId,
) -> Result<(InputRecord, u32), ApiError> {
    let found = state.cluster.input(id).await?;
    if may_see(principal, &found.0.user) { Ok(found) } else { Err(Reject::InputNotFound(id).into()) }
}

/// The same, when its contents are looked at: that an admin looks into what belongs to somebody else is noted.
pub(super) async fn open_input(
    state: &Shared,
    principal: &Principal,
    id: InputId,
) -> Result<(InputRecord, u32), ApiError> {
    let found = find_input(state, principal, id).await?;
    note_foreign(state, principal, &found.0.user).await?;
    Ok(found)
}

/// Notes that an admin looks into what belongs to somebody else. It is durable before they see it.
pub(super) async fn note_foreign(state: &Shared, principal: &Principal, owner: &UserName) -> Result<(), ApiError> {
    match Call::current() {
        Some(call) if principal.user != *owner && may_see(principal, owner) => {
            state.cluster.note(call.ended(Outcome::Done)).await
        }
        _ => Ok(()),
    }
}

/// Refuses whoever asks for files of others, but for admins, of whom it is noted.
pub(super) async fn check_files_of(state: &Shared, principal: &Principal, user: &UserName) -> Result<(), ApiError> {
    Call::about(user.as_str());
    note_foreign(state, principal, user).await?;
    if may_see(principal, user) {
        return Ok(());
    }
    let hint = "leave the user out to see your own";
    Err(ApiError::new(ErrorCode::PermissionDenied, "files of others are for admins only", hint))
}

/// That there is no such task; or, to those who may see it, which elements it has.
async fn no_such_element(state: &Shared, principal: &Principal, task: TaskRef) -> ApiError {
    let whole = match state.cluster.task(task.task.into()).await {
        Ok(whole) if task.elements != Elements::All && may_see(principal, &whole.user) => whole,
        _ => return task_not_found(task),
    };
    let hint = match whole.array {
        Some(indices) => format!("it has the elements {indices}"),
        None => "it is no array: leave out what stands behind the dot".to_owned(),
    };
    ApiError::new(ErrorCode::TaskNotFound, format!("{} has no element {}", task.task, element_part(task)), hint)
}

/// What stands behind the dot.
fn element_part(task: TaskRef) -> String {
    let text = task.to_string();
    text.split_once('.').map(|(_, elements)| elements.to_owned()).unwrap_or(text)
}

fn task_not_found(task: TaskRef) -> ApiError {
    let hint = "`cloudctl list-tasks` shows your tasks";
    ApiError::new(ErrorCode::TaskNotFound, format!("there is no task {task}"), hint)
}

/// The one element that is meant.
pub(crate) fn single_element(task: TaskRef, view: &TaskView) -> Result<ElementId, ApiError> {
    match task.elements {
        Elements::One(index) => Ok(ElementId { task: task.task, index }),
        Elements::All if view.array.is_none() => Ok(ElementId { task: task.task, index: 0 }),
        Elements::All | Elements::Range(..) => {
            let indices = view.array.as_deref().unwrap_or("0");
            let hint = format!("name one of them, such as {}.7; it has {indices}", task.task);
            Err(invalid(format!("{task} are {} elements of an array", view.count), hint))
        }
    }
}

/// The run that is meant: the one that was named, or the last one. None if there was no run yet.
pub(super) fn find_attempt(view: &TaskView, attempt: Option<u32>) -> Result<Option<u32>, ApiError> {
    let last = view.attempts.last().map(|run| run.attempt);
    match attempt {
        None => Ok(last),
        Some(wanted) if view.attempts.iter().any(|run| run.attempt == wanted) => Ok(Some(wanted)),
        Some(wanted) => {
            let message = format!("{} has no attempt {wanted}", view.task_id);
            let hint = match last {
                None => "it has not run yet".to_owned(),
                Some(last) => format!("the last one is {last}"),
            };
            Err(ApiError::new(ErrorCode::NotFound, message, hint))
        }
    }
}

/// Refuses everybody but admins.
pub(super) fn require_admin(principal: &Principal, what: &str) -> Result<(), ApiError> {
    if principal.is_admin() {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::PermissionDenied, format!("{what} is for admins only"), "ask an admin to do it"))
}
