//! Why a task waits: the scheduler's own filter, asked for every worker, and its answers counted.
//!
//! The codes are a closed list: `no_workers`, `draining`, `cancelling`, `other_worker_requested`, `other_labels` (its
//! labels are not what the task asks for), `first_generation` (it cannot be told what the task asks for),
//! `worker_outdated` (it does not know what the task asks for, but a newer version does), `pool_offline` (its pool
//! gives tasks no network, and this one says that it needs the Internet), `worker_inactive`, `worker_suspect`,
//! `worker_unhealthy` (it says itself that its engine does not answer or its disk is full), `unreachable` (it does not
//! wait: its worker is not heard of, and it may run once at most, or no other one could take it so far),
//! `insufficient_<kind>` (busy: it will fit when something ends), `too_small_<kind>` (never, on that worker),
//! `worker_cordoned` (an operator wants it to get nothing), `worker_failing` (all its last runs failed at once, those
//! of others did not), `resting` (all that waits of it has failed, and runs again after a pause), `array_suspicious`
//! (most of its last elements failed in the same way, so one at a time is tried), `behind_others` (it fits now, and is
//! placed as soon as what stands before it is), `array_limit` (as many of its elements are with workers as may be at a
//! time).

use std::collections::BTreeMap;

use shared::feature::Features;
use shared::id::TaskRef;
use shared::pull::PullProgress;
use shared::resources::{Bytes, Kind};
use shared::task::TaskState;
use shared::view::{ReasonView, WhyView};
use shared::worker::WorkerState;

use crate::cluster::Cluster;
use crate::queue::Shape;
use crate::scheduler::{Obstacle, Room};
use crate::task::{AGAIN, Task};

pub(crate) mod labels;

/// A reason while it is counted. The order is that of the answers among equal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    TooSmall(Kind),
    Insufficient(Kind),
    Unhealthy,
    Failing,
    Cordoned,
    IllGpus,
    Suspect,
    Inactive,
    FirstGeneration,
    Outdated(Features),
    Offline,
    OtherLabels,
    OtherWorkerRequested,
}

/// How many workers a cause concerns, and the best of them: most is available there.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    workers: u32,
    best: u64,
    wanted: u64,
}

impl Cluster {
    /// Why a task waits; none if it is not here, because it is over or never was.
    #[must_use]
    pub fn why(&self, target: TaskRef) -> Option<WhyView> {
        let task = self.tasks.get(&target.task)?;
        let tally = task.tally_of(target.elements);
        let state = tally.summary();
        match (tally.queued, tally.pending + tally.running) {
            (0, 0) => None,
            (0, _) => Some(self.why_held(target, task, state)),
            (_, _) => Some(self.why_waiting(target, task, state)),
        }
    }

    /// What a submitter should know at once.
    pub(crate) fn submit_warnings(&self, shape: &Shape) -> Vec<String> {
        let mut present = self.workers.iter().filter(|(_, worker)| worker.state() != WorkerState::Inactive).peekable();
        if present.peek().is_none() {
            return vec!["no worker is connected: the task waits until one is".to_owned()];
        }
        // What is free does not matter here, and to count it for every submission would cost by what runs.
        if present.any(|(id, worker)| shape.could_ever_fit(id, worker, &self.settings)) {
            return Vec::new();
        }
        let (reasons, _) = causes(&self.present_rooms(), shape);
        let reasons: Vec<_> = reasons.into_iter().map(|reason| reason.message).collect();
        vec![format!("can never run on the present workers: {}", reasons.join("; "))]
    }

    /// The workers that are connected.
    fn present_rooms(&self) -> Vec<Room> {
        self.rooms().into_iter().filter(|room| room.state != WorkerState::Inactive).collect()
    }

