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
/// What it is made of, see [`fingerprint`]: two of one attempt may still be of two different tasks, where a cluster was copied,
/// or somebody has made one by hand.
const SPEC: &str = "cloudai.spec";
const NAME: &str = "cloudai.name";
/// As JSON.
const LIMITS: &str = "cloudai.limits";

/// How fingerprints begin that are made as [`made_of`] has it. It changes with that: what says it in another way, as earlier
/// versions did, cannot be compared.
const SCHEME: &str = "2-";
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
    /// What it is made of.
    fingerprint: Option<String>,
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
        let fingerprint = text(SPEC).map(str::to_owned);
        Some(Self { cluster, key: AttemptKey { task, index, attempt, fence }, limits, fingerprint })
    }

    /// Whether this one has the attempt's labels and is made of something else. Where that cannot be told, it is not.
    pub(super) fn is_impostor(&self, spec: &ContainerSpec) -> bool {
        let told = self.fingerprint.as_deref().filter(|told| told.starts_with(SCHEME));
        told.is_some_and(|told| told != fingerprint(spec))
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

/// Differs where two specifications run something else, or run it with something else.
fn fingerprint(spec: &ContainerSpec) -> String {
    let digits = blake3::hash(made_of(spec).as_bytes()).to_hex();
    format!("{SCHEME}{}", &digits[..16])
}

/// All that makes a difference, the same in every life of the worker.
fn made_of(spec: &ContainerSpec) -> String {
    let ContainerSpec { image, command, env, resources, confinement, gpus, .. } = spec;
    // Texts and numbers: this cannot fail.
    serde_json::to_string(&(image, command, env, resources, confinement, gpus)).unwrap_or_default()
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

    use shared::confinement::NetworkAccess;
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
        let fingerprint = Some(fingerprint(&spec));
        assert_eq!(
            Owner::parse(&labels),
            Some(Owner { cluster: spec.cluster, key: spec.key, limits: Some(spec.limits), fingerprint })
        );
        assert_eq!(labels.get(NAME).map(String::as_str), Some("night\\nly"));
        assert_eq!(labels.get(SPEC).map(String::len), Some(18));
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
            let mut owner = Owner { cluster: spec.cluster, key: spec.key, limits: None, fingerprint: None };
            change(&mut owner);
            owner
        };
        assert!(owner(|o| o.key.fence.0 -= 1).is_stale(&spec));
        assert!(!owner(|_| {}).is_stale(&spec));
        assert!(!owner(|o| o.key.fence.0 += 1).is_stale(&spec));
        assert!(!owner(|o| o.cluster = ClusterId(Ulid(2))).is_stale(&spec));
    }

    #[test]
    fn one_that_is_made_of_something_else_is_an_impostor_and_one_that_cannot_be_compared_is_not() {
        let spec = spec();
        let of = |spec: &ContainerSpec| Owner::parse(&labels(spec)).expect("labels");
        assert!(!of(&spec).is_impostor(&spec));
        let changes: [fn(&mut ContainerSpec); 6] = [
            |spec| spec.image.push('x'),
            |spec| spec.command = Command::Shell("true".to_owned()),
            |spec| drop(spec.env.insert("A".to_owned(), "b".to_owned())),
            |spec| spec.resources.memory_bytes += 1,
            |spec| spec.confinement.network = NetworkAccess::None,
            |spec| spec.gpus.push("GPU-1".to_owned()),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut other = spec.clone();
            change(&mut other);
            assert!(of(&other).is_impostor(&spec), "{number}");
        }
        // Where it stands, and what it is held to, may differ from one life of a worker to the next.
        let elsewhere = ContainerSpec { output: "/elsewhere".into(), name: None, ..spec.clone() };
        assert!(!of(&elsewhere).is_impostor(&spec));
        for earlier in [None, Some("0123456789abcdef"), Some("")] {
            let owner = Owner { fingerprint: earlier.map(str::to_owned), ..of(&spec) };
            assert!(!owner.is_impostor(&spec), "{earlier:?}");
        }
    }

    #[test]
    fn what_is_compared_is_the_same_in_every_version() {
        // If it has to change, the scheme changes with it.
        let expected = "[\"busybox:test\",null,{},\
            {\"cpu_millis\":1000,\"memory_bytes\":536870912,\"storage_bytes\":1073741824,\"gpu_millis\":0},\
            {\"profile\":\"standard\",\"network\":\"outgoing\"},[]]";
        assert_eq!((SCHEME, made_of(&spec()).as_str()), ("2-", expected));
    }
}
