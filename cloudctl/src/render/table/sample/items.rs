//! An item of every kind, with every field it can have.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use shared::audit::AuditEntry;
use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::error::{ApiError, ErrorBody, ErrorCode};
use shared::gpu::Gpu;
use shared::id::InputId;
use shared::policy::{Backoff, RetryOn, RunPolicy};
use shared::pull::{PullPolicy, Pulling};
use shared::ranges::RangeSet;
use shared::resources::Resources;
use shared::role::Role;
use shared::selector::WorkerSelector;
use shared::span::Span;
use shared::task::{Command, StoredPart, TaskSpec, TaskState, Verdict, VerdictKind};
use shared::view::{
    AuthorityView, CancelView, ClassView, DeletedFilesView, DryRunView, ElementGroupView, FileView, Fit, FitView,
    GpuView, InputFileView, InputSummaryView, InputView, InternalStateView, InviteView, KeysView, LeaseView,
    LedgerRunView, LedgerView, LinkView, NewTokenView, NewWorkerTokenView, OpenTaskView, PendingWorkerView, ReasonView,
    RegistryView, RepairStatus, RepairView, RunView, SchedulerView, SettingsView, ShutdownView, SubmitLineResult,
    SubmitLineView, SubmitView, TaskView, TokenView, UserFileView, UserView, WhyView, WorkerRepairView,
    WorkerTokenView, WorkerView,
};
use shared::worker::Cordon;

use super::{SUBMITTED, TASK, files, pull, queue, status, tally, task, workers};
use crate::help::exit_codes;
use crate::render::log::LogLineView;
use crate::render::{
    ContextView, DeletedFiles, DeletedView, DownloadedFile, DownloadedView, FailedFile, LoggedInView, LoggedOutView,
    RevokedView, ServerVersionView, StatsView, UnregisteredView, VerifiedView, VersionView, WhoAmIView,
};

/// Items, each with its kind in `cloudctl help json`.
pub(crate) fn all_items() -> Vec<(&'static str, Value)> {
    let mut items = Vec::new();
    let mut add = |kind: &'static str, item: Value| items.push((kind, item));
    for verdict in [
        Verdict::Signal { signal: 9, by_hand: true },
        Verdict::Oom {
            limit_bytes: 1,
            peak_bytes: Some(1),
            exit_code: Some(3),
            killed_process: Some("tail".into()),
            killed_process_bytes: Some(1),
        },
        Verdict::Timeout { limit_seconds: 1, exit_code: Some(137) },
        Verdict::Disk {
            limit_bytes: 1,
            used_bytes: Some(2),
            largest: vec![StoredPart { path: "/output/f".into(), bytes: 1 }],
        },
        Verdict::QueueTimeout { limit_seconds: 1 },
        Verdict::Image { message: "m".into() },
    ] {
        add("verdict", json(&verdict));
    }
    add("task", json(&task()));
    add("task", json(&whole_task()));
    add("submit", json(&submit()));
    let error = ApiError::new(ErrorCode::InvalidArgument, "m", "h");
    for result in [SubmitLineResult::Accepted(submit()), SubmitLineResult::Refused(ErrorBody { error })] {
        add("submit-line", json(&SubmitLineView { line: 1, result }));
    }
    add("dry-run", json(&dry_run()));
    add("cancel", json(&CancelView { task_id: TASK.into(), state: TaskState::Running, cancelling: true }));
    add("why", json(&why()));
    add("log-line", json(&LogLineView::sample()));
    add("file", json(&file()));
    add("user-file", json(&UserFileView { task_id: TASK.into(), file: file() }));
    add("download", json(&download()));
    add("status", json(&status()));
    add("worker", json(&worker()));
    add("stats", json(&StatsView { worker: worker(), tasks: vec![task()] }));
    add("queued", json(&queue(3).tasks[0]));
    add("repair", json(&repair()));
    add("internal-state", json(&internal_state()));
    add("shutdown", json(&ShutdownView { live_attempts: 1, draining: true }));
    let (server, name) = (|| "http://h".to_owned(), || "ann".to_owned());
    add("login", json(&LoggedInView { context: name(), server: server(), username: name(), expires_at: SUBMITTED }));
    let (invite, username, role) = (name(), "ann".parse().expect("a name"), Role::User);
    add("keys", json(&KeysView { key_id: "5c1f".into(), previous_key_id: Some("09ab".into()) }));
    add("invite", json(&InviteView { invite, username, role, expires_at: SUBMITTED }));
    let view = |used_at| TokenView {
        token_id: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
        name: "n".into(),
        username: "ann".parse().expect("a name"),
        role: Role::User,
        created_at: SUBMITTED,
        expires_at: SUBMITTED,
        used_at,
    };
    add("token", json(&view(Some(SUBMITTED))));
    add("token", json(&view(None)));
    add("new-token", json(&NewTokenView { token: "t".into(), view: view(None) }));
    let (fingerprint, retired) = ("sha256:00".to_owned(), Some("sha256:11".to_owned()));
    add("authority", json(&AuthorityView { fingerprint, expires_at: SUBMITTED, retired }));
    add("registry", json(&registry()));
    add("worker-token", json(&worker_token()));
    let (token, master) = ("t".to_owned(), "h:50051".to_owned());
    add("new-worker-token", json(&NewWorkerTokenView { token, master, view: worker_token() }));
    add("pending-worker", json(&pending_worker()));
    add("unregistered", json(&UnregisteredView { unregistered: vec!["worker-1".parse().expect("a name")] }));
    add("audit", json(&audit_entry()));
    add("verified", json(&VerifiedView { entries: 7, seal: "00".into() }));
    add("deleted", json(&DeletedView { deleted: vec![TASK.into()] }));
    add("revoked", json(&RevokedView { revoked: vec!["t".into()] }));
    add("logout", json(&LoggedOutView { contexts: vec![name()] }));
    let (username, context, expires_at) = ("ann".parse().expect("a name"), Some(name()), Some(SUBMITTED));
    add("whoami", json(&WhoAmIView { username, role: Role::Admin, server: server(), context, expires_at }));
    let username = Some(name());
    let (fingerprint, trust) = (Some("sha256:00".into()), "fingerprint");
    add("context", json(&ContextView { username, fingerprint, trust, expires_at, ..local(name(), server()) }));
    let master = ServerVersionView { url: server(), version: "0.1.0".into(), compatible: true };
    add("input", json(&input()));
    add("input-summary", json(&input().input));
    add("deleted-files", json(&deleted_files()));
    add("version", json(&VersionView { version: "0.1.0", output_version: 1, server: Some(master) }));
    for code in exit_codes() {
        add("exit-code", json(&code));
    }
    items
}

