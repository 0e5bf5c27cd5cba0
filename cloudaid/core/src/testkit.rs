//! A small world around the core, for tests: scenario in, effects out.

mod brief;

use std::sync::Arc;
use std::time::Duration;

use shared::array::Array;
use shared::feature::Features;
use shared::id::{AttemptKey, ClusterId, RequestId, SessionId, TaskId, TaskRef, TokenId, WorkerId};
use shared::link::{Assignment, AttemptChange, Held, Hello, Outcome, PROTOCOL, Report, ToWorker};
use shared::resources::{GIB, Resources};
use shared::task::{TaskSpec, Verdict};
use shared::time::{BootTime, Now, WallTime};
use shared::worker::WorkerFacts;
use ulid::Ulid;

use crate::admission::{Admission, IdentityId, JoinTokenChange, JoinTokenRecord, Joining, Proof};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::files::Leftover;
use crate::input::{Input, Submission};
use crate::invariant;
use crate::record::{Change, Snapshot, TaskRecord};
use crate::reject::Reject;
use crate::scheduler::round_robin::RoundRobin;
use crate::settings::Settings;

pub use brief::brief;

/// A cluster with a clock that only moves when told, and a store that holds what was saved.
#[derive(Debug)]
pub struct World {
    /// The core.
    pub cluster: Cluster,
    /// Now.
    pub now: Now,
    /// What was saved, as a store would hold it.
    pub saved: Saved,
    next_request: u64,
    next_session: u64,
    next_task: u128,
    next_token: u128,
}

/// What a store would hold.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// What has not ended.
    pub snapshot: Snapshot,
    /// All runs, by element and number.
    pub attempts: std::collections::BTreeMap<(TaskId, u32, u32), crate::record::AttemptRecord>,
    /// All ends of elements.
    pub results: std::collections::BTreeMap<(TaskId, u32), crate::record::ResultRecord>,
    /// All submissions with their progress.
    pub tasks: std::collections::BTreeMap<TaskId, (Arc<crate::record::TaskRecord>, crate::record::Progress)>,
}

