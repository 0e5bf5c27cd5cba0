//! The names and labels that tie a container to its attempt.
//!
//! The name makes a second container of one attempt impossible; the labels say whose it is, and are enough to adopt it
//! when all else is lost. They hold no secrets: whoever may list containers sees them.

use std::collections::HashMap;

use shared::id::{AttemptKey, ClusterId, Fence, TaskId, WorkerId};
use shared::link::RunLimits;
use ulid::Ulid;

use crate::runtime::ContainerSpec;

/// Label: the cluster.
pub(super) const CLUSTER: &str = "cloudai.cluster";
/// Label: the worker.
pub(super) const WORKER: &str = "cloudai.worker";
const TASK: &str = "cloudai.task";
const INDEX: &str = "cloudai.index";
const ATTEMPT: &str = "cloudai.attempt";
const FENCE: &str = "cloudai.fence";
const SPEC: &str = "cloudai.spec";
const NAME: &str = "cloudai.name";
/// As JSON.
const LIMITS: &str = "cloudai.limits";

/// The longest task name in a label, in characters.
const NAME_LIMIT: usize = 128;

/// What the labels of a container say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// Whose it is.
    pub(super) cluster: ClusterId,
    /// What it runs.
    pub(super) key: AttemptKey,
    /// What it is held to. Earlier versions did not write it.
    pub(super) limits: Option<RunLimits>,
}

impl Owner {
    /// Reads the labels back; none if one is missing or is not exactly as this program writes it.
    pub(super) fn parse(labels: &HashMap<String, String>) -> Option<Self> {
        let text = |label: &str| labels.get(label).map(String::as_str);
        let cluster: ClusterId = exact(text(CLUSTER)?)?;
        text(WORKER)?.parse::<WorkerId>().ok()?;
        let task: TaskId = exact(text(TASK)?)?;
        let (index, attempt) = (exact(text(INDEX)?)?, exact(text(ATTEMPT)?)?);
        let fence = Fence(exact(text(FENCE)?)?);
        let limits = text(LIMITS).and_then(|limits| serde_json::from_str(limits).ok());
        Some(Self { cluster, key: AttemptKey { task, index, attempt, fence }, limits })
    }

    /// Whether this one was made for an earlier life of the same attempt.
    pub(super) fn is_stale(&self, spec: &ContainerSpec) -> bool {
        let same = AttemptKey { fence: spec.key.fence, ..self.key } == spec.key;
        self.cluster == spec.cluster && same && self.key.fence < spec.key.fence
    }
}

/// The name of the container of an attempt: `cloudai-<ulid>.<index>-<attempt>`.
pub(super) fn container_name(key: &AttemptKey) -> String {
    format!("cloudai-{}.{}-{}", lower(key.task.0), key.index, key.attempt)
}

/// The labels of a container.
pub(super) fn labels(spec: &ContainerSpec) -> HashMap<String, String> {
    let key = &spec.key;
    let mut labels = HashMap::from([
        (CLUSTER.to_owned(), spec.cluster.to_string()),
        (WORKER.to_owned(), spec.worker.to_string()),
        (TASK.to_owned(), key.task.to_string()),
        (INDEX.to_owned(), key.index.to_string()),
        (ATTEMPT.to_owned(), key.attempt.to_string()),
        (FENCE.to_owned(), key.fence.to_string()),
        (SPEC.to_owned(), fingerprint(spec)),
        // Numbers and switches: this cannot fail.
        (LIMITS.to_owned(), serde_json::to_string(&spec.limits).unwrap_or_default()),
    ]);
    if let Some(name) = &spec.name {
        let name: String = name.chars().take(NAME_LIMIT).collect();
        labels.insert(NAME.to_owned(), name.escape_debug().to_string());
    }
    labels
}

/// 16 hexadecimal digits that differ where the image, the command, the environment, the limits or the confinement differ.
fn fingerprint(spec: &ContainerSpec) -> String {
    let text = format!("{:?}", (&spec.image, &spec.command, &spec.env, &spec.resources, &spec.confinement));
    blake3::hash(text.as_bytes()).to_hex().chars().take(16).collect()
}

fn lower(id: Ulid) -> String {
    id.to_string().to_ascii_lowercase()
}

/// Parses what displays again as the same text: `+1`, `01` and upper case are not what this program wrote.
fn exact<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|value| value.to_string() == text)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use shared::resources::Resources;
    use shared::task::Command;

    use super::*;

    /// A specification to try things with.
    pub(crate) fn spec() -> ContainerSpec {
        ContainerSpec {
            key: AttemptKey { task: TaskId(Ulid(7)), index: 3, attempt: 2, fence: Fence((4 << 32) | 9) },
            cluster: ClusterId(Ulid(1)),
            worker: "w-1".parse().expect("a name"),
            name: Some("night\nly".to_owned()),
            image: "busybox:test".to_owned(),
            confinement: Default::default(),
            gpus: Vec::new(),
            command: Command::ImageDefault,
            env: BTreeMap::new(),
            resources: Resources::TASK_DEFAULT,
            output: "/tmp/output".into(),
            output_device: None,
            input: None,
            limits: RunLimits {
                memory_bytes: 7,
                storage_bytes: 8,
                stop_grace: Duration::from_secs(10),
                time_limit: Some(Duration::from_millis(1500)),
                at_most_once: true,
                blocking_log: true,
                storage_reserved: true,
            },
        }
    }

    #[test]
    fn names_are_those_of_the_attempt() {
        assert_eq!(container_name(&spec().key), "cloudai-00000000000000000000000007.3-2");
    }

    #[test]
    fn labels_read_back_as_written() {
        let spec = spec();
        let labels = labels(&spec);
        assert_eq!(
            Owner::parse(&labels),
            Some(Owner { cluster: spec.cluster, key: spec.key, limits: Some(spec.limits) })
        );
        assert_eq!(labels.get(NAME).map(String::as_str), Some("night\\nly"));
        assert_eq!(labels.get(SPEC).map(String::len), Some(16));
    }

    #[test]
    fn labels_that_are_not_ours_are_refused() {
        let good = labels(&spec());
        for (label, text) in [(INDEX, "+3"), (INDEX, "03"), (FENCE, "-1"), (TASK, "x"), (CLUSTER, ""), (WORKER, "a b")]
        {
            let mut bad = good.clone();
            bad.insert(label.to_owned(), text.to_owned());
            assert_eq!(Owner::parse(&bad), None, "{label}={text}");
        }
        for label in [CLUSTER, WORKER, TASK, INDEX, ATTEMPT, FENCE] {
            let mut bad = good.clone();
            bad.remove(label);
            assert_eq!(Owner::parse(&bad), None, "without {label}");
        }
    }

    #[test]
    fn only_an_older_fence_of_the_same_attempt_is_stale() {
        let spec = spec();
        let owner = |change: fn(&mut Owner)| {
            let mut owner = Owner { cluster: spec.cluster, key: spec.key, limits: None };
            change(&mut owner);
            owner
        };
        assert!(owner(|o| o.key.fence.0 -= 1).is_stale(&spec));
        assert!(!owner(|_| {}).is_stale(&spec));
        assert!(!owner(|o| o.key.fence.0 += 1).is_stale(&spec));
        assert!(!owner(|o| o.cluster = ClusterId(Ulid(2))).is_stale(&spec));
    }

    #[test]
    fn the_fingerprint_follows_what_runs() {
        let mut other = spec();
        other.env.insert("A".to_owned(), "b".to_owned());
        assert_ne!(fingerprint(&spec()), fingerprint(&other));
        assert_eq!(fingerprint(&spec()), fingerprint(&spec()));
    }
}
