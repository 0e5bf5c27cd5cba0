//! `/telemetry` and `/ws/telemetry`: how the workers are, now and as it changes.

use axum::Json;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use shared::error::{ApiError, ErrorCode};
use shared::id::WorkerId;
use shared::view::{TelemetryFrame, TelemetryView};
use tokio::sync::broadcast::error::RecvError;

use super::Shared;
use super::error::Failure;
use super::extract::{Params, WorkerPath};
use super::socket::{self, Admitted, Client, Kind, Stop};
use crate::clock;

mod hub;

pub use hub::Hub;

/// `GET /telemetry`
pub(super) async fn all(State(state): State<Shared>, params: Params) -> Result<Json<TelemetryView>, Failure> {
    params.finish()?;
    let workers = state.cluster.workers().await?.workers;
    Ok(Json(TelemetryView { at: clock::wall(), workers }))
}

/// `GET /telemetry/{id}`
pub(super) async fn one(
    State(state): State<Shared>,
    WorkerPath(worker): WorkerPath,
    params: Params,
) -> Result<Json<TelemetryView>, Failure> {
    params.finish()?;
    let workers = vec![state.cluster.worker(worker).await?];
    Ok(Json(TelemetryView { at: clock::wall(), workers }))
}

/// `GET /ws/telemetry`
pub(super) async fn follow(
    State(state): State<Shared>,
    params: Params,
    admitted: Admitted,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    params.finish()?;
    let shared = state.clone();
    Ok(socket::open(upgrade, &state, admitted, move |client| converse(client, shared, None))?)
}

/// `GET /ws/telemetry/{id}`
pub(super) async fn follow_one(
    State(state): State<Shared>,
    WorkerPath(worker): WorkerPath,
    params: Params,
    admitted: Admitted,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    params.finish()?;
    state.cluster.worker(worker.clone()).await?;
    let shared = state.clone();
    Ok(socket::open(upgrade, &state, admitted, move |client| converse(client, shared, Some(worker)))?)
}

async fn converse(mut client: Client, state: Shared, worker: Option<WorkerId>) {
    let ended = tell(&mut client, &state, worker.as_ref()).await;
    client.end(ended).await;
}

/// Until somebody has enough of it.
async fn tell(client: &mut Client, state: &Shared, worker: Option<&WorkerId>) -> Result<(), Stop> {
    let (snapshot, mut deltas) = state.telemetry.subscribe(worker).await?;
    client.send(Kind::Text, snapshot.as_bytes()).await?;
    loop {
        client.check()?;
        let delta = tokio::select! {
            delta = deltas.recv() => delta,
            alive = client.stay() => {
                alive?;
                continue;
            }
            () = state.shutdown.cancelled() => return Err(stopping().into()),
        };
        match delta {
            Ok(delta) => {
                if let Some(frame) = delta.frame(worker) {
                    client.send(Kind::Text, frame.as_bytes()).await?;
                }
            }
            Err(RecvError::Lagged(missed)) => {
                let (snapshot, fresh) = state.telemetry.subscribe(worker).await?;
                deltas = fresh;
                client.tell(&TelemetryFrame::Lagged { missed }).await?;
                client.send(Kind::Text, snapshot.as_bytes()).await?;
            }
            Err(RecvError::Closed) => return Err(stopping().into()),
        }
        client.listen()?;
    }
}

pub(super) fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Unavailable, "the master is about to stop", "connect again later")
}
