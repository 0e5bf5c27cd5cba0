//! Images: there already, or pulled once however many tasks wait for them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageSummary};
use bollard::query_parameters::{
    CreateImageOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions, RemoveImageOptions,
};
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use shared::pull::{PullPolicy, Pulling, RegistryLogin};
use shared::resources::Bytes;

use self::layers::Layers;
use self::pulled::LastPull;
use self::room::{Room, Shortage};
use self::shelf::Shelf;
use super::errors::{Failure, within};
use crate::failpoint;
use crate::runtime::{ImageWish, RuntimeError};

mod layers;
mod pulled;
mod room;
mod shelf;

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
    /// How far each pull is, by the image as tasks name it.
    pulling: Mutex<BTreeMap<String, Layers>>,
    shelf: Shelf,
    /// Set once the engine has said where it keeps images.
    room: OnceLock<Room>,
    /// Bytes of its disk that have to stay free.
    floor: u64,
    removal: tokio::sync::Mutex<()>,
}

/// A pull goes on as long as this is there, and takes room.
struct UnderWay<'a>(&'a Images, &'a str);

impl<'a> UnderWay<'a> {
    fn begin(images: &'a Images, image: &'a str) -> Self {
        images.pulling.lock().insert(image.to_owned(), Layers::default());
        Self(images, image)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.pulling.lock().remove(self.1);
        self.0.room().release(self.1);
    }
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ImageSays {
    /// Whose its processes are.
    pub(super) user: Option<String>,
    /// Places that it wants kept.
    pub(super) volumes: Vec<String>,
}

/// Who pulls an image, one at a time; in it the last pull.
type Turn = Arc<tokio::sync::Mutex<Option<LastPull>>>;

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

    /// Keeps what it has pulled in mind in `file`, and so many bytes of the engine's disk free.
    pub(super) fn keeping(file: PathBuf, floor: u64) -> Self {
        Self { shelf: Shelf::open(file), floor, ..Self::default() }
    }

    /// Where the engine keeps images, as it says.
    pub(super) fn are_on(&self, disk: Option<PathBuf>) {
        // The first one stays: it does not change while an engine runs.
        let _ = self.room.set(Room::new(disk, self.floor));
    }

    /// Makes sure that the image is there.
    pub(super) async fn prepare(&self, engine: &Docker, wish: &ImageWish) -> Result<Option<String>, RuntimeError> {
        let ImageWish { image, pull: policy, .. } = wish;
        let reference = full_reference(image)?;
        self.shelf.used(&reference);
        if *policy != PullPolicy::Always
            && let Some(content) = self.present.lock().get(image)
        {
            return Ok(content.clone());
        }
        let wanted_at = Instant::now();
        let turn = Arc::clone(self.pulls.lock().entry(reference.clone()).or_default());
        let mut last = turn.lock().await;
        let result = match policy {
            PullPolicy::Never => find(engine, &reference).await.map(|()| false),
            PullPolicy::Missing | PullPolicy::Always => {
                self.obtain(engine, wish, &reference, wanted_at, &mut last).await
            }
        };
        drop(last);
        self.drop_idle(&reference);
        let is_ours = result?;
        let content = content_of(engine, &reference).await?;
        if is_ours {
            self.shelf.pulled(&reference, content.as_deref());
        }
        self.present.lock().insert(image.clone(), content.clone());
        Ok(content)
    }

    /// Pulls it, if it is not there or is always to be pulled, and if no other pull says all there is to say. Returns whether it
    /// was not there before: what people have put there stays theirs.
    async fn obtain(
        &self,
        engine: &Docker,
        wish: &ImageWish,
        reference: &str,
        wanted_at: Instant,
        last: &mut Option<LastPull>,
    ) -> Result<bool, RuntimeError> {
        let was_there = is_there(engine, reference).await?;
        let is_good = match wish.pull {
            PullPolicy::Always => last.as_ref().is_some_and(|last| last.is_good_since(wanted_at)),
            PullPolicy::Missing | PullPolicy::Never => was_there,
        };
        if is_good {
            return Ok(false);
        }
        if let Some(refusal) = last.as_ref().and_then(|last| last.refusal(wanted_at)) {
            return Err(refusal);
        }
        let began = Instant::now();
        let fetched = self.fetch(engine, wish, reference).await;
        *last = LastPull::after(last.take(), began, fetched.as_ref().err());
        fetched.map(|()| !was_there)
    }

