//! A master and its workers, in a directory of their own.

use std::path::Path;

use shared::resources::Quantity;
use shared::submit::{CommandInput, SubmitRequest};
use shared::worker::WorkerState;
use tempfile::TempDir;

use crate::api::Api;
use crate::ctl::Ctl;
use crate::docker::{self, Containers};
use crate::master::{Master, MasterOptions};
use crate::wait::PATIENCE;
use crate::worker::{Worker, WorkerOptions};

/// A master and its workers. Dropped, the workers go first, then the master, its containers and the directory; set
/// `CLOUDAI_TEST_KEEP` to keep the directory.
#[derive(Debug)]
pub struct Cluster {
    /// By number: the first is `worker-1`.
    pub workers: Vec<Worker>,
    /// The master.
    pub master: Master,
    /// What its workers have on the engine; none if it never had a worker.
    pub containers: Option<Containers>,
    dir: TempDir,
}

impl Cluster {
    /// A master and `workers` workers, all of them active.
    pub async fn start(workers: usize) -> Self {
        Self::start_with(&MasterOptions::default(), workers, &WorkerOptions::default()).await
    }

    /// The same, with options.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_with(options: &MasterOptions, workers: usize, of_worker: &WorkerOptions) -> Self {
        let mut dir = tempfile::Builder::new().prefix("cloudai-test-").tempdir().expect("a directory");
        dir.disable_cleanup(std::env::var_os("CLOUDAI_TEST_KEEP").is_some());
        let master = Master::start(&dir.path().join("master"), options).await;
        let mut cluster = Self { workers: Vec::new(), master, containers: None, dir };
        for number in 1..=workers {
            cluster.add_worker(&format!("worker-{number}"), of_worker).await;
        }
        cluster
    }

    /// Starts one more worker and waits until it is active.
    ///
    /// # Panics
    /// When it does not become active.
    pub async fn add_worker(&mut self, name: &str, options: &WorkerOptions) {
        if self.containers.is_none() {
            let status = self.api().status().await.expect("the status of the cluster");
            self.containers = Some(Containers::of(status.cluster_id));
        }
        let worker = Worker::start(&self.master, &self.dir.path().join(name), name, options).await;
        self.workers.push(worker);
        self.api().worker_is(PATIENCE, name, WorkerState::Active).await;
    }

    /// A client with the admin's token.
    #[must_use]
    pub fn api(&self) -> Api {
        self.master.api()
    }

    /// `cloudctl` with the admin's token.
    #[must_use]
    pub fn ctl(&self) -> Ctl {
        Ctl::new(self.dir.path().join("ctl"), self.master.url(), self.master.token().to_owned())
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// A small task that runs `line` in a shell.
#[must_use]
pub fn shell_task(line: &str) -> SubmitRequest {
    SubmitRequest {
        image: docker::image(),
        command: Some(CommandInput::Shell(line.to_owned())),
        cpu_cores: Some(Quantity::Text("100m".to_owned())),
        mem: Some(Quantity::Text("32MiB".to_owned())),
        storage: Some(Quantity::Text("64MiB".to_owned())),
        ..SubmitRequest::default()
    }
}

/// A small task that says `ready`, and ends with `code` when it gets the signal USR1.
#[must_use]
pub fn until_told(code: u8) -> SubmitRequest {
    shell_task(&format!("trap 'exit {code}' USR1; echo ready; while :; do sleep 0.1; done"))
}
