//! A real master and real workers in this process, over an engine of one's choice: for benches, and for tests that need
//! machines that this one is not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudaid::config::{
    CapacityOverrides, FileSettings, GpuSettings, JoinFrom, LeaseSettings, MasterConfig, Registration, Secret,
    StoreSettings, TaskLogSettings, TlsSettings, WorkerConfig,
};
use cloudaid::master::logs::Keep;
use cloudaid::master::{MasterError, Started};
use cloudaid::runtime::Runtime;
use cloudaid_core::files::FileUsage;
use shared::id::TaskId;
use shared::resources::GIB;
use shared::view::{StatusView, SubmitView};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::ctl::Ctl;

/// What each simulated worker offers: enough for everything at once.
pub const AMPLE: CapacityOverrides = CapacityOverrides {
    cpu_millis: Some(1_000_000),
    memory_bytes: Some(1024 * GIB),
    storage_bytes: Some(1024 * GIB),
    gpu_millis: Some(0),
};

/// A running cluster.
#[derive(Debug)]
pub struct Embedded {
    directory: TempDir,
    url: String,
    token: String,
    client: reqwest::Client,
    shutdown: CancellationToken,
    master: JoinHandle<Result<(), MasterError>>,
}

impl Embedded {
    /// A master and `workers` workers on one engine, each with `capacity`; returns when all are connected.
    ///
    /// # Panics
    /// The cluster does not come up.
    pub async fn start<R: Runtime>(workers: usize, engine: &Arc<R>, capacity: CapacityOverrides) -> Self {
        Self::start_on(StoreSettings { mongodb: None }, workers, engine, capacity).await
    }

    /// The same, with its facts in a store of one's choice.
    ///
    /// # Panics
    /// The cluster does not come up.
    pub async fn start_on<R: Runtime>(
        store: StoreSettings,
        workers: usize,
        engine: &Arc<R>,
        capacity: CapacityOverrides,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let shutdown = CancellationToken::new();
        let (sender, started) = oneshot::channel();
        let config = MasterConfig { store, ..master_config(directory.path().join("master")) };
        let master = tokio::spawn(cloudaid::master::run(config, sender, shutdown.clone()));
        let started: Started = started.await.expect("the master starts");
        let token = started.admin.expect("a login").token;
        let url = format!("http://{}", started.http);
        let api = Api::new(url.clone(), token.clone());
        for number in 1..=workers {
            let join = api.join_token().await;
            let config = worker_config(directory.path(), number, started.grpc, &join, capacity);
            let engine: Arc<dyn Runtime> = Arc::<R>::clone(engine);
            let shutdown = shutdown.clone();
            tokio::spawn(async move { cloudaid::worker::run_with(engine, config, shutdown).await });
        }
        let cluster = Self { directory, url, token, client: reqwest::Client::new(), shutdown, master };
        cluster.wait_for("all workers", |status| status.active_workers as usize == workers).await;
        cluster
    }

    /// Submits many in one request. Returns how many were accepted.
    ///
    /// # Panics
    /// The master refuses the request.
    pub async fn submit_ndjson(&self, body: String) -> usize {
        let request = self.post("/api/tasks").header("content-type", "application/x-ndjson").body(body);
        let answer = request.send().await.expect("an answer").error_for_status().expect("accepted");
        let answers = answer.text().await.expect("the answers");
        answers.lines().filter(|line| line.contains("\"task_id\"")).count()
    }

    /// Submits one task with the body `json`.
    ///
    /// # Panics
    /// The master refuses it.
    pub async fn submit(&self, json: String) -> TaskId {
        let request = self.post("/api/tasks").header("content-type", "application/json").body(json);
        let answer = request.send().await.expect("an answer").error_for_status().expect("accepted");
        let view: SubmitView = answer.json().await.expect("the answer");
        view.task_id.parse().expect("a task id")
    }