    async fn fetch(&self, engine: &Docker, wish: &ImageWish, reference: &str) -> Result<(), RuntimeError> {
        tracing::info!("pulling image {reference}");
        failpoint::hit("docker.pull.before");
        let under_way = UnderWay::begin(self, &wish.image);
        let pulled = self.pull(engine, wish, reference).await;
        drop(under_way);
        failpoint::hit("docker.pull.after");
        pulled
    }

    /// What it takes of the disk is reserved as soon as the registry says how large it is, which is before most of it has
    /// come, so that it does not take what others need.
    async fn pull(&self, engine: &Docker, wish: &ImageWish, reference: &str) -> Result<(), RuntimeError> {
        let options: CreateImageOptions = CreateImageOptionsBuilder::default().from_image(reference).build();
        let login = match &wish.logins {
            Some(logins) => logins.login().await?,
            None => None,
        };
        let login = login.map(|RegistryLogin { username, password }| DockerCredentials {
            username: Some(username),
            password: Some(password),
            ..DockerCredentials::default()
        });
        self.find_room(engine, &wish.image, 0).await?;
        let mut progress = engine.create_image(Some(options), None, login);
        // To its end: the engine stops pulling when nobody listens, and an error comes last.
        while let Some(info) = next_of(&mut progress, reference).await? {
            let (is_more, needs) = match self.pulling.lock().get_mut(&wish.image) {
                Some(layers) => (layers.see(&info), layers.still_needs()),
                None => (false, 0),
            };
            if is_more {
                self.find_room(engine, &wish.image, needs).await?;
            } else {
                // It needs less and less, and what is free becomes less by as much.
                let _ = self.room().reserve(&wish.image, needs);
            }
        }
        Ok(())
    }

    /// Reserves room for an image, and removes others for it if that has to be, and helps.
    async fn find_room(&self, engine: &Docker, image: &str, wanted: u64) -> Result<(), RuntimeError> {
        let Err(Shortage { wanted, left }) = self.room().reserve(image, wanted) else { return Ok(()) };
        // What is too large in any case takes nobody's image away.
        let removable = self.removable(engine).await?.iter().map(|(_, size)| *size).fold(left, u64::saturating_add);
        if removable >= wanted {
            self.remove_oldest(engine, || self.room().reserve(image, wanted).is_ok()).await?;
        }
        self.room().reserve(image, wanted).map_err(|Shortage { wanted, left }| {
            RuntimeError::NoRoom(format!(
                "there is no room for {image}: it takes about {}, and {} are left for it",
                Bytes(wanted),
                Bytes(left)
            ))
        })
    }

    /// The images that may be removed, each with its size, the one first that was used longest ago. What any container is
    /// made of is in use, by whatever name.
    async fn removable(&self, engine: &Docker) -> Result<Vec<(String, u64)>, RuntimeError> {
        let idle = self.shelf.oldest();
        if idle.is_empty() {
            return Ok(Vec::new());
        }
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let containers = within(CALL_LIMIT, engine.list_containers(Some(all))).await.map_err(Failure::of_engine)?;
        let in_use: HashSet<String> = containers.into_iter().filter_map(|container| container.image_id).collect();
        let images = within(CALL_LIMIT, engine.list_images(None::<ListImagesOptions>)).await;
        let images = images.map_err(Failure::of_engine)?;
        let mut removable = Vec::new();
        for name in idle {
            let is_it =
                |image: &&ImageSummary| image.repo_tags.iter().chain(&image.repo_digests).any(|other| *other == name);
            match images.iter().find(is_it) {
                None => self.shelf.gone(&name),
                Some(image) if in_use.contains(&image.id) => {}
                Some(image) => removable.push((name, u64::try_from(image.size).unwrap_or(0))),
            }
        }
        Ok(removable)
    }

