//! Working for a master of the first generation, which speaks `cluster.MasterWorker` and dials its workers.
//!
//! The agent, its journal, its log pumps and its uploads know one protocol, `cloudai.v1.WorkerSession`, and keep to it: a
//! gateway in this process plays their master, and says everything again in the words of the other one.
//!
//! ```text
//! master -- AssignTask, CancelTask, StreamTaskLogs --> service --> desk --> session --> agent
//! master <-- ReportTaskCompletion, UploadTaskFiles --- report, upload <-- session <---- agent
//! master <-- RegisterWorker, SendHeartbeat ----------- register
//! ```
//!
//! Read in this order: `desk` (what is known of tasks, agent and master), `ledger` (what outlives the process), `session`
//! (the agent's side), `service` (the master's side).
//!
//! Nothing is acknowledged to the agent before the master has acknowledged it, so the agent keeps its containers and its
//! ends until then, whatever happens to this process. Where the first generation forgets its master with its process, the
//! address is kept here: a worker that starts again reports what has ended, and registers by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use shared::id::ClusterId;
use shared::proto::seed::master_worker_server::MasterWorkerServer;
use shared::proto::worker_session_server::WorkerSessionServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

use super::data_dir::DataDir;
use super::error::WorkerError;
use crate::keepalive;
use desk::Desk;
use ledger::Ledger;
use pipe::Pipe;

mod acks;
mod chunks;
mod desk;
mod ledger;
mod lines;
mod logs;
mod master;
pub(super) mod pipe;
mod push;
mod register;
mod report;
mod service;
mod session;
mod spool;
mod task;
mod upload;

#[cfg(test)]
mod tests;

/// The largest message of the agent: a hello names every run of a worker.
const MESSAGE_LIMIT: usize = 16 << 20;
/// Streams of one connection, most of them logs that are followed; and calls that are worked on at a time.
const STREAMS_PER_CONNECTION: u32 = 128;
const CALLS_PER_CONNECTION: usize = 64;

/// How the agent reaches the gateway.
#[derive(Debug)]
pub(super) struct Gateway {
    /// Its connections.
    pub(super) pipe: Pipe,
    /// What containers carry.
    pub(super) cluster: ClusterId,
}

/// Takes up what an earlier start has left in the data directory, and serves at `listen` until the end of `life`.
/// What serves there is among `servers`: the address is free again when they have ended.
///
/// # Errors
/// The directory is that of a worker of another kind, or cannot be read; or the address is taken.
pub(super) async fn start(
    listen: SocketAddr,
    data: &DataDir,
    life: &CancellationToken,
    servers: &TaskTracker,
) -> Result<Gateway, WorkerError> {
    let (ledger, known) = Ledger::open(data.path(), data.cluster())?;
    let cluster = ledger.cluster();
    let failed = |source| WorkerError::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let master = ledger.master()?;
    let desk = Arc::new(Desk::new(data.name().clone(), ledger, known, master, life.clone()));
    let pipe = serve_agent(&desk, life.clone());
    servers.spawn(serve_master(&desk, listener, life.clone()));
    tokio::spawn(life.clone().run_until_cancelled_owned(register::keep(Arc::clone(&desk), data.path().to_owned())));
    tokio::spawn(life.clone().run_until_cancelled_owned(Arc::clone(&desk).keep_tidy()));
    match desk.master() {
        Some(master) => tracing::info!("Worker listens on {address}; its master was at {}", master.address),
        None => tracing::info!("Worker listens on {address} and waits for its master to register it"),
    }
    Ok(Gateway { pipe, cluster })
}

fn serve_agent(desk: &Arc<Desk>, life: CancellationToken) -> Pipe {
    let (pipe, connections) = Pipe::new();
    let service = WorkerSessionServer::new(session::Service::new(Arc::clone(desk)))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let server = Server::builder().add_service(service);
    tokio::spawn(async move {
        let served = server.serve_with_incoming_shutdown(connections, life.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!("The gateway to the master failed: {error}");
        }
    });
    pipe
}

fn serve_master(desk: &Arc<Desk>, listener: TcpListener, life: CancellationToken) -> impl Future<Output = ()> + use<> {
    let service = MasterWorkerServer::new(service::Service::new(Arc::clone(desk)));
    let server = Server::builder()
        .http2_keepalive_interval(Some(keepalive::EVERY))
        .http2_keepalive_timeout(Some(keepalive::LIMIT))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .load_shed(true)
        .tcp_nodelay(true)
        .add_service(service);
    async move {
        let incoming = TcpListenerStream::new(listener);
        if let Err(error) = server.serve_with_incoming_shutdown(incoming, life.cancelled_owned()).await {
            tracing::error!("The master cannot reach this worker any more: {error}; start it again");
        }
    }
}
