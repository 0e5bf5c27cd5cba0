//! Containers that exist in memory only, for tests, the simulator and the benches.
//!
//! What a container does is said by its image and command (see [`Behaviour::of`]), or by a function given to
//! [`FakeRuntime::with`]. No threads, and no timers but for those who wait for a container that takes time: ten
//! thousand containers cost about as much as ten thousand entries in a map. Time is tokio's, so it can be paused.
//!
//! As with a real engine the containers outlive the worker: give a restarted worker the same `FakeRuntime`. It counts
//! every call, can make the next ones fail before or after they took effect, and remembers every start of a process,
//! which is the witness that nothing ran twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use shared::id::{AttemptKey, ClusterId, WorkerId};
use shared::pull::Pulling;
use shared::resources::GIB;
use shared::time::WallTime;

use self::container::Container;
use super::{
    ContainerSpec, EngineFacts, Exit, Found, FoundState, ImageWish, LogMark, LogPiece, LogPieces, Nameless, Runtime,
    RuntimeError, RuntimeInfo, StopSignal, Stored,
};

mod behaviour;
mod container;
mod flood;

pub use behaviour::{Behaviour, Piece};
pub use flood::flood;

/// What a container of this specification does.
type Script = dyn Fn(&ContainerSpec) -> Behaviour + Send + Sync;

/// An engine without containers. See the module.
pub struct FakeRuntime {
    script: Box<Script>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<AttemptKey, Container>,
    calls: Calls,
    starts: Vec<AttemptKey>,
    faults: VecDeque<(Call, Fault)>,
    outage: Option<String>,
    frozen: BTreeSet<AttemptKey>,
    /// Pieces that are not there any more.
    forgotten: BTreeMap<AttemptKey, u32>,
    nameless: BTreeMap<AttemptKey, Nameless>,
}

/// The calls of a [`Runtime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of the same name")]
pub enum Call {
    Info,
    PrepareImage,
    Create,
    Start,
    Wait,
    Signal,
    Freeze,
    Logs,
    Inventory,
    Remove,
}

/// How often each method was called, failed calls included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "each counts the method of the same name")]
pub struct Calls {
    pub info: u64,
    pub prepare_image: u64,
    pub create: u64,
    pub start: u64,
    pub wait: u64,
    pub signal: u64,
    pub freeze: u64,
    pub logs: u64,
    pub inventory: u64,
    pub remove: u64,
}

impl Calls {
    fn count(&mut self, call: Call) {
        let counter = match call {
            Call::Info => &mut self.info,
            Call::PrepareImage => &mut self.prepare_image,
            Call::Create => &mut self.create,
            Call::Start => &mut self.start,
            Call::Wait => &mut self.wait,
            Call::Signal => &mut self.signal,
            Call::Freeze => &mut self.freeze,
            Call::Logs => &mut self.logs,
            Call::Inventory => &mut self.inventory,
            Call::Remove => &mut self.remove,
        };
        *counter += 1;
    }
}

/// When a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was done.
    Before(RuntimeError),
    /// It was done, and the answer is lost. (Only for calls that do something.)
    After(RuntimeError),
}

