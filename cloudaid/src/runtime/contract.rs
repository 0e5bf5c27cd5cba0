//! What every [`Runtime`] must do, as checks that can be run against any of them.
//!
//! The image needs `/bin/sh` and `sleep`. Each check makes containers of its own and removes them; a broken promise is
//! an error that says which.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::TryStreamExt;
use shared::id::{AttemptKey, ClusterId, Fence, TaskId, WorkerId};
use shared::link::{LogStream, RunLimits};
use shared::pull::PullPolicy;
use shared::resources::{MIB, Resources};
use shared::task::Command;
use ulid::Ulid;

use super::{ContainerSpec, Exit, Found, FoundState, ImageWish, LogMark, Runtime, RuntimeError, StopSignal};

/// The longest that one container of a check may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs all checks. Output directories are made below `scratch`.
///
/// # Errors
/// The first broken promise.
pub async fn check(runtime: &dyn Runtime, image: &str, scratch: &Path) -> Result<()> {
    let suite = Suite { runtime, image, scratch, cluster: ClusterId(Ulid::generate()), worker: "contract".parse()? };
    suite.images().await.context("images")?;
    suite.life().await.context("life of a container")?;
    suite.twice().await.context("everything twice")?;
    suite.exit_codes().await.context("exit codes")?;
    suite.streams().await.context("log")?;
    suite.signals().await.context("signals")?;
    suite.missing().await.context("no such container")?;
    suite.command_missing().await.context("no such command")
}

/// What the checks share.
struct Suite<'a> {
    runtime: &'a dyn Runtime,
    image: &'a str,
    scratch: &'a Path,
    cluster: ClusterId,
    worker: WorkerId,
}

/// What the containers of the checks are held to, as their labels say.
const LIMITS: RunLimits = RunLimits {
    memory_bytes: 64 * MIB,
    storage_bytes: 7,
    stop_grace: Duration::from_secs(1),
    time_limit: Some(Duration::from_millis(3_600_001)),
    at_most_once: true,
    blocking_log: true,
    storage_reserved: true,
};

