//! Records to fill a store with. Numbers make them differ; the same number makes the same record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::account::{TokenRecord, UserRecord};
use cloudaid_core::admission::{Admission, Identity, IdentityId, JoinTokenRecord, PendingRecord};
use cloudaid_core::files::{FileUsage, InputFile, InputRecord};
use cloudaid_core::guesses::{GuessCount, GuessKey};
use cloudaid_core::login::{LoginKind, LoginRecord};
use cloudaid_core::record::{
    AttemptRecord, Change, ClusterRecord, FileRecord, IdempotencyKey, Progress, ResultRecord, Snapshot, TaskRecord,
    WorkerRecord,
};
use cloudaid_core::registry::RegistryRecord;
use shared::array::Array;
use shared::audit::{AuditEntry, FIRST};
use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::feature::Features;
use shared::gpu::{Gpu, GpuLease};
use shared::id::{
    AttemptKey, BlobId, ClusterId, ElementId, Epoch, Fence, InputId, LoginId, TaskId, TokenId, UserName, WorkerId,
};
use shared::link::{ContainerUsage, Outcome};
use shared::policy::{Backoff, RetryOn, RunPolicy};
use shared::pull::PullPolicy;
use shared::ranges::RangeSet;
use shared::resources::Resources;
use shared::role::Role;
use shared::selector::WorkerSelector;
use shared::span::Span;
use shared::task::{AttemptState, Command, TaskSpec, Verdict};
use shared::time::WallTime;
use shared::view::Tally;
use shared::worker::{Cordon, WorkerFacts};

use crate::store::{Position, Store};

/// A fixed time, `seconds` later.
#[must_use]
pub fn time(seconds: u64) -> WallTime {
    WallTime(1_700_000_000_123 + 1000 * i64::try_from(seconds).expect("a small number"))
}

/// The id of submission `number`. Ids do not sort as numbers do, because no store may count on that.
#[must_use]
pub fn task_id(number: u64) -> TaskId {
    TaskId((u128::from(number.reverse_bits()) << 32).into())
}

/// A user's name.
#[must_use]
pub fn user_name(name: &str) -> UserName {
    name.parse().expect("a user name")
}

/// A worker's name.
#[must_use]
pub fn worker_id(name: &str) -> WorkerId {
    name.parse().expect("a worker name")
}

/// What a task asks of the labels of its worker.
#[must_use]
pub fn worker_labels(wishes: &[&str]) -> WorkerSelector {
    WorkerSelector::new(wishes.iter().map(|wish| wish.parse().expect("a wish")).collect()).expect("wishes")
}

/// A specification.
#[must_use]
pub fn spec() -> TaskSpec {
    TaskSpec {
        name: Some("train".into()),
        image: "docker.io/library/busybox:latest".into(),
        command: Command::Shell("echo hello".into()),
        resources: Resources::TASK_DEFAULT,
        env: BTreeMap::from([("SEED".into(), "42".into())]),
        labels: BTreeMap::from([("project".into(), "apollo".into())]),
        worker: None,
        worker_labels: worker_labels(&["disk=ssd", "gpu", "zone!=b"]),
        input: None,
        pull: PullPolicy::Always,
        confinement: Confinement { profile: Profile::Strict, network: NetworkAccess::Public },
        policy: RunPolicy {
            time_limit: Some(Span::seconds(5_400)),
            queue_time_limit: Some(Span(Duration::from_millis(1_500))),
            stop_grace: Some(Span::default()),
            retries: 2,
            retry_on: vec![RetryOn::Oom, RetryOn::Exit(Some(137))],
            backoff: Some(Backoff::DEFAULT),
            memory_max_bytes: Some(8 << 30),
            at_most_once: true,
            blocking_log: true,
            storage_reserved: true,
        },
    }
}

/// The plain submission `number` of `ada`: its sequence is the number.
#[must_use]
pub fn task(number: u64) -> Arc<TaskRecord> {
    task_with(number, |_| ())
}

/// The same, changed.
#[must_use]
pub fn task_with(number: u64, change: impl FnOnce(&mut TaskRecord)) -> Arc<TaskRecord> {
    let mut task = TaskRecord {
        id: task_id(number),
        sequence: number,
        user: user_name("ada"),
        spec: Arc::new(spec()),
        array: None,
        retry_of: None,
        key: None,
        submitted_at: time(number),
    };
    change(&mut task);
    Arc::new(task)
}

/// Makes a submission an array of `count` elements.
pub fn array(count: u32) -> impl FnOnce(&mut TaskRecord) {
    move |task| task.array = Some(Arc::new(Array::of(count)))
}

/// An idempotency key.
#[must_use]
pub fn key(key: &str) -> IdempotencyKey {
    IdempotencyKey { key: key.into(), digest: [7; 16] }
}

/// A submission of which all `count` elements wait.
#[must_use]
pub fn queued(count: u32) -> Progress {
    Progress::untouched(RangeSet::first(count))
}

/// A submission of which all `count` elements run.
#[must_use]
pub fn running(count: u32) -> Progress {
    let tally = Tally { running: count, ..Tally::default() };
    Progress { tally, started_at: Some(time(1)), ..Progress::default() }
}

