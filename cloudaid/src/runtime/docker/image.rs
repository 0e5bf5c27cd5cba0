//! Images: there already, or pulled once however many tasks wait for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptions, CreateImageOptionsBuilder};
use futures_util::StreamExt;
use parking_lot::Mutex;
use shared::pull::PullPolicy;

use super::errors::{Failure, within};
use crate::failpoint;
use crate::runtime::RuntimeError;

const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How long a pull may show no progress at all. Large images take long; what stands still does not get better.
const STALL_LIMIT: Duration = Duration::from_secs(5 * 60);
/// The longest image reference.
const REFERENCE_LIMIT: usize = 512;

/// The images that are known to be there, and the pulls under way.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// Seen at the engine in the life of this process. One that is gone is noticed when a container is made of it.
    /// With what they are by their content.
    present: Mutex<HashMap<String, Option<String>>>,
    pulls: Mutex<HashMap<String, Turn>>,
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ImageSays {
    /// Whose its processes are.
    pub(super) user: Option<String>,
    /// Places that it wants kept.
    pub(super) volumes: Vec<String>,
}

/// Who pulls an image, one at a time; in it when the last pull that went well began.
type Turn = Arc<tokio::sync::Mutex<Option<Instant>>>;

impl Images {
    /// The image is not there any more.
    pub(super) fn forget(&self, image: &str) {
        self.present.lock().remove(image);
    }

    /// What it says of itself. Of one that is not there nothing is known.
    pub(super) async fn says(&self, engine: &Docker, image: &str) -> Result<ImageSays, RuntimeError> {
        match within(CALL_LIMIT, engine.inspect_image(&full_reference(image)?)).await {
            Ok(found) => {
                let config = found.config.unwrap_or_default();
                Ok(ImageSays { user: config.user, volumes: config.volumes.unwrap_or_default() })
            }
            Err(failure) if failure.is(404) => Ok(ImageSays::default()),
            Err(failure) => Err(failure.of_engine()),
        }
    }

    /// Makes sure that the image is there.
    pub(super) async fn prepare(
        &self,
        engine: &Docker,
        image: &str,
        policy: PullPolicy,
    ) -> Result<Option<String>, RuntimeError> {
        if policy != PullPolicy::Always
            && let Some(content) = self.present.lock().get(image)
        {
            return Ok(content.clone());
        }
        let reference = full_reference(image)?;
        let wanted_at = Instant::now();
        let turn = Arc::clone(self.pulls.lock().entry(reference.clone()).or_default());
        let mut pulled_at = turn.lock().await;
        let result = match policy {
            // Somebody else has begun a pull since this one was wanted, and it is as good.
            PullPolicy::Always if pulled_at.is_some_and(|at| at >= wanted_at) => Ok(()),
            PullPolicy::Always => {
                let begin = Instant::now();
                let pulled = fetch(engine, &reference).await;
                *pulled_at = pulled.is_ok().then_some(begin);
                pulled
            }
            PullPolicy::Missing | PullPolicy::Never => ensure(engine, &reference, policy).await,
        };
        drop(pulled_at);
        self.drop_idle(&reference, &turn);
        result?;
        let content = content_of(engine, &reference).await?;
        self.present.lock().insert(image.to_owned(), content.clone());
        Ok(content)
    }

    /// Forgets the lock of a pull that nobody else waits for: two owners are the table and the caller.
    fn drop_idle(&self, reference: &str, pull: &Turn) {
        let mut pulls = self.pulls.lock();
        if Arc::strong_count(pull) <= 2 {
            pulls.remove(reference);
        }
    }
}

/// What an image that is there is by its content.
async fn content_of(engine: &Docker, reference: &str) -> Result<Option<String>, RuntimeError> {
    match within(CALL_LIMIT, engine.inspect_image(reference)).await {
        Ok(found) => Ok(exact(reference, &found.repo_digests.unwrap_or_default())),
        // It is pulled again when a container is made of it.
        Err(failure) if failure.is(404) => Ok(None),
        Err(failure) => Err(failure.of_engine()),
    }
}

/// The reference by digest, of the same repository; an image may have come from several.
fn exact(reference: &str, digests: &[String]) -> Option<String> {
    if reference.contains('@') {
        return Some(reference.to_owned());
    }
    let colon = reference.rfind(':').filter(|colon| !reference[*colon..].contains('/'));
    let name = &reference[..colon.unwrap_or(reference.len())];
    // The engine leaves out what is understood.
    let familiar = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name).to_owned()
    };
    let digest = digests.iter().filter_map(|digest| digest.split_once('@'));
    let of_name = digest.filter(|(other, _)| familiar(other) == familiar(name)).map(|(_, digest)| digest);
    of_name.min().map(|digest| format!("{name}@{digest}"))
}

