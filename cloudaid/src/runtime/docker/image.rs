//! Images: there already, or pulled once however many tasks wait for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageConfig, ImageSummary};
use bollard::query_parameters::{
    CreateImageOptions, CreateImageOptionsBuilder, ListContainersOptionsBuilder, ListImagesOptions, RemoveImageOptions,
};
use futures_util::StreamExt;
use parking_lot::Mutex;
use shared::pull::{PullPolicy, PullProgress, Pulling, RegistryLogin};
use shared::resources::Bytes;

use self::failing::Failing;
use self::layers::Layers;
use self::name::Name;
use self::pulled::LastPull;
use self::room::{Room, Shortage};
use self::shelf::Shelf;
pub use self::watch::PullLimits;
use self::watch::{TooLong, Watch};
use super::errors::{Failure, within};
use crate::failpoint;
use crate::runtime::{ImageWish, RuntimeError};

mod failing;
mod layers;
mod name;
mod pulled;
mod room;
mod shelf;
mod watch;

const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How often a pull of which the engine says nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The images that are known to be there, and the pulls under way.
#[derive(Debug, Default)]
pub(super) struct Images {
    /// Seen at the engine in the life of this process. One that is gone is noticed when a container is made of it.
    /// By the keys of their names.
    present: Mutex<HashMap<String, Present>>,
    /// By the keys of their names.
    pulls: Mutex<HashMap<String, Turn>>,
    /// How far each pull is, by the image as the task names it whose pull it is.
    pulling: Mutex<BTreeMap<String, Layers>>,
    failing: Failing,
    shelf: Shelf,
    /// Set once the engine has said where it keeps images.
    room: OnceLock<Room>,
    /// Bytes of its disk that have to stay free.
    floor: u64,
    limits: PullLimits,
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

/// An image that may be removed.
#[derive(Debug)]
struct Removable {
    /// Of its name.
    key: String,
    /// As the engine names it.
    name: String,
    /// In bytes.
    size: u64,
}

/// What was seen of an image that is there.
#[derive(Debug, Clone, Default)]
struct Present {
    /// None: it came from no registry.
    digest: Option<String>,
    says: ImageSays,
}

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ImageSays {
    /// Whose its processes are.
    pub(super) user: Option<String>,
    /// Places that it wants kept.
    pub(super) volumes: Vec<String>,
    /// The names of the variables that it sets.
    pub(super) env: BTreeSet<String>,
}

impl ImageSays {
    fn of(config: Option<ImageConfig>) -> Self {
        let config = config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let name = |variable: &String| variable.split('=').next().map(str::to_owned);
        Self {
            user: config.user,
            volumes: config.volumes.unwrap_or_default(),
            env: env.iter().filter_map(name).collect(),
        }
    }
}

/// Who pulls an image, one at a time; in it the last pull.
type Turn = Arc<tokio::sync::Mutex<Option<LastPull>>>;

impl Images {
    /// The image is not there any more.
    pub(super) fn forget(&self, image: &str) {
        self.present.lock().remove(&name::key_of(image));
    }

    /// What it says of itself. Of one that is not there nothing is known.
    pub(super) async fn says(&self, engine: &Docker, image: &str) -> Result<ImageSays, RuntimeError> {
        Ok(look_at(engine, &Name::parse(image)?).await?.says)
    }

    /// The same as it was when its name was last looked up, without a call where that was done by this process.
    pub(super) async fn said(&self, engine: &Docker, image: &str) -> Result<ImageSays, RuntimeError> {
        let seen = self.present.lock().get(&name::key_of(image)).map(|present| present.says.clone());
        match seen {
            Some(says) => Ok(says),
            None => self.says(engine, image).await,
        }
    }

    /// Keeps what it has pulled in mind in `file`, and so many bytes of the engine's disk free.
    pub(super) fn keeping(self, file: PathBuf, floor: u64) -> Self {
        Self { shelf: Shelf::open(file), floor, ..self }
    }

    /// Gives up pulls that take longer.
    pub(super) fn with_limits(self, limits: PullLimits) -> Self {
        Self { limits, ..self }
    }

