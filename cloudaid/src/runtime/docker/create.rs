//! Making the container of an attempt, or finding the one that an earlier try made.

use std::time::Duration;

use bollard::query_parameters::CreateContainerOptionsBuilder;
use shared::confinement::Profile;
use shared::id::AttemptKey;

use super::errors::{Failure, within};
use super::labels::container_name;
use super::{DockerRuntime, Known, WORK_LIMIT, owner, spec, usage};
use crate::runtime::{ContainerSpec, RuntimeError, output};

/// How often a refused name is looked at again: its container may be half made, or half removed.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// What stands under the name.
enum Standing {
    /// The attempt's own.
    Ours(String),
    /// An earlier life of the same attempt.
    Stale(String),
    /// It says that it is the attempt's own, and is made of something else.
    Impostor(String),
    /// Somebody else's.
    Foreign,
    /// Nothing.
    Nothing,
}

impl DockerRuntime {
    pub(super) async fn create_or_adopt(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let facts = self.facts().await?;
        self.network.ensure(self.engine()?, &facts.engine_id, spec.confinement.network).await?;
        let image = match spec.confinement.profile {
            Profile::Standard => self.images.said(self.engine()?, &spec.image).await?,
            Profile::Strict => self.images.says(self.engine()?, &spec.image).await?,
        };
        let mut body = spec::body(spec, facts.cpus, &image)?;
        if facts.gives_gpus {
            spec::keep_gpus(&mut body.env, spec.resources.gpu_millis > 0);
        }
        if let Some(host) = &mut body.host_config {
            host.cgroup_parent = facts.parent.as_ref().map(|parent| usage::surrounding(parent, &spec.key));
            host.log_config = Some(spec::log_config(self.log_file));
        }
        output::ensure(&spec.output)
            .map_err(|error| RuntimeError::Engine(format!("the output directory cannot be made: {error}")))?;
        let name = container_name(&spec.key);
        for _ in 0..TRIES {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            match within(WORK_LIMIT, self.engine()?.create_container(Some(options), body.clone())).await {
                Ok(made) => {
                    self.known.lock().insert(spec.key, Known::new(made.id, true));
                    return Ok(());
                }
                Err(failure) if failure.is(409) => {
                    if self.settle(spec, &name).await? {
                        return Ok(());
                    }
                }
                Err(failure) if failure.is(404) && failure.mentions("no such image") => {
                    self.images.forget(&spec.image);
                    let message = format!("{} was removed before its container was made", spec.image);
                    return Err(RuntimeError::ImageUnavailable(message));
                }
                // The answer is lost, which says nothing about the container.
                Err(Failure::Lost(reason)) => return self.adopt_after(spec, &name, reason).await,
                Err(failure) => return Err(failure.of_setup()),
            }
        }
        Err(RuntimeError::Engine(format!("the name {name} is taken by a container that the engine does not show")))
    }

    /// Deals with what has the name; whether it is ours.
    async fn settle(&self, spec: &ContainerSpec, name: &str) -> Result<bool, RuntimeError> {
        match self.standing(spec, name).await? {
            Standing::Ours(id) => {
                self.adopt(spec, id);
                return Ok(true);
            }
            Standing::Stale(id) => {
                tracing::info!("removing container {name} of an earlier life of {}", spec.key);
                self.clear_away(&spec.key, &id).await?;
            }
            Standing::Impostor(id) => {
                tracing::warn!(
                    "removing container {name}: by its labels it is that of {}, and it is not made of what that is (image, \
                     command, environment, resources)",
                    spec.key
                );
                self.clear_away(&spec.key, &id).await?;
            }
            Standing::Foreign => {
                return Err(RuntimeError::Setup(format!(
                    "another container has the name {name} and labels that are not those of this run: remove it by hand"
                )));
            }
            Standing::Nothing => tokio::time::sleep(PAUSE).await,
        }
        Ok(false)
    }

    /// Removes what stands in the way of an attempt's container.
    async fn clear_away(&self, key: &AttemptKey, id: &str) -> Result<(), RuntimeError> {
        self.remove_id(id).await?;
        // What it has used is not what the next one does.
        self.remove_surrounding(key).await
    }

    async fn adopt_after(&self, spec: &ContainerSpec, name: &str, reason: String) -> Result<(), RuntimeError> {
        match self.standing(spec, name).await {
            Ok(Standing::Ours(id)) => {
                self.adopt(spec, id);
                Ok(())
            }
            _ => Err(RuntimeError::Engine(reason)),
        }
    }

    async fn standing(&self, spec: &ContainerSpec, name: &str) -> Result<Standing, RuntimeError> {
        let found = match self.inspect(name).await {
            Ok(found) => found,
            Err(RuntimeError::NotFound) => return Ok(Standing::Nothing),
            Err(error) => return Err(error),
        };
        Ok(match (owner(&found), found.id) {
            (Some(owner), Some(id)) if owner.cluster == spec.cluster && owner.key == spec.key => {
                if owner.is_impostor(spec) { Standing::Impostor(id) } else { Standing::Ours(id) }
            }
            (Some(owner), Some(id)) if owner.is_stale(spec) => Standing::Stale(id),
            _ => Standing::Foreign,
        })
    }

    /// It may have been started by an earlier life of this process, so it is not fresh.
    fn adopt(&self, spec: &ContainerSpec, id: String) {
        self.known.lock().insert(spec.key, Known::new(id, false));
    }
}