fn registry() -> RegistryView {
    RegistryView {
        registry: "ghcr.io".parse().expect("a name"),
        username: "robot".into(),
        changed_by: "ann".parse().expect("a name"),
        changed_at: SUBMITTED,
    }
}

fn worker_token() -> WorkerTokenView {
    WorkerTokenView {
        token_id: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
        name: Some("worker-1".parse().expect("a name")),
        pool: Some("gpu".into()),
        uses_left: 1,
        created_by: "ann".parse().expect("a name"),
        created_at: SUBMITTED,
        expires_at: SUBMITTED,
    }
}

fn pending_worker() -> PendingWorkerView {
    PendingWorkerView {
        worker_id: "worker-1".parse().expect("a name"),
        address: "10.0.0.1:50052".into(),
        capacity: Resources::TASK_DEFAULT,
        since: SUBMITTED,
    }
}

fn local(name: String, server: String) -> ContextView {
    ContextView {
        name,
        current: true,
        server,
        username: None,
        trust: "none",
        fingerprint: None,
        logged_in: true,
        expires_at: None,
    }
}

fn audit_entry() -> AuditEntry {
    AuditEntry {
        sequence: 7,
        at: SUBMITTED,
        user: Some("ann".parse().expect("a name")),
        via: "login".into(),
        address: Some([127, 0, 0, 1].into()),
        request_id: "r".into(),
        action: "POST /api/tasks".into(),
        object: TASK.into(),
        outcome: "done".into(),
        seal: shared::audit::FIRST,
    }
}

fn json(item: &impl Serialize) -> Value {
    serde_json::to_value(item).expect("json")
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("a".to_owned(), "b".to_owned())])
}

/// One of each kind.
pub(in crate::render::table) fn worker_labels() -> WorkerSelector {
    let wishes = ["disk=ssd", "gpu", "zone!=b"].iter().map(|wish| wish.parse().expect("a wish"));
    WorkerSelector::new(wishes.collect()).expect("wishes")
}

