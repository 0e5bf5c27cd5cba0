//! Users submit, cancel and follow over gRPC, as over HTTP: by the same rules, noted in the same log. Who calls stands in the
//! token; what the message says of users counts for nothing. Whatever is refused is answered with a status.

use std::pin::Pin;
use std::sync::Arc;

use shared::error::{ApiError, ErrorCode};
use shared::id::TaskRef;
use shared::proto::seed::{LogChunk, Task, TaskAck, TaskId, TaskLogRequest};
use shared::resources::Quantity;
use shared::submit::{CommandInput, SubmitRequest};
use tokio_stream::Stream;
use tonic::{Request, Status};

use super::follow;
use crate::grpc::peer::Peer;
use crate::grpc::{GrpcState, audit, status};
use crate::http::submit::{no_answer, prepare};
use crate::http::visible::{find_visible, open_visible, single_element};
use crate::master::auth::Principal;
use crate::master::call::Call;
use cloudaid_core::audit::Outcome;

/// The longest id that a client may give to a task.
const ID_LIMIT: usize = 200;

/// Submits. The client's id makes a call that is repeated the same call.
pub(super) async fn submit(state: &GrpcState, request: Request<Task>) -> Result<TaskAck, Status> {
    let caller = Caller::of(&request)?;
    let task = request.into_inner();
    let work = async |principal: &Principal| {
        let key = (!task.task_id.is_empty()).then(|| key_of(&task.task_id)).transpose()?;
        let submission = prepare(submission_of(task), principal, key)?;
        let view = state.cluster.submit(vec![submission]).await.pop().unwrap_or_else(|| Err(no_answer()))?;
        Call::about(&view.task_id);
        let what = if view.replayed { "was accepted before" } else { "is accepted" };
        Ok(TaskAck { success: true, message: format!("{} {what}", view.task_id) })
    };
    caller.call(state, "AssignTask", "", work).await
}

/// Cancels.
pub(super) async fn cancel(state: &GrpcState, request: Request<TaskId>) -> Result<TaskAck, Status> {
    let caller = Caller::of(&request)?;
    let id = request.into_inner().task_id;
    let work = async |principal: &Principal| {
        let task = resolve(state, principal, &id).await?;
        find_visible(&state.api, principal, task).await?;
        let view = state.cluster.cancel(task, false).await?;
        let what = if view.cancelling { "is being cancelled".to_owned() } else { format!("is {}", view.state) };
        Ok(TaskAck { success: true, message: format!("{} {what}", view.task_id) })
    };
    caller.call(state, "CancelTask", &id, work).await
}

/// Follows, or only reads what there is.
pub(super) async fn logs(
    state: &GrpcState,
    request: Request<TaskLogRequest>,
) -> Result<Pin<Box<dyn Stream<Item = Result<LogChunk, Status>> + Send>>, Status> {
    let caller = Caller::of(&request)?;
    let TaskLogRequest { task_id, follow, .. } = request.into_inner();
    let work = async |principal: &Principal| {
        let seat = state.api.load.admit_socket(principal)?;
        let task = resolve(state, principal, &task_id).await?;
        let view = open_visible(&state.api, principal, task).await?;
        let element = single_element(task, &view)?;
        let wanted = follow::Wanted { id: task_id.clone(), element, follow };
        Ok(follow::stream(Arc::clone(&state.api), principal.clone(), view, wanted, seat))
    };
    caller.look(state, "StreamTaskLogs", &task_id, work).await
}

/// A user, and from where they call.
struct Caller {
    peer: Peer,
    principal: Principal,
}

impl Caller {
    /// As the gate has let them in.
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let principal = request.extensions().get::<Principal>().cloned();
        let principal = principal.ok_or_else(|| Status::internal("a call that has not passed the gate"))?;
        Ok(Self { peer: Peer::of(request.extensions())?, principal })
    }

    /// Does what changes something, and notes it whatever becomes of it.
    async fn call<T>(
        self,
        state: &GrpcState,
        method: &str,
        object: &str,
        work: impl AsyncFnOnce(&Principal) -> Result<T, ApiError>,
    ) -> Result<T, Status> {
        self.noted(state, (method, object), true, work).await
    }

    /// Does what only looks.
    async fn look<T>(
        self,
        state: &GrpcState,
        method: &str,
        object: &str,
        work: impl AsyncFnOnce(&Principal) -> Result<T, ApiError>,
    ) -> Result<T, Status> {
        self.noted(state, (method, object), false, work).await
    }

    async fn noted<T>(
        self,
        state: &GrpcState,
        (method, object): (&str, &str),
        changes: bool,
        work: impl AsyncFnOnce(&Principal) -> Result<T, ApiError>,
    ) -> Result<T, Status> {
        let object: String = shared::text::printable(object).chars().take(ID_LIMIT).collect();
        let call = audit::user_call(&self.peer, &self.principal, &format!("gRPC {method}"), &object, changes);
        let done = async {
            let _room = state.api.load.admit_call(!changes, &self.principal)?;
            call.scope(work(&self.principal)).await
        };
        match done.await {
            Ok(done) if call.is_to_be_noted() => {
                let noted = state.cluster.note(call.ended(Outcome::Done)).await;
                noted.map(|()| done).map_err(|error| status(&error))
            }
            Ok(done) => Ok(done),
            Err(error) => {
                if call.is_to_be_noted() {
                    audit::refused_call(state, &call, error.code);
                }
                Err(status(&error))
            }
        }
    }
}

