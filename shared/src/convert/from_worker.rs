//! What workers send.

use std::sync::Arc;

use super::gpu::{gpus, ill_gpus};
use super::verdict::plain;
use super::{InvalidMessage, attempt_key, each, plain_text, required, sorted, variant, wall_time};
use crate::id::{AttemptKey, Fence};
use crate::link::{
    AttemptChange, ContainerUsage, FromWorker, Heartbeat, Held, Hello, Inventory, Outcome, Phase, Report,
};
use crate::proto::{self, from_worker::Message, report::Change};
use crate::pull::{PullFailure, PullProgress, Pulling};
use crate::worker::{Usage, WorkerFacts};

/// The most labels a worker may have, and the longest text of one.
const LABEL_LIMIT: usize = 64;
const TEXT_LIMIT: usize = 255;
/// The longest image reference.
const IMAGE_LIMIT: usize = 600;
/// The most images that are fetched at a time and shown.
const PULLING_LIMIT: usize = 64;
/// The longest problem: its end is what an engine said.
const PROBLEM_LIMIT: usize = 8 * 1024;
/// The longest verdict: its message is what an engine said.
const VERDICT_LIMIT: usize = 64 * 1024;
/// The most notes about output entries, and the longest.
const NOTE_LIMIT: usize = 1000;
const NOTE_LENGTH_LIMIT: usize = 8 * 1024;

impl From<FromWorker> for proto::FromWorker {
    fn from(message: FromWorker) -> Self {
        let message = match message {
            FromWorker::Hello(hello) => Message::Hello(hello.into()),
            FromWorker::Heartbeat(heartbeat) => Message::Heartbeat(heartbeat.into()),
            FromWorker::Reports(reports) => {
                Message::Reports(proto::Reports { reports: reports.into_iter().map(Into::into).collect() })
            }
            FromWorker::Inventory(inventory) => Message::Inventory(inventory.into()),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<proto::FromWorker> for FromWorker {
    type Error = InvalidMessage;
    fn try_from(wire: proto::FromWorker) -> Result<Self, InvalidMessage> {
        Ok(match required("message", wire.message)? {
            Message::Hello(hello) => Self::Hello(hello.try_into()?),
            Message::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat.try_into()?),
            Message::Reports(reports) => Self::Reports(each(reports.reports)?),
            Message::Inventory(inventory) => Self::Inventory(inventory.try_into()?),
        })
    }
}

impl From<Hello> for proto::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            protocol: hello.protocol,
            version: hello.facts.version,
            worker_id: hello.worker.to_string(),
            address: hello.facts.address,
            capacity: Some(hello.facts.capacity.into()),
            labels: Arc::unwrap_or_clone(hello.facts.labels).into_iter().collect(),
            boot_id: hello.facts.boot_id,
            incarnation: hello.incarnation,
            inventory: hello.inventory.into_iter().map(Into::into).collect(),
            problem: hello.problem.unwrap_or_default(),
            gpus: hello.facts.gpus.into_iter().map(Into::into).collect(),
            ill_gpus: hello.ill_gpus.into_iter().map(Into::into).collect(),
            features: hello.facts.features.into(),
        }
    }
}

impl TryFrom<proto::Hello> for Hello {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Hello) -> Result<Self, InvalidMessage> {
        if wire.labels.len() > LABEL_LIMIT {
            return Err(InvalidMessage::new("labels", format_args!("are more than {LABEL_LIMIT}")));
        }
        let labels = sorted(wire.labels).into_iter();
        let labels = labels
            .map(|(key, value)| Ok((plain_text("labels", key, TEXT_LIMIT)?, plain_text("labels", value, TEXT_LIMIT)?)));
        Ok(Self {
            worker: wire.worker_id.parse().map_err(|error| InvalidMessage::new("worker_id", error))?,
            protocol: wire.protocol,
            facts: WorkerFacts {
                address: plain_text("address", wire.address, TEXT_LIMIT)?,
                version: plain_text("version", wire.version, TEXT_LIMIT)?,
                boot_id: plain_text("boot_id", wire.boot_id, TEXT_LIMIT)?,
                capacity: required("capacity", wire.capacity)?.into(),
                gpus: gpus(wire.gpus)?,
                labels: Arc::new(labels.collect::<Result<_, InvalidMessage>>()?),
                features: wire.features.into(),
            },
            incarnation: plain_text("incarnation", wire.incarnation, TEXT_LIMIT)?,
            inventory: each(wire.inventory)?,
            problem: problem(wire.problem)?,
            ill_gpus: ill_gpus(wire.ill_gpus)?,
        })
    }
}

