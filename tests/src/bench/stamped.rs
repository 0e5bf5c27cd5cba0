//! A simulated engine that notes when it was asked to start what.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use cloudaid::runtime::{
    ContainerSpec, EngineFacts, Exit, Found, ImageWish, LogMark, LogPieces, Runtime, RuntimeError, RuntimeInfo,
    StopSignal, Stored,
};
use shared::id::{AttemptKey, ClusterId, TaskId, WorkerId};
use shared::pull::Pulling;
use tokio::sync::Notify;

/// Containers that end at once with exit code 0.
#[derive(Debug)]
pub struct Stamped {
    engine: FakeRuntime,
    starts: Mutex<HashMap<TaskId, Instant>>,
    news: Notify,
}

impl Default for Stamped {
    fn default() -> Self {
        Self { engine: FakeRuntime::with(|_| Behaviour::exit(0)), starts: Mutex::default(), news: Notify::new() }
    }
}

impl Stamped {
    /// When the start of this task's container was asked for; waits until it is.
    ///
    /// # Panics
    /// It is not within 30 s.
    pub async fn started(&self, task: TaskId) -> Instant {
        let wait = async {
            loop {
                let news = self.news.notified();
                if let Some(at) = self.starts.lock().expect("no panics").get(&task) {
                    return *at;
                }
                news.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("a start within 30 s")
    }
}

#[async_trait]
impl Runtime for Stamped {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        self.engine.info().await
    }
    async fn describe(&self) -> Result<Option<EngineFacts>, RuntimeError> {
        self.engine.describe().await
    }
    async fn prepare_image(&self, wish: &ImageWish) -> Result<Option<String>, RuntimeError> {
        self.engine.prepare_image(wish).await
    }
    fn pulling(&self) -> Vec<Pulling> {
        self.engine.pulling()
    }
    async fn keep_room(&self) -> Result<(), RuntimeError> {
        self.engine.keep_room().await
    }
    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.engine.create(spec).await
    }
    async fn start(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        self.starts.lock().expect("no panics").insert(key.task, Instant::now());
        self.news.notify_waiters();
        self.engine.start(key).await
    }
    async fn wait(&self, key: &AttemptKey) -> Result<Exit, RuntimeError> {
        self.engine.wait(key).await
    }
    async fn signal(&self, key: &AttemptKey, signal: StopSignal) -> Result<(), RuntimeError> {
        self.engine.signal(key, signal).await
    }
    async fn freeze(&self, key: &AttemptKey, frozen: bool) -> Result<(), RuntimeError> {
        self.engine.freeze(key, frozen).await
    }
    async fn logs(&self, key: &AttemptKey, from: LogMark) -> Result<LogPieces, RuntimeError> {
        self.engine.logs(key, from).await
    }
    async fn stored(&self, key: &AttemptKey) -> Result<Stored, RuntimeError> {
        self.engine.stored(key).await
    }
    async fn inventory(&self, cluster: ClusterId, worker: &WorkerId) -> Result<Vec<Found>, RuntimeError> {
        self.engine.inventory(cluster, worker).await
    }
    async fn remove(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        self.engine.remove(key).await
    }
}