fn whole_task() -> TaskView {
    let worker = || "worker-1".parse().expect("a name");
    let verdict = Some(Verdict::Success);
    TaskView {
        labels: labels(),
        dispatched_to: Some(worker()),
        worker_labels: worker_labels(),
        input: Some(input_id()),
        array: Some("0-9".into()),
        elements: Some(tally()),
        groups: vec![ElementGroupView::of(&RangeSet::first(3), TaskState::Completed, verdict, Some(worker()))],
        retry_of: Some(TASK.into()),
        cancelling: true,
        unreachable: true,
        policy: policy(),
        pinned_image: Some("a@sha256:0".into()),
        pull: PullPolicy::Always,
        confinement: Confinement { profile: Profile::Strict, network: NetworkAccess::None },
        command: Command::Shell("x".into()),
        ..task()
    }
}

fn submit() -> SubmitView {
    SubmitView {
        task_id: TASK.into(),
        state: TaskState::Queued,
        count: 2,
        array: Some("0-1".into()),
        warnings: vec!["w".into()],
        replayed: true,
    }
}

fn cordon() -> Cordon {
    let (by, reason) = ("ann".parse().expect("a name"), Some("r".into()));
    Cordon { since: SUBMITTED, by, reason, draining: true, deadline: Some(SUBMITTED) }
}

/// Everything that can be said.
pub(super) fn policy() -> RunPolicy {
    RunPolicy {
        time_limit: Some(Span::seconds(90)),
        queue_time_limit: Some(Span::seconds(3_600)),
        stop_grace: Some(Span::seconds(5)),
        retries: 2,
        retry_on: vec![RetryOn::Oom, RetryOn::Exit(Some(137))],
        backoff: Some(Backoff::DEFAULT),
        memory_max_bytes: Some(8 << 30),
        at_most_once: true,
        blocking_log: true,
        storage_reserved: true,
    }
}

fn dry_run() -> DryRunView {
    let worker = || "worker-1".parse().expect("a name");
    let spec = TaskSpec {
        name: Some("n".into()),
        image: "i".into(),
        command: Command::Shell("x".into()),
        resources: Resources::TASK_DEFAULT,
        env: labels(),
        labels: labels(),
        worker: Some(worker()),
        worker_labels: worker_labels(),
        input: Some(input_id()),
        policy: policy(),
        pull: PullPolicy::Always,
        confinement: Confinement { profile: Profile::Strict, network: NetworkAccess::None },
    };
    let fit = FitView { worker_id: worker(), fit: Fit::Never, reasons: vec!["r".into()] };
    DryRunView {
        user: "ann".parse().expect("a name"),
        spec,
        count: 2,
        array: Some("0-1".into()),
        warnings: vec!["w".into()],
        workers: vec![fit],
    }
}

fn why() -> WhyView {
    WhyView {
        task_id: TASK.into(),
        state: TaskState::Queued,
        summary: "s".into(),
        position: Some(1),
        can_never_run: false,
        reasons: vec![ReasonView { code: "cpu".into(), workers: 1, message: "m".into() }],
        hint: "h".into(),
    }
}

fn file() -> FileView {
    FileView { path_hex: Some("61ff".into()), ..files("a").files.remove(0) }
}

fn input_id() -> InputId {
    "input-01arz3ndektsv4rrffq69g5fav".parse().expect("an id")
}

/// Of which one file has not arrived.
pub(crate) fn input() -> InputView {
    let file = |path: &str, blake3: Option<String>| InputFileView {
        path: path.into(),
        path_hex: Some("61ff".into()),
        size: 1536,
        executable: false,
        received: 0,
        blake3,
    };
    let summary = InputSummaryView {
        input_id: input_id(),
        user: "ann".parse().expect("a name"),
        file_count: 2,
        bytes: 3072,
        missing: 1,
        readers: 3,
        created_at: SUBMITTED,
        used_at: SUBMITTED,
    };
    InputView { input: summary, files: vec![file("a\nb", Some("ab".repeat(32))), file("c", None)] }
}

fn deleted_files() -> DeletedFiles {
    DeletedFiles { id: TASK.into(), path: Some("a".into()), size: DeletedFilesView { files: 1, bytes: 2 } }
}

fn download() -> DownloadedView {
    DownloadedView {
        task_id: Some(TASK.into()),
        input_id: Some(input_id()),
        directory: "d".into(),
        files: vec![DownloadedFile { file: file(), written_to: "d/a".into(), unchanged: false }],
        failed: vec![FailedFile { path: "b".into(), error: "e".into() }],
    }
}

