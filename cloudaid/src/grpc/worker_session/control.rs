//! The control stream of one worker.

use std::time::Duration;

use shared::error::{ApiError, ErrorCode};
use shared::id::{SessionId, WorkerId};
use shared::link::{ERROR_CODE, FromWorker, Hello};
use shared::proto;
use tonic::metadata::MetadataValue;
use tonic::{Status, Streaming};

use super::{Answers, Caller};
use crate::grpc::{GrpcState, audit, in_words, status};
use crate::master::handle::ClusterHandle;
use crate::master::links::{Outbox, Outgoing};
use crate::master::narrate::Heartbeats;

/// How long a connection may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes the hello and begins a session: one task reads, the returned stream is what the worker gets.
pub(super) async fn open(
    state: &GrpcState,
    caller: Caller,
    mut inbound: Streaming<proto::FromWorker>,
) -> Result<Answers<proto::ToWorker>, Status> {
    let hello = first_message(state, &caller, &mut inbound).await?;
    let (cluster, Caller { worker, proof, .. }) = (state.cluster.clone(), caller);
    let shutdown = state.api.shutdown.clone();
    let (session, outbox) = cluster.shell().links.open();
    if let Err(error) = cluster.worker_connected(session, proof, hello).await {
        cluster.shell().links.forget(session);
        return Err(status(&error));
    }
    tokio::spawn(async move {
        // A worker that goes on after the goodbye would hold the connection open.
        let reading = read(&cluster, &worker, session, inbound);
        let _stopping = shutdown.run_until_cancelled(reading).await;
        cluster.shell().links.forget(session);
        // The driver may be gone already, and then nobody needs to know.
        let _stopping = cluster.worker_disconnected(worker, session).await;
    });
    Ok(Box::pin(answers(outbox)))
}

async fn first_message(
    state: &GrpcState,
    caller: &Caller,
    inbound: &mut Streaming<proto::FromWorker>,
) -> Result<Hello, Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, inbound.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello within 10 s"))??;
    let first = first.ok_or_else(|| Status::invalid_argument("the stream ended before its hello"))?;
    match FromWorker::try_from(first) {
        Ok(FromWorker::Hello(hello)) if hello.worker == caller.worker => Ok(hello),
        Ok(FromWorker::Hello(hello)) => {
            audit::refused(state, &caller.peer, "gRPC Open", hello.worker.as_str(), ErrorCode::PermissionDenied);
            Err(Status::permission_denied("the hello names another worker than the certificate"))
        }
        Ok(FromWorker::Heartbeat(_) | FromWorker::Reports(_) | FromWorker::Inventory(_)) => {
            Err(Status::invalid_argument("the first message must be a hello"))
        }
        Err(error) => Err(Status::invalid_argument(error.to_string())),
    }
}

/// Reads until the stream ends, however it ends.
async fn read(
    cluster: &ClusterHandle,
    worker: &WorkerId,
    session: SessionId,
    mut inbound: Streaming<proto::FromWorker>,
) {
    let mut heartbeats = Heartbeats::new(worker.clone());
    while let Ok(Some(message)) = inbound.message().await {
        let sent = match FromWorker::try_from(message) {
            Ok(FromWorker::Heartbeat(heartbeat)) => {
                heartbeats.beat(&heartbeat.usage);
                let number = heartbeat.number;
                cluster.worker_heard(worker, session, Some(heartbeat));
                // Here and not by the core, which waits for the disk: it is a fact that it has arrived.
                cluster.shell().links.heard(session, number);
                Ok(())
            }
            Ok(FromWorker::Reports(reports)) => {
                cluster.worker_heard(worker, session, None);
                cluster.worker_reported(worker.clone(), session, reports).await
            }
            Ok(FromWorker::Inventory(inventory)) => {
                cluster.worker_heard(worker, session, None);
                cluster.worker_inventoried(worker.clone(), session, inventory).await
            }
            Ok(FromWorker::Hello(_)) => {
                tracing::warn!("Worker {worker} said hello twice on one stream");
                break;
            }
            Err(error) => {
                tracing::warn!("Worker {worker} sent a message that cannot be read: {error}");
                break;
            }
        };
        if sent.is_err() {
            break;
        }
    }
}

/// With its code, by which a worker knows whether to wait for better times.
fn refused(error: &ApiError) -> Status {
    let mut status = Status::failed_precondition(in_words(error));
    status.metadata_mut().insert(ERROR_CODE, MetadataValue::from_static(error.code.as_str()));
    status
}

fn answers(outbox: Outbox) -> impl tokio_stream::Stream<Item = Result<proto::ToWorker, Status>> {
    futures_util::stream::unfold(outbox, |mut outbox| async {
        let answer = match outbox.next().await? {
            Outgoing::Message(message) => Ok(message.into()),
            Outgoing::Refuse(error) => Err(refused(&error)),
        };
        Some((answer, outbox))
    })
}
