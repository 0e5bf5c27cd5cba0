//! What private images are pulled with: asked of the master before each pull, and kept nowhere.

use std::sync::Arc;

use async_trait::async_trait;
use shared::id::AttemptKey;
use shared::pull::RegistryLogin;
use tokio::sync::watch;
use tonic::Code;

use super::link::dial::{Uplink, describe_status};
use crate::runtime::{Logins, RuntimeError};

/// Asks the master for one run.
#[derive(Debug)]
struct OfRun {
    key: AttemptKey,
    uplink: watch::Receiver<Option<Uplink>>,
}

/// Who asks for a run, if its image has to be pulled.
pub(super) fn of(key: AttemptKey, uplink: watch::Receiver<Option<Uplink>>) -> Arc<dyn Logins> {
    Arc::new(OfRun { key, uplink })
}

#[async_trait]
impl Logins for OfRun {
    /// Waits for the master.
    async fn login(&self) -> Result<Option<RegistryLogin>, RuntimeError> {
        let mut uplink = self.uplink.clone();
        let found = uplink.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        let Some(Uplink { mut client, .. }) = found else {
            return Err(RuntimeError::Engine("the worker stops".to_owned()));
        };
        match client.describe_registry(shared::proto::Attempt::from(self.key)).await {
            Ok(answer) => Ok(Some(answer.into_inner().into())),
            // An older master knows nobody anywhere.
            Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => Ok(None),
            Err(status) if status.code() == Code::DataLoss => {
                Err(RuntimeError::ImageUnavailable(format!("it cannot be pulled: {}", status.message())))
            }
            Err(status) => {
                let reason = describe_status(&status);
                Err(RuntimeError::Engine(format!("what its image is pulled with is not known yet: {reason}")))
            }
        }
    }
}