    /// Where the engine keeps images, as it says.
    pub(super) fn are_on(&self, disk: Option<PathBuf>) {
        // The first one stays: it does not change while an engine runs.
        let _ = self.room.set(Room::new(disk, self.floor));
    }

    /// Makes sure that the image is there. One image is pulled once at a time, however tasks write its name. Whether two tags
    /// are the same image only the registry knows: of what both have the engine fetches each layer once.
    pub(super) async fn prepare(&self, engine: &Docker, wish: &ImageWish) -> Result<Option<String>, RuntimeError> {
        let name = Name::parse(&wish.image)?;
        let key = name.key();
        self.shelf.used(&key);
        if wish.pull != PullPolicy::Always
            && let Some(present) = self.present.lock().get(&key)
        {
            return Ok(present.digest.as_deref().map(|digest| name.with_digest(digest)));
        }
        let wanted_at = Instant::now();
        let turn = Arc::clone(self.pulls.lock().entry(key.clone()).or_default());
        let mut last = turn.lock().await;
        let result = match wish.pull {
            PullPolicy::Never => find(engine, &name).await.map(|()| false),
            PullPolicy::Missing | PullPolicy::Always => self.obtain(engine, wish, &name, wanted_at, &mut last).await,
        };
        let tries = last.as_ref().map_or(0, LastPull::failures);
        drop(last);
        self.failing.ended(&key, &wish.image, result.as_ref().err(), tries);
        self.drop_idle(&key);
        let is_ours = result?;
        let present = look_at(engine, &name).await?;
        let digest = present.digest.as_deref();
        if is_ours {
            self.shelf.pulled(&key, digest.map(|digest| name.key_of_content(digest)));
        }
        let content = digest.map(|digest| name.with_digest(digest));
        self.present.lock().insert(key, present);
        Ok(content)
    }

    /// Pulls it, if it is not there or is always to be pulled, and if no other pull says all there is to say. Returns whether it
    /// was not there before: what people have put there stays theirs.
    async fn obtain(
        &self,
        engine: &Docker,
        wish: &ImageWish,
        name: &Name,
        wanted_at: Instant,
        last: &mut Option<LastPull>,
    ) -> Result<bool, RuntimeError> {
        let was_there = is_there(engine, name).await?;
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
        let fetched = self.fetch(engine, wish, name).await;
        *last = LastPull::after(last.take(), began, fetched.as_ref().err());
        fetched.map(|()| !was_there)
    }

    async fn fetch(&self, engine: &Docker, wish: &ImageWish, name: &Name) -> Result<(), RuntimeError> {
        tracing::info!("pulling image {}", name.as_str());
        failpoint::hit("docker.pull.before");
        let under_way = UnderWay::begin(self, &wish.image);
        let pulled = self.pull(engine, wish, name).await;
        drop(under_way);
        failpoint::hit("docker.pull.after");
        pulled
    }

    /// Until it is there, or takes too long. The engine stops pulling when nobody listens.
    async fn pull(&self, engine: &Docker, wish: &ImageWish, name: &Name) -> Result<(), RuntimeError> {
        let options: CreateImageOptions = CreateImageOptionsBuilder::default().from_image(name.as_str()).build();
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
        let mut watch = Watch::begin(self.limits, Instant::now());
        loop {
            let info = match tokio::time::timeout(LOOK_EVERY, progress.next()).await {
                // To its end: an error comes last.
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(Failure::from(error).of_pull(name.as_str())),
                Ok(Some(Ok(info))) => Some(info),
                Err(_) => None,
            };
            self.go_on(engine, &wish.image, info.as_ref(), &mut watch).await?;
        }
    }