/// Pulls it if it is not there, and may be pulled.
async fn ensure(engine: &Docker, reference: &str, policy: PullPolicy) -> Result<(), RuntimeError> {
    match (is_there(engine, reference).await?, policy) {
        (true, _) => Ok(()),
        (false, PullPolicy::Missing | PullPolicy::Always) => fetch(engine, reference).await,
        (false, PullPolicy::Never) => {
            let message = format!("{reference} is not on the worker, and the task does not want it pulled");
            Err(RuntimeError::ImageNotFound(message))
        }
    }
}

async fn is_there(engine: &Docker, reference: &str) -> Result<bool, RuntimeError> {
    match within(CALL_LIMIT, engine.inspect_image(reference)).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is(404) => Ok(false),
        Err(failure) if failure.is(400) => Err(failure.of_pull(reference)),
        Err(failure) => Err(failure.of_engine()),
    }
}

async fn fetch(engine: &Docker, reference: &str) -> Result<(), RuntimeError> {
    tracing::info!("pulling image {reference}");
    failpoint::hit("docker.pull.before");
    let pulled = pull(engine, reference).await;
    failpoint::hit("docker.pull.after");
    pulled
}

/// Reads the engine's progress to its end: it stops pulling when nobody listens, and an error comes last.
async fn pull(engine: &Docker, reference: &str) -> Result<(), RuntimeError> {
    let options: CreateImageOptions = CreateImageOptionsBuilder::default().from_image(reference).build();
    let mut progress = engine.create_image(Some(options), None, None);
    loop {
        match tokio::time::timeout(STALL_LIMIT, progress.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(Failure::from(error).of_pull(reference)),
            Ok(None) => return Ok(()),
            Err(_) => {
                let minutes = STALL_LIMIT.as_secs() / 60;
                let message = format!("{reference} could not be pulled: there was no progress for {minutes} min");
                return Err(RuntimeError::ImageUnavailable(message));
            }
        }
    }
}

/// The reference with its tag: without one the engine would pull every tag there is. It becomes part of a request's
/// path, so nothing else than the characters of references passes; the rest of the grammar is the engine's to judge.
fn full_reference(image: &str) -> Result<String, RuntimeError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@[]".contains(c);
    let plain = !image.is_empty() && image.len() <= REFERENCE_LIMIT && image.chars().all(allowed);
    if !plain || image.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        let image: String = image.chars().take(80).collect();
        return Err(RuntimeError::ImageNotFound(format!(
            "`{}` is not an image reference: write it as for `docker pull`, for example `python:3.13-slim`",
            image.escape_debug()
        )));
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    let named = last.contains(':') || last.contains('@');
    Ok(if named { image.to_owned() } else { format!("{image}:latest") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tag_is_latest() {
        let cases = [
            ("busybox", "busybox:latest"),
            ("busybox:1.36", "busybox:1.36"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("a@sha256:00", "a@sha256:00"),
        ];
        for (image, full) in cases {
            assert_eq!(full_reference(image), Ok(full.to_owned()));
        }
    }

    #[test]
    fn an_image_is_known_by_the_digest_of_its_own_repository() {
        let digests = ["other@sha256:1", "busybox@sha256:2", "localhost:5000/a/b@sha256:3"].map(str::to_owned);
        for (reference, expected) in [
            ("busybox:latest", Some("busybox@sha256:2")),
            ("docker.io/library/busybox:1.36", Some("docker.io/library/busybox@sha256:2")),
            ("localhost:5000/a/b:c", Some("localhost:5000/a/b@sha256:3")),
            ("localhost:5000/a/c:c", None),
            ("x@sha256:9", Some("x@sha256:9")),
        ] {
            assert_eq!(exact(reference, &digests).as_deref(), expected, "{reference}");
        }
        assert_eq!(exact("busybox:latest", &[]), None, "it came from no registry");
    }

    #[test]
    fn what_cannot_be_an_image_never_reaches_the_engine() {
        for image in ["", "a b", "a?x=1", "a#b", "../containers", "a/../b", "/a", "a/", "ü", "a\n", "a%2fb", "./a"] {
            assert!(matches!(full_reference(image), Err(RuntimeError::ImageNotFound(_))), "{image:?}");
        }
    }
}
