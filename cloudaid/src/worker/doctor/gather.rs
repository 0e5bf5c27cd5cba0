//! Looks at a machine.

use std::path::{Path, PathBuf};

use super::facts::Facts;
use super::trial::{self, Trial};
use crate::clock;
use crate::config::DoctorConfig;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::{EngineFacts, Runtime};
use crate::worker::{capacity, engine, gpu, volume};

pub(super) async fn look(config: &DoctorConfig) -> Facts {
    let runtime = config.docker_host.clone().and_then(|host| {
        let runtime = DockerRuntime::connect(Some(&host)).map_err(|error| engine::in_words(&error))?;
        Ok((host, runtime))
    });
    let (address, runtime) = match runtime {
        Ok((host, runtime)) => (Ok(host), Some(runtime)),
        Err(problem) => (Err(problem), None),
    };
    let (engine, root) = match &runtime {
        Some(runtime) => (Some(ask(runtime).await), root(runtime).await),
        None => (None, None),
    };
    let data_dir = config.data_dir.clone();
    let place = there(&data_dir).to_owned();
    let (written, volumes) = match try_to_write(&data_dir, &place).await {
        Ok(trial) => (Ok(()), volume::can_be_had(trial).await),
        Err(problem) => (Err(problem.clone()), Err(problem)),
    };
    let free = |path: &Path| capacity::disk(path).ok().map(|disk| disk.free_bytes);
    Facts {
        address,
        engine,
        firewall: DockerRuntime::firewall().await,
        free: free(&place),
        data: (data_dir, written),
        engine_disk: root.and_then(|root| free(&root).map(|free| (root, free))),
        image_room: config.image_room,
        volumes,
        gpus: gpu::count(&config.gpus).await,
        clock: clock::wall(),
        is_root: rustix::process::geteuid().is_root(),
    }
}

async fn ask(runtime: &DockerRuntime) -> Result<EngineFacts, String> {
    let answer = engine::within(engine::ANSWER_LIMIT, runtime.describe()).await;
    answer.map(Option::unwrap_or_default).map_err(|error| engine::in_words(&error))
}

async fn root(runtime: &DockerRuntime) -> Option<PathBuf> {
    engine::soon(runtime.info()).await?.ok()?.root
}

/// The directory, or the one above it in which it would be made.
fn there(directory: &Path) -> &Path {
    directory.ancestors().find(|above| above.exists()).unwrap_or(directory)
}

async fn try_to_write(data_dir: &Path, place: &Path) -> Result<Trial, String> {
    let (data_dir, place) = (data_dir.to_owned(), place.to_owned());
    let made = tokio::task::spawn_blocking(move || {
        trial::sweep(&data_dir);
        Trial::begin(&place)
    });
    match made.await {
        Ok(made) => made.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::DirBuilderExt;
    use std::time::Duration;

    use super::*;
    use crate::config::GpuSettings;

    #[test]
    fn a_directory_that_is_not_there_yet_is_made_below_one_that_is() {
        let scratch = tempfile::tempdir().expect("a directory");
        assert_eq!(there(&scratch.path().join("a/b")), scratch.path());
        assert_eq!(there(scratch.path()), scratch.path());
    }

    #[tokio::test]
    async fn a_look_leaves_nothing_behind_and_finds_what_is_not_there() {
        let scratch = tempfile::tempdir().expect("a directory");
        let config = DoctorConfig {
            data_dir: scratch.path().join("data"),
            docker_host: Ok(format!("unix://{}", scratch.path().join("docker.sock").display())),
            image_room: 7,
            gpus: GpuSettings { library: Some(scratch.path().join("nvml.so")), quarantine: Duration::ZERO },
        };
        let mut private = std::fs::DirBuilder::new();
        private.mode(0o700).create(scratch.path().join(".cloudai-doctor-killed")).expect("what another has left");
        let facts = look(&config).await;
        assert!(matches!(&facts.engine, Some(Err(problem)) if problem.contains("docker.sock")), "{facts:?}");
        assert!(matches!(&facts.gpus, Err(problem) if problem.contains("nvml.so")), "{facts:?}");
        assert_eq!((facts.data.1, facts.engine_disk, facts.image_room), (Ok(()), None, 7));
        assert!(facts.free.is_some_and(|free| free > 0));
        assert_eq!(std::fs::read_dir(scratch.path()).expect("a directory").count(), 0);
        let facts = look(&DoctorConfig { docker_host: Err("no".to_owned()), ..config }).await;
        assert_eq!((facts.address, facts.engine), (Err("no".to_owned()), None));
    }
}