    /// Whether a pull is to go on, with what the engine says of it, if it says anything. What it takes of the disk is reserved
    /// as soon as the registry says how large each layer is, which is before most of it has come, so that it does not take
    /// what others need; where that was too little, or others take more than they should, the pull ends before the disk is
    /// full.
    async fn go_on(
        &self,
        engine: &Docker,
        image: &str,
        info: Option<&CreateImageInfo>,
        watch: &mut Watch,
    ) -> Result<(), RuntimeError> {
        let (seen, layers_need, takes_room, waits_for_registry) = {
            let mut pulling = self.pulling.lock();
            let Some(layers) = pulling.get_mut(image) else { return Ok(()) };
            let seen = info.map(|info| layers.see(info)).unwrap_or_default();
            (seen, layers.still_needs(), layers.takes_room(), layers.waits_for_registry())
        };
        let now = Instant::now();
        if seen.has_moved {
            watch.moved(now);
        }
        if let Some(reason) = watch.too_long(now) {
            return Err(given_up(image, reason, waits_for_registry));
        }
        if seen.is_more {
            self.find_room(engine, image, layers_need).await?;
        } else {
            // It needs less and less, and what is free becomes less by as much.
            let _ = self.room().reserve(image, layers_need);
        }
        if takes_room && self.room().is_short() {
            self.keep_room(engine).await?;
            if let Some(Shortage { wanted, left }) = self.room().shortage() {
                return Err(RuntimeError::NoRoom(format!(
                    "there is no room for {image}: {} are left, and {} have to stay free",
                    Bytes(left),
                    Bytes(wanted)
                )));
            }
        }
        Ok(())
    }

