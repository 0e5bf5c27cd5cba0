//! Containers by a Docker engine, over its unix socket.
//!
//! The engine is what limits the rate of short tasks, so the way of a task that goes well is few calls: create, start,
//! wait, inspect, logs, remove. Everything that may be tried twice is keyed by the container's name, and a container is
//! acted on by the engine's own id once its labels have been seen to be those of the attempt.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use parking_lot::Mutex;
use shared::id::{AttemptKey, ClusterId, WorkerId};
use shared::pull::Pulling;
use shared::resources::MIB;
use shared::time::WallTime;
use tokio::sync::{Notify, OnceCell};

use self::daemon::Daemon;
use self::errors::{Failure, within};
use self::fall::Outage;
use self::hand::Hands;
use self::image::Images;
pub use self::image::PullLimits;
use self::labels::{Owner, container_name};
use self::logs::Log;
use self::network::Network;
use self::silence::Silences;
use self::start::Starts;
use super::{
    ContainerSpec, EngineFacts, Exit, Found, FoundState, ImageWish, LogMark, LogPieces, Runtime, RuntimeError,
    RuntimeInfo, StopSignal, Stored,
};
use crate::{clock, failpoint};

mod create;
mod daemon;
mod errors;
mod facts;
mod fall;
mod hand;
mod image;
mod labels;
mod logs;
mod network;
mod oom;
mod orphan;
mod silence;
mod spec;
mod start;
mod stop;
mod stored;
mod strict;
mod threads;
mod usage;
mod wait;
mod witness;

/// Where Docker's socket is if nothing else is said.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// One log file; just above 1 GiB, which is the most that is kept of a task's log. There are two of them, because a single
/// one would start again from nothing at its end while the reader is still in it.
const LOG_FILE: u64 = 1100 * MIB;
/// For calls that only ask or signal.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// For calls that make, start or remove a container, which wait for the kernel and the disk.
const WORK_LIMIT: Duration = Duration::from_secs(60);
/// The client's own limit, to the first byte of an answer. What follows logs or waits has an answer at once.
const CLIENT_LIMIT: Duration = WORK_LIMIT;
/// The same for what may take long or must not be given up; our own limits are inside it.
const PATIENT_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// One Docker engine.
#[derive(Debug)]
pub struct DockerRuntime {
    /// Empty until its socket has been there once.
    client: OnceLock<Docker>,
    socket: String,
    facts: OnceCell<Facts>,
    network: Arc<Network>,
    images: Images,
    known: Mutex<HashMap<AttemptKey, Known>>,
    starts: Starts,
    hands: Hands,
    silences: Arc<Silences>,
    /// Bytes of a log file: see [`DockerRuntime::with_log_files`].
    log_file: u64,
    /// When this was.
    made: WallTime,
    /// See [`DockerRuntime::after`].
    left: Option<WallTime>,
}

/// What does not change while an engine runs.
#[derive(Debug, Clone)]
struct Facts {
    engine_id: String,
    cpus: u64,
    /// Whether the engine gives GPUs to every container whose environment asks for them.
    gives_gpus: bool,
    /// The control group in which each container gets one around its own; none: it gets none.
    parent: Option<String>,
}

/// A container whose labels have been seen.
#[derive(Debug, Clone)]
struct Known {
    /// The engine's id: a later container of the same name has another.
    id: String,
    /// Made by this process and not started yet, so that it need not be looked at before its start.
    fresh: bool,
    /// Made by this process.
    made_here: bool,
    /// Seen to have ended, so that its log need not be followed.
    ended: bool,
    /// Sent a signal by this process, or tried to.
    signalled: bool,
    /// When it could not be waited for.
    outage: Option<Outage>,
    /// Told when the engine has said that it does not run, so that whoever waits for its end looks.
    doubt: Arc<Notify>,
}

impl Known {
    fn new(id: String, fresh: bool) -> Self {
        let (ended, signalled, outage, doubt) = (false, false, None, Arc::default());
        Self { id, fresh, made_here: fresh, ended, signalled, outage, doubt }
    }
}