    fn why_waiting(&self, target: TaskRef, task: &Task, state: TaskState) -> WhyView {
        let present = self.present_rooms();
        let shape = task.shape_with(task.next_memory(target.elements));
        let can_never_run = !present.is_empty() && !present.iter().any(|room| room.could_ever_fit(&shape));
        let rooms = self.rooms();
        let (mut reasons, fits) = causes(&rooms, &shape);
        if self.draining {
            reasons.insert(0, plain("draining", 0, "the master takes on no new work because it is about to stop"));
        } else if rooms.is_empty() {
            reasons.push(plain("no_workers", 0, "no worker has registered yet"));
        } else if let Some(reason) = held_back(task) {
            reasons = vec![reason];
        } else if fits > 0 {
            let message = "it fits, and is placed as soon as what stands before it is";
            reasons = vec![plain("behind_others", fits, message)];
        }
        let is_at_limit = reasons.first().is_some_and(|reason| reason.code == "array_limit");
        let away = is_at_limit.then(|| hint_of_away(task)).flatten();
        let all: Vec<_> = reasons.iter().map(|reason| reason.message.as_str()).collect();
        let summary = match (can_never_run, all.join("; ")) {
            (true, all) => format!("can never run on the present workers: {all}"),
            (false, all) => all,
        };
        WhyView {
            task_id: target.to_string(),
            state,
            summary,
            position: self.position(task),
            can_never_run,
            hint: away.unwrap_or_else(|| hint(&reasons, can_never_run)),
            reasons,
        }
    }

    /// The place of a task's first waiting element among all that waits; 1 is the first.
    fn position(&self, task: &Task) -> Option<u64> {
        let before = |sequence: &u64| *sequence < task.record.sequence;
        let ahead: u64 = self
            .queue
            .classes()
            .flat_map(|(shape, tasks)| {
                tasks.iter().take_while(move |(sequence, _)| before(sequence)).map(move |(_, id)| (shape, id))
            })
            .filter_map(|(shape, id)| Some((shape, self.tasks.get(id)?)))
            .map(|(shape, ahead)| u64::from(ahead.waiting_in(shape)))
            .sum();
        (task.waiting() > 0).then_some(ahead + 1)
    }

    /// The reason of a class in one line, for listings of the queue.
    pub(crate) fn class_reason(&self, rooms: &[Room], shape: &Shape) -> String {
        if self.draining {
            return "the master is about to stop".to_owned();
        }
        if rooms.is_empty() {
            return "no worker has registered yet".to_owned();
        }
        let (reasons, fits) = causes(rooms, shape);
        if fits > 0 {
            return "it is next".to_owned();
        }
        let all: Vec<_> = reasons.into_iter().map(|reason| reason.message).collect();
        all.join("; ")
    }
}

/// The obstacles of all workers, counted, the most frequent first, and on how many workers there is none.
fn causes(rooms: &[Room], shape: &Shape) -> (Vec<ReasonView>, u32) {
    let mut counts: BTreeMap<Cause, Count> = BTreeMap::new();
    let mut fits = 0;
    for room in rooms {
        let mut free = true;
        for obstacle in room.obstacles(shape) {
            free = false;
            let (cause, available, wanted) = match obstacle {
                Obstacle::OtherWorkerRequested => (Cause::OtherWorkerRequested, 0, 0),
                Obstacle::OtherLabels => (Cause::OtherLabels, 0, 0),
                Obstacle::FirstGeneration => (Cause::FirstGeneration, 0, 0),
                Obstacle::Outdated(features) => (Cause::Outdated(features), 0, 0),
                Obstacle::Offline => (Cause::Offline, 0, 0),
                Obstacle::Unhealthy => (Cause::Unhealthy, 0, 0),
                Obstacle::Failing => (Cause::Failing, 0, 0),
                Obstacle::Cordoned => (Cause::Cordoned, 0, 0),
                Obstacle::IllGpus => (Cause::IllGpus, 0, 0),
                Obstacle::NotActive(WorkerState::Suspect) => (Cause::Suspect, 0, 0),
                Obstacle::NotActive(WorkerState::Active | WorkerState::Inactive) => (Cause::Inactive, 0, 0),
                Obstacle::Busy(shortage) => (Cause::Insufficient(shortage.kind), shortage.available, shortage.wanted),
                Obstacle::TooSmall(shortage) => (Cause::TooSmall(shortage.kind), shortage.available, shortage.wanted),
            };
            let count = counts.entry(cause).or_default();
            *count = Count { workers: count.workers + 1, best: count.best.max(available), wanted };
        }
        fits += u32::from(free);
    }
    let in_words = |(cause, count)| {
        let general = reason(cause, count);
        let named = (cause == Cause::OtherLabels).then(|| labels::unmet(rooms, shape)).flatten();
        ReasonView { message: named.unwrap_or(general.message), ..general }
    };
    let mut reasons: Vec<_> = counts.into_iter().map(in_words).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.workers));
    (reasons, fits)
}

