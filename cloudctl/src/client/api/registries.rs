//! Requests about image registries.

use shared::registry::RegistryName;
use shared::view::{RegistryListView, RegistryView, SetRegistryRequest};

use super::encode_segment;
use crate::client::Client;
use crate::exit::CtlError;

impl Client {
    /// Those that know the cluster.
    pub(crate) async fn registries(&self) -> Result<RegistryListView, CtlError> {
        self.get("api/registries", &[]).await
    }

    /// Says what one knows the cluster by.
    pub(crate) async fn set_registry(&self, request: &SetRegistryRequest) -> Result<RegistryView, CtlError> {
        self.post("api/registries", request).await
    }

    /// Forgets it.
    pub(crate) async fn forget_registry(&self, registry: &RegistryName) -> Result<(), CtlError> {
        self.remove(&format!("api/registries/{}", encode_segment(registry.as_str().as_bytes()))).await
    }
}