impl From<Held> for proto::Held {
    fn from(held: Held) -> Self {
        let phase = match held.phase {
            Phase::Accepted => proto::Phase::Accepted,
            Phase::Running => proto::Phase::Running,
            Phase::Finished => proto::Phase::Finished,
        };
        Self { attempt: Some(held.key.into()), phase: phase.into() }
    }
}

impl TryFrom<proto::Held> for Held {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Held) -> Result<Self, InvalidMessage> {
        let phase = match variant("phase", wire.phase)? {
            proto::Phase::Unspecified => return Err(InvalidMessage::missing("phase")),
            proto::Phase::Accepted => Phase::Accepted,
            proto::Phase::Running => Phase::Running,
            proto::Phase::Finished => Phase::Finished,
        };
        Ok(Self { key: attempt_key(wire.attempt)?, phase })
    }
}

impl From<Inventory> for proto::Inventory {
    fn from(inventory: Inventory) -> Self {
        let keys = |keys: Vec<AttemptKey>| keys.into_iter().map(Into::into).collect();
        Self {
            horizon: inventory.horizon.0,
            held: inventory.held.into_iter().map(Into::into).collect(),
            adopted: keys(inventory.adopted),
            lost: keys(inventory.lost),
            leaving: keys(inventory.leaving),
            containers: inventory.containers,
            problem: inventory.problem.unwrap_or_default(),
        }
    }
}

impl TryFrom<proto::Inventory> for Inventory {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Inventory) -> Result<Self, InvalidMessage> {
        Ok(Self {
            horizon: Fence(wire.horizon),
            held: each(wire.held)?,
            adopted: each(wire.adopted)?,
            lost: each(wire.lost)?,
            leaving: each(wire.leaving)?,
            containers: wire.containers,
            problem: problem(wire.problem)?,
        })
    }
}

impl From<Heartbeat> for proto::Heartbeat {
    fn from(heartbeat: Heartbeat) -> Self {
        let usage = heartbeat.usage;
        Self {
            cpu_percent: usage.cpu_percent,
            memory_used_bytes: usage.memory_used_bytes,
            storage_used_bytes: usage.storage_used_bytes,
            gpu_percent: usage.gpu_percent,
            running: usage.running,
            problem: heartbeat.problem.unwrap_or_default(),
            number: heartbeat.number,
            ill_gpus: heartbeat.ill_gpus.into_iter().map(Into::into).collect(),
            pulling: heartbeat.pulling.into_iter().map(pulling_to_wire).collect(),
        }
    }
}

impl TryFrom<proto::Heartbeat> for Heartbeat {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Heartbeat) -> Result<Self, InvalidMessage> {
        let usage = Usage {
            cpu_percent: percent("cpu_percent", wire.cpu_percent)?,
            memory_used_bytes: wire.memory_used_bytes,
            storage_used_bytes: wire.storage_used_bytes,
            gpu_percent: percent("gpu_percent", wire.gpu_percent)?,
            running: wire.running,
        };
        Ok(Self {
            usage,
            problem: problem(wire.problem)?,
            ill_gpus: ill_gpus(wire.ill_gpus)?,
            pulling: pulling(wire.pulling)?,
            number: wire.number,
        })
    }
}

fn pulling_to_wire(pulling: Pulling) -> proto::Pulling {
    let Pulling { image, progress: PullProgress { done_bytes, total_bytes, failure } } = pulling;
    let (failure, failures) = failure.map(|PullFailure { message, tries }| (message, tries)).unwrap_or_default();
    proto::Pulling { image, done_bytes, total_bytes, failure, failures }
}

fn pulling(wire: Vec<proto::Pulling>) -> Result<Vec<Pulling>, InvalidMessage> {
    let one = |wire: proto::Pulling| {
        let failure = (!wire.failure.is_empty()).then(|| PullFailure::new(&wire.failure, wire.failures));
        let progress = PullProgress { done_bytes: wire.done_bytes, total_bytes: wire.total_bytes, failure };
        Ok(Pulling { image: plain_text("image", wire.image, IMAGE_LIMIT)?, progress })
    };
    // It is for people to look at: what is too much is left out.
    wire.into_iter().take(PULLING_LIMIT).map(one).collect()
}

