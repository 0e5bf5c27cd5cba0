//! What a container stores beside /output.

use std::path::PathBuf;

use bollard::models::MountPoint;
use bollard::query_parameters::InspectContainerOptions;
use shared::id::AttemptKey;

use super::errors::{Failure, within};
use super::spec::OUTPUT;
use super::usage::Group;
use super::{CALL_LIMIT, DockerRuntime};
use crate::runtime::{MountedPlace, Nameless, RuntimeError, Stored};

/// How the engine calls a mount that it has made room for.
const VOLUME: &str = "volume";
/// Where a driver that keeps layers in directories says which is the container's own.
const OWN_LAYER: &str = "UpperDir";

impl DockerRuntime {
    pub(super) async fn what_it_stores(&self, key: &AttemptKey) -> Result<Stored, RuntimeError> {
        let id = self.resolve(key).await?;
        let around = self.facts().await?.parent.as_ref().map(|parent| Group::around(parent, key));
        let options = InspectContainerOptions { size: true };
        let found = within(CALL_LIMIT, self.engine()?.inspect_container(&id, Some(options))).await;
        let found = found.map_err(Failure::of_container)?;
        // A size of 0 is left out; one below 0 could not be measured.
        let bytes = u64::try_from(found.size_rw.unwrap_or(0));
        let bytes = bytes.map_err(|_| RuntimeError::Engine("the engine cannot measure the layer".to_owned()))?;
        let group = match around {
            Some(around) => Some(around),
            None => group_of(id.clone(), found.state.and_then(|state| state.pid)).await,
        };
        Ok(Stored {
            bytes,
            layer: found.graph_driver.and_then(|mut driver| driver.data.remove(OWN_LAYER)).map(PathBuf::from),
            volumes: volumes(found.mounts.unwrap_or_default()),
            nameless: group.map(|group| Nameless::of(group.place().to_owned(), id)),
        })
    }
}

/// A container's own group.
async fn group_of(container: String, process: Option<i64>) -> Option<Group> {
    let process = process?;
    tokio::task::spawn_blocking(move || Group::of(&container, process)).await.ok().flatten()
}

/// What the image wants kept apart, and the engine keeps for this container alone. /output is the host's own.
fn volumes(mounts: Vec<MountPoint>) -> Vec<MountedPlace> {
    let is_one =
        |mount: &MountPoint| mount.typ.as_deref() == Some(VOLUME) && mount.destination.as_deref() != Some(OUTPUT);
    let place =
        |mount: MountPoint| Some(MountedPlace { host: PathBuf::from(mount.source?), inside: mount.destination? });
    mounts.into_iter().filter(is_one).filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_engine_has_made_room_for_is_a_volume() {
        let mount = |typ: &str, destination: &str, source: Option<&str>| MountPoint {
            typ: Some(typ.to_owned()),
            destination: Some(destination.to_owned()),
            source: source.map(str::to_owned),
            ..MountPoint::default()
        };
        let found = volumes(vec![
            mount("bind", "/output", Some("/data/runs/x/output")),
            mount("bind", "/input", Some("/data/inputs/x")),
            mount("volume", "/data", Some("/docker/volumes/1/_data")),
            mount("volume", "/output", Some("/docker/volumes/2/_data")),
            mount("volume", "/output/more", Some("/docker/volumes/3/_data")),
            mount("volume", "/elsewhere", None),
            mount("tmpfs", "/tmp", Some("")),
        ]);
        let expected = [("/docker/volumes/1/_data", "/data"), ("/docker/volumes/3/_data", "/output/more")];
        assert_eq!(found, expected.map(|(host, inside)| MountedPlace { host: host.into(), inside: inside.to_owned() }));
    }
}
