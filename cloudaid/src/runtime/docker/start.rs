//! Starting a container at most once.
//!
//! The engine starts an exited container again without a word, so only one that has never run may be started. A start
//! whose answer is late is not given up: it goes on in the background and a second try waits for the same one, because
//! an engine that hung may still carry it out. Meanwhile it is looked whether it has: then it needs no answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerStateStatusEnum;
use bollard::query_parameters::{InspectContainerOptions, StartContainerOptions};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use shared::confinement::NetworkAccess;
use shared::id::AttemptKey;

use super::errors::{Failure, within};
use super::network::{self, Network};
use super::orphan;
use super::silence::{Call, MOMENT, Silences};
use super::{CALL_LIMIT, DockerRuntime, Facts, WORK_LIMIT};
use crate::runtime::RuntimeError;

/// A start without an answer for so long is looked after, and again after as long.
const UNANSWERED: Duration = Duration::from_secs(10);

type Start = Shared<BoxFuture<'static, Result<(), RuntimeError>>>;

/// The starts under way.
#[derive(Debug, Default)]
pub(super) struct Starts(Mutex<HashMap<AttemptKey, Start>>);

impl Starts {
    /// The container is removed: a start of it that is still under way finds nothing.
    pub(super) fn forget(&self, key: &AttemptKey) {
        self.0.lock().remove(key);
    }
}

/// What one start needs; it outlives the call.
struct Request {
    engine: Docker,
    network: Arc<Network>,
    silences: Arc<Silences>,
    facts: Facts,
    id: String,
    fresh: bool,
}

impl DockerRuntime {
    pub(super) async fn start_once(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        let id = self.resolve(key).await?;
        let facts = self.facts().await?.clone();
        let engine = self.patient()?;
        let start = self.starts.0.lock().entry(*key).or_insert_with(|| self.begin(key, engine, id, facts)).clone();
        match tokio::time::timeout(WORK_LIMIT, start).await {
            Ok(result) => {
                self.starts.forget(key);
                result
            }
            Err(_) => Err(RuntimeError::Engine(format!("the start of {key} has no answer yet"))),
        }
    }

    /// Sends the request from a task of its own.
    fn begin(&self, key: &AttemptKey, engine: Docker, id: String, facts: Facts) -> Start {
        let fresh = self.known.lock().get_mut(key).is_some_and(|known| std::mem::take(&mut known.fresh));
        let (network, silences) = (Arc::clone(&self.network), Arc::clone(&self.silences));
        let task = tokio::spawn(Request { engine, network, silences, facts, id, fresh }.run());
        let outcome = async {
            task.await.unwrap_or_else(|error| Err(RuntimeError::Engine(format!("the start broke off: {error}"))))
        };
        outcome.boxed().shared()
    }
}

impl Request {
    async fn run(self) -> Result<(), RuntimeError> {
        if !self.fresh {
            let (has_run, access) = self.look().await?;
            if has_run {
                return Ok(());
            }
            // It may have been made before a reboot, which takes the rules of the firewall.
            self.network.ensure(&self.engine, &self.facts.engine_id, access).await?;
        }
        match self.send().await {
            // The network is looked up at the start; somebody may have removed it since the container was made.
            Err(failure) if failure.is(404) && failure.mentions("network") => {
                let is_public = failure.mentions(network::name(NetworkAccess::Public));
                let access = if is_public { NetworkAccess::Public } else { NetworkAccess::Outgoing };
                self.network.forget();
                self.network.ensure(&self.engine, &self.facts.engine_id, access).await?;
                let sent = self.send().await;
                self.outcome(sent).await
            }
            Err(failure) if orphan::is_lost(&failure) => {
                let killed = orphan::kill(&self.id).await;
                tracing::warn!(container = %self.id, killed, "The engine was killed while it started this container, and has lost it");
                Err(RuntimeError::NotFound)
            }
            other => self.outcome(other).await,
        }
    }

    /// What has become of a start. An engine that has failed for a reason of its own is asked whether it has started it.
    async fn outcome(&self, sent: Result<(), Failure>) -> Result<(), RuntimeError> {
        let is_known = sent.as_ref().is_err_and(Failure::is_certain);
        match sent.map_err(Failure::of_setup) {
            Err(RuntimeError::Engine(message)) if is_known => match self.look().await {
                Ok((false, _)) => Err(RuntimeError::NotStarted(message)),
                Ok((true, _)) | Err(_) => Err(RuntimeError::Engine(message)),
            },
            other => other,
        }
    }

    async fn send(&self) -> Result<(), Failure> {
        let answer = tokio::select! {
            biased;
            answer = self.engine.start_container(&self.id, None::<StartContainerOptions>) => answer.map_err(Failure::from),
            () = self.seen_to_have_run() => return Ok(()),
        };
        if !matches!(answer, Err(Failure::Lost(_))) {
            self.silences.heard(Call::Start);
        }
        answer
    }

    /// Returns when the engine says that it has been started, though the start itself has no answer.
    async fn seen_to_have_run(&self) {
        loop {
            tokio::time::sleep(UNANSWERED).await;
            let Ok((has_run, _)) = self.look().await else { continue };
            tokio::time::sleep(MOMENT).await;
            self.silences.note(Call::Start);
            if has_run {
                tracing::warn!(container = %self.id, "The engine has started this container, and does not say so");
                return;
            }
        }
    }

    /// Whether it has run, and what it can reach. The engine answers this only when no start of the same container is half
    /// done.
    async fn look(&self) -> Result<(bool, NetworkAccess), RuntimeError> {
        let inspect = self.engine.inspect_container(&self.id, None::<InspectContainerOptions>);
        let found = within(CALL_LIMIT, inspect).await.map_err(Failure::of_container)?;
        let status = found.state.and_then(|state| state.status);
        let mode = found.host_config.and_then(|host| host.network_mode).unwrap_or_default();
        let access = NetworkAccess::ALL.into_iter().find(|access| network::name(*access) == mode);
        Ok((status != Some(ContainerStateStatusEnum::CREATED), access.unwrap_or(NetworkAccess::None)))
    }
}