impl FakeRuntime {
    /// Containers do what [`Behaviour::of`] makes of their image and command.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Behaviour::of)
    }

    /// Containers do what `script` says. It is asked once for each, when it is made.
    #[must_use]
    pub fn with(script: impl Fn(&ContainerSpec) -> Behaviour + Send + Sync + 'static) -> Self {
        Self { script: Box::new(script), state: Mutex::default() }
    }

    /// How often each method was called.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.state.lock().calls
    }

    /// Every start of a process, in order. Starting what runs or has ended is no start.
    #[must_use]
    pub fn starts(&self) -> Vec<AttemptKey> {
        self.state.lock().starts.clone()
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_frozen(&self, key: &AttemptKey) -> bool {
        self.state.lock().frozen.contains(key)
    }

    /// How many containers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().containers.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next `call` fails. Several faults of one call are used in turn.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        self.state.lock().faults.push_back((call, fault));
    }

    /// From now on every call fails with this reason; `None` ends it. Containers go on.
    pub fn set_outage(&self, reason: Option<&str>) {
        self.state.lock().outage = reason.map(str::to_owned);
    }

    /// Takes a container away behind everybody's back, as a `docker rm -f` by hand would.
    pub fn lose(&self, key: &AttemptKey) {
        if let Some(mut container) = self.state.lock().containers.remove(key) {
            container.kill();
        }
    }

    /// Drops the first `pieces` of a log, as an engine does with one that becomes too long; none if 0. From now on who reads
    /// it is told where it begins, and a place before each later piece: one was written in each second.
    pub fn forget_log(&self, key: &AttemptKey, pieces: u32) {
        self.state.lock().forgotten.insert(*key, pieces);
    }

    /// From now on these are to be asked for what it holds without a name.
    pub fn set_nameless(&self, key: &AttemptKey, nameless: Nameless) {
        self.state.lock().nameless.insert(*key, nameless);
    }

    /// Counts the call; what it does happens unless a fault says otherwise.
    fn call<T>(&self, call: Call, act: impl FnOnce(&mut State) -> Result<T, RuntimeError>) -> Result<T, RuntimeError> {
        let mut state = self.state.lock();
        state.calls.count(call);
        if let Some(reason) = &state.outage {
            return Err(RuntimeError::Engine(reason.clone()));
        }
        let fault = state.faults.iter().position(|(of, _)| *of == call).and_then(|at| state.faults.remove(at));
        match fault {
            None => act(&mut state),
            Some((_, Fault::Before(error))) => Err(error),
            Some((_, Fault::After(error))) => act(&mut state).and(Err(error)),
        }
    }
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FakeRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeRuntime").field("containers", &self.len()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Runtime for FakeRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let info =
            RuntimeInfo { description: "fake".to_owned(), cpu_millis: 64_000, memory_bytes: 256 * GIB, root: None };
        self.call(Call::Info, |_| Ok(info))
    }

    async fn describe(&self) -> Result<Option<EngineFacts>, RuntimeError> {
        Ok(None)
    }

    async fn prepare_image(&self, wish: &ImageWish) -> Result<Option<String>, RuntimeError> {
        if wish.image.starts_with("fake/hung") {
            return std::future::pending().await;
        }
        self.call(Call::PrepareImage, |_| behaviour::image(&wish.image)).map(|()| None)
    }

    fn pulling(&self) -> Vec<Pulling> {
        Vec::new()
    }

    async fn keep_room(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.call(Call::Create, |state| {
            if state.containers.contains_key(&spec.key) {
                return Ok(());
            }
            let behaviour = (self.script)(spec);
            if let Some(error) = behaviour.create_error.clone() {
                return Err(error);
            }
            state.containers.insert(spec.key, Container::new(spec, behaviour));
            Ok(())
        })
    }

    async fn start(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        self.call(Call::Start, |state| {
            let container = state.containers.get_mut(key).ok_or(RuntimeError::NotFound)?;
            if container.start(wall_now())? {
                state.starts.push(*key);
            }
            Ok(())
        })
    }

    async fn wait(&self, key: &AttemptKey) -> Result<Exit, RuntimeError> {
        let mut changes = self.call(Call::Wait, |state| state.find(key)?.watch())?;
        loop {
            let ends_at = match self.state.lock().find(key)?.end() {
                Ok(exit) => return Ok(exit),
                Err(ends_at) => ends_at,
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = at(ends_at) => {}
            }
        }
    }

    async fn signal(&self, key: &AttemptKey, signal: StopSignal) -> Result<(), RuntimeError> {
        self.call(Call::Signal, |state| {
            if let Some(container) = state.containers.get_mut(key) {
                container.signal(signal);
            }
            Ok(())
        })
    }

    /// Only noted: what it does does not take longer.
    async fn freeze(&self, key: &AttemptKey, frozen: bool) -> Result<(), RuntimeError> {
        self.call(Call::Freeze, |state| {
            let _ = if frozen { state.frozen.insert(*key) } else { state.frozen.remove(key) };
            Ok(())
        })
    }

    /// Places are told of only where something may be dropped: see [`FakeRuntime::forget_log`].
    async fn logs(&self, key: &AttemptKey, from: LogMark) -> Result<LogPieces, RuntimeError> {
        let (mut log, changes, told, dropped) = self.call(Call::Logs, |state| {
            let container = state.find(key)?;
            let told = state.forgotten.get(key).copied();
            Ok((container.log(), container.watch()?, told.is_some(), told.or_else(|| container.dropped())))
        })?;
        let mut ready = VecDeque::new();
        let mut place = LogMark { first: false, ..from };
        if let Some(dropped) = dropped {
            let first = dropped.max(u32::try_from(from.at - 1).unwrap_or(0));
            log.forget(first);
            place.at = i64::from(first) + 1;
            let is_gap = from.is_past(place.at);
            if is_gap {
                ready.push_back(LogPiece::Gap);
            }
            if is_gap || from == LogMark::default() {
                ready.push_back(LogPiece::Mark(LogMark { first: true, ..place }));
            }
        }
        let pieces = stream::unfold(
            (log, changes, ready, place),
            move |(mut log, mut changes, mut ready, mut place)| async move {
                if ready.is_empty() {
                    let (stream, bytes) = log.next(&mut changes).await?;
                    if told && place.bytes != from.bytes {
                        ready.push_back(LogPiece::Mark(place));
                    }
                    place.at += 1;
                    place.bytes[stream as usize] += bytes.len() as u64;
                    ready.push_back(LogPiece::Data(stream, bytes));
                }
                let piece = ready.pop_front()?;
                Some((Ok::<_, RuntimeError>(piece), (log, changes, ready, place)))
            },
        );
        Ok(pieces.boxed())
    }

    async fn stored(&self, key: &AttemptKey) -> Result<Stored, RuntimeError> {
        let state = self.state.lock();
        let nameless = state.nameless.get(key).cloned();
        Ok(Stored { bytes: state.find(key)?.layer_bytes(), nameless, ..Stored::default() })
    }

    async fn inventory(&self, cluster: ClusterId, worker: &WorkerId) -> Result<Vec<Found>, RuntimeError> {
        self.call(Call::Inventory, |state| {
            let ours = state.containers.iter().filter(|(_, container)| container.belongs_to(cluster, worker));
            Ok(ours
                .map(|(key, container)| Found { key: *key, state: container.state(), limits: Some(container.limits()) })
                .collect())
        })
    }

    async fn remove(&self, key: &AttemptKey) -> Result<(), RuntimeError> {
        self.call(Call::Remove, |state| {
            if let Some(mut container) = state.containers.remove(key) {
                container.kill();
            }
            Ok(())
        })
    }
}

impl State {
    fn find(&self, key: &AttemptKey) -> Result<&Container, RuntimeError> {
        self.containers.get(key).ok_or(RuntimeError::NotFound)
    }
}

/// Waits until then; for ever if there is no such time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn wall_now() -> WallTime {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    WallTime(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
