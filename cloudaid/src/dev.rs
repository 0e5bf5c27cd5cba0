//! A master and a worker in one process, ready to use: for a laptop and for trying things out.

use std::future::Future;
use std::io::Write;

use shared::context::Context;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::address::dialled;
use crate::clock;
use crate::config::{DevConfig, JoinFrom, Secret};
use crate::master::{self, MasterError, Started};
use crate::worker::{self, WorkerError};

mod context;
mod ready;

use context::Written;

/// Why it stopped before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The master's half.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// The worker's half.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A half came to an end that nothing foresaw.
    #[error("the {half} broke down")]
    Broken {
        /// `master` or `worker`.
        half: &'static str,
        /// How.
        source: JoinError,
    },
}

impl DevError {
    /// For the process.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Master(error) => error.exit_code(),
            Self::Worker(error) => error.exit_code(),
            Self::Broken { .. } => 1,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Master(error) => error.hint(),
            Self::Worker(error) => error.hint(),
            Self::Broken { .. } => {
                "start it again: what was acknowledged is kept; the log says what happened".to_owned()
            }
        }
    }
}

/// Runs both until `shutdown`, then stops the worker first, so that the master hears of it.
///
/// # Errors
/// One of them failed; the other was stopped in good order.
pub async fn run(config: DevConfig, shutdown: CancellationToken) -> Result<(), DevError> {
    let data_dir = config.master.data_dir.parent().map(ToOwned::to_owned).unwrap_or_default();
    let (sender, receiver) = oneshot::channel();
    let mut master = Half::start("master", |stop| master::run(config.master, sender, stop));
    let started = tokio::select! {
        biased;
        started = receiver => started,
        () = shutdown.cancelled() => return master.stop().await,
    };
    let Ok(started) = started else {
        // It ended before its ports were open, and says why.
        return master.end().await;
    };

    let written = write_context(&started, config.contexts_file).await;
    announce(&ready::message(&started, &data_dir, &written));

    let mut worker_config = config.worker;
    worker_config.masters = vec![dialled(started.grpc).to_string()];
    worker_config.join = started.join_token.map(|token| JoinFrom::Inline(Secret::new(&token.expose())));
    let worker = Half::start("worker", |stop| worker::run(worker_config, stop));
    supervise(master, worker, shutdown).await
}

async fn supervise<M, W>(mut master: Half<M>, mut worker: Half<W>, shutdown: CancellationToken) -> Result<(), DevError>
where
    DevError: From<M> + From<W>,
{
    tokio::select! {
        () = shutdown.cancelled() => {}
        result = master.end() => return result.and(worker.stop().await),
        result = worker.end() => return result.and(master.stop().await),
    }
    let worker = worker.stop().await;
    master.stop().await.and(worker)
}

/// One of the two, running.
#[derive(Debug)]
struct Half<E> {
    name: &'static str,
    task: JoinHandle<Result<(), E>>,
    stop: CancellationToken,
}

impl<E: Send + 'static> Half<E> {
    fn start<F>(name: &'static str, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { name, task: tokio::spawn(run(stop.clone())), stop }
    }
}

impl<E> Half<E>
where
    DevError: From<E>,
{
    /// Waits for its end. Once only: there is no second end to wait for.
    async fn end(&mut self) -> Result<(), DevError> {
        match (&mut self.task).await {
            Ok(result) => result.map_err(DevError::from),
            Err(source) => Err(DevError::Broken { half: self.name, source }),
        }
    }

    /// Tells it to stop, and waits until it has.
    async fn stop(mut self) -> Result<(), DevError> {
        self.stop.cancel();
        self.end().await
    }
}

/// A context that cannot be written is no reason not to run: cloudctl can log in by hand.
async fn write_context(started: &Started, file: Option<std::path::PathBuf>) -> Written {
    let (Some(admin), Some(file)) = (&started.admin, file) else { return Written::Nothing };
    let context = Context::logged_in(ready::url(started), admin.clone(), clock::wall());
    // It is this process that says so.
    let fingerprint = started.fingerprint.map(|fingerprint| fingerprint.to_string());
    let context = Context { fingerprint, ..context };
    let path = file.clone();
    match tokio::task::spawn_blocking(move || context::write(&path, context)).await {
        Ok(Ok(current)) => Written::To { file, current },
        Ok(Err(error)) => {
            tracing::warn!("The cloudctl context `dev` was not written: {error}");
            Written::Nothing
        }
        Err(error) => {
            tracing::warn!("The cloudctl context `dev` was not written: {error}");
            Written::Nothing
        }
    }
}

/// For the person who started it; the log is on stderr.
fn announce(text: &str) {
    // A closed stdout is no reason to stop.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Journal = Arc<Mutex<Vec<&'static str>>>;

    fn half<E: Send + 'static>(journal: &Journal, name: &'static str, fails: Option<E>) -> Half<E> {
        let journal = journal.clone();
        Half::start(name, move |stop| async move {
            if let Some(error) = fails {
                return Err(error);
            }
            stop.cancelled().await;
            tokio::task::yield_now().await;
            journal.lock().expect("not poisoned").push(name);
            Ok(())
        })
    }

    #[derive(Debug)]
    struct Fails;
    impl From<Fails> for DevError {
        fn from(_: Fails) -> Self {
            Self::Broken { half: "test", source: broken() }
        }
    }

    fn broken() -> JoinError {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        std::thread::spawn(move || {
            runtime.block_on(async {
                let task = tokio::spawn(std::future::pending::<()>());
                task.abort();
                task.await.expect_err("aborted")
            })
        })
        .join()
        .expect("no panic")
    }

    #[tokio::test]
    async fn the_worker_stops_before_the_master() {
        let journal = Journal::default();
        let master = half::<Fails>(&journal, "master", None);
        let worker = half::<Fails>(&journal, "worker", None);
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        supervise(master, worker, shutdown).await.expect("in good order");
        assert_eq!(*journal.lock().expect("not poisoned"), ["worker", "master"]);
    }

    #[tokio::test]
    async fn when_one_fails_the_other_is_stopped() {
        for master_fails in [true, false] {
            let journal = Journal::default();
            let master = half(&journal, "master", master_fails.then_some(Fails));
            let worker = half(&journal, "worker", (!master_fails).then_some(Fails));
            supervise(master, worker, CancellationToken::new()).await.expect_err("it failed");
            assert_eq!(*journal.lock().expect("not poisoned"), [if master_fails { "worker" } else { "master" }]);
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_with_the_name_of_its_half() {
        let master: Half<Fails> = Half::start("master", |_| async { panic!("in a test") });
        let worker = half::<Fails>(&Journal::default(), "worker", None);
        let error = supervise(master, worker, CancellationToken::new()).await.expect_err("it failed");
        assert_eq!((error.to_string().as_str(), error.exit_code()), ("the master broke down", 1));
    }
}