/// Empty: there is none.
fn problem(text: String) -> Result<Option<String>, InvalidMessage> {
    let text = plain_text("problem", text, PROBLEM_LIMIT)?;
    Ok((!text.is_empty()).then_some(text))
}

/// Measured values may lie a little above 100; what is no number at all is refused.
fn percent(field: &'static str, value: f64) -> Result<f64, InvalidMessage> {
    if value.is_finite() && value >= 0.0 {
        Ok(value.min(100.0))
    } else {
        Err(InvalidMessage::new(field, format_args!("{value} is not a percentage")))
    }
}

impl From<Report> for proto::Report {
    fn from(report: Report) -> Self {
        let change = match report.change {
            AttemptChange::Preparing => Change::Preparing(proto::Preparing {}),
            AttemptChange::Started { at, container, image } => Change::Started(proto::Started {
                at_unix_ms: at.0,
                container_id: container,
                image: image.unwrap_or_default(),
            }),
            AttemptChange::Finished(outcome) => Change::Finished(outcome.into()),
        };
        Self { sequence: report.sequence, attempt: Some(report.key.into()), change: Some(change) }
    }
}

impl TryFrom<proto::Report> for Report {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Report) -> Result<Self, InvalidMessage> {
        let change = match required("change", wire.change)? {
            Change::Preparing(proto::Preparing {}) => AttemptChange::Preparing,
            Change::Started(started) => AttemptChange::Started {
                at: wall_time("at_unix_ms", started.at_unix_ms)?,
                container: plain_text("container_id", started.container_id, TEXT_LIMIT)?,
                image: match started.image.as_str() {
                    "" => None,
                    _ => Some(plain_text("image", started.image, IMAGE_LIMIT)?),
                },
            },
            Change::Finished(finished) => AttemptChange::Finished(finished.try_into()?),
        };
        Ok(Self { sequence: wire.sequence, key: attempt_key(wire.attempt)?, change })
    }
}

impl From<Outcome> for proto::Finished {
    fn from(outcome: Outcome) -> Self {
        Self {
            // Texts and integers only: this cannot fail.
            verdict_json: serde_json::to_string(&outcome.verdict).unwrap_or_default(),
            started_unix_ms: outcome.started_at.map(|time| time.0),
            finished_unix_ms: outcome.finished_at.0,
            stdout_bytes: outcome.stdout_bytes,
            stderr_bytes: outcome.stderr_bytes,
            output_files: outcome.output_files,
            output_bytes: outcome.output_bytes,
            output_notes: outcome.output_notes,
            handed_back: outcome.handed_back,
            perhaps_stopped: outcome.perhaps_stopped,
            usage: outcome.usage.map(Into::into),
        }
    }
}

impl TryFrom<proto::Finished> for Outcome {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Finished) -> Result<Self, InvalidMessage> {
        if wire.verdict_json.len() > VERDICT_LIMIT {
            return Err(InvalidMessage::new("verdict_json", "is too long"));
        }
        let notes = &wire.output_notes;
        if notes.len() > NOTE_LIMIT || notes.iter().any(|note| note.len() > NOTE_LENGTH_LIMIT) {
            return Err(InvalidMessage::new("output_notes", "are too many or too long"));
        }
        Ok(Self {
            verdict: serde_json::from_str(&wire.verdict_json)
                .map(plain)
                .map_err(|error| InvalidMessage::new("verdict_json", error))?,
            started_at: wire.started_unix_ms.map(|millis| wall_time("started_unix_ms", millis)).transpose()?,
            finished_at: wall_time("finished_unix_ms", wire.finished_unix_ms)?,
            stdout_bytes: wire.stdout_bytes,
            stderr_bytes: wire.stderr_bytes,
            output_files: wire.output_files,
            output_bytes: wire.output_bytes,
            output_notes: wire.output_notes,
            handed_back: wire.handed_back,
            perhaps_stopped: wire.perhaps_stopped,
            usage: wire.usage.map(Into::into),
        })
    }
}

impl From<ContainerUsage> for proto::ContainerUsage {
    fn from(usage: ContainerUsage) -> Self {
        let ContainerUsage { cpu_ms, memory_peak_bytes, oom_kills, forks_refused } = usage;
        Self { cpu_ms, memory_peak_bytes, oom_kills, forks_refused }
    }
}