    /// Returns when `count` tasks are recorded as completed.
    pub async fn wait_completed(&self, count: u64) {
        self.wait_for("all tasks", |status| status.tasks.completed >= count).await;
    }

    /// Commits so far, from the store itself.
    ///
    /// # Panics
    /// The store cannot be read.
    #[must_use]
    pub fn commits(&self) -> u64 {
        let file = self.directory.path().join("master/cloudai.db");
        let store = rusqlite::Connection::open(file).expect("the store");
        let position = store.query_row("SELECT position FROM cluster", [], |row| row.get::<_, i64>(0));
        position.expect("a position").cast_unsigned()
    }

    /// `cloudctl` with the admin's token.
    #[must_use]
    pub fn ctl(&self) -> Ctl {
        Ctl::new(self.directory.path().join("ctl"), self.url.clone(), self.token.clone())
    }

    /// A client with the admin's token.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.url.clone(), self.token.clone())
    }

    /// Where everything is: `master`, `worker-1` and so on.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// Stops everything.
    ///
    /// # Panics
    /// The master fails.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.master.await.expect("the master ends").expect("the master ends well");
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    async fn wait_for(&self, what: &str, done: impl Fn(&StatusView) -> bool) {
        let wait = async {
            loop {
                let request = self.client.get(format!("{}/api/status", self.url)).bearer_auth(&self.token);
                let answer = request.send().await.expect("an answer");
                let status: StatusView = answer.json().await.expect("a status");
                if done(&status) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(300), wait)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }
}

fn master_config(data_dir: PathBuf) -> MasterConfig {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let leases = LeaseSettings {
        heartbeat: Duration::from_secs(5),
        suspect: Duration::from_secs(15),
        lease: Duration::from_secs(30),
        reassign: Duration::from_secs(45),
        start_grace: Duration::from_secs(60),
        mass_loss_hold: Duration::from_secs(600),
    };
    MasterConfig {
        data_dir,
        http: any_port,
        grpc: any_port,
        jwt_secret: None,
        previous_jwt_secret: None,
        site: Default::default(),
        access_log: false,
        token_ttl: Duration::from_secs(3600),
        registration: Registration::Invite,
        least_password_chars: 12,
        print_task_logs: false,
        leases,
        infrastructure_attempts: 3,
        task_profile: Default::default(),
        strict_users: Default::default(),
        strict_pools: Default::default(),
        strict_network: shared::confinement::NetworkAccess::None,
        images: Default::default(),
        files: FileSettings {
            s3: None,
            retention: None,
            input_retention: None,
            quota: FileUsage { bytes: u64::MAX, files: u64::MAX },
        },
        task_logs: TaskLogSettings { keep: Keep::ALL, total: None, retention: None, failed_retention: None },
        store: StoreSettings { mongodb: None },
        tls: TlsSettings { http: false, own: None, names: Vec::new() },
        worker_certificate_ttl: Duration::from_secs(24 * 3600),
        allow_plaintext_workers: false,
        open_admission: false,
        bootstrap_admin: true,
        bootstrap_worker: None,
    }
}

/// How the worker of this number is started.
///
/// # Panics
/// Never.
#[must_use]
pub fn worker_config(
    directory: &Path,
    number: usize,
    grpc: impl std::fmt::Display,
    join_token: &str,
    overrides: CapacityOverrides,
) -> WorkerConfig {
    WorkerConfig {
        masters: vec![grpc.to_string()],
        name: format!("worker-{number}").parse().expect("a name"),
        data_dir: directory.join(format!("worker-{number}")),
        join: Some(JoinFrom::Inline(Secret::new(join_token))),
        docker_host: None,
        registry_patience: Duration::from_secs(1),
        pull_limits: Default::default(),
        image_room: 0,
        gpus: GpuSettings { library: None, quarantine: Duration::from_secs(600) },
        on_stop: Default::default(),
        overrides,
        labels: Default::default(),
        advertise: None,
        seed: None,
    }
}