impl DockerRuntime {
    /// The engine at `host` (`unix:///path`), else at `DOCKER_HOST`, else at Docker's usual socket. It need not be there
    /// yet: until it is, every call fails.
    ///
    /// # Errors
    /// That is no unix socket.
    pub fn connect(host: Option<&str>) -> Result<Self, RuntimeError> {
        let from_environment = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let host = host.or(from_environment.as_deref());
        Ok(Self {
            socket: socket_path(host)?.to_owned(),
            client: OnceLock::new(),
            facts: OnceCell::new(),
            network: Arc::default(),
            images: Images::default(),
            known: Mutex::default(),
            starts: Starts::default(),
            hands: Hands::default(),
            silences: Arc::default(),
            log_file: LOG_FILE,
            made: clock::wall(),
            left: None,
        })
    }

    /// Keeps in `file` which images it has pulled, and removes those that were used longest ago where less than `floor`
    /// bytes of the engine's disk are free.
    #[must_use]
    pub fn keeping_images(self, file: PathBuf, floor: u64) -> Self {
        Self { images: self.images.keeping(file, floor), ..self }
    }

    /// Gives up pulls of images that take longer.
    #[must_use]
    pub fn with_pull_limits(self, limits: PullLimits) -> Self {
        Self { images: self.images.with_limits(limits), ..self }
    }

    /// Keeps two log files of this many bytes for each container, instead of two of 1100 MiB: of what nobody has read the
    /// engine drops the rest.
    #[must_use]
    pub fn with_log_files(self, bytes: u64) -> Self {
        Self { log_file: bytes, ..self }
    }

    /// Follows another process of the same worker, which was last there at `left`: what has ended about then may have been
    /// asked to by an engine that was stopped too.
    #[must_use]
    pub fn after(self, left: Option<WallTime>) -> Self {
        Self { left, ..self }
    }