impl From<proto::ContainerUsage> for ContainerUsage {
    fn from(wire: proto::ContainerUsage) -> Self {
        let proto::ContainerUsage { cpu_ms, memory_peak_bytes, oom_kills, forks_refused } = wire;
        Self { cpu_ms, memory_peak_bytes, oom_kills, forks_refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Features;
    use crate::gpu::{Gpu, IllGpu};
    use crate::id::{AttemptKey, Fence};
    use crate::resources::Resources;
    use crate::task::{StoredPart, Verdict};
    use crate::time::WallTime;

    fn key() -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index: 3, attempt: 1, fence: Fence(9) }
    }

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            started_at: Some(WallTime(1)),
            finished_at: WallTime(2),
            stdout_bytes: 3,
            stderr_bytes: 4,
            output_files: 5,
            output_bytes: Some(u64::MAX),
            output_notes: vec!["a link was left out".to_owned()],
            handed_back: true,
            perhaps_stopped: true,
            usage: Some(ContainerUsage { cpu_ms: 6, memory_peak_bytes: u64::MAX, oom_kills: 7, forks_refused: 8 }),
        }
    }

    fn round_trip(message: FromWorker) {
        assert_eq!(FromWorker::try_from(proto::FromWorker::from(message.clone())), Ok(message));
    }

    fn gpu(uuid: &str, parent: Option<&str>) -> Gpu {
        let millis = if parent.is_some() { 428 } else { 1000 };
        Gpu { uuid: uuid.to_owned(), name: "H".to_owned(), millis, memory_bytes: 9, parent: parent.map(str::to_owned) }
    }

    fn ill() -> Vec<IllGpu> {
        vec![IllGpu { uuid: "GPU-1".to_owned(), reason: "Xid 79".to_owned() }]
    }

    #[test]
    fn gpus_that_cannot_be_are_refused() {
        let read = |gpus: Vec<Gpu>| {
            Hello::try_from(proto::Hello::from(Hello { facts: WorkerFacts { gpus, ..hello().facts }, ..hello() }))
        };
        assert!(read(vec![gpu("a", None), gpu("a", None)]).is_err(), "twice");
        assert!(read(vec![gpu("", None)]).is_err());
        assert!(read(vec![Gpu { millis: 0, ..gpu("a", None) }]).is_err());
        assert!(read(vec![Gpu { millis: 1001, ..gpu("a", None) }]).is_err());
        let sorted = read(vec![gpu("b", None), gpu("a", None)]).expect("good").facts.gpus;
        assert_eq!(sorted.iter().map(|gpu| gpu.uuid.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    fn hello() -> Hello {
        Hello {
            worker: "w1".parse().expect("a name"),
            protocol: 1,
            facts: WorkerFacts {
                address: "host".to_owned(),
                version: "0.1.0".to_owned(),
                boot_id: "b".to_owned(),
                capacity: Resources::TASK_DEFAULT,
                gpus: vec![gpu("GPU-1", None), gpu("MIG-2", Some("GPU-3"))],
                labels: Arc::new([("zone".to_owned(), "a".to_owned())].into()),
                features: Features::ALL,
            },
            incarnation: "i".to_owned(),
            inventory: [Phase::Accepted, Phase::Running, Phase::Finished]
                .map(|phase| Held { key: key(), phase })
                .into(),
            problem: None,
            ill_gpus: ill(),
        }
    }

    #[test]
    fn every_message_reads_back_as_written() {
        round_trip(FromWorker::Hello(hello()));
        let usage =
            Usage { cpu_percent: 99.5, memory_used_bytes: 1, storage_used_bytes: 2, gpu_percent: 0.0, running: 3 };
        let failure = Some(PullFailure::new("toomanyrequests", 3));
        let progress = PullProgress { done_bytes: 1, total_bytes: u64::MAX, failure };
        for problem in [None, Some("its disk is full".to_owned())] {
            round_trip(FromWorker::Heartbeat(Heartbeat {
                usage,
                problem: problem.clone(),
                ill_gpus: ill(),
                pulling: vec![Pulling { image: "a".to_owned(), progress: progress.clone() }],
                number: 4,
            }));
            round_trip(FromWorker::Hello(Hello { problem, ..hello() }));
        }
        let changes = [
            AttemptChange::Preparing,
            AttemptChange::Started { at: WallTime(7), container: "c".to_owned(), image: None },
            AttemptChange::Started { at: WallTime(7), container: "c".to_owned(), image: Some("a@sha256:0".to_owned()) },
            AttemptChange::Finished(outcome(Verdict::ExitCode { exit_code: 3 })),
            AttemptChange::Finished(outcome(Verdict::Image { message: "\u{1F4A5} no \"such\"\nimage".to_owned() })),
        ];
        let reports = changes.into_iter().zip(1..).map(|(change, sequence)| Report { sequence, key: key(), change });
        round_trip(FromWorker::Reports(reports.collect()));
    }

    #[test]
    fn hostile_hellos_are_refused_by_field() {
        let hostile = |change: fn(&mut proto::Hello)| {
            let mut wire = proto::Hello::from(hello());
            change(&mut wire);
            Hello::try_from(wire).expect_err("refused").field()
        };
        assert_eq!(hostile(|wire| wire.worker_id = "../w".to_owned()), "worker_id");
        assert_eq!(hostile(|wire| wire.capacity = None), "capacity");
        assert_eq!(hostile(|wire| wire.address = "x".repeat(1000)), "address");
        assert_eq!(hostile(|wire| wire.version = "\u{1b}[2J".to_owned()), "version");
        assert_eq!(hostile(|wire| wire.inventory[0].phase = 0), "phase");
        assert_eq!(hostile(|wire| wire.inventory[0].phase = 99), "phase");
        assert_eq!(hostile(|wire| wire.inventory[0].attempt = None), "attempt");
        assert_eq!(hostile(|wire| wire.labels = (0..100).map(|n| (n.to_string(), String::new())).collect()), "labels");
    }

    #[test]
    fn hostile_reports_are_refused_by_field() {
        let hostile = |change: fn(&mut proto::Finished)| {
            let mut wire = proto::Finished::from(outcome(Verdict::Success));
            change(&mut wire);
            Outcome::try_from(wire).expect_err("refused").field()
        };
        for json in ["", "{", "null", r#"{"kind":"won"}"#, r#"{"kind":"exit_code"}"#] {
            let mut wire = proto::Finished::from(outcome(Verdict::Success));
            wire.verdict_json = json.to_owned();
            assert_eq!(Outcome::try_from(wire).expect_err(json).field(), "verdict_json");
        }
        assert_eq!(hostile(|wire| wire.verdict_json = "[".repeat(VERDICT_LIMIT + 1)), "verdict_json");
        assert_eq!(hostile(|wire| wire.verdict_json = "[".repeat(10_000)), "verdict_json");
        assert_eq!(hostile(|wire| wire.finished_unix_ms = i64::MAX), "finished_unix_ms");
        assert_eq!(hostile(|wire| wire.started_unix_ms = Some(-1)), "started_unix_ms");
        assert_eq!(hostile(|wire| wire.output_notes = vec![String::new(); NOTE_LIMIT + 1]), "output_notes");
        assert_eq!(FromWorker::try_from(proto::FromWorker { message: None }).expect_err("refused").field(), "message");
    }

    /// It is a registry's, so a worker that passes it on as it came is no worse for it.
    #[test]
    fn what_a_registry_has_said_is_made_printable_and_short() {
        let failure = format!("\u{1b}[2J\n{}", "x".repeat(10_000));
        let pulling = vec![proto::Pulling { image: "a".to_owned(), failure, failures: 2, ..proto::Pulling::default() }];
        let heartbeat = Heartbeat::try_from(proto::Heartbeat { pulling, ..proto::Heartbeat::default() });
        let failure = heartbeat.expect("taken").pulling.remove(0).progress.failure.expect("it failed");
        assert!(failure.message.starts_with("\\u{1b}[2J\\nxxx") && failure.message.len() <= PullFailure::LIMIT);
        assert_eq!(failure.tries, 2);
    }

    #[test]
    fn what_a_verdict_names_is_made_printable() {
        let largest = vec![StoredPart { path: "/a\nb".to_owned(), bytes: 1 }];
        let verdict = Verdict::Disk { limit_bytes: 1, used_bytes: None, largest };
        let read = Outcome::try_from(proto::Finished::from(outcome(verdict))).expect("taken").verdict;
        let Verdict::Disk { largest, .. } = read else { panic!("it stored too much") };
        assert_eq!(largest[0].path, "/a\\nb");
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            let wire = proto::Heartbeat { cpu_percent: value, ..proto::Heartbeat::default() };
            assert_eq!(Heartbeat::try_from(wire).expect_err("refused").field(), "cpu_percent");
        }
    }
}
