//! A worker as a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::docker;
use crate::master::Master;
use crate::process::{Process, Recipe, program};

/// What a test changes about a worker. By default it offers a fixed size, whatever machine it is on.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Cores to offer.
    pub cpu: String,
    /// Memory to offer.
    pub memory: String,
    /// Disk to offer.
    pub storage: String,
    /// The engine; none: that of the tests.
    pub docker_host: Option<String>,
    /// The network that it lives in; none: that of the tests.
    pub network: Option<Network>,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
}

/// A network other than that of the tests.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name, as `ip netns` knows it.
    pub name: String,
    /// The address at which the tests are found there.
    pub gateway: String,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            cpu: "2".to_owned(),
            memory: "2GiB".to_owned(),
            storage: "10GiB".to_owned(),
            docker_host: None,
            network: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// A worker.
#[derive(Debug)]
pub struct Worker {
    /// The process.
    pub process: Process,
    name: String,
    data_dir: PathBuf,
}

impl Drop for Worker {
    /// What it has mounted outlives it, and would keep its directory.
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| Path::new(place).starts_with(&self.data_dir)) {
            let _ = std::process::Command::new("umount").args(["--lazy", place]).status();
        }
    }
}

impl Worker {
    /// Starts a worker for `master` with its data below `dir` and a join token of its own. Does not wait until it is
    /// registered.
    pub async fn start(master: &Master, dir: &Path, name: &str, options: &WorkerOptions) -> Self {
        let data_dir = dir.join("data");
        let address = match &options.network {
            None => master.grpc_address(),
            Some(network) => master.grpc_address().replace("127.0.0.1", &network.gateway),
        };
        let flags = [
            ("--master", address),
            ("--name", name.to_owned()),
            ("--data-dir", data_dir.display().to_string()),
            ("--join", master.api().join_token().await),
            ("--docker-host", options.docker_host.clone().unwrap_or_else(docker::host)),
            ("--cpu", options.cpu.clone()),
            ("--memory", options.memory.clone()),
            ("--storage", options.storage.clone()),
        ];
        let (program, mut args) = match &options.network {
            None => (program("cloudaid"), Vec::new()),
            Some(network) => {
                let program = program("cloudaid").display().to_string();
                let into = ["netns", "exec", &network.name, &program];
                ("/sbin/ip".into(), into.map(str::to_owned).to_vec())
            }
        };
        args.push("worker".to_owned());
        args.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        args.extend(options.args.iter().cloned());
        let recipe = Recipe {
            name: name.to_owned(),
            program,
            args,
            // A registry that is not there is not what is waited for.
            env: [("CLOUDAI_REGISTRY_PATIENCE".to_owned(), "2s".to_owned())]
                .into_iter()
                .chain(options.env.iter().cloned())
                .collect(),
            dir: dir.to_owned(),
        };
        Self { process: Process::start(recipe), name: name.to_owned(), data_dir }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Kills it.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again on the same data.
    pub fn restart(&mut self) {
        self.process.start_again();
    }

    /// Asks it to stop, and waits until it has.
    pub async fn term(&mut self) -> ExitStatus {
        self.process.term().await
    }
}