fn worker() -> WorkerView {
    WorkerView {
        labels: labels(),
        problem: Some("p".into()),
        cordon: Some(cordon()),
        gpus: vec![gpu()],
        pulling: vec![pulling()],
        ..workers().workers.remove(0)
    }
}

/// Half of it is there, after some trouble.
pub(in crate::render::table) fn pulling() -> Pulling {
    Pulling { image: "trainer:7".into(), progress: pull() }
}

/// A slice of one, with something wrong.
pub(in crate::render::table) fn gpu() -> GpuView {
    GpuView {
        gpu: Gpu {
            uuid: "MIG-1".into(),
            name: "NVIDIA H100 MIG 3g.40gb".into(),
            millis: 428,
            memory_bytes: 40 << 30,
            parent: Some("GPU-1".into()),
        },
        free_millis: 128,
        problem: Some("Xid 79: it has fallen off the bus".into()),
        running_tasks: vec![format!("{TASK}.0")],
    }
}

fn repair() -> RepairView {
    let run = || vec![RunView { element_id: format!("{TASK}.0"), attempt: 1 }];
    let worker = WorkerRepairView {
        orphans: run(),
        missing: run(),
        adopted: run(),
        sent_again: run(),
        ..WorkerRepairView::without("worker-1".parse().expect("a name"), RepairStatus::EngineFailed, "p")
    };
    RepairView { workers: vec![worker], live_attempts: 1, differences: vec!["d".into()], repaired: 4 }
}

/// Everything that there can be, of each one.
pub(crate) fn internal_state() -> InternalStateView {
    let worker = || "worker-1".parse().expect("a name");
    let user = || "ann".parse().expect("a name");
    let resources = Resources::TASK_DEFAULT;
    let run = LedgerRunView {
        element_id: format!("{TASK}.0"),
        attempt: 1,
        fence: 7,
        state: TaskState::Running,
        resources,
        placed_at: SUBMITTED,
        started_at: Some(SUBMITTED),
        infrastructure_failures: 0,
        cancelling: false,
    };
    let ledger = LedgerView {
        worker_id: worker(),
        capacity: resources,
        reserved: resources,
        reserved_at_registration: resources,
        runs: vec![run],
    };
    let class = ClassView {
        resources,
        worker_id: Some(worker()),
        worker_labels: worker_labels(),
        user: user(),
        tasks: 1,
        waiting: 2,
        placeable: 2,
        first_sequence: 1,
    };
    let lease = LeaseView {
        worker_id: worker(),
        link: "up".into(),
        session: Some(1),
        heard_ms_ago: 10,
        expires_in_ms: Some(20),
    };
    let link =
        LinkView { session: 1, worker_id: Some(worker()), sent: 2, waiting: 0, reports_through: 3, reports_ahead: 0 };
    let task = OpenTaskView {
        task_id: TASK.into(),
        sequence: 1,
        user: user(),
        state: TaskState::Running,
        count: 4,
        limit: Some(2),
        untouched: "2-3".into(),
        requeued: vec![1],
        live: vec![0],
        cancelling: String::new(),
        ended: BTreeMap::from([(VerdictKind::Success, "4".to_owned())]),
    };
    InternalStateView {
        cluster_id: "01arz3ndektsv4rrffq69g5fav".into(),
        epoch: 1,
        started_at: SUBMITTED,
        last_sequence: 1,
        last_fence: 1,
        draining: false,
        scheduler: SchedulerView { policy: "round-robin".into(), memory: "after worker-1".into(), unfinished: false },
        settings: settings(),
        totals: status().tasks,
        users: vec![UserView { username: user(), role: Role::Admin, disabled: false, created_at: SUBMITTED }],
        idempotency_keys: 0,
        queue: vec![class],
        ledger: vec![ledger],
        leases: vec![lease],
        links: vec![link],
        tasks: vec![task],
        violations: vec!["v".into()],
    }
}

fn settings() -> SettingsView {
    SettingsView {
        heartbeat_ms: 5000,
        suspect_ms: 15_000,
        lease_ms: 30_000,
        reassign_ms: 45_000,
        start_grace_ms: 1,
        mass_loss_hold_ms: 1,
        stop_grace_ms: 1,
        infrastructure_attempts: 3,
        placements_per_pass: 1,
    }
}