impl Suite<'_> {
    fn spec(&self, command: Command) -> Result<ContainerSpec> {
        let task = TaskId(Ulid::generate());
        let output = self.scratch.join(task.to_string());
        std::fs::create_dir_all(&output)?;
        Ok(ContainerSpec {
            key: AttemptKey { task, index: 0, attempt: 1, fence: Fence(1) },
            cluster: self.cluster,
            worker: self.worker.clone(),
            name: Some("contract".to_owned()),
            image: self.image.to_owned(),
            confinement: Default::default(),
            gpus: Vec::new(),
            command,
            env: BTreeMap::new(),
            resources: Resources { cpu_millis: 500, memory_bytes: 64 * MIB, ..Resources::default() },
            output,
            output_device: None,
            input: None,
            limits: LIMITS,
        })
    }

    async fn create(&self, command: Command) -> Result<AttemptKey> {
        let spec = self.spec(command)?;
        self.runtime.create(&spec).await?;
        Ok(spec.key)
    }

    async fn run(&self, line: &str) -> Result<AttemptKey> {
        let key = self.create(Command::Shell(line.to_owned())).await?;
        self.runtime.start(&key).await?;
        Ok(key)
    }

    async fn wait(&self, key: &AttemptKey) -> Result<Exit> {
        Ok(tokio::time::timeout(LIMIT, self.runtime.wait(key)).await.context("it does not end")??)
    }

    async fn inventory(&self) -> Result<Vec<Found>> {
        Ok(self.runtime.inventory(self.cluster, &self.worker).await?)
    }

    async fn expect_state(&self, key: &AttemptKey, state: FoundState) -> Result<()> {
        let found = self.inventory().await?;
        let limits = Some(LIMITS);
        ensure!(found == [Found { key: *key, state, limits }], "the inventory is {found:?} instead of {state:?}");
        Ok(())
    }

    async fn images(&self) -> Result<()> {
        self.runtime.info().await?;
        for pull in [PullPolicy::Missing, PullPolicy::Never, PullPolicy::Missing] {
            let prepared = self.runtime.prepare_image(&ImageWish::new(self.image, pull)).await;
            prepared.with_context(|| format!("one that is there, {pull}"))?;
        }
        for image in ["Not/An/Image", ""] {
            let refused = self.runtime.prepare_image(&ImageWish::new(image, PullPolicy::Missing)).await;
            ensure!(matches!(refused, Err(RuntimeError::ImageNotFound(_))), "`{image}` gives {refused:?}");
        }
        ensure!(self.runtime.pulling().is_empty(), "nothing is fetched any more");
        self.runtime.keep_room().await.context("room is kept")?;
        ensure!(self.runtime.prepare_image(&ImageWish::new(self.image, PullPolicy::Never)).await.is_ok(), "it stays");
        Ok(())
    }

    async fn life(&self) -> Result<()> {
        let spec = self.spec(Command::Shell("sleep 1; echo done > /output/file".to_owned()))?;
        let key = spec.key;
        self.runtime.create(&spec).await?;
        self.expect_state(&key, FoundState::Created).await?;
        self.runtime.start(&key).await?;
        self.expect_state(&key, FoundState::Running).await?;
        let exit = self.wait(&key).await?;
        ensure!(exit.code == 0 && !exit.oom, "it ended with {exit:?}");
        self.expect_state(&key, FoundState::Exited).await?;
        let written = std::fs::read(spec.output.join("file"))?;
        ensure!(written == b"done\n", "/output has {written:?}");
        let other = "another".parse()?;
        ensure!(self.runtime.inventory(self.cluster, &other).await?.is_empty(), "another worker sees it");
        let other = ClusterId(Ulid::generate());
        ensure!(self.runtime.inventory(other, &self.worker).await?.is_empty(), "another cluster sees it");
        self.runtime.remove(&key).await?;
        ensure!(self.inventory().await?.is_empty(), "it is still there");
        Ok(())
    }

    /// The container itself is the witness: what it has written shows how often it ran.
    async fn twice(&self) -> Result<()> {
        let spec = self.spec(Command::Shell("echo ran".to_owned()))?;
        self.runtime.create(&spec).await?;
        self.runtime.create(&spec).await.context("create again")?;
        self.expect_state(&spec.key, FoundState::Created).await?;
        self.runtime.start(&spec.key).await?;
        self.runtime.start(&spec.key).await.context("start again")?;
        let first = self.wait(&spec.key).await?;
        self.runtime.start(&spec.key).await.context("start after the end")?;
        self.runtime.create(&spec).await.context("create after the end")?;
        self.runtime.start(&spec.key).await.context("start of what was found")?;
        let second = self.wait(&spec.key).await?;
        ensure!(first == second, "{first:?} has become {second:?}");
        let (stdout, _) = self.log(&spec.key).await?;
        ensure!(stdout == b"ran\n", "it has written {stdout:?}");
        self.runtime.remove(&spec.key).await?;
        self.runtime.remove(&spec.key).await.context("remove again")?;
        Ok(())
    }

    async fn exit_codes(&self) -> Result<()> {
        for code in [0, 1, 3, 127, 255] {
            let key = self.run(&format!("exit {code}")).await?;
            let exit = self.wait(&key).await?;
            ensure!(exit.code == code && !exit.oom, "`exit {code}` gives {exit:?}");
            self.runtime.remove(&key).await?;
        }
        Ok(())
    }

    async fn log(&self, key: &AttemptKey) -> Result<(Vec<u8>, Vec<u8>)> {
        let pieces = self.runtime.logs(key, LogMark::default()).await?;
        let read = pieces.try_fold((Vec::new(), Vec::new()), |mut all, piece| {
            match piece.data() {
                Some((LogStream::Stdout, bytes)) => all.0.extend_from_slice(&bytes),
                Some((LogStream::Stderr, bytes)) => all.1.extend_from_slice(&bytes),
                None => {}
            }
            std::future::ready(Ok(all))
        });
        Ok(tokio::time::timeout(LIMIT, read).await.context("the log does not end")??)
    }

    /// Read while it runs, and once more when it has ended.
    async fn streams(&self) -> Result<()> {
        let key = self.run("echo out; echo err >&2; sleep 1; echo end").await?;
        for when in ["while it runs", "after its end"] {
            let (stdout, stderr) = self.log(&key).await?;
            ensure!(stdout == b"out\nend\n" && stderr == b"err\n", "{when}: {stdout:?} and {stderr:?}");
        }
        self.wait(&key).await?;
        self.runtime.remove(&key).await?;
        let key = self.run("echo short").await?;
        let (stdout, _) = self.log(&key).await?;
        ensure!(stdout == b"short\n", "of a short one: {stdout:?}");
        Ok(self.runtime.remove(&key).await?)
    }

    async fn signals(&self) -> Result<()> {
        let key = self.run("sleep 600").await?;
        self.runtime.signal(&key, StopSignal::Term).await?;
        let exit = self.wait(&key).await?;
        ensure!(exit.code == 143, "after TERM {exit:?}");
        self.runtime.signal(&key, StopSignal::Kill).await.context("a signal after the end")?;
        self.runtime.remove(&key).await?;

        let key = self.run("trap '' TERM; echo ready; sleep 600").await?;
        let ready = self.runtime.logs(&key, LogMark::default()).await?.try_next().await?;
        ensure!(ready.is_some(), "no output");
        self.runtime.signal(&key, StopSignal::Term).await?;
        self.expect_state(&key, FoundState::Running).await?;
        self.runtime.signal(&key, StopSignal::Kill).await?;
        let exit = self.wait(&key).await?;
        ensure!(exit.code == 137 && !exit.oom, "after KILL {exit:?}");
        self.runtime.remove(&key).await?;

        let key = self.run("sleep 600").await?;
        self.runtime.remove(&key).await.context("removing one that runs")?;
        ensure!(self.inventory().await?.is_empty(), "it is still there");
        Ok(())
    }

    async fn missing(&self) -> Result<()> {
        let key = self.spec(Command::ImageDefault)?.key;
        let started = self.runtime.start(&key).await;
        ensure!(started == Err(RuntimeError::NotFound), "start gives {started:?}");
        let waited = self.runtime.wait(&key).await;
        ensure!(waited == Err(RuntimeError::NotFound), "wait gives {waited:?}");
        let read = self.runtime.logs(&key, LogMark::default()).await.map(|_| ());
        ensure!(read == Err(RuntimeError::NotFound), "logs gives {read:?}");
        let stored = self.runtime.stored(&key).await;
        ensure!(stored == Err(RuntimeError::NotFound), "stored gives {stored:?}");
        self.runtime.signal(&key, StopSignal::Kill).await.context("signal")?;
        Ok(self.runtime.remove(&key).await?)
    }

    /// Said by the start or, where an init stands between the engine and the command, by the wait.
    async fn command_missing(&self) -> Result<()> {
        let argv = Command::Argv(vec!["no-such-command".to_owned(), "x".to_owned()]);
        let key = self.create(argv).await?;
        let outcome = match self.runtime.start(&key).await {
            Ok(()) => self.runtime.wait(&key).await.map(|exit| exit.code),
            Err(error) => Err(error),
        };
        match outcome {
            Err(RuntimeError::Setup(message)) => ensure!(message.contains("no-such-command"), "it says `{message}`"),
            other => bail!("it gives {other:?}"),
        }
        Ok(self.runtime.remove(&key).await?)
    }
}