impl Saved {
    /// Applies a change. A second end of an element, or a second submission of one id, is an error of the core.
    ///
    /// # Errors
    /// Says which.
    pub fn apply(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::Cluster(cluster) => self.snapshot.cluster = Some(cluster),
            Change::NewTask(record) => {
                self.snapshot.last_sequence = self.snapshot.last_sequence.max(record.sequence);
                if self.tasks.insert(record.id, (Arc::clone(&record), Default::default())).is_some() {
                    return Err(format!("{} was made twice", record.id));
                }
            }
            Change::Progress(id, progress) => match self.tasks.get_mut(&id) {
                Some(task) => task.1 = progress,
                None => return Err(format!("progress of {id}, which was never made")),
            },
            Change::Attempt(attempt) => {
                let key = (attempt.key.task, attempt.key.index, attempt.key.attempt);
                self.attempts.insert(key, attempt);
            }
            Change::Result(result) => {
                let key = (result.element.task, result.element.index);
                let element = result.element;
                if self.results.insert(key, result).is_some() {
                    return Err(format!("{element} has ended twice"));
                }
            }
            Change::Worker(id, record) => {
                self.snapshot.workers.retain(|other| other.id != id);
                self.snapshot.workers.extend(record);
            }
            Change::JoinToken(id, record) => {
                self.snapshot.join_tokens.retain(|other| other.id != id);
                self.snapshot.join_tokens.extend(record);
            }
            Change::Registry(name, record) => {
                self.snapshot.registries.retain(|other| other.registry != name);
                self.snapshot.registries.extend(record);
            }
            Change::Pending(id, record) => {
                self.snapshot.pending.retain(|other| other.worker != id);
                self.snapshot.pending.extend(record);
            }
            Change::User(user) => {
                self.snapshot.users.retain(|other| other.name != user.name);
                self.snapshot.users.push(user);
            }
            Change::Token(id, record) => {
                self.snapshot.tokens.retain(|other| other.id != id);
                self.snapshot.tokens.extend(record);
            }
            Change::Spec(id, spec) => match self.tasks.get_mut(&id) {
                Some((record, _)) => *record = Arc::new(TaskRecord { spec, ..(**record).clone() }),
                None => return Err(format!("spec of {id}, which was never made")),
            },
            Change::Gone(id) => {
                if self.tasks.remove(&id).is_none_or(|(_, progress)| progress.finished_at.is_none()) {
                    return Err(format!("{id} is deleted before its end"));
                }
                self.attempts.retain(|(task, ..), _| *task != id);
                self.results.retain(|(task, _), _| *task != id);
                self.snapshot.unswept.push(Leftover::Task(id));
            }
            Change::Left(leftover) => self.snapshot.unswept.push(leftover),
            Change::Swept(id) => self.snapshot.unswept.retain(|other| *other != id),
            Change::Audit(entry) => self.snapshot.audit.follow(&entry)?,
            Change::Login(id, record) => {
                self.snapshot.logins.retain(|other| other.id != id);
                self.snapshot.logins.extend(record);
            }
            Change::Guess(key, count) => {
                self.snapshot.guesses.retain(|(other, _)| *other != key);
                self.snapshot.guesses.extend(count.map(|count| (key, count)));
            }
            Change::Input(record) => {
                self.snapshot.inputs.retain(|other| other.id != record.id);
                self.snapshot.inputs.push(record);
            }
            Change::InputGone(id) => {
                self.snapshot.missing.retain(|(input, _)| *input != id);
                self.snapshot.inputs.retain(|other| other.id != id);
                self.snapshot.unswept.push(Leftover::Input(id));
            }
            Change::FilesGone(files) => {
                self.snapshot.unswept.extend(files.iter().filter_map(crate::files::GoneFile::leftover));
            }
            Change::Totals(totals) => self.snapshot.last_sequence = totals.last_sequence,
            Change::FileUsage(user, usage) => {
                self.snapshot.file_usage.retain(|(other, _)| *other != user);
                self.snapshot.file_usage.push((user, usage));
            }
            Change::InputFiles(id, files) => {
                for file in files.iter() {
                    self.snapshot.missing.retain(|other| *other != (id, file.blob));
                    if file.blake3.is_none() {
                        self.snapshot.missing.push((id, file.blob));
                    }
                }
            }
            Change::RunFilesGone(key, true) => {
                self.snapshot.unswept.push(Leftover::Run(key.element(), key.attempt));
            }
            Change::RunFilesGone(_, false) | Change::Files(..) | Change::FilesAdded(..) | Change::Upload(..) => {}
        }
        Ok(())
    }

    /// What a start would load.
    #[must_use]
    pub fn load(&self) -> Snapshot {
        let mut snapshot = self.snapshot.clone();
        let unfinished = self.tasks.values().filter(|(_, progress)| progress.finished_at.is_none());
        snapshot.tasks = unfinished.cloned().collect();
        let live = self.attempts.values().filter(|attempt| attempt.verdict.is_none());
        snapshot.attempts = live.cloned().collect();
        snapshot
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(Settings::default())
    }
}

