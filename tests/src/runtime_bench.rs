//! The Docker runtime on the engine of the tests, without a worker.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use cloudaid::runtime::docker::DockerRuntime;
use cloudaid::runtime::{ContainerSpec, LogMark, LogPiece, Runtime};
use futures_util::TryStreamExt;
use shared::id::{AttemptKey, ClusterId, Fence, TaskId};
use shared::link::{LogStream, RunLimits};
use shared::resources::{MIB, Resources};
use shared::task::Command;
use tempfile::TempDir;
use ulid::Ulid;

/// An engine, and what tests of it need.
#[derive(Debug)]
pub struct Bench {
    /// What is tested.
    pub runtime: DockerRuntime,
    /// The engine behind it, to look at from beside.
    pub engine: Docker,
    /// With busybox.
    pub image: String,
    /// For outputs.
    pub scratch: TempDir,
    /// Whose the containers are.
    pub cluster: ClusterId,
}

impl Bench {
    /// On the engine of the tests.
    ///
    /// # Panics
    /// There is none: `tests/run.sh` says where it is.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is nothing by default: it needs an engine")]
    pub fn new() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as tests/run.sh does"));
        let host = variable("CLOUDAI_TEST_DOCKER");
        let path = host.trim_start_matches("unix://");
        Self {
            runtime: DockerRuntime::connect(Some(&host)).expect("an engine"),
            engine: Docker::connect_with_unix(path, 60, bollard::API_DEFAULT_VERSION).expect("an engine"),
            image: variable("CLOUDAI_TEST_IMAGE"),
            scratch: tempfile::tempdir().expect("a directory"),
            cluster: ClusterId(Ulid::generate()),
        }
    }

    /// A container of a run of its own.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn spec(&self, command: Command) -> ContainerSpec {
        ContainerSpec {
            key: AttemptKey { task: TaskId(Ulid::generate()), index: 0, attempt: 1, fence: Fence(5) },
            cluster: self.cluster,
            worker: "w-1".parse().expect("a name"),
            name: Some("a test".to_owned()),
            image: self.image.clone(),
            confinement: Default::default(),
            gpus: Vec::new(),
            command,
            env: BTreeMap::new(),
            resources: Resources { cpu_millis: 1000, memory_bytes: 64 * MIB, ..Resources::default() },
            output: self.scratch.path().to_owned(),
            output_device: None,
            input: None,
            limits: RunLimits {
                memory_bytes: 0,
                storage_bytes: 0,
                stop_grace: Duration::from_secs(1),
                time_limit: None,
                at_most_once: false,
                blocking_log: false,
                storage_reserved: false,
            },
        }
    }

    /// One that runs a line in a shell.
    #[must_use]
    pub fn shell(&self, line: &str) -> ContainerSpec {
        self.spec(Command::Shell(line.to_owned()))
    }

    /// Makes and starts it.
    ///
    /// # Panics
    /// The engine refuses.
    pub async fn start(&self, spec: &ContainerSpec) {
        self.runtime.create(spec).await.expect("made");
        self.runtime.start(&spec.key).await.expect("started");
    }

    /// Exit code, stdout and stderr.
    ///
    /// # Panics
    /// The engine refuses.
    pub async fn run(&self, spec: &ContainerSpec) -> (i32, Vec<u8>, Vec<u8>) {
        self.start(spec).await;
        let (stdout, stderr) = self.log(&spec.key).await;
        let code = self.runtime.wait(&spec.key).await.expect("an end").code;
        self.runtime.remove(&spec.key).await.expect("removed");
        (code, stdout, stderr)
    }

    /// Stdout and stderr, to their ends.
    ///
    /// # Panics
    /// There is no log.
    pub async fn log(&self, key: &AttemptKey) -> (Vec<u8>, Vec<u8>) {
        let mut log = self.runtime.logs(key, LogMark::default()).await.expect("a log");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(piece) = log.try_next().await.expect("a whole log") {
            match piece {
                LogPiece::Data(LogStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
                LogPiece::Data(LogStream::Stderr, bytes) => stderr.extend_from_slice(&bytes),
                LogPiece::Mark(_) | LogPiece::Doubt => {}
                LogPiece::Gap => panic!("a part of the log is missing"),
            }
        }
        (stdout, stderr)
    }
}
