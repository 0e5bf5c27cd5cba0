//! The paths of workers: how they are, what lets them in, and what they pull images with.

use shared::error::ErrorCode;
use shared::id::{TokenId, WorkerId};
use shared::registry::RegistryName;
use shared::view::{
    ApproveWorkerRequest, CordonRequest, CreateWorkerTokenRequest, DrainRequest, NewWorkerTokenView,
    PendingWorkerListView, RegisterWorkerRequest, RegistryListView, RegistryView, SetRegistryRequest, TelemetryView,
    WorkerListView, WorkerTokenListView, WorkerView,
};

use super::{CREATED, NO_CONTENT, OK};
use crate::http::describe::{Doc, doc, text};
use crate::http::routes::{Right, Routes};
use crate::http::{admission, metrics, registries, telemetry, workers};

pub(super) fn worker_paths(routes: Routes) -> Routes {
    use ErrorCode::{Conflict, NotFound, ResourceExhausted, WorkerNotFound};
    use Right::{Administer, Look};
    let worker = |doc: Doc| doc.path_of::<WorkerId>("id", "The worker").refused(&[WorkerNotFound]);
    routes
        .get(
            "/telemetry",
            Look,
            telemetry::all,
            doc("How all workers are")
                .about("Usage, allocation, running tasks and last heartbeat; `/ws/telemetry` tells it as it changes.")
                .answers::<TelemetryView>(OK, "At this moment"),
        )
        .get(
            "/telemetry/{id}",
            Look,
            telemetry::one,
            doc("How a worker is")
                .path_of::<WorkerId>("id", "The worker")
                .answers::<TelemetryView>(OK, "At this moment")
                .refused(&[WorkerNotFound]),
        )
        .get(
            "/metrics",
            Look,
            metrics::render,
            doc("Figures for Prometheus").answers_as(OK, metrics::KIND, text(), "Its text format 0.0.4"),
        )
        .post(
            "/api/workers",
            Administer,
            admission::register,
            doc("Register a worker of the first generation")
                .about("The master dials it from then on. Workers of today join with a token.")
                .body::<RegisterWorkerRequest>()
                .answers::<WorkerView>(CREATED, "It is registered")
                .refused(&[Conflict]),
        )
        .delete(
            "/api/workers/{id}",
            Administer,
            admission::unregister,
            worker(doc("Take a worker out of the cluster"))
                .about("Its certificate is worth nothing from then on; what it ran runs elsewhere.")
                .done(NO_CONTENT, "It is no more"),
        )
        .post(
            "/api/workers/{id}/cordon",
            Administer,
            admission::cordon,
            worker(doc("Let a worker get no new work"))
                .about("What it runs goes on.")
                .maybe_body::<CordonRequest>()
                .answers::<WorkerView>(OK, "As it is now"),
        )
        .post(
            "/api/workers/{id}/drain",
            Administer,
            admission::drain,
            worker(doc("Let a worker become empty"))
                .about("It gets no new work. What still runs there when the deadline is over is stopped, and runs elsewhere.")
                .maybe_body::<DrainRequest>()
                .answers::<WorkerView>(OK, "As it is now"),
        )
        .post(
            "/api/workers/{id}/undrain",
            Administer,
            admission::undrain,
            worker(doc("Let a worker get work again"))
                .about("After a cordon or a drain.")
                .answers::<WorkerView>(OK, "As it is now"),
        )
        .post(
            "/api/workers/{id}/approve",
            Administer,
            admission::approve,
            worker(doc("Let a worker in that waits"))
                .maybe_body::<ApproveWorkerRequest>()
                .answers::<WorkerView>(OK, "It is registered")
                .refused(&[Conflict]),
        )
        .get(
            "/api/pending-workers",
            Administer,
            admission::list_pending,
            doc("List workers that wait to be let in").answers::<PendingWorkerListView>(OK, "The workers"),
        )
        .get(
            "/api/worker-tokens",
            Administer,
            admission::list_tokens,
            doc("List join tokens")
                .about("Those that can still be used. The tokens themselves are not kept.")
                .answers::<WorkerTokenListView>(OK, "The tokens"),
        )
        .post(
            "/api/worker-tokens",
            Administer,
            admission::create_token,
            doc("Make a token for workers to join with")
                .body::<CreateWorkerTokenRequest>()
                .answers::<NewWorkerTokenView>(CREATED, "The token, shown only now")
                .refused(&[ResourceExhausted]),
        )
        .delete(
            "/api/worker-tokens/{id}",
            Administer,
            admission::revoke_token,
            doc("End a join token")
                .path_of::<TokenId>("id", "The token")
                .done(NO_CONTENT, "It works no longer")
                .refused(&[NotFound]),
        )
        .get(
            "/api/registries",
            Administer,
            registries::list,
            doc("List image registries that know the cluster").answers::<RegistryListView>(OK, "Without passwords"),
        )
        .post(
            "/api/registries",
            Administer,
            registries::set,
            doc("Say what an image registry knows the cluster by")
                .about("Workers pull its images with that, whoever's task it is. The password is kept encrypted, and never shown.")
                .body::<SetRegistryRequest>()
                .answers::<RegistryView>(OK, "As it is now")
                .refused(&[ResourceExhausted]),
        )
        .delete(
            "/api/registries/{id}",
            Administer,
            registries::remove,
            doc("Forget what an image registry knows the cluster by")
                .path_of::<RegistryName>("id", "As images name it")
                .done(NO_CONTENT, "Nothing is known there any more")
                .refused(&[NotFound]),
        )
        .get("/api/workers", Look, workers::list, doc("List workers").answers::<WorkerListView>(OK, "The workers"))
        .get(
            "/api/workers/{id}",
            Look,
            workers::show,
            doc("Show a worker")
                .path_of::<WorkerId>("id", "The worker")
                .answers::<WorkerView>(OK, "The worker")
                .refused(&[WorkerNotFound]),
        )
}
