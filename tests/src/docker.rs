//! The Docker engine of the tests: what a cluster left on it, and its removal.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerConfig, ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RestartContainerOptions, StartContainerOptions,
    StopContainerOptions, TagImageOptionsBuilder, WaitContainerOptions,
};
use futures_util::TryStreamExt;

use crate::wait::{PATIENCE, eventually};

/// Seconds that the engine may take for one answer.
const TIMEOUT: u64 = 120;

/// The engine's address.
///
/// # Panics
/// When there is none: a test that needs Docker fails without it, it is not skipped.
#[must_use]
pub fn host() -> String {
    std::env::var("CLOUDAI_TEST_DOCKER").expect("CLOUDAI_TEST_DOCKER is not set: run ./tests/run.sh")
}

/// The image that every test uses: busybox, and a command of its own that prints `the command of the image`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn image() -> String {
    std::env::var("CLOUDAI_TEST_IMAGE").expect("CLOUDAI_TEST_IMAGE is not set: run ./tests/run.sh")
}

/// Whether somebody with the right to it finds what a container has written in a directory of its own.
///
/// # Panics
/// When the engine does not answer.
pub async fn keeps_layers_in_directories() -> bool {
    let driver = connect().info().await.expect("an answer").driver;
    driver.is_some_and(|driver| driver.starts_with("overlay"))
}

/// Gives an image that is there one more name.
///
/// # Panics
/// When the engine refuses.
pub async fn tag(image: &str, name: &str, tag: &str) {
    let options = TagImageOptionsBuilder::default().repo(name).tag(tag).build();
    connect().tag_image(image, Some(options)).await.expect("another name for the image");
}

/// Makes an image as people have them: `setup` has run in it as root, and `config` is what it says of itself.
///
/// # Panics
/// When the engine refuses, or the setup fails.
pub async fn build(name: &str, setup: &str, config: ContainerConfig) {
    let body = ContainerCreateBody {
        image: Some(image()),
        cmd: Some(["/bin/sh", "-ec", setup].map(str::to_owned).into()),
        ..ContainerCreateBody::default()
    };
    let docker = connect();
    let made = docker.create_container(None::<CreateContainerOptions>, body).await.expect("a container").id;
    docker.start_container(&made, None::<StartContainerOptions>).await.expect("it starts");
    let ended = docker.wait_container(&made, None::<WaitContainerOptions>).try_collect::<Vec<_>>().await;
    ended.expect("the setup succeeds");
    let (repo, tag) = name.split_once(':').expect("a name with a tag");
    let options = CommitContainerOptionsBuilder::default().container(&made).repo(repo).tag(tag).build();
    docker.commit_container(options, config).await.expect("an image");
    remove(&made).await;
}

/// Starts a container that sleeps, with these labels, as somebody else might.
///
/// # Panics
/// When the engine refuses.
pub async fn plant(labels: &[(&str, &str)]) -> String {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let body = ContainerCreateBody {
        image: Some(image()),
        cmd: Some(["sleep", "600"].map(str::to_owned).into()),
        labels: Some(labels),
        ..ContainerCreateBody::default()
    };
    let docker = connect();
    let made = docker.create_container(None::<CreateContainerOptions>, body).await.expect("a container");
    docker.start_container(&made.id, None::<StartContainerOptions>).await.expect("it starts");
    made.id
}

/// Whether the engine has a container.
pub async fn exists(id: &str) -> bool {
    connect().inspect_container(id, None::<InspectContainerOptions>).await.is_ok()
}

/// Removes a container, as somebody else might.
///
/// # Panics
/// When the engine refuses.
pub async fn remove(id: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    connect().remove_container(id, Some(options)).await.expect("it is removed");
}

/// The containers of one cluster. Dropped, it removes them all.
#[derive(Debug)]
pub struct Containers {
    cluster: String,
}

impl Containers {
    /// Those of the cluster with this id.
    #[must_use]
    pub fn of(cluster: String) -> Self {
        Self { cluster }
    }

    /// All of them, whatever their state.
    ///
    /// # Panics
    /// When the engine does not answer.
    pub async fn list(&self) -> Vec<ContainerSummary> {
        let ours = HashMap::from([("label".to_owned(), vec![format!("cloudai.cluster={}", self.cluster)])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&ours).build();
        connect().list_containers(Some(options)).await.expect("the containers of the engine")
    }

    /// Sends a signal to each of them that runs.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn signal(&self, signal: &str) {
        let docker = connect();
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        for id in self.running().await {
            docker.kill_container(&id, Some(options.clone())).await.expect("it is signalled");
        }
    }

    /// Stops each of them that runs, as `docker stop` does.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn stop(&self) {
        for id in self.running().await {
            connect().stop_container(&id, None::<StopContainerOptions>).await.expect("it is stopped");
        }
    }

    /// Stops and starts each of them that runs, as `docker restart` does.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn restart(&self) {
        for id in self.running().await {
            connect().restart_container(&id, None::<RestartContainerOptions>).await.expect("it is started again");
        }
    }

    /// Waits until none of them runs.
    ///
    /// # Panics
    /// When one does for too long, or the engine does not answer.
    pub async fn have_ended(&self) {
        eventually(PATIENCE, "they have ended", || async { self.running().await.is_empty().then_some(()) }).await;
    }

    async fn running(&self) -> Vec<String> {
        let all = self.list().await.into_iter();
        let running = all.filter(|container| container.state == Some(ContainerSummaryStateEnum::RUNNING));
        running.filter_map(|container| container.id).collect()
    }

    async fn remove_all(&self) {
        let docker = connect();
        for container in self.list().await {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            // One that is removed by somebody else just now is as good.
            let _ = docker.remove_container(&container.id.unwrap_or_default(), Some(options)).await;
        }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // A runtime of its own: the one of the test cannot be waited for here.
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(self.remove_all());
            });
            if removal.join().is_err() {
                eprintln!("the containers of cluster {} could not be removed", self.cluster);
            }
        });
    }
}

/// A connection to the engine of the tests.
///
/// # Panics
/// When its address is none.
#[must_use]
pub fn connect() -> Docker {
    let host = host();
    let path = host.strip_prefix("unix://").expect("CLOUDAI_TEST_DOCKER is a unix:// address");
    Docker::connect_with_unix(path, TIMEOUT, bollard::API_DEFAULT_VERSION).expect("the engine of the tests")
}