#[allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on shall say where")]
impl World {
    /// An empty cluster at its first start.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let now = Now { boot: BootTime(1_000_000), wall: WallTime(1_700_000_000_000) };
        let (cluster, saved) = Self::start(settings, Saved::default(), now);
        Self { cluster, now, saved, next_request: 1, next_session: 1, next_task: 1, next_token: 1 }
    }

    fn start(settings: Settings, mut saved: Saved, now: Now) -> (Cluster, Saved) {
        let policy = Box::new(RoundRobin::default());
        let (cluster, effects) = Cluster::recover(settings, policy, saved.load(), ClusterId(Ulid(7)), now)
            .expect("what was saved can be recovered");
        for effect in effects {
            if let Effect::Save(change) = effect {
                saved.apply(change).expect("a legal change");
            }
        }
        (cluster, saved)
    }

    /// The master dies and starts again with what was saved.
    pub fn restart(&mut self) {
        self.restart_with(self.cluster.settings.clone());
    }

    /// The same, with other settings.
    pub fn restart_with(&mut self, settings: Settings) {
        let (cluster, saved) = Self::start(settings, self.saved.clone(), self.now);
        self.cluster = cluster;
        self.saved = saved;
        self.check();
    }

    /// Steps one input as a batch of its own, saves, checks every invariant, and returns all effects.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.cluster.step(self.now, input, &mut effects);
        self.cluster.settle(self.now, &mut effects);
        for effect in &effects {
            if let Effect::Save(change) = effect {
                self.saved.apply(change.clone()).expect("a legal change");
            }
        }
        self.check();
        effects
    }

    fn check(&self) {
        if let Err(broken) = invariant::check(&self.cluster) {
            panic!("invariant broken: {broken}\n{:#?}", self.cluster);
        }
    }

    /// Moves both clocks, firing the timer whenever the core asked for it.
    pub fn pass(&mut self, time: Duration) -> Vec<Effect> {
        let end = self.now.boot + time;
        let mut effects = Vec::new();
        while let Some(wake) = self.cluster.next_wake().filter(|wake| *wake <= end) {
            self.set_boot(wake.max(self.now.boot));
            effects.extend(self.step(Input::TimerFired));
        }
        self.set_boot(end);
        effects
    }

    fn set_boot(&mut self, boot: BootTime) {
        self.now.wall.0 += boot.since(self.now.boot).as_millis() as i64;
        self.now.boot = boot;
    }

    /// A submission of `count` elements with `cores` CPUs each.
    pub fn submission(&mut self, cores: u64, count: u32) -> Submission {
        self.next_task += 1;
        Submission {
            id: TaskId(Ulid(self.next_task)),
            user: "ada".parse().expect("a name"),
            spec: Arc::new(spec(cores)),
            array: (count > 1).then(|| Arc::new(Array::of(count))),
            retry_of: None,
            key: None,
        }
    }

    /// Submits, expecting success.
    pub fn submit(&mut self, cores: u64, count: u32) -> (TaskId, Vec<Effect>) {
        let submission = self.submission(cores, count);
        self.submit_this(submission)
    }

    /// Submits, expecting success.
    pub fn submit_this(&mut self, submission: Submission) -> (TaskId, Vec<Effect>) {
        let id = submission.id;
        let (answer, effects) = self.ask(|request| Input::SubmitTask { request, submission, known: None });
        answer.expect("accepted");
        (id, effects)
    }

    /// Steps an input that wants an answer, and returns the answer and all effects.
    pub fn ask(&mut self, input: impl FnOnce(RequestId) -> Input) -> (Result<Answer, Reject>, Vec<Effect>) {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let effects = self.step(input(request));
        let answer = effects.iter().find_map(|effect| match effect {
            Effect::Reply(to, answer) if *to == request => Some(answer.clone()),
            _ => None,
        });
        (answer.expect("every request is answered in its own batch"), effects)
    }

    /// Cancels.
    pub fn cancel(&mut self, task: TaskRef) -> (Result<Answer, Reject>, Vec<Effect>) {
        self.ask(|request| Input::CancelTask { request, task, force: false })
    }

    /// Cancels without waiting for the worker.
    pub fn force_cancel(&mut self, task: TaskRef) -> (Result<Answer, Reject>, Vec<Effect>) {
        self.ask(|request| Input::CancelTask { request, task, force: true })
    }

    /// What proves that a worker is the one of this name; it joins first, if it has not yet.
    pub fn admit(&mut self, name: &str) -> Proof {
        let worker: WorkerId = name.parse().expect("a name");
        let known = self.cluster.admissions().find(|(id, _)| **id == worker).map(|(_, admission)| admission.clone());
        match known {
            Some(Admission::Certificate(identity)) => Proof::Certificate(identity.id),
            Some(Admission::Dialed(address)) => Proof::Dialed(address),
            Some(Admission::None) | None => self.join(name),
        }
    }

    /// A worker joins with a token for it.
    pub fn join(&mut self, name: &str) -> Proof {
        let worker: WorkerId = name.parse().expect("a name");
        let token = self.join_token(Some(worker.clone()), 1);
        self.next_token += 1;
        let identity = IdentityId(self.next_token as u64);
        let joining = Joining { token: token.id, digest: token.digest, worker, key: [1; 32], identity };
        let (answer, _) = self.ask(|request| Input::JoinWorker { request, joining });
        assert!(matches!(answer, Ok(Answer::Joined(_))), "{answer:?}");
        Proof::Certificate(identity)
    }

    /// An admin makes a join token that is good for 15 minutes.
    pub fn join_token(&mut self, name: Option<WorkerId>, uses: u32) -> JoinTokenRecord {
        self.next_token += 1;
        let token = JoinTokenRecord {
            id: TokenId(Ulid(self.next_token)),
            digest: [7; 32],
            name,
            pool: None,
            uses_left: uses,
            created_by: "ada".parse().expect("a name"),
            created_at: self.now.wall,
            expires_at: self.now.wall + Duration::from_secs(900),
        };
        let change = JoinTokenChange::Create(token.clone());
        let (answer, _) = self.ask(|request| Input::ChangeJoinToken { request, change });
        answer.expect("made");
        token
    }

    /// What a worker with `cores` CPUs has: of memory and disk more than anything asks for.
    #[must_use]
    pub fn capacity(cores: u64) -> Resources {
        Resources { cpu_millis: cores * 1000, memory_bytes: 1024 * GIB, storage_bytes: 1024 * GIB, gpu_millis: 0 }
    }

    /// A worker with `cores` CPUs connects, holding `inventory`.
    pub fn connect(&mut self, name: &str, cores: u64, inventory: Vec<Held>) -> (Link, Vec<Effect>) {
        self.connect_with(name, Self::capacity(cores), inventory)
    }

    /// A worker that has this much connects, holding `inventory`.
    pub fn connect_with(&mut self, name: &str, capacity: Resources, inventory: Vec<Held>) -> (Link, Vec<Effect>) {
        let facts = WorkerFacts { capacity, features: Features::ALL, ..WorkerFacts::default() };
        self.connect_as(name, facts, inventory)
    }

    /// A worker that is this connects, holding `inventory`.
    pub fn connect_as(&mut self, name: &str, facts: WorkerFacts, inventory: Vec<Held>) -> (Link, Vec<Effect>) {
        self.next_session += 1;
        let session = SessionId(self.next_session);
        let worker: WorkerId = name.parse().expect("a name");
        let hello = Hello {
            worker: worker.clone(),
            protocol: PROTOCOL,
            facts,
            incarnation: "one".into(),
            inventory,
            problem: None,
            ill_gpus: Vec::new(),
        };
        let proof = self.admit(name);
        let effects = self.step(Input::WorkerConnected { session, proof, hello });
        (Link { worker, session }, effects)
    }

    /// The worker's connection ends.
    pub fn disconnect(&mut self, link: &Link) -> Vec<Effect> {
        self.step(Input::WorkerDisconnected { worker: link.worker.clone(), session: link.session })
    }

    /// A heartbeat arrives now.
    pub fn heard(&mut self, link: &Link) -> Vec<Effect> {
        let Link { worker, session } = link.clone();
        self.step(Input::WorkerHeard { worker, session, at: self.now.boot, heartbeat: None })
    }

    /// The worker reports one change.
    pub fn report(&mut self, link: &Link, key: AttemptKey, change: AttemptChange) -> Vec<Effect> {
        let Link { worker, session } = link.clone();
        self.step(Input::WorkerReported { worker, session, reports: vec![Report { sequence: 1, key, change }] })
    }

    /// The worker reports that the container runs.
    pub fn started(&mut self, link: &Link, key: AttemptKey) -> Vec<Effect> {
        let change = AttemptChange::Started { at: self.now.wall, container: "c".into(), image: None };
        self.report(link, key, change)
    }

    /// The worker reports the end.
    pub fn finished(&mut self, link: &Link, key: AttemptKey, verdict: Verdict) -> Vec<Effect> {
        let change = AttemptChange::Finished(self.outcome(verdict));
        self.report(link, key, change)
    }

    /// An outcome with nothing to say but its verdict.
    #[must_use]
    pub fn outcome(&self, verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            started_at: Some(self.now.wall),
            finished_at: self.now.wall,
            stdout_bytes: 0,
            stderr_bytes: 0,
            output_files: 0,
            output_bytes: Some(0),
            output_notes: Vec::new(),
            usage: None,
            handed_back: false,
            perhaps_stopped: false,
        }
    }
}

/// A worker's connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Which worker.
    pub worker: WorkerId,
    /// Which connection.
    pub session: SessionId,
}

/// A specification that asks for whole cores and little else.
#[must_use]
pub fn spec(cores: u64) -> TaskSpec {
    TaskSpec {
        name: None,
        image: "busybox".into(),
        command: Default::default(),
        resources: Resources { cpu_millis: cores * 1000, memory_bytes: GIB, storage_bytes: 0, gpu_millis: 0 },
        env: Default::default(),
        labels: Default::default(),
        worker: None,
        worker_labels: Default::default(),
        input: None,
        policy: Default::default(),
        pull: Default::default(),
        confinement: Default::default(),
    }
}

/// The assignments among the effects, with the session that each goes to.
#[must_use]
pub fn assigned(effects: &[Effect]) -> Vec<(SessionId, Assignment)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(session, ToWorker::Assign(orders)) => Some((*session, orders.clone())),
        _ => None,
    });
    sent.flat_map(|(session, orders)| orders.into_iter().map(move |order| (session, order))).collect()
}