    /// Removes images that were pulled for tasks, the one first that was used longest ago, where less is free than should
    /// be.
    pub(super) async fn keep_room(&self, engine: &Docker) -> Result<(), RuntimeError> {
        if self.room().is_short() {
            self.remove_oldest(engine, || !self.room().is_short()).await?;
        }
        Ok(())
    }

    /// Stops when there is enough.
    async fn remove_oldest(&self, engine: &Docker, is_enough: impl Fn() -> bool) -> Result<(), RuntimeError> {
        // One at a time: two would both remove more than is needed.
        let _turn = self.removal.lock().await;
        for (image, _) in self.removable(engine).await? {
            if is_enough() {
                break;
            }
            match within(CALL_LIMIT, engine.remove_image(&image, None::<RemoveImageOptions>, None)).await {
                Ok(_) => {
                    tracing::info!("removed image {image}: it was used longest ago, and the disk is short of room");
                    self.shelf.gone(&image);
                    self.present.lock().clear();
                }
                Err(failure) if failure.is(404) => self.shelf.gone(&image),
                // A container was made of it just now: the engine is never told to remove it all the same.
                Err(failure) => tracing::debug!(?failure, "image {image} stays"),
            }
        }
        Ok(())
    }

    /// The images that are being fetched.
    pub(super) fn pulling(&self) -> Vec<Pulling> {
        let pulling = self.pulling.lock();
        pulling.iter().map(|(image, layers)| Pulling { image: image.clone(), progress: layers.progress() }).collect()
    }

    fn room(&self) -> &Room {
        self.room.get_or_init(Room::default)
    }

    /// Forgets the pulls that nobody waits for, and that have not failed lately: two owners are the table and the caller.
    fn drop_idle(&self, reference: &str) {
        let failed = |turn: &Turn| turn.try_lock().is_ok_and(|last| last.as_ref().is_some_and(LastPull::failed_lately));
        let mut pulls = self.pulls.lock();
        pulls.retain(|other, turn| {
            let owners = if other == reference { 2 } else { 1 };
            Arc::strong_count(turn) > owners || failed(turn)
        });
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

/// It has to be there.
async fn find(engine: &Docker, reference: &str) -> Result<(), RuntimeError> {
    if is_there(engine, reference).await? {
        return Ok(());
    }
    let message = format!("{reference} is not on the worker, and the task does not want it pulled");
    Err(RuntimeError::ImageNotFound(message))
}

async fn is_there(engine: &Docker, reference: &str) -> Result<bool, RuntimeError> {
    match within(CALL_LIMIT, engine.inspect_image(reference)).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is(404) => Ok(false),
        Err(failure) if failure.is(400) => Err(failure.of_pull(reference)),
        Err(failure) => Err(failure.of_engine()),
    }
}

/// What the engine says next of a pull; none: it is done.
async fn next_of(
    progress: &mut (impl Stream<Item = Result<CreateImageInfo, Error>> + Unpin),
    reference: &str,
) -> Result<Option<CreateImageInfo>, RuntimeError> {
    match tokio::time::timeout(STALL_LIMIT, progress.next()).await {
        Ok(Some(Ok(info))) => Ok(Some(info)),
        Ok(Some(Err(error))) => Err(Failure::from(error).of_pull(reference)),
        Ok(None) => Ok(None),
        Err(_) => {
            let minutes = STALL_LIMIT.as_secs() / 60;
            let message = format!("{reference} could not be pulled: there was no progress for {minutes} min");
            Err(RuntimeError::ImageUnavailable(message))
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