/// A submission of which all `count` elements ended well.
#[must_use]
pub fn completed(count: u32) -> Progress {
    let tally = Tally { completed: count, ..Tally::default() };
    let ended = BTreeMap::from([(Verdict::Success.kind(), RangeSet::first(count))]);
    let (started_at, finished_at) = (Some(time(1)), Some(time(2)));
    Progress { tally, ended, started_at, finished_at, ..Progress::default() }
}

/// A run that was just placed.
#[must_use]
pub fn attempt(task: u64, index: u32, attempt: u32, worker: &str) -> AttemptRecord {
    let fence = Fence::new(Epoch(3), attempt);
    AttemptRecord {
        key: AttemptKey { task: task_id(task), index, attempt, fence },
        worker: worker_id(worker),
        state: AttemptState::Pending,
        verdict: None,
        infrastructure_failures: attempt - 1,
        memory: (attempt > 1).then_some(u64::from(attempt) << 30),
        gpus: if attempt > 1 { vec![GpuLease { uuid: "GPU-1".into(), millis: 500 }] } else { vec![] },
        confinement: (attempt > 1).then_some(Confinement { profile: Profile::Strict, network: NetworkAccess::None }),
        notes: vec![],
        placed_at: time(u64::from(attempt)),
        started_at: None,
        finished_at: None,
    }
}

/// The run, started.
#[must_use]
pub fn started(attempt: AttemptRecord) -> AttemptRecord {
    AttemptRecord { state: AttemptState::Running, started_at: Some(time(5)), ..attempt }
}

/// The run, ended with exit code 3.
#[must_use]
pub fn ended(attempt: AttemptRecord) -> AttemptRecord {
    let verdict = Some(Verdict::ExitCode { exit_code: 3 });
    let notes = vec!["the log may lack its end".into()];
    AttemptRecord { state: AttemptState::Ended, verdict, notes, finished_at: Some(time(9)), ..started(attempt) }
}

/// The end of an element, after one run.
#[must_use]
pub fn result(task: u64, index: u32, verdict: Verdict) -> ResultRecord {
    let outcome = Outcome {
        verdict: verdict.clone(),
        started_at: Some(time(5)),
        finished_at: time(9),
        stdout_bytes: 12,
        stderr_bytes: 0,
        output_files: 1,
        output_bytes: Some(1 << 40),
        output_notes: vec!["link: not followed".into()],
        usage: Some(ContainerUsage { cpu_ms: 7, memory_peak_bytes: 4096, oom_kills: 1, forks_refused: 2 }),
        handed_back: true,
        perhaps_stopped: true,
    };
    ResultRecord {
        element: ElementId { task: task_id(task), index },
        verdict,
        attempt: 1,
        worker: Some(worker_id("w1")),
        started_at: Some(time(5)),
        finished_at: time(9),
        outcome: Some(outcome),
    }
}

/// Every other one is taken out of use.
fn cordon(number: u64) -> Option<Cordon> {
    number.is_multiple_of(2).then(|| Cordon {
        since: time(number),
        by: "ada".parse().expect("a name"),
        reason: Some("a fan is loud".into()),
        draining: true,
        deadline: Some(time(number + 1)),
    })
}

/// A worker, last seen at `seen`.
#[must_use]
pub fn worker(name: &str, seen: u64) -> WorkerRecord {
    let labels = Arc::new(BTreeMap::from([("zone".into(), "a".into())]));
    let facts = WorkerFacts {
        address: "10.0.0.7".into(),
        version: "0.1.0".into(),
        boot_id: "b".into(),
        capacity: Resources::TASK_DEFAULT,
        gpus: vec![Gpu { uuid: "GPU-1".into(), name: "H".into(), millis: 1000, memory_bytes: 80 << 30, parent: None }],
        labels,
        features: Features::ALL,
    };
    let admission = Admission::Certificate(Identity {
        id: IdentityId(seen << 40),
        pool: Some("gpu".into()),
        token: TokenId(u128::from(seen).into()),
        key: [200; 32],
        joined_at: time(0),
    });
    WorkerRecord {
        id: worker_id(name),
        admission,
        facts,
        registered_at: time(0),
        seen_at: time(seen),
        cordon: cordon(seen),
    }
}

/// A join token, for one name only if its number is even.
#[must_use]
pub fn join_token(number: u64) -> JoinTokenRecord {
    JoinTokenRecord {
        id: TokenId(u128::from(number).into()),
        digest: [9; 32],
        name: number.is_multiple_of(2).then(|| worker_id("w1")),
        pool: None,
        uses_left: 3,
        created_by: user_name("ada"),
        created_at: time(0),
        expires_at: time(900),
    }
}

/// A registry.
#[must_use]
pub fn registry(name: &str, sealed: u8) -> RegistryRecord {
    RegistryRecord {
        registry: name.parse().expect("a name"),
        username: "ann".into(),
        sealed: format!("{sealed:02x}00ff"),
        changed_by: user_name("ada"),
        changed_at: time(3),
    }
}

