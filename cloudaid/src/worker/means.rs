//! What this machine has the means for: whether the /output of a strict task can be a file system of its own (see `volume`).
//! To try that may take long, and only such a task waits for it: what is here already is taken up meanwhile.

use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::volume;

/// Unknown while it is tried.
#[derive(Debug, Clone)]
pub(super) struct Means(watch::Sender<Option<bool>>);

impl Means {
    /// Tries it in this directory.
    pub(super) fn find(data: PathBuf, life: CancellationToken) -> Self {
        let means = Self(watch::Sender::new(None));
        let known = means.0.clone();
        tokio::spawn(life.run_until_cancelled_owned(async move {
            let has_volumes = volumes_in(data).await;
            known.send_replace(Some(has_volumes));
        }));
        means
    }

    /// Waits until it is known.
    pub(super) async fn has_volumes(&self) -> bool {
        self.0.subscribe().wait_for(Option::is_some).await.is_ok_and(|known| *known == Some(true))
    }

    /// The engine cannot do with them.
    pub(super) fn lack_volumes(&self) {
        self.0.send_replace(Some(false));
    }
}

/// Said once, because it is what limits such tasks.
async fn volumes_in(data: PathBuf) -> bool {
    match volume::can_be_had(data).await {
        Ok(()) => {
            tracing::info!("/output of a strict task is a file system of its own, as large as it asks for");
            true
        }
        Err(reason) => {
            tracing::info!(
                "/output of a strict task is measured, because it cannot be a file system of its own: {reason}"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn only_who_asks_waits_for_the_trial() {
        let scratch = tempfile::tempdir().expect("a directory");
        let means = Means::find(scratch.path().to_owned(), CancellationToken::new());
        assert_eq!(means.has_volumes().now_or_never(), None, "it has not been tried yet");
        let has_volumes = means.has_volumes().await;
        assert_eq!(has_volumes, volume::try_out(scratch.path(), None).is_ok());
        means.lack_volumes();
        assert!(!means.has_volumes().await);
    }
}