fn reason(cause: Cause, count: Count) -> ReasonView {
    let workers = match count.workers {
        1 => "1 worker".to_owned(),
        many => format!("{many} workers"),
    };
    let verb = if count.workers == 1 { "has" } else { "have" };
    let is = if count.workers == 1 { "is" } else { "are" };
    let (code, message) = match cause {
        Cause::TooSmall(kind) => (
            format!("too_small_{}", name(kind)),
            format!("{workers} {verb} at most {} of {} in all", kind.describe(count.best), kind.describe(count.wanted)),
        ),
        Cause::Insufficient(kind) => (
            format!("insufficient_{}", name(kind)),
            format!("{workers} {verb} at most {} of {} free", kind.describe(count.best), kind.describe(count.wanted)),
        ),
        Cause::Unhealthy => {
            ("worker_unhealthy".to_owned(), format!("{workers} {verb} a problem with the container engine or the disk"))
        }
        Cause::Failing => (
            "worker_failing".to_owned(),
            format!("{workers} {is} left out for a while: all runs failed there at once, and elsewhere they did not"),
        ),
        Cause::Cordoned => (
            "worker_cordoned".to_owned(),
            format!("{workers} {verb} been taken out of use by an operator (`cloudctl workers` says why)"),
        ),
        Cause::IllGpus => (
            "gpu_ill".to_owned(),
            format!("{workers} {verb} GPUs that are out of use because something is wrong with them"),
        ),
        Cause::Suspect => ("worker_suspect".to_owned(), format!("{workers} {is} suspect: heartbeats are missing")),
        Cause::Inactive => ("worker_inactive".to_owned(), format!("{workers} {is} not connected")),
        Cause::FirstGeneration => (
            "first_generation".to_owned(),
            format!(
                "{workers} {is} of the first generation: no input files, no environment without a command, no confinement"
            ),
        ),
        Cause::Outdated(features) => (
            "worker_outdated".to_owned(),
            format!("{workers} {is} of an older version, which does not know {features}"),
        ),
        Cause::Offline => (
            "pool_offline".to_owned(),
            format!("{workers} {is} in a pool that gives tasks no network, and this one asks for the Internet"),
        ),
        Cause::OtherLabels => ("other_labels".to_owned(), format!("{workers} {verb} other labels than it asks for")),
        Cause::OtherWorkerRequested => {
            ("other_worker_requested".to_owned(), format!("{workers} {is} not the one it was dispatched to"))
        }
    };
    ReasonView { code, workers: count.workers, message }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Cpu => "cpu",
        Kind::Memory => "memory",
        Kind::Storage => "storage",
        Kind::Gpu => "gpu",
    }
}

/// Where nothing of a task may be placed now, though it waits.
pub(crate) fn held_back(task: &Task) -> Option<ReasonView> {
    if task.placeable() > 0 || task.waiting() == 0 {
        return None;
    }
    limit_reached(task).or_else(|| {
        let resting = task.resting.len() as u32;
        if resting == task.waiting() || resting as usize >= AGAIN {
            let message = format!(
                "{resting} failed and {}",
                if resting == 1 { "runs again after a pause" } else { "run again after a pause" }
            );
            return Some(plain("resting", 0, &message));
        }
        task.progress.recent.suspicion().map(|suspicion| {
            let runs = suspicion.describe();
            let message = format!("{runs} failed in the same way, so one at a time is tried until one does not");
            plain("array_suspicious", 0, &message)
        })
    })
}