    /// Reserves room for an image, and removes others for it if that has to be, and helps.
    async fn find_room(&self, engine: &Docker, image: &str, wanted: u64) -> Result<(), RuntimeError> {
        let Err(Shortage { wanted, left }) = self.room().reserve(image, wanted) else { return Ok(()) };
        // What is too large in any case takes nobody's image away.
        let removable = self.removable(engine).await?.iter().map(|image| image.size).fold(left, u64::saturating_add);
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

    /// The images that may be removed, the one first that was used longest ago. What any container is made of is in use, by
    /// whatever name.
    async fn removable(&self, engine: &Docker) -> Result<Vec<Removable>, RuntimeError> {
        let idle = self.shelf.oldest();
        if idle.is_empty() {
            return Ok(Vec::new());
        }
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let containers = within(CALL_LIMIT, engine.list_containers(Some(all))).await.map_err(Failure::of_engine)?;
        let in_use: HashSet<String> = containers.into_iter().filter_map(|container| container.image_id).collect();
        let images = within(CALL_LIMIT, engine.list_images(None::<ListImagesOptions>)).await;
        let images = images.map_err(Failure::of_engine)?;
        let mut by_key: HashMap<String, (&String, &ImageSummary)> = HashMap::new();
        for image in &images {
            let names = image.repo_tags.iter().chain(&image.repo_digests);
            by_key.extend(names.map(|name| (name::key_of(name), (name, image))));
        }
        let mut removable = Vec::new();
        for key in idle {
            match by_key.get(&key) {
                None => self.shelf.gone(&key),
                Some((_, image)) if in_use.contains(&image.id) => {}
                Some((name, image)) => {
                    let size = u64::try_from(image.size).unwrap_or(0);
                    removable.push(Removable { key, name: (*name).clone(), size });
                }
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
        for Removable { key, name, .. } in self.removable(engine).await? {
            if is_enough() {
                break;
            }
            match within(CALL_LIMIT, engine.remove_image(&name, None::<RemoveImageOptions>, None)).await {
                Ok(_) => {
                    tracing::info!("removed image {name}: it was used longest ago, and the disk is short of room");
                    self.shelf.gone(&key);
                    self.present.lock().clear();
                }
                Err(failure) if failure.is(404) => self.shelf.gone(&key),
                // A container was made of it just now: the engine is never told to remove it all the same.
                Err(failure) => tracing::debug!(?failure, "image {name} stays"),
            }
        }
        Ok(())
    }

    /// The images that are being fetched, and those of which that is tried again.
    pub(super) fn pulling(&self) -> Vec<Pulling> {
        let pulling = self.pulling.lock();
        let keys: BTreeSet<String> = pulling.keys().map(|image| name::key_of(image)).collect();
        let under_way = pulling.iter().map(|(image, layers)| {
            let failure = self.failing.failure(&name::key_of(image));
            Pulling { image: image.clone(), progress: PullProgress { failure, ..layers.progress() } }
        });
        under_way.chain(self.failing.waiting(|key| keys.contains(key))).collect()
    }

    fn room(&self) -> &Room {
        self.room.get_or_init(Room::default)
    }

    /// Forgets the pulls that nobody waits for, and that have not failed lately: two owners are the table and the caller.
    fn drop_idle(&self, key: &str) {
        let failed = |turn: &Turn| turn.try_lock().is_ok_and(|last| last.as_ref().is_some_and(LastPull::failed_lately));
        let mut pulls = self.pulls.lock();
        pulls.retain(|other, turn| {
            let owners = if other == key { 2 } else { 1 };
            Arc::strong_count(turn) > owners || failed(turn)
        });
    }
}

/// Of an image that is there.
async fn look_at(engine: &Docker, name: &Name) -> Result<Present, RuntimeError> {
    match within(CALL_LIMIT, engine.inspect_image(name.as_str())).await {
        Ok(found) => Ok(Present {
            digest: name.digest_among(&found.repo_digests.unwrap_or_default()),
            says: ImageSays::of(found.config),
        }),
        // It is pulled again when a container is made of it.
        Err(failure) if failure.is(404) => Ok(Present::default()),
        Err(failure) => Err(failure.of_engine()),
    }
}

/// It has to be there.
async fn find(engine: &Docker, name: &Name) -> Result<(), RuntimeError> {
    if is_there(engine, name).await? {
        return Ok(());
    }
    let message = format!("{} is not on the worker, and the task does not want it pulled", name.as_str());
    Err(RuntimeError::ImageNotFound(message))
}

async fn is_there(engine: &Docker, name: &Name) -> Result<bool, RuntimeError> {
    match within(CALL_LIMIT, engine.inspect_image(name.as_str())).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.is(404) => Ok(false),
        Err(failure) if failure.is(400) => Err(failure.of_pull(name.as_str())),
        Err(failure) => Err(failure.of_engine()),
    }
}

/// What a pull is told that took too long. An engine that has all of it and does not get it unpacked is not the registry's
/// fault.
fn given_up(image: &str, reason: TooLong, waits_for_registry: bool) -> RuntimeError {
    match reason {
        TooLong::InAll(limit) => RuntimeError::ImageUnavailable(format!(
            "{image} was given up: it was not there after {} s of pulling, which is the limit (CLOUDAI_PULL_TIME_LIMIT on \
             the worker)",
            limit.as_secs()
        )),
        TooLong::Stalled(limit) if waits_for_registry => RuntimeError::ImageUnavailable(format!(
            "{image} could not be pulled: its registry has sent nothing for {} s",
            limit.as_secs()
        )),
        TooLong::Stalled(limit) => RuntimeError::Engine(format!(
            "{image} is fetched, but for {} s nothing of it was unpacked",
            limit.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_sets_is_known_by_its_names() {
        let env = ["PATH=/bin:/usr/bin", "OMP_NUM_THREADS=3", "EMPTY=", "A=b=c"].map(str::to_owned).to_vec();
        let says = ImageSays::of(Some(ImageConfig { env: Some(env), ..ImageConfig::default() }));
        assert_eq!(says.env.iter().collect::<Vec<_>>(), ["A", "EMPTY", "OMP_NUM_THREADS", "PATH"]);
        assert_eq!(ImageSays::of(None), ImageSays::default());
    }

    #[test]
    fn what_stalls_is_the_registrys_or_the_engines_and_the_words_say_so() {
        let limit = Duration::from_secs(300);
        let stalled = given_up("i", TooLong::Stalled(limit), true);
        assert!(
            matches!(&stalled, RuntimeError::ImageUnavailable(why) if why.contains("nothing for 300 s")),
            "{stalled:?}"
        );
        let stalled = given_up("i", TooLong::Stalled(limit), false);
        assert!(matches!(&stalled, RuntimeError::Engine(why) if why.contains("unpacked")), "{stalled:?}");
        for waits in [false, true] {
            let over = given_up("i", TooLong::InAll(limit), waits);
            assert!(
                matches!(&over, RuntimeError::ImageUnavailable(why) if why.contains("PULL_TIME_LIMIT")),
                "{over:?}"
            );
        }
    }
}