    fn engine(&self) -> Result<&Docker, RuntimeError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // The version is not sent by this client, so engines of any age answer.
        let client = Docker::connect_with_unix(&self.socket, CLIENT_LIMIT.as_secs(), API_DEFAULT_VERSION);
        let client = client.map_err(|error| Failure::from(error).of_engine())?;
        Ok(self.client.get_or_init(|| client))
    }

    fn patient(&self) -> Result<Docker, RuntimeError> {
        Ok(self.engine()?.clone().with_timeout(PATIENT_LIMIT))
    }

    async fn facts(&self) -> Result<&Facts, RuntimeError> {
        let ask = || async {
            let info = within(CALL_LIMIT, self.engine()?.info()).await.map_err(Failure::of_engine)?;
            let cpus = info.ncpu.and_then(|cpus| u64::try_from(cpus).ok()).unwrap_or(1);
            let parent = match usage::can_surround(&info) {
                true => Daemon::find(&self.socket).await.and_then(|daemon| daemon.cgroup_parent()),
                false => None,
            };
            // Where containerd keeps images the engine does not say.
            let elsewhere =
                info.driver_status.iter().flatten().flatten().any(|word| word.contains("io.containerd.snapshotter"));
            let root = info.docker_root_dir.map(PathBuf::from).filter(|root| root.is_dir() && !elsewhere);
            self.images.are_on(root);
            let gives_gpus = info.default_runtime.is_some_and(|runtime| runtime.starts_with("nvidia"));
            Ok(Facts { engine_id: info.id.unwrap_or_default(), cpus, gives_gpus, parent })
        };
        self.facts.get_or_try_init(ask).await
    }

    async fn inspect(&self, name_or_id: &str) -> Result<ContainerInspectResponse, RuntimeError> {
        let inspect = self.engine()?.inspect_container(name_or_id, None::<InspectContainerOptions>);
        within(CALL_LIMIT, inspect).await.map_err(Failure::of_container)
    }

    /// The engine's id of the container of this attempt, once its labels have been seen.
    async fn resolve(&self, key: &AttemptKey) -> Result<String, RuntimeError> {
        if let Some(known) = self.known.lock().get(key) {
            return Ok(known.id.clone());
        }
        let name = container_name(key);
        let found = self.inspect(&name).await?;
        let id = found.id.clone().unwrap_or_default();
        match owner(&found) {
            Some(owner) if owner.key == *key && !id.is_empty() => {
                self.known.lock().insert(*key, Known::new(id.clone(), false));
                Ok(id)
            }
            _ => {
                tracing::warn!("container {name} is not that of {key} (its labels differ): left alone");
                Err(RuntimeError::NotFound)
            }
        }
    }

    /// What is known of a container of which the engine says that it is gone is worth nothing.
    fn forget_if_gone<T>(&self, key: &AttemptKey, result: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        if matches!(result, Err(RuntimeError::NotFound)) {
            self.known.lock().remove(key);
        }
        result
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let info = within(CALL_LIMIT, self.engine()?.info()).await.map_err(Failure::of_engine)?;
        self.silences.check()?;
        let number = |number: Option<i64>| number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        Ok(RuntimeInfo {
            description: format!("Docker {}", info.server_version.unwrap_or_else(|| "of unknown version".to_owned())),
            cpu_millis: number(info.ncpu) * 1000,
            memory_bytes: number(info.mem_total),
            root: info.docker_root_dir.map(PathBuf::from).filter(|root| root.is_dir()),
        })
    }

    async fn describe(&self) -> Result<Option<EngineFacts>, RuntimeError> {
        self.ask_how_it_is_set_up().await.map(Some)
    }

    async fn prepare_image(&self, wish: &ImageWish) -> Result<Option<String>, RuntimeError> {
        // Where images are has to be known before room is looked for.
        self.facts().await?;
        self.images.prepare(&self.patient()?, wish).await
    }

    fn pulling(&self) -> Vec<Pulling> {
        self.images.pulling()
    }

    async fn keep_room(&self) -> Result<(), RuntimeError> {
        self.facts().await?;
        self.images.keep_room(self.engine()?).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        failpoint::hit("docker.create.before");
        let result = self.create_or_adopt(spec).await;
        failpoint::hit("docker.create.after");
        result
    }

    async fn start(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        failpoint::hit("docker.start.before");
        let result = self.start_once(key).await;
        failpoint::hit("docker.start.after");
        self.forget_if_gone(key, result)
    }

    async fn wait(&self, key: &AttemptKey) -> Result<Exit, RuntimeError> {
        failpoint::hit("docker.wait.before");
        let result = self.wait_for_end(key).await;
        failpoint::hit("docker.wait.after");
        self.forget_if_gone(key, result)
    }

    async fn signal(&self, key: &AttemptKey, signal: StopSignal) -> Result<(), RuntimeError> {
        let (id, name) = match self.aim(key, signal).await {
            Ok(found) => found,
            Err(RuntimeError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(known) = self.known.lock().get_mut(key) {
            known.signalled = true;
        }
        failpoint::hit("docker.signal.before");
        let options = KillContainerOptionsBuilder::default().signal(&name).build();
        let result = within(CALL_LIMIT, self.engine()?.kill_container(&id, Some(options))).await;
        failpoint::hit("docker.signal.after");
        match result {
            // Gone, or not running: nothing is left to signal.
            Err(failure) if failure.is(404) || failure.is(409) || failure.mentions("is not running") => {
                if let Some(known) = self.known.lock().get(key) {
                    known.doubt.notify_one();
                }
                Ok(())
            }
            other => other.map_err(Failure::of_engine),
        }
    }

    async fn freeze(&self, key: &AttemptKey, frozen: bool) -> Result<(), RuntimeError> {
        let id = match self.resolve(key).await {
            Ok(id) => id,
            Err(RuntimeError::NotFound) => return Ok(()),
            Err(error) => return Err(error),
        };
        let engine = self.engine()?;
        let result = match frozen {
            true => within(CALL_LIMIT, engine.pause_container(&id)).await,
            false => within(CALL_LIMIT, engine.unpause_container(&id)).await,
        };
        match result {
            // Gone, not running, or that already.
            Err(failure) if failure.is(404) || failure.is(409) || failure.mentions("paused") => Ok(()),
            other => other.map_err(Failure::of_engine),
        }
    }

    async fn logs(&self, key: &AttemptKey, from: LogMark) -> Result<LogPieces, RuntimeError> {
        let id = self.resolve(key).await?;
        let known = self.known.lock().get(key).cloned();
        let ended = known.as_ref().is_some_and(|known| known.ended);
        let may_have_outlived = known.is_none_or(|known| !known.made_here || known.outage.is_some());
        let is_in_doubt = may_have_outlived
            && wait::has_outlived_its_engine(self.inspect(&id).await?.state.as_ref(), &self.socket).await;
        let log = Log { engine: self.engine()?.clone(), socket: self.socket.clone(), id, file: self.log_file };
        Ok(log.read(ended, from, is_in_doubt))
    }

    async fn stored(&self, key: &AttemptKey) -> Result<Stored, RuntimeError> {
        self.what_it_stores(key).await
    }

    async fn inventory(&self, cluster: ClusterId, worker: &WorkerId) -> Result<Vec<Found>, RuntimeError> {
        let wanted = vec![format!("{}={cluster}", labels::CLUSTER), format!("{}={worker}", labels::WORKER)];
        let filters = HashMap::from([("label".to_owned(), wanted)]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed =
            within(WORK_LIMIT, self.engine()?.list_containers(Some(options))).await.map_err(Failure::of_engine)?;
        let mut all: Vec<Found> = Vec::with_capacity(listed.len());
        let mut renamed = Vec::new();
        for container in listed {
            let names = container.names.unwrap_or_default();
            let Some(owner) = container.labels.as_ref().and_then(Owner::parse) else {
                tracing::warn!("container {names:?} has labels of this worker that it did not write: left alone");
                continue;
            };
            let found = Found { key: owner.key, state: found_state(container.state), limits: owner.limits };
            if is_named(&names, &owner.key) {
                all.push(found);
            } else {
                renamed.push((names, container.id.unwrap_or_default(), found));
            }
        }
        // The labels say whose a container is, also if somebody gave it another name.
        for (names, id, found) in renamed {
            if all.iter().any(|other| other.key == found.key) {
                tracing::warn!("container {names:?} has the labels of another one, of {}: left alone", found.key);
            } else {
                self.known.lock().entry(found.key).or_insert_with(|| Known::new(id, false));
                all.push(found);
            }
        }
        Ok(all)
    }

    async fn remove(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        match self.resolve(key).await {
            Ok(id) => {
                failpoint::hit("docker.remove.before");
                let result = self.remove_id(&id).await;
                failpoint::hit("docker.remove.after");
                result?;
            }
            Err(RuntimeError::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.remove_surrounding(key).await?;
        self.known.lock().remove(key);
        self.starts.forget(key);
        Ok(())
    }
}

impl DockerRuntime {
    async fn remove_surrounding(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        if let Some(parent) = &self.facts().await?.parent {
            usage::remove_surrounding(parent, key).await;
        }
        Ok(())
    }

    /// With its anonymous volumes: nobody else can name them.
    async fn remove_id(&self, id: &str) -> Result<(), RuntimeError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match within(WORK_LIMIT, self.engine()?.remove_container(id, Some(options))).await {
            Err(failure) if failure.is(404) || (failure.is(409) && failure.mentions("already in progress")) => Ok(()),
            other => other.map_err(Failure::of_engine),
        }
    }
}

/// The path of the socket that `host` names.
fn socket_path(host: Option<&str>) -> Result<&str, RuntimeError> {
    let Some(host) = host else { return Ok(DEFAULT_SOCKET) };
    match host.strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => Ok(path),
        _ => Err(RuntimeError::Engine(format!(
            "the engine's address is `{}`, but only a unix socket such as `unix://{DEFAULT_SOCKET}` is used: whoever reaches \
             an engine over the network owns its machine; run the worker on the engine's machine",
            host.escape_debug()
        ))),
    }
}

fn owner(container: &ContainerInspectResponse) -> Option<Owner> {
    Owner::parse(container.config.as_ref()?.labels.as_ref()?)
}

/// The engine puts a slash before its names.
fn is_named(names: &[String], key: &AttemptKey) -> bool {
    names.iter().any(|name| name.trim_start_matches('/') == container_name(key))
}

fn found_state(state: Option<ContainerSummaryStateEnum>) -> FoundState {
    use ContainerSummaryStateEnum as State;
    match state {
        Some(State::CREATED) => FoundState::Created,
        Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING) => FoundState::Running,
        Some(State::EXITED | State::DEAD | State::REMOVING | State::EMPTY) | None => FoundState::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unix_sockets_are_engines() {
        assert_eq!(socket_path(None), Ok(DEFAULT_SOCKET));
        assert_eq!(socket_path(Some("unix:///run/x.sock")), Ok("/run/x.sock"));
        for host in ["tcp://1.2.3.4:2375", "ssh://a", "http://a", "unix://", "unix://x", "/run/x.sock", ""] {
            assert!(matches!(socket_path(Some(host)), Err(RuntimeError::Engine(_))), "{host}");
        }
    }

    #[tokio::test]
    async fn an_engine_without_a_socket_may_come_later() {
        let engine = DockerRuntime::connect(Some("unix:///nowhere/docker.sock")).expect("an address");
        let error = engine.info().await.map(drop);
        assert!(matches!(error, Err(RuntimeError::Engine(text)) if text.contains("/nowhere/docker.sock")));
    }
}