/// Where an array has as many elements with workers as it may: that is what the others wait for.
fn limit_reached(task: &Task) -> Option<ReasonView> {
    let limit = task.limit().filter(|limit| task.live.len() as u32 >= *limit)?;
    let away = away(task).map_or_else(String::new, |away| format!("; the worker of {away} is not heard of"));
    let message = format!("{limit} of its elements are with workers, and no more may be at a time{away}");
    Some(plain("array_limit", 0, &message))
}

/// The first of its elements whose worker is not heard of.
fn away(task: &Task) -> Option<TaskRef> {
    task.progress.unreachable.first_index().map(|index| task.shown(index))
}

/// What to do where the others of an array wait for one whose worker is not heard of: it may be away for ever.
fn hint_of_away(task: &Task) -> Option<String> {
    let away = away(task)?;
    let force = if task.record.spec.policy.at_most_once { "--force " } else { "" };
    Some(format!(
        "bring the worker of {away} back; if it is gone for good, `cloudctl cancel {force}{away}` ends that element, and the next \
         one starts"
    ))
}

fn plain(code: &str, workers: u32, message: &str) -> ReasonView {
    ReasonView { code: code.to_owned(), workers, message: message.to_owned() }
}

fn hint(reasons: &[ReasonView], can_never_run: bool) -> String {
    let mut codes = reasons.iter().map(|reason| reason.code.as_str());
    if can_never_run {
        // That the others are not meant helps nobody.
        match codes.find(|code| *code != "other_worker_requested") {
            Some("other_labels") => {
                return "let a worker with such labels join (`cloudaid worker --label KEY=VALUE`; `cloudctl stats WORKER` shows \
                        those of one), or cancel it and ask for others"
                    .to_owned();
            }
            Some("worker_outdated") => {
                return "update cloudaid on the workers: what runs there goes on meanwhile".to_owned();
            }
            Some("pool_offline") => {
                return "leave out `--network public`, or let a worker of another pool join; an admin may let strict tasks \
                        have it with CLOUDAI_TASKS_STRICT_NETWORK=public"
                    .to_owned();
            }
            Some(_) | None => {}
        }
        return "cancel it and ask for less, or add a worker that has as much (`cloudctl workers` shows what they have)"
            .to_owned();
    }
    match codes.next() {
        Some("no_workers") => "let one join: `cloudctl worker-token create`".to_owned(),
        Some("array_limit") => "the next one starts when one of them ends".to_owned(),
        Some("resting") => "it runs again by itself; `cloudctl logs` shows why it failed".to_owned(),
        Some("array_suspicious") => {
            "see why they fail: `cloudctl show` has the groups of its elements; cancel it if all of them will"
                .to_owned()
        }
        Some("draining") => "it runs after the next start of the master".to_owned(),
        Some("worker_cordoned") => "an admin ends that with `cloudctl undrain WORKER`".to_owned(),
        Some("worker_unhealthy" | "worker_failing" | "gpu_ill") => {
            "`cloudctl stats WORKER` says what is wrong with it".to_owned()
        }
        Some("worker_inactive") => "see whether `cloudaid worker` runs there and reaches the master".to_owned(),
        Some(_) | None => "it starts by itself as soon as there is room".to_owned(),
    }
}

/// How far an image is, and what keeps it.
fn in_words(pull: &PullProgress) -> String {
    let PullProgress { done_bytes, total_bytes, failure } = pull;
    let far = match (*done_bytes, *total_bytes) {
        _ if pull.is_kept() => "its image is not there yet, and is tried again by itself".to_owned(),
        (done, 0) => format!("its image is being fetched, {} so far", Bytes(done)),
        (done, total) => format!("its image is being fetched, {} of {} are there", Bytes(done), Bytes(total)),
    };
    match failure {
        Some(failure) => format!("{far}; {failure}"),
        None => far,
    }
}

