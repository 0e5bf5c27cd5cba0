//! The control stream of a session.

use std::sync::Arc;
use std::time::Duration;

use super::{Sample, converted};
use crate::confinement::{Confinement, NetworkAccess, Profile};
use crate::feature::Features;
use crate::gpu::{Gpu, GpuLease, IllGpu};
use crate::id::{AttemptKey, Epoch, Fence};
use crate::link::{
    Assignment, AttemptChange, CancelOrder, ContainerUsage, Decision, FromWorker, Heartbeat, Held, Hello, Inventory,
    Outcome, Phase, Report, ToWorker, Welcome,
};
use crate::proto;
use crate::pull::{PullFailure, PullPolicy, PullProgress, Pulling};
use crate::resources::Resources;
use crate::task::{Command, StoredPart, Verdict};
use crate::time::WallTime;
use crate::worker::{Usage, WorkerFacts};

pub(super) fn samples() -> Vec<Sample> {
    let from_worker = |name, message| converted::<proto::FromWorker, FromWorker>(name, message);
    let to_worker = |name, message| converted::<proto::ToWorker, ToWorker>(name, message);
    vec![
        from_worker("cloudai.v1.FromWorker@hello", FromWorker::Hello(hello())),
        from_worker("cloudai.v1.FromWorker@features", FromWorker::Hello(able())),
        from_worker("cloudai.v1.FromWorker@heartbeat", FromWorker::Heartbeat(heartbeat())),
        from_worker("cloudai.v1.FromWorker@reports", FromWorker::Reports(reports(changes()))),
        from_worker("cloudai.v1.FromWorker@verdicts", FromWorker::Reports(reports(ends()))),
        from_worker("cloudai.v1.FromWorker@evidence", FromWorker::Reports(reports(evidence()))),
        from_worker("cloudai.v1.FromWorker@names", FromWorker::Reports(reports(names()))),
        from_worker("cloudai.v1.FromWorker@by_hand", FromWorker::Reports(reports(vec![by_hand()]))),
        from_worker("cloudai.v1.FromWorker@refused", FromWorker::Reports(reports(vec![refused()]))),
        from_worker("cloudai.v1.FromWorker@pull_failure", FromWorker::Heartbeat(failing())),
        from_worker("cloudai.v1.FromWorker@output_bytes", FromWorker::Reports(reports(vec![weighed()]))),
        from_worker("cloudai.v1.FromWorker@perhaps_stopped", FromWorker::Reports(reports(vec![unsure()]))),
        from_worker("cloudai.v1.FromWorker@inventory", FromWorker::Inventory(inventory())),
        to_worker("cloudai.v1.ToWorker@welcome", ToWorker::Welcome(welcome())),
        to_worker("cloudai.v1.ToWorker@assignments", ToWorker::Assign(assignments())),
        to_worker("cloudai.v1.ToWorker@storage_reserved", ToWorker::Assign(vec![reserved()])),
        to_worker("cloudai.v1.ToWorker@cancels", ToWorker::Cancel(vec![cancel()])),
        to_worker("cloudai.v1.ToWorker@ack", ToWorker::Ack { through: 300 }),
        to_worker("cloudai.v1.ToWorker@goodbye", ToWorker::Goodbye { reason: "the master stops".to_owned() }),
        to_worker("cloudai.v1.ToWorker@inquiry", ToWorker::Inquire { horizon: Fence(u64::MAX) }),
        to_worker("cloudai.v1.ToWorker@decisions", ToWorker::Decide(welcome().decisions)),
        to_worker("cloudai.v1.ToWorker@heard", ToWorker::Heard { number: 7 }),
    ]
}

fn key(index: u32) -> AttemptKey {
    let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
    AttemptKey { task, index, attempt: 2, fence: Fence(4_294_967_305) }
}

fn resources() -> Resources {
    Resources { cpu_millis: 1500, memory_bytes: 1 << 30, storage_bytes: 10 << 30, gpu_millis: 500 }
}

fn held() -> Vec<Held> {
    let phases = [Phase::Accepted, Phase::Running, Phase::Finished];
    phases.into_iter().zip(1..).map(|(phase, index)| Held { key: key(index), phase }).collect()
}

fn ill_gpus() -> Vec<IllGpu> {
    vec![IllGpu { uuid: "GPU-1".to_owned(), reason: "Xid 79".to_owned() }]
}

