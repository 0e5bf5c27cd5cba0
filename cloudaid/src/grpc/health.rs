//! `grpc.health.v1.Health`: whether calls are answered well at the moment.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::master::handle::ClusterHandle;

/// The services that are told of; the nameless one is the master as a whole.
const SERVICES: [&str; 4] = ["", "cluster.MasterWorker", "cloudai.v1.WorkerSession", "cloudai.v1.WorkerIdentity"];
/// How often the store is asked about.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the reporter up to date until the master stops.
pub(super) async fn report(reporter: HealthReporter, cluster: ClusterHandle, shutdown: CancellationToken) {
    let mut told = None;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
        let status = if cluster.is_held() { ServingStatus::NotServing } else { ServingStatus::Serving };
        if told.replace(status) != Some(status) {
            for service in SERVICES {
                reporter.set_service_status(service, status).await;
            }
        }
    }
}