impl Cluster {
    /// What becomes of a run whose worker is not heard of, and that another one might have.
    fn why_away(&self, task: &Task, index: Option<u32>, place: &str) -> String {
        let run = index.and_then(|index| Some((task.element(index), task.live.get(&index)?)));
        let kept = run.map(|(element, run)| (element, task.shape_with(run.memory)));
        let kept = kept.filter(|(element, shape)| self.kept.contains(shape, *element));
        match kept {
            None => format!(
                "its worker has not been heard of since the master's start{place}: it goes on there when that is back"
            ),
            Some((_, shape)) if self.has_host(&shape) => format!(
                "its worker is not heard of{place}: another one that could take it is there by now, and gets it if that is \
                 not back soon"
            ),
            Some(_) => format!(
                "its worker is not heard of{place}: it goes on there when that is back, because no other worker could take it"
            ),
        }
    }

    /// Why a task that a worker holds has not ended.
    fn why_held(&self, target: TaskRef, task: &Task, state: TaskState) -> WhyView {
        let (first, last) = target.elements.bounds();
        let away = task.progress.unreachable.next_within(first, last);
        let (index, run) = task.live.range(away.unwrap_or(first)..=last).next().unzip();
        let pull = index.and_then(|index| self.pull_of(task.element(*index)));
        let place = run.map_or_else(String::new, |run| {
            let strict = if run.confinement.is_some() { ", strict because of that worker's pool" } else { "" };
            format!(" on {}{strict}", run.worker)
        });
        let cancelling = task.progress.cancelling.next_within(first, last).is_some();
        let is_unwanted = away.is_some_and(|index| task.progress.cancelling.contains(index));
        let (unreachable, once) = (away.is_some(), task.record.spec.policy.at_most_once);
        let (code, message) = match (cancelling, state) {
            _ if unreachable && once => (
                "unreachable",
                format!(
                    "its worker is not heard of{place}: it may still be running there, and may run once at most, so it is not \
                     started elsewhere"
                ),
            ),
            _ if is_unwanted => {
                ("cancelling", format!("its worker is not heard of{place}: it is told to stop it when it is back"))
            }
            _ if unreachable => ("unreachable", self.why_away(task, index.copied(), &place)),
            (true, _) => ("cancelling", format!("its worker was told to stop it{place}")),
            (false, TaskState::Running) => ("running", format!("it does not wait: it runs{place}")),
            (false, _) => match &pull {
                Some(pull) => ("pulling", format!("it is placed{place}: {}", in_words(pull))),
                None => ("pending", format!("it is placed{place}: its image is being fetched or its container made")),
            },
        };
        let hint = match (code, state) {
            ("unreachable", _) if once => {
                format!("bring the worker back; if it is gone for good, `cloudctl cancel --force {target}` ends it")
            }
            ("unreachable", _) => format!(
                "bring the worker back, or connect another one that could take it, where it begins again if this one stays \
                 away; `cloudctl cancel {target}` ends it"
            ),
            ("cancelling", _) if is_unwanted => format!("`cloudctl cancel --force {target}` ends it now"),
            (_, TaskState::Running) => format!("`cloudctl monitor {target}` follows its log"),
            // There is no log yet.
            ("cancelling", _) => "it is over as soon as its worker says so".to_owned(),
            ("pulling", _) if pull.as_ref().is_some_and(|pull| pull.failure.is_some()) => format!(
                "it starts by itself when its registry gives the image, and fails if that takes too long \
                 (CLOUDAI_REGISTRY_PATIENCE on the worker); `cloudctl cancel {target}` ends it now"
            ),
            ("pulling", _) => "it starts by itself as soon as its image is there".to_owned(),
            _ => "it starts by itself as soon as its image is there and its container is made".to_owned(),
        };
        WhyView {
            task_id: target.to_string(),
            state,
            summary: message.clone(),
            position: None,
            can_never_run: false,
            reasons: vec![ReasonView { code: code.to_owned(), workers: 1, message }],
            hint,
        }
    }
}