/// What of a message is a submission. 0 is what somebody sends who wants the default.
fn submission_of(task: Task) -> SubmitRequest {
    let given = |text: String| (!text.is_empty()).then_some(text);
    let amount = |number: f64| (number != 0.0).then_some(Quantity::Number(number));
    SubmitRequest {
        image: task.docker_image,
        command: given(task.command).map(CommandInput::Shell),
        name: given(task.newer_task_name).or_else(|| given(task.task_name)),
        cpu_cores: amount(task.req_cpu),
        mem: amount(task.req_memory),
        storage: amount(task.req_storage),
        gpu_cores: amount(task.req_gpu),
        worker_id: given(task.target_worker_id),
        ..SubmitRequest::default()
    }
}

/// The idempotency key that the client's id is.
fn key_of(id: &str) -> Result<Arc<str>, ApiError> {
    let is_printable = id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_printable && (1..=ID_LIMIT).contains(&id.len()) {
        return Ok(format!("grpc:{id}").into());
    }
    let hint = format!("give 1 to {ID_LIMIT} printable ASCII characters, or none");
    Err(ApiError::new(ErrorCode::InvalidArgument, "task_id: cannot be taken", hint))
}

/// The task of an id: one of ours, or the one that the caller has submitted it with.
async fn resolve(state: &GrpcState, principal: &Principal, id: &str) -> Result<TaskRef, ApiError> {
    if let Ok(task) = id.parse() {
        return Ok(task);
    }
    match state.cluster.task_of_key(principal.user.clone(), key_of(id)?).await? {
        Some(task) => Ok(task.into()),
        None => {
            let shown: String = shared::text::printable(id).chars().take(80).collect();
            let hint = "give the id of the answer to AssignTask, or the task_id that it was given";
            Err(ApiError::new(ErrorCode::TaskNotFound, format!("there is no task {shown}"), hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(change: impl FnOnce(&mut Task)) -> SubmitRequest {
        let mut task = Task { docker_image: "alpine".into(), ..Task::default() };
        change(&mut task);
        submission_of(task)
    }

    #[test]
    fn what_is_zero_or_empty_is_the_default() {
        let (spec, array) = task(|task| task.user_id = "somebody else".into()).validate().expect("valid");
        assert_eq!(spec.resources, shared::resources::Resources::TASK_DEFAULT);
        assert_eq!((spec.command, spec.name, spec.worker, array), (Default::default(), None, None, None));
    }

    #[test]
    fn both_generations_name_their_tasks() {
        assert_eq!(task(|task| task.task_name = "old".into()).name.as_deref(), Some("old"));
        assert_eq!(task(|task| task.newer_task_name = "new".into()).name.as_deref(), Some("new"));
    }

    #[test]
    fn amounts_that_are_none_are_refused() {
        let (spec, _) = task(|task| (task.req_cpu, task.req_memory) = (0.5, 2.0)).validate().expect("valid");
        assert_eq!((spec.resources.cpu_millis, spec.resources.memory_bytes), (500, 2 << 30));
        for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert!(task(|task| task.req_cpu = bad).validate().is_err(), "{bad}");
            assert!(task(|task| task.req_storage = bad).validate().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_of_clients_are_printable_and_short() {
        assert_eq!(key_of("job 1").expect("a key").as_ref(), "grpc:job 1");
        assert!(key_of(&"x".repeat(ID_LIMIT)).is_ok());
        for bad in ["", "a\nb", "\u{e4}", &"x".repeat(ID_LIMIT + 1)] {
            assert!(key_of(bad).is_err(), "{bad:?}");
        }
    }
}