fn hello() -> Hello {
    let slice = Gpu {
        uuid: "MIG-2".to_owned(),
        name: "H100 1g.10gb".to_owned(),
        millis: 142,
        memory_bytes: 10 << 30,
        parent: Some("GPU-3".to_owned()),
    };
    Hello {
        worker: "w1".parse().expect("a name"),
        protocol: 2,
        facts: WorkerFacts {
            address: "host.example".to_owned(),
            version: "0.1.0".to_owned(),
            boot_id: "boot".to_owned(),
            capacity: resources(),
            gpus: vec![slice],
            labels: Arc::new([("zone".to_owned(), "a".to_owned())].into()),
            features: Features::default(),
        },
        incarnation: "start".to_owned(),
        inventory: held(),
        problem: Some("its disk is full".to_owned()),
        ill_gpus: ill_gpus(),
    }
}

fn able() -> Hello {
    let facts = WorkerFacts { features: Features::ALL, ..hello().facts };
    Hello { facts, ..hello() }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        usage: Usage {
            cpu_percent: 99.5,
            memory_used_bytes: 1 << 33,
            storage_used_bytes: 1 << 40,
            gpu_percent: 0.25,
            running: 3,
        },
        problem: Some("its disk is full".to_owned()),
        ill_gpus: ill_gpus(),
        pulling: vec![Pulling {
            image: "busybox:1".to_owned(),
            progress: PullProgress { done_bytes: 1000, total_bytes: 2_000_000, failure: None },
        }],
        number: 4,
    }
}

/// Of a worker whose registry gives it nothing.
fn failing() -> Heartbeat {
    let failure = Some(PullFailure::new("toomanyrequests: slow down", 3));
    let progress = PullProgress { failure, ..PullProgress::default() };
    Heartbeat { pulling: vec![Pulling { image: "busybox:1".to_owned(), progress }], number: 5, ..Heartbeat::default() }
}

fn inventory() -> Inventory {
    Inventory {
        horizon: Fence(4_294_967_400),
        held: held(),
        adopted: vec![key(4)],
        lost: vec![key(5), key(6)],
        leaving: vec![key(7)],
        containers: 5,
        problem: Some("no engine".to_owned()),
    }
}

fn reports(changes: Vec<AttemptChange>) -> Vec<Report> {
    changes.into_iter().zip(1..).map(|(change, sequence)| Report { sequence, key: key(3), change }).collect()
}

fn changes() -> Vec<AttemptChange> {
    let finished = Outcome {
        verdict: Verdict::ExitCode { exit_code: 3 },
        started_at: Some(WallTime(1_700_000_000_123)),
        finished_at: WallTime(1_700_000_001_456),
        stdout_bytes: 300,
        stderr_bytes: 4,
        output_files: 5,
        output_bytes: None,
        output_notes: vec!["a link was left out".to_owned(), "a device was left out".to_owned()],
        usage: Some(ContainerUsage { cpu_ms: 1234, memory_peak_bytes: 1 << 29, ..ContainerUsage::default() }),
        handed_back: true,
        perhaps_stopped: false,
    };
    vec![
        AttemptChange::Preparing,
        AttemptChange::Started {
            at: WallTime(1_700_000_000_123),
            container: "c0ffee".to_owned(),
            image: Some("busybox@sha256:00".to_owned()),
        },
        AttemptChange::Finished(finished),
    ]
}

/// Verdicts are JSON inside of the message, and no less a part of the wire.
fn ends() -> Vec<AttemptChange> {
    let message = || "says the \"engine\"".to_owned();
    let verdicts = [
        Verdict::Success,
        Verdict::ExitCode { exit_code: 255 },
        Verdict::Signal { signal: 11, by_hand: false },
        Verdict::oom(1 << 30),
        Verdict::Timeout { limit_seconds: 60, exit_code: None },
        Verdict::QueueTimeout { limit_seconds: 61 },
        Verdict::Image { message: message() },
        Verdict::Setup { message: message() },
        Verdict::Disk { limit_bytes: 1 << 31, used_bytes: None, largest: Vec::new() },
        Verdict::WorkerLost { message: message() },
        Verdict::Cancelled,
        Verdict::Rejected { message: message() },
    ];
    verdicts.into_iter().map(finished).collect()
}

/// What was measured is added to them where it is known.
fn evidence() -> Vec<AttemptChange> {
    let verdicts = [
        oom(Some(1 << 29), None),
        Verdict::Timeout { limit_seconds: 60, exit_code: Some(137) },
        Verdict::Disk { limit_bytes: 1 << 31, used_bytes: Some(1 << 32), largest: Vec::new() },
    ];
    verdicts.into_iter().map(finished).collect()
}

