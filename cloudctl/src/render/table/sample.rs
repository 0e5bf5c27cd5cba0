//! Views to try the renderers on.

mod items;

use std::collections::BTreeMap;

use shared::confinement::Confinement;
use shared::gpu::GpuLease;
use shared::policy::RunPolicy;
use shared::pull::{PullFailure, PullPolicy, PullProgress};
use shared::resources::{GIB, Resources};
use shared::task::{AttemptState, Command, TaskState, Verdict};
use shared::time::WallTime;
use shared::view::{
    AttemptView, FileListView, FileView, QueueView, QueuedView, StatusView, StoreState, Tally, TaskCounts,
    TaskUsageView, TaskView, TimelineView, WorkerListView, WorkerView,
};
use shared::worker::{Usage, WorkerProtocol, WorkerState};

pub(crate) use items::{all_items, input, internal_state};
pub(super) use items::{gpu, pulling, worker_labels};

const TASK: &str = "task-01arz3ndektsv4rrffq69g5fav";
const SUBMITTED: WallTime = WallTime(1_700_000_000_000);
/// Two hours after everything.
pub(crate) const NOW: WallTime = WallTime(SUBMITTED.0 + 2 * 3_600_000 + 1_000);

/// A task that ended with exit code 3.
pub(crate) fn task() -> TaskView {
    let (started, finished) = (WallTime(SUBMITTED.0 + 1_500), WallTime(SUBMITTED.0 + 6_000));
    let verdict = Some(Verdict::ExitCode { exit_code: 3 });
    let attempt = AttemptView {
        attempt: 1,
        worker_id: "worker-1".parse().expect("a name"),
        state: AttemptState::Ended,
        verdict: verdict.clone(),
        memory_bytes: Some(16 << 30),
        pulling: Some(pull()),
        notes: vec!["link\x1b was not collected".into()],
        gpus: vec![GpuLease { uuid: "GPU-1".into(), millis: 500 }],
        placed_at: SUBMITTED,
        started_at: Some(started),
        finished_at: Some(finished),
    };
    TaskView {
        task_id: TASK.into(),
        name: Some("sample".into()),
        state: TaskState::Failed,
        exit_code: Some(3),
        verdict,
        worker_id: Some(attempt.worker_id.clone()),
        timeline: vec![TimelineView {
            at: started,
            event: "started".into(),
            attempt: Some(1),
            worker_id: Some(attempt.worker_id.clone()),
            verdict: attempt.verdict.clone(),
        }],
        usage: Some(TaskUsageView {
            run_ms: Some(4_500),
            stdout_bytes: 12,
            stderr_bytes: 0,
            output_files: 1,
            output_bytes: Some(1536),
            cpu_ms: Some(1_234),
            memory_peak_bytes: Some(12 << 20),
            oom_kills: Some(1),
            forks_refused: Some(20),
        }),
        attempts: vec![attempt],
        submitted_at: SUBMITTED,
        started_at: Some(started),
        finished_at: Some(finished),
        user: "alice".parse().expect("a name"),
        image: "alpine:3.20".into(),
        command: Command::Argv(["sh", "-c", "exit 3"].map(str::to_owned).to_vec()),
        resources: Resources::TASK_DEFAULT,
        labels: BTreeMap::new(),
        dispatched_to: None,
        worker_labels: Default::default(),
        input: None,
        count: 1,
        array: None,
        elements: None,
        groups: vec![],
        retry_of: None,
        cancelling: false,
        unreachable: false,
        policy: RunPolicy::default(),
        pinned_image: None,
        pull: PullPolicy::Missing,
        confinement: Confinement::default(),
        output_notes: vec!["link\x1b was not collected".into()],
    }
}

/// Half of an image, which was not given at once.
fn pull() -> PullProgress {
    let failure = Some(PullFailure { message: "toomanyrequests".into(), tries: 3 });
    PullProgress { done_bytes: 1 << 30, total_bytes: 2 << 30, failure }
}

/// Ten elements, of which seven have ended.
pub(crate) fn tally() -> Tally {
    Tally { running: 3, completed: 5, failed: 2, ..Tally::default() }
}

/// One file.
pub(crate) fn files(path: &str) -> FileListView {
    let file =
        FileView { path: path.into(), path_hex: None, size: 1536, blake3: "ab".repeat(32), index: 0, attempt: 1 };
    FileListView { task_id: TASK.into(), files: vec![file] }
}

/// One row, and as many waiting elements; three are in the row.
pub(crate) fn queue(waiting: u64) -> QueueView {
    let row = QueuedView {
        position: 1,
        task_id: TASK.into(),
        name: None,
        user: "alice".parse().expect("a name"),
        waiting: 3,
        resources: Resources::TASK_DEFAULT,
        submitted_at: SUBMITTED,
        reason: "2 workers lack 1 CPU".into(),
    };
    QueueView { waiting, tasks: if waiting == 0 { vec![] } else { vec![row] } }
}

/// A cluster of two.
pub(crate) fn status() -> StatusView {
    StatusView {
        version: "0.1.0".into(),
        cluster_id: "01arz3ndektsv4rrffq69g5fav".into(),
        epoch: 1,
        total_workers: 2,
        active_workers: 2,
        tasks: TaskCounts { queued: 3, pending: 0, running: 1, completed: 7, failed: 1, cancelled: 0 },
        capacity: resources(12, 24, 0),
        allocated: Resources::TASK_DEFAULT,
        store: "sqlite".into(),
        store_state: StoreState::Ok,
        draining: false,
        started_at: SUBMITTED,
    }
}

/// One that works and one that is gone.
pub(crate) fn workers() -> WorkerListView {
    let active = WorkerView {
        worker_id: "worker-1".parse().expect("a name"),
        state: WorkerState::Active,
        protocol: WorkerProtocol::Session,
        address: "192.168.1.100".into(),
        version: "0.1.0".into(),
        capacity: resources(4, 8, 0),
        allocated: Resources::TASK_DEFAULT,
        usage: Some(Usage { cpu_percent: 45.0, memory_used_bytes: 3 * GIB / 2, ..Usage::default() }),
        problem: None,
        cordon: None,
        running_tasks: vec![format!("{TASK}.0")],
        last_heartbeat: Some(WallTime(NOW.0 - 3_000)),
        registered_at: SUBMITTED,
        labels: BTreeMap::new(),
        gpus: vec![],
        pulling: vec![],
    };
    let gone = WorkerView {
        worker_id: "worker-2".parse().expect("a name"),
        state: WorkerState::Inactive,
        protocol: WorkerProtocol::Session,
        address: "evil\x1b[2J".into(),
        capacity: resources(8, 16, 1),
        allocated: Resources::default(),
        usage: None,
        running_tasks: vec![],
        last_heartbeat: None,
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        ..active.clone()
    };
    WorkerListView { workers: vec![active, gone] }
}

fn resources(cores: u64, memory_gib: u64, gpus: u64) -> Resources {
    Resources { cpu_millis: cores * 1000, memory_bytes: memory_gib * GIB, storage_bytes: 0, gpu_millis: gpus * 1000 }
}
