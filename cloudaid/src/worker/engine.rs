//! Waiting for the container engine, and its words in the core's.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::agent::{self, ContainerState, Ended, EngineError, FoundContainer};
use tokio_util::sync::CancellationToken;

use crate::runtime::{self, Exit, Found, FoundState, Runtime, RuntimeError, RuntimeInfo};

const TRY_EVERY: Duration = Duration::from_secs(5);
/// The most that is kept of what an engine says, in characters.
const MESSAGE_LIMIT: usize = 2000;

/// Asks until the engine answers; none if `shutdown` comes first. A worker without an engine could only take tasks and
/// not run them.
pub(super) async fn wait_until_ready(
    connect: impl Fn() -> Result<Arc<dyn Runtime>, RuntimeError>,
    shutdown: &CancellationToken,
) -> Option<(Arc<dyn Runtime>, RuntimeInfo)> {
    let ask = async || -> Result<(Arc<dyn Runtime>, RuntimeInfo), RuntimeError> {
        let runtime = connect()?;
        let info = runtime.info().await?;
        Ok((runtime, info))
    };
    loop {
        let answer = tokio::select! {
            () = shutdown.cancelled() => return None,
            answer = ask() => answer,
        };
        match answer {
            Ok((runtime, info)) => {
                tracing::info!(engine = %info.description, "Container engine is ready");
                return Some((runtime, info));
            }
            Err(error) => tracing::warn!(
                %error,
                "No container engine. Start it (for Docker: `systemctl start docker`, as root) or name its socket with \
                 --docker-host; trying again every {} s",
                TRY_EVERY.as_secs()
            ),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(TRY_EVERY) => {}
        }
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
    }
}

/// An engine's error in one line of plain text.
pub(super) fn in_words(error: &RuntimeError) -> String {
    error.to_string().chars().take(MESSAGE_LIMIT).collect::<String>().escape_debug().to_string()
}

/// The end of a container as the core knows it.
pub(super) fn ended(exit: Exit) -> Ended {
    let Exit { code, oom, by_engine, started_at, finished_at, usage } = exit;
    Ended { code, oom, by_engine, started_at, finished_at, usage }
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
