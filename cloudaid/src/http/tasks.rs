//! `/api/tasks`: list, show, cancel, retry, wait, why.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cloudaid_core::record::IdempotencyKey;
use shared::error::{ApiError, ErrorCode};
use shared::id::{Elements, TaskId, TaskRef, UserName};
use shared::submit::TaskEdit;
use shared::view::{
    CancelView, RetryRequest, TaskCounts, TaskListView, TaskView, WAIT_SECONDS_LIMIT, WAIT_TASKS_LIMIT, WaitRequest,
    WaitView, WhyView,
};

use super::Shared;
use super::error::{Failure, invalid};
use super::extract::{Caller, JsonBody, MaybeJson, Params, TaskPath};
use super::submit::{created, digest_of, idempotency_key};
use super::visible::find_visible;
use crate::master::auth::Principal;
use crate::store::{TaskCursor, TaskQuery};

/// How long a request waits for tasks if the client does not say.
const WAIT_SECONDS_DEFAULT: u64 = 30;
/// The most tasks of a page.
const PAGE_LIMIT: usize = 1000;

/// `GET /api/tasks`
pub(super) async fn list(
    State(state): State<Shared>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Json<TaskListView>, Failure> {
    let query = task_query(params, &principal)?;
    Ok(Json(state.cluster.list_tasks(query).await?))
}

/// `GET /api/tasks/{id}`
pub(super) async fn show(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
) -> Result<Json<TaskView>, Failure> {
    find_visible(&state, &principal, task).await?;
    Ok(Json(state.cluster.show(task).await?))
}

/// `GET /api/tasks/counts`: how many tasks there are in each state, with the filters of the list.
pub(super) async fn counts(
    State(state): State<Shared>,
    Caller(principal): Caller,
    params: Params,
) -> Result<Json<TaskCounts>, Failure> {
    let query = task_filter(params, &principal, |_, query| Ok(query))?;
    Ok(Json(state.cluster.count_tasks(query).await?))
}

/// `PATCH /api/tasks/{id}`: another name or other labels, while it waits.
pub(super) async fn edit(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    JsonBody(edit): JsonBody<TaskEdit>,
) -> Result<Json<TaskView>, Failure> {
    find_visible(&state, &principal, task).await?;
    state.cluster.edit(whole(task)?, edit).await?;
    Ok(Json(state.cluster.show(task).await?))
}

/// `DELETE /api/tasks/{id}`: forgets a task that has ended, with its logs and files.
pub(super) async fn delete(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
) -> Result<StatusCode, Failure> {
    find_visible(&state, &principal, task).await?;
    state.cluster.delete(whole(task)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What can only be done to a task as a whole.
fn whole(task: TaskRef) -> Result<TaskId, ApiError> {
    match task.elements {
        Elements::All => Ok(task.task),
        Elements::One(_) | Elements::Range(..) => {
            let message = format!("{task} is a part of a task");
            Err(invalid(message, format!("this can be done to all of it: {}", task.task)))
        }
    }
}

/// `POST /api/tasks/{id}/cancel`
pub(super) async fn cancel(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    mut params: Params,
) -> Result<Json<CancelView>, Failure> {
    let force = params.one("force")?.unwrap_or(false);
    params.finish()?;
    find_visible(&state, &principal, task).await?;
    Ok(Json(state.cluster.cancel(task, force).await?))
}

/// `POST /api/tasks/{id}/retry`: the body may be left out.
pub(super) async fn retry(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
    headers: HeaderMap,
    MaybeJson(request): MaybeJson<RetryRequest>,
) -> Result<Response, Failure> {
    let key = idempotency_key(&headers)?;
    let RetryRequest { all } = request.unwrap_or_default();
    find_visible(&state, &principal, task).await?;
    let key = key.map(|key| IdempotencyKey { key, digest: digest_of(format!("retry {task} {all}").as_bytes()) });
    Ok(created(state.cluster.retry(task, all, key).await?))
}

/// `POST /api/tasks/wait`
pub(super) async fn wait(
    State(state): State<Shared>,
    Caller(principal): Caller,
    JsonBody(request): JsonBody<WaitRequest>,
) -> Result<Json<WaitView>, Failure> {
    if !(1..=WAIT_TASKS_LIMIT).contains(&request.tasks.len()) {
        let message = format!("tasks: {} are out of range", request.tasks.len());
        return Err(invalid(message, format!("give 1 to {WAIT_TASKS_LIMIT}")).into());
    }
    let seconds = request.timeout_seconds.unwrap_or(WAIT_SECONDS_DEFAULT);
    if seconds > WAIT_SECONDS_LIMIT {
        let hint = format!("give at most {WAIT_SECONDS_LIMIT}, and ask again");
        return Err(invalid(format!("timeout_seconds: {seconds} is out of range"), hint).into());
    }
    for task in &request.tasks {
        find_visible(&state, &principal, *task).await?;
    }
    Ok(Json(state.cluster.wait(request.tasks, request.any, Duration::from_secs(seconds)).await?))
}

/// `GET /api/tasks/{id}/why`
pub(super) async fn why(
    State(state): State<Shared>,
    Caller(principal): Caller,
    TaskPath(task): TaskPath,
) -> Result<Json<WhyView>, Failure> {
    find_visible(&state, &principal, task).await?;
    Ok(Json(state.cluster.why(task).await?))
}

/// The filters of a list. Users get their own tasks, whatever they ask for.
fn task_query(params: Params, principal: &Principal) -> Result<TaskQuery, ApiError> {
    task_filter(params, principal, |params, query| {
        let limit = params.number("limit", 1, PAGE_LIMIT)?.unwrap_or(query.limit);
        Ok(TaskQuery { after: params.one("cursor")?.map(TaskCursor), limit, ..query })
    })
}

/// The filters; `more` takes what else there may be.
fn task_filter(
    mut params: Params,
    principal: &Principal,
    more: impl FnOnce(&mut Params, TaskQuery) -> Result<TaskQuery, ApiError>,
) -> Result<TaskQuery, ApiError> {
    let user = params.one::<UserName>("user")?;
    let user = if principal.is_admin() { user } else { Some(own(user, principal)?) };
    let labels = params.all("label").into_iter().map(|text| label(&text)).collect::<Result<_, _>>()?;
    let query = TaskQuery {
        state: params.one("state")?,
        user,
        labels,
        worker: params.one("worker")?,
        since: params.one("since")?,
        until: params.one("until")?,
        ..TaskQuery::default()
    };
    let query = more(&mut params, query)?;
    params.finish()?;
    Ok(query)
}

fn own(wanted: Option<UserName>, principal: &Principal) -> Result<UserName, ApiError> {
    match wanted {
        Some(other) if other != principal.user => {
            let hint = "leave `user` out to see your own";
            Err(ApiError::new(ErrorCode::PermissionDenied, "tasks of others are for admins only", hint))
        }
        _ => Ok(principal.user.clone()),
    }
}

fn label(text: &str) -> Result<(String, String), ApiError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(invalid("label: is not name=value", "write label=name=value, as often as needed")),
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequestParts;
    use axum::http::Request;
    use shared::role::Role;
    use shared::task::TaskState;

    use super::*;
    use crate::master::auth::Via;

    async fn query(text: &str, user: &str, role: Role) -> Result<TaskQuery, ApiError> {
        let (mut parts, ()) = Request::get(format!("/api/tasks?{text}")).body(()).expect("a request").into_parts();
        let params = Params::from_request_parts(&mut parts, &()).await.expect("parameters");
        task_query(
            params,
            &Principal {
                user: user.parse().expect("a name"),
                role,
                via: Via::Login(shared::id::LoginId(7u128.into())),
            },
        )
    }

    #[tokio::test]
    async fn all_filters_are_understood() {
        let text =
            "state=running&user=bob&label=a%3D1&label=b%3D&worker=w1&since=2026-01-02T03:04:05Z&cursor=7&limit=9";
        let query = query(text, "root", Role::Admin).await.expect("valid");
        assert_eq!(query.state, Some(TaskState::Running));
        assert_eq!(query.user.expect("a user").as_str(), "bob");
        assert_eq!(query.labels, [("a".into(), "1".into()), ("b".into(), String::new())]);
        assert_eq!(query.worker.expect("a worker").as_str(), "w1");
        assert_eq!(query.since.expect("a time").to_string(), "2026-01-02T03:04:05.000Z");
        assert_eq!((query.after, query.limit), (Some(TaskCursor(7)), 9));
    }

    #[tokio::test]
    async fn users_list_only_their_own() {
        for text in ["", "user=ann"] {
            assert_eq!(query(text, "ann", Role::User).await.expect("valid").user.expect("a user").as_str(), "ann");
        }
        assert_eq!(query("user=bob", "ann", Role::User).await.expect_err("bob").code, ErrorCode::PermissionDenied);
        assert_eq!(query("", "root", Role::Admin).await.expect("valid").user, None);
    }

    #[tokio::test]
    async fn bad_filters_are_refused_by_name() {
        for (text, name) in [
            ("state=Running", "state"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("label=x", "label"),
            ("since=yesterday", "since"),
            ("cursor=x", "cursor"),
            ("user=../x", "user"),
            ("sort=name", "sort"),
        ] {
            let error = query(text, "root", Role::Admin).await.expect_err(text);
            assert!(error.code == ErrorCode::InvalidArgument && error.message.contains(name), "{error:?}");
        }
    }
}
