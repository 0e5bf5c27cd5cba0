//! What workers pull private images with.

use cloudaid_core::Cluster;
use cloudaid_core::input::Input;
use cloudaid_core::registry::RegistryRecord;
use shared::error::ApiError;
use shared::id::TaskId;
use shared::registry::RegistryName;
use shared::view::RegistryListView;

use super::ClusterHandle;

impl ClusterHandle {
    /// The registries that know us.
    ///
    /// # Errors
    /// The master is stopping.
    pub async fn registries(&self) -> Result<RegistryListView, ApiError> {
        let list = |cluster: &Cluster| cluster.registries().map(RegistryRecord::view).collect();
        Ok(RegistryListView { registries: self.read(list).await? })
    }

    /// Says what a registry knows us by; none: it does no more.
    ///
    /// # Errors
    /// There are too many, or none of this name.
    pub async fn change_registry(&self, name: RegistryName, record: Option<RegistryRecord>) -> Result<(), ApiError> {
        self.ask(|request| Input::ChangeRegistry { request, name, record }).await.map(|_done| ())
    }

    /// What the image of a task is pulled with, if there is anything.
    ///
    /// # Errors
    /// The master is stopping.
    pub(crate) async fn registry_of(&self, task: TaskId) -> Result<Option<RegistryRecord>, ApiError> {
        self.read(move |cluster| cluster.registry_of(task).cloned()).await
    }
}
