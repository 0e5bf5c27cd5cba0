//! Asking the container engine for what is there, and its words in the core's.

use std::future::Future;
use std::time::Duration;

use cloudaid_core::agent::{self, ContainerState, Ended, EngineError, FoundContainer};
use shared::id::{ClusterId, WorkerId};

use crate::pause::Pauses;
use crate::runtime::{self, Exit, Found, FoundState, Runtime, RuntimeError, RuntimeInfo};

/// How long an engine may take to say that it is there; one that hangs does not say so itself.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The most that is kept of what an engine says, in characters.
const MESSAGE_LIMIT: usize = 2000;

/// What an engine says of itself and of this worker's containers.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) info: RuntimeInfo,
    pub(super) found: Vec<FoundContainer>,
}

impl Survey {
    /// Asks once.
    pub(super) async fn take(
        runtime: &dyn Runtime,
        cluster: ClusterId,
        worker: &WorkerId,
    ) -> Result<Self, RuntimeError> {
        let info = runtime.info().await?;
        let found = runtime.inventory(cluster, worker).await?;
        tracing::info!(engine = %info.description, "Container engine is ready");
        Ok(Self { info, found: found.into_iter().map(self::found).collect() })
    }
}

/// The answer, if it comes in time; none if it does not.
pub(super) async fn soon<T>(answer: impl Future<Output = Result<T, RuntimeError>>) -> Option<Result<T, RuntimeError>> {
    tokio::time::timeout(ANSWER_LIMIT, answer).await.ok()
}

/// The answer, if it comes within `limit`; else the engine hangs.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(hangs_for(limit)))
}

/// The error of an engine that hangs.
pub(super) fn hangs() -> RuntimeError {
    hangs_for(ANSWER_LIMIT)
}

fn hangs_for(limit: Duration) -> RuntimeError {
    RuntimeError::Engine(format!("no answer within {} s", limit.as_secs()))
}

/// Asks until the engine answers.
pub(super) async fn at_last<T, F: Future<Output = Result<T, RuntimeError>>>(ask: impl Fn() -> F) -> T {
    let mut pauses = Pauses::default();
    loop {
        let error = match ask().await {
            Ok(answer) => return answer,
            Err(error) => error,
        };
        let pause = pauses.next();
        tracing::warn!(
            %error,
            "No container engine, and until then no tasks. Start it (for Docker: `systemctl start docker`, as root) or \
             name its socket with --docker-host; trying again in {pause:.1?}"
        );
        tokio::time::sleep(pause).await;
    }
}

/// An engine's error as the core knows it. It becomes part of a verdict, so it has a bound.
pub(super) fn error(error: RuntimeError) -> EngineError {
    let bounded = |message: String| message.chars().take(MESSAGE_LIMIT).collect();
    match error {
        RuntimeError::ImageNotFound(message) => EngineError::ImageNotFound(bounded(message)),
        RuntimeError::ImageUnavailable(message) => EngineError::ImageUnavailable(bounded(message)),
        RuntimeError::NoRoom(message) => EngineError::NoRoom(bounded(message)),
        RuntimeError::Setup(message) => EngineError::Setup(bounded(message)),
        RuntimeError::NotFound => EngineError::NotFound,
        RuntimeError::Engine(message) => EngineError::Engine(bounded(message)),
        RuntimeError::NotStarted(message) => EngineError::NotStarted(bounded(message)),
    }
}

/// An engine's error in one line of plain text.
pub(super) fn in_words(error: &RuntimeError) -> String {
    error.to_string().chars().take(MESSAGE_LIMIT).collect::<String>().escape_debug().to_string()
}

/// The end of a container as the core knows it.
pub(super) fn ended(exit: Exit) -> Ended {
    let Exit { code, oom, killed, by_engine, by_hand, runs_again, memory_peak, started_at, finished_at, usage } = exit;
    Ended { code, oom, killed, by_engine, by_hand, runs_again, memory_peak, started_at, finished_at, usage }
}

/// A container as the core knows it.
pub(super) fn found(found: Found) -> FoundContainer {
    let state = match found.state {
        FoundState::Created => ContainerState::Created,
        FoundState::Running => ContainerState::Running,
        FoundState::Exited => ContainerState::Exited,
    };
    FoundContainer { key: found.key, state, limits: found.limits }
}

/// A signal as the engine knows it.
pub(super) fn signal(signal: agent::StopSignal) -> runtime::StopSignal {
    match signal {
        agent::StopSignal::Term => runtime::StopSignal::Term,
        agent::StopSignal::Kill => runtime::StopSignal::Kill,
    }
}