fn oom(peak_bytes: Option<u64>, exit_code: Option<i32>) -> Verdict {
    let limit_bytes = 1 << 30;
    Verdict::Oom { limit_bytes, peak_bytes, exit_code, killed_process: None, killed_process_bytes: None }
}

/// Who was killed, and what takes the most.
fn names() -> Vec<AttemptChange> {
    let verdicts = [
        Verdict::Oom {
            limit_bytes: 1 << 30,
            peak_bytes: None,
            exit_code: Some(137),
            killed_process: Some("python3".to_owned()),
            killed_process_bytes: Some(900 << 20),
        },
        Verdict::Disk {
            limit_bytes: 1 << 31,
            used_bytes: Some(1 << 32),
            largest: vec![StoredPart { path: "/output/checkpoints".to_owned(), bytes: 1 << 32 }],
        },
    ];
    verdicts.into_iter().map(finished).collect()
}

fn by_hand() -> AttemptChange {
    finished(Verdict::Signal { signal: 9, by_hand: true })
}

/// Of one that went on when the kernel refused it something.
fn refused() -> AttemptChange {
    let verdict = oom(None, Some(3));
    let usage = ContainerUsage { cpu_ms: 1, memory_peak_bytes: 0, oom_kills: 300, forks_refused: 4 };
    AttemptChange::Finished(Outcome { usage: Some(usage), ..outcome(verdict) })
}

/// Of one that has left files.
fn weighed() -> AttemptChange {
    AttemptChange::Finished(Outcome { output_files: 2, output_bytes: Some(1 << 33), ..outcome(Verdict::Success) })
}

/// Of one whose worker has lost its journal.
fn unsure() -> AttemptChange {
    let verdict = Verdict::Signal { signal: 9, by_hand: false };
    AttemptChange::Finished(Outcome { perhaps_stopped: true, ..outcome(verdict) })
}

fn finished(verdict: Verdict) -> AttemptChange {
    AttemptChange::Finished(outcome(verdict))
}

fn outcome(verdict: Verdict) -> Outcome {
    Outcome {
        verdict,
        started_at: None,
        finished_at: WallTime(1_700_000_001_456),
        stdout_bytes: 0,
        stderr_bytes: 0,
        output_files: 0,
        output_bytes: None,
        output_notes: Vec::new(),
        usage: None,
        handed_back: false,
        perhaps_stopped: false,
    }
}

fn welcome() -> Welcome {
    let decisions = [Decision::Keep, Decision::Stop, Decision::Forget];
    Welcome {
        cluster: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
        epoch: Epoch(4),
        heartbeat: Duration::from_secs(5),
        lease: Duration::from_secs(30),
        decisions: decisions.into_iter().zip(1..).map(|(decision, index)| (key(index), decision)).collect(),
    }
}

fn assignments() -> Vec<Assignment> {
    let shell = Assignment {
        key: key(1),
        image: "busybox:1".to_owned(),
        pull: PullPolicy::Always,
        confinement: Confinement { profile: Profile::Strict, network: NetworkAccess::Public },
        command: Command::Shell("echo hi".to_owned()),
        resources: resources(),
        gpus: vec![GpuLease { uuid: "GPU-1".to_owned(), millis: 500 }],
        env: [("A".to_owned(), "1".to_owned())].into(),
        input: Some("input-01arz3ndektsv4rrffq69g5fav".parse().expect("an id")),
        user: "ada".parse().expect("a name"),
        name: Some("a name".to_owned()),
        stop_grace: Duration::from_secs(30),
        time_limit: Some(Duration::from_secs(3600)),
        at_most_once: true,
        blocking_log: true,
        storage_reserved: false,
    };
    let argv = Assignment {
        key: key(2),
        pull: PullPolicy::Never,
        confinement: Confinement { profile: Profile::Standard, network: NetworkAccess::None },
        command: Command::Argv(vec!["a".to_owned(), String::new()]),
        ..shell.clone()
    };
    let image = Assignment {
        key: key(3),
        pull: PullPolicy::Missing,
        confinement: Confinement { profile: Profile::Standard, network: NetworkAccess::Outgoing },
        command: Command::ImageDefault,
        ..shell.clone()
    };
    vec![shell, argv, image]
}

fn reserved() -> Assignment {
    Assignment { storage_reserved: true, ..assignments().remove(0) }
}

fn cancel() -> CancelOrder {
    CancelOrder { key: key(1), grace: Duration::from_millis(1500), time_limit: Some(Duration::from_secs(3600)) }
}