/// A worker that waits to be let in.
#[must_use]
pub fn pending(name: &str) -> PendingRecord {
    let address = "10.0.0.9:50052".parse().expect("an address");
    PendingRecord { worker: worker_id(name), address, capacity: Resources::TASK_DEFAULT, since: time(1) }
}

/// An account.
#[must_use]
pub fn user(name: &str, role: Role) -> UserRecord {
    let password_hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA".into();
    UserRecord { name: user_name(name), password_hash, role, created_at: time(0), disabled: role == Role::ReadOnly }
}

/// A personal token; the odd ones were used.
#[must_use]
pub fn token(number: u64, user: &str) -> TokenRecord {
    TokenRecord {
        id: TokenId(u128::from(number).into()),
        user: user_name(user),
        name: format!("script {number}"),
        digest: [u8::try_from(number % 251).expect("small"); 32],
        role: Role::ReadOnly,
        created_at: time(0),
        expires_at: time(90),
        used_at: (number % 2 == 1).then(|| time(number)),
    }
}

/// A login; the odd ones come from a known place, and each third one is of a browser.
#[must_use]
pub fn login(number: u32, user: &str) -> LoginRecord {
    LoginRecord {
        id: LoginId(u128::from(number).into()),
        user: user_name(user),
        kind: [LoginKind::Browser, LoginKind::Tool, LoginKind::Local][number as usize % 3],
        address: (number % 2 == 1).then(|| "2001:db8::".parse().expect("an address")),
        serial: number,
        created_at: time(0),
        renewed_at: time(u64::from(number)),
    }
}

/// Wrong passwords for a name, with and without a known place.
#[must_use]
pub fn guesses(name: &str, place: Option<&str>, failures: u32) -> (GuessKey, GuessCount) {
    let place = place.map(|place| place.parse().expect("an address"));
    (GuessKey { name: user_name(name), place }, GuessCount { failures, blocked_until: time(u64::from(failures)) })
}

/// An entry of the audit log, behind those with smaller numbers. The odd ones are of `ada`, the even ones of nobody.
#[must_use]
pub fn audit(sequence: u64) -> AuditEntry {
    let before = if sequence == 1 { FIRST } else { audit(sequence - 1).seal };
    let mut entry = AuditEntry {
        sequence,
        at: time(sequence),
        user: (sequence % 2 == 1).then(|| user_name("ada")),
        via: "login".into(),
        address: (sequence % 2 == 1).then(|| "2001:db8::7".parse().expect("an address")),
        request_id: format!("r{sequence}"),
        action: "POST /api/tasks".into(),
        object: "odd: \u{1b} '\"".into(),
        outcome: "done".into(),
        seal: FIRST,
    };
    entry.seal = entry.sealed(before);
    entry
}

/// The cluster at its `epoch`-th start.
#[must_use]
pub fn cluster(epoch: u32) -> ClusterRecord {
    ClusterRecord { cluster: ClusterId(7u128.into()), epoch: Epoch(epoch) }
}

/// An output file.
#[must_use]
pub fn file(path: &[u8], size: u64) -> FileRecord {
    // Earlier versions had no blobs.
    let blob = (size % 2 == 1).then(|| BlobId(u128::from(size).into()));
    FileRecord { path: path.to_vec(), size, blake3: [u8::try_from(size % 251).expect("small"); 32], blob, start: None }
}

/// The input `number` of somebody, of which so many files are missing.
#[must_use]
pub fn input(number: u64, user: &str, missing: u64) -> InputRecord {
    let size = FileUsage { bytes: 4, files: 2 };
    let (created_at, used_at) = (time(number), time(number + 1));
    InputRecord { id: InputId(u128::from(number).into()), user: user_name(user), size, missing, created_at, used_at }
}

/// A file of an input.
#[must_use]
pub fn input_file(path: &[u8], size: u64, has_arrived: bool) -> InputFile {
    let blob = BlobId(u128::from(size).into());
    let blake3 = has_arrived.then_some([7; 32]);
    InputFile { path: path.to_vec(), size, executable: size == 3, blob, blake3 }
}

/// Commits at the position that the store is at.
pub async fn commit(store: &dyn Store, changes: Vec<Change>) -> Position {
    let (_, position) = load(store).await;
    store.commit(changes, position).await.expect("a commit at the right position")
}

/// Loads, with what has no order in order.
pub async fn load(store: &dyn Store) -> (Snapshot, Position) {
    let (mut snapshot, position) = store.load().await.expect("a load");
    snapshot.tokens.sort_by_key(|token| token.id);
    snapshot.logins.sort_by_key(|login| login.id);
    snapshot.guesses.sort_by(|(a, _), (b, _)| a.cmp(b));
    snapshot.users.sort_by(|a, b| a.name.cmp(&b.name));
    snapshot.workers.sort_by(|a, b| a.id.cmp(&b.id));
    snapshot.join_tokens.sort_by_key(|token| token.id);
    snapshot.pending.sort_by(|a, b| a.worker.cmp(&b.worker));
    snapshot.registries.sort_by(|a, b| a.registry.cmp(&b.registry));
    snapshot.attempts.sort_by_key(|attempt| attempt.key);
    (snapshot, position)
}
