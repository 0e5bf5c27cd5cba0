//! A submission as a client writes it, and its validation: the one place where outside values become a [`TaskSpec`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::array::{Array, COUNT_LIMIT};
use crate::confinement::{Confinement, NetworkAccess, Profile};
use crate::error::{ApiError, ErrorCode};
use crate::id::WorkerId;
use crate::policy::{Backoff, RetryOn, RunPolicy};
use crate::pull::PullPolicy;
use crate::resources::{Bytes, GIB, InvalidQuantity, MIB, Millis, Quantity, Resources};
use crate::selector::{LabelWish, WorkerSelector};
use crate::span::Span;
use crate::task::{Command, TaskSpec};

mod image;
mod unique;

/// The longest command, all arguments together, in bytes.
pub const COMMAND_LIMIT: usize = 64 * 1024;
/// The most environment variables.
pub const ENV_LIMIT: usize = 256;
/// The longest environment variable, name and value together, in bytes.
pub const ENV_VALUE_LIMIT: usize = 32 * 1024;
/// The most labels.
pub const LABEL_LIMIT: usize = 64;
/// The longest task name, label name or label value, in characters.
pub const TEXT_LIMIT: usize = 128;
/// The least and the most CPU of a task, in thousandths of a core. Docker refuses less than 0.01.
pub const CPU_RANGE: (u64, u64) = (10, 1_024_000);
/// The least and the most memory of a task, in bytes. Docker refuses less than 6 MiB.
pub const MEMORY_RANGE: (u64, u64) = (6 * MIB, 64 * 1024 * GIB);
/// What to do instead of asking for no storage at all.
pub const STORAGE_HINT: &str =
    "give how much it may store, for example 1 or 512MiB, or leave it out: 1 GiB is reserved then, and no limit";
/// The most storage of a task, in bytes.
pub const STORAGE_MAX: u64 = 1024 * 1024 * GIB;
/// The most GPU of a task, in thousandths.
pub const GPU_MAX: u64 = 1_024_000;

/// The body of `POST /api/tasks`, or one line of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmitRequest {
    /// Image reference.
    pub image: String,
    /// When the image is pulled: `missing` (where the worker does not have it), `always` or `never`; missing if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    /// How its container is set up: `standard`, as under `docker run`, or `strict`: without root, capabilities, network and
    /// anything to write to but /output and /tmp. The stricter one of this and what the cluster has for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// What its container can reach: `outgoing` (everything but other containers) or `none`; outgoing if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkAccess>,
    /// A text is run by `/bin/sh -c`, a list is program and arguments; none: what the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandInput>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Cores; 1 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<Quantity>,
    /// GiB, or a text with a unit; 0.5 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem: Option<Quantity>,
    /// After it was out of memory it runs again with twice as much, up to this: GiB, or a text with a unit. Needs `retries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_max: Option<Quantity>,
    /// What it may store, in GiB, or a text with a unit: it is ended when it stores more. If not given, 1 GiB is reserved for it,
    /// and it may store more for as long as the disk of its worker has room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Quantity>,
    /// GPUs; 0 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_cores: Option<Quantity>,
    /// Environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique::map")]
    pub env: BTreeMap<String, String>,
    /// For filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique::map")]
    pub labels: BTreeMap<String, String>,
    /// Elements of an array with the indices 0 to `count - 1`; 1 is a plain task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The elements of an array by their indices, see [`Array`]; instead of `count`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<String>,
    /// Dispatch to this worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// What the labels of its worker have to be, all of it: `disk=ssd`, `disk` (whatever its value), `disk!=ssd` (another value,
    /// or no such label); at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub worker_labels: Vec<LabelWish>,
    /// Uploaded files to read at /input: the id that the upload got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// How long its container may run: a text such as `10m`, or seconds. For ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Span>,
    /// How long it may wait for a worker at a time. For ever if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_time_limit: Option<Span>,
    /// Between TERM and KILL, where it is cancelled or has run too long; the cluster's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Span>,
    /// How often it runs again after a failure of its own; 0 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// After which failures it runs again: `exit`, `exit:CODE`, `signal`, `signal:NUMBER`, `oom`, `timeout`, `disk`, `image`,
    /// `setup`. If not given: exit, signal, oom, timeout and disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<String>>))]
    pub retry_on: Option<Vec<RetryOn>>,
    /// The pause before a retry, and up to where it doubles: `10s..5m`, which it is if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// Never to start it again once its container may have been started, whatever becomes of its worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_once: Option<bool>,
    /// To let it stand still while its log cannot be brought to the master as fast as it is written, instead of having the
    /// oldest part dropped when there is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocking_log: Option<bool>,
}

/// A command as a client writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "a command is one text, or a list of texts")]
pub enum CommandInput {
    /// For `/bin/sh -c`.
    Shell(String),
    /// Program and arguments.
    Argv(Vec<String>),
}

impl SubmitRequest {
    /// Checks everything and returns the specification, and the elements if it is an array.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidArgument`], with the field's name in the message.
    pub fn validate(self) -> Result<(TaskSpec, Option<Array>), ApiError> {
        image::check(&self.image)?;
        let array = self.elements()?;
        let resources = self.resources()?;
        let memory_max_bytes = self.memory_max(&resources)?;
        if let Some(name) = &self.name {
            check_text("name", name)?;
        }
        check_env(&self.env)?;
        check_labels(&self.labels)?;
        let worker = match self.worker_id {
            None => None,
            Some(text) => Some(
                text.parse::<WorkerId>()
                    .map_err(|error| invalid(format!("worker_id: {error}"), "`cloudctl workers` lists the workers"))?,
            ),
        };
        let worker_labels = WorkerSelector::new(self.worker_labels)?;
        let input = match self.input {
            None => None,
            Some(text) => Some(text.parse().map_err(|error| {
                invalid(
                    format!("input: {error}"),
                    "upload files first: POST /api/files, or `cloudctl task --input PATH`",
                )
            })?),
        };
        let policy = RunPolicy {
            time_limit: self.time_limit,
            queue_time_limit: self.queue_time_limit,
            stop_grace: self.stop_grace,
            retries: self.retries.unwrap_or(0),
            retry_on: self.retry_on.unwrap_or_default(),
            backoff: self.backoff,
            memory_max_bytes,
            at_most_once: self.at_most_once.unwrap_or(false),
            blocking_log: self.blocking_log.unwrap_or(false),
            storage_reserved: self.storage.is_none(),
        };
        policy.check()?;
        let profile = self.profile.unwrap_or_default();
        let network = match (profile, self.network) {
            (Profile::Strict, Some(NetworkAccess::Outgoing)) => {
                return Err(invalid(
                    "network: a strict task has none, or public where the cluster allows it",
                    "leave out network, or profile",
                ));
            }
            (Profile::Strict, network) => network.unwrap_or(NetworkAccess::None),
            (Profile::Standard, network) => network.unwrap_or_default(),
        };
        let confinement = Confinement { profile, network };
        let command = check_command(self.command)?;
        let spec = TaskSpec {
            name: self.name,
            image: self.image,
            pull: self.pull.unwrap_or_default(),
            confinement,
            command,
            resources,
            env: self.env,
            labels: self.labels,
            worker,
            worker_labels,
            input,
            policy,
        };
        Ok((spec, array))
    }

    fn elements(&self) -> Result<Option<Array>, ApiError> {
        match (self.count, &self.array) {
            (Some(_), Some(_)) => {
                Err(invalid("array: cannot be given beside count", "give the indices, or how many there are, not both"))
            }
            (Some(count), None) if !(1..=COUNT_LIMIT).contains(&count) => {
                Err(invalid(format!("count: {count} is out of range"), format!("give 1 to {COUNT_LIMIT}")))
            }
            (None | Some(1), None) => Ok(None),
            (Some(count), None) => Ok(Some(Array::of(count))),
            (None, Some(text)) => {
                let hint = "write one such as 0-99, 0-99:2 (a step), 1,3,5 or 0-99%4 (four at a time)";
                text.parse().map(Some).map_err(|error| invalid(format!("array: {error}"), hint))
            }
        }
    }

    fn memory_max(&self, resources: &Resources) -> Result<Option<u64>, ApiError> {
        let Some(most) = &self.mem_max else { return Ok(None) };
        let least = resources.memory_bytes;
        match most.to_bytes("mem_max").map_err(|error| invalid(error.to_string(), "give a size, such as 8GiB"))? {
            most if (least..=MEMORY_RANGE.1).contains(&most) => Ok(Some(most)),
            most => {
                let message = format!("mem_max: {} is out of range", Bytes(most));
                Err(invalid(message, format!("give {}, which is mem, to {}", Bytes(least), Bytes(MEMORY_RANGE.1))))
            }
        }
    }

    fn resources(&self) -> Result<Resources, ApiError> {
        const HINT: &str = "`cloudctl workers` shows what the workers have";
        type Parse = fn(&Quantity, &str) -> Result<u64, InvalidQuantity>;
        let or = |quantity: &Option<Quantity>, default, parse: Parse, field: &str| match quantity {
            None => Ok(default),
            Some(quantity) => parse(quantity, field).map_err(|error| invalid(error.to_string(), HINT)),
        };
        let default = Resources::TASK_DEFAULT;
        let resources = Resources {
            cpu_millis: or(&self.cpu_cores, default.cpu_millis, Quantity::to_millis, "cpu_cores")?,
            memory_bytes: or(&self.mem, default.memory_bytes, Quantity::to_bytes, "mem")?,
            storage_bytes: or(&self.storage, default.storage_bytes, Quantity::to_bytes, "storage")?,
            gpu_millis: or(&self.gpu_cores, default.gpu_millis, Quantity::to_millis, "gpu_cores")?,
        };
        let range = |field: &str, value: u64, (least, most): (u64, u64), show: fn(u64) -> String| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let message = format!("{field}: {} is out of range", show(value));
            Err(invalid(message, format!("give {} to {}", show(least), show(most))))
        };
        let millis = |value| Millis(value).to_string();
        let bytes = |value| Bytes(value).to_string();
        range("cpu_cores", resources.cpu_millis, CPU_RANGE, millis)?;
        range("mem", resources.memory_bytes, MEMORY_RANGE, bytes)?;
        // A worker takes 0 for no limit, which is not what it says.
        if resources.storage_bytes == 0 {
            return Err(invalid("storage: 0 is out of range", STORAGE_HINT));
        }
        range("storage", resources.storage_bytes, (1, STORAGE_MAX), bytes)?;
        range("gpu_cores", resources.gpu_millis, (0, GPU_MAX), millis)?;
        Ok(resources)
    }
}

/// The body of `PATCH /api/tasks/{id}`: what is not named stays (RFC 7396, JSON Merge Patch).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TaskEdit {
    /// Another name; null: none.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "given")]
    pub name: Option<Option<String>>,
    /// Labels to set; null takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "unique::map")]
    pub labels: BTreeMap<String, Option<String>>,
}

/// A field that is there, be it null.
mod given {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Option<Option<String>>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(from).map(Some)
    }
}

impl TaskEdit {
    /// What `spec` becomes by it.
    pub fn apply(&self, spec: &mut TaskSpec) {
        if let Some(name) = &self.name {
            spec.name.clone_from(name);
        }
        for (label, value) in &self.labels {
            match value {
                Some(value) => drop(spec.labels.insert(label.clone(), value.clone())),
                None => drop(spec.labels.remove(label)),
            }
        }
    }

    /// Whether `spec` would be a good one after it.
    ///
    /// # Errors
    /// The field that is wrong, with a hint.
    pub fn check(&self, spec: &TaskSpec) -> Result<(), ApiError> {
        let mut after = spec.clone();
        self.apply(&mut after);
        after.name.iter().try_for_each(|name| check_text("name", name))?;
        check_labels(&after.labels)
    }
}

pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidArgument, message, hint)
}

pub(crate) fn check_text(field: &str, text: &str) -> Result<(), ApiError> {
    if text.is_empty() || text.chars().count() > TEXT_LIMIT {
        let message = format!("{field}: {} characters are out of range", text.chars().count());
        return Err(invalid(message, format!("give 1 to {TEXT_LIMIT} characters")));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control()) {
        let message = format!("{field}: contains the control character {}", bad.escape_debug());
        return Err(invalid(message, "use printable characters"));
    }
    Ok(())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if labels.len() > LABEL_LIMIT {
        return Err(invalid(format!("labels: {} are too many", labels.len()), format!("give at most {LABEL_LIMIT}")));
    }
    for (name, value) in labels {
        check_text("labels", name)?;
        if !value.is_empty() {
            check_text(&format!("labels.{}", name.escape_debug()), value)?;
        }
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if env.len() > ENV_LIMIT {
        return Err(invalid(format!("env: {} variables are too many", env.len()), format!("give at most {ENV_LIMIT}")));
    }
    for (name, value) in env {
        let shown = name.chars().take(40).collect::<String>().escape_debug().to_string();
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(invalid(
                format!("env: `{shown}` is not a variable name"),
                "a name is not empty and has no `=`",
            ));
        }
        if value.contains('\0') || name.len() + value.len() > ENV_VALUE_LIMIT {
            let message = format!("env.{shown}: the value is too long or contains NUL");
            return Err(invalid(message, format!("give at most {ENV_VALUE_LIMIT} bytes; put more into a file")));
        }
    }
    Ok(())
}

fn check_command(command: Option<CommandInput>) -> Result<Command, ApiError> {
    let (command, size, nul) = match command {
        None => return Ok(Command::ImageDefault),
        Some(CommandInput::Shell(line)) => {
            let (size, nul) = (line.len(), line.contains('\0'));
            if line.trim().is_empty() {
                return Err(invalid("command: is empty", "leave it out to run what the image says"));
            }
            (Command::Shell(line), size, nul)
        }
        Some(CommandInput::Argv(args)) => {
            let size = args.iter().map(|arg| arg.len() + 1).sum();
            let nul = args.iter().any(|arg| arg.contains('\0'));
            if args.first().is_none_or(String::is_empty) {
                return Err(invalid(
                    "command: has no program",
                    "give a list of program and arguments, or leave it out",
                ));
            }
            (Command::Argv(args), size, nul)
        }
    };
    if size > COMMAND_LIMIT || nul {
        let message = format!("command: {size} bytes are too many, or it contains NUL");
        return Err(invalid(message, format!("give at most {COMMAND_LIMIT} bytes; put more into the image or a file")));
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<(TaskSpec, Option<Array>), String> {
        let request: SubmitRequest = serde_json::from_str(json).map_err(|error| error.to_string())?;
        request.validate().map_err(|error| format!("{}: {}", error.message, error.hint))
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let (spec, array) = parse(r#"{"image":"ubuntu"}"#).expect("valid");
        assert_eq!(array, None);
        assert_eq!(spec.resources, Resources::TASK_DEFAULT);
        assert_eq!(spec.command, Command::ImageDefault);
    }

    #[test]
    fn a_text_is_for_the_shell_and_a_list_is_argv() {
        let (spec, _) = parse(r#"{"image":"a","command":"echo hi"}"#).expect("valid");
        assert_eq!(spec.command, Command::Shell("echo hi".into()));
        let (spec, _) = parse(r#"{"image":"a","command":["echo","hi"]}"#).expect("valid");
        assert_eq!(spec.command, Command::Argv(vec!["echo".into(), "hi".into()]));
    }

    #[test]
    fn arrays_are_given_by_count_or_by_indices() {
        let array = |fields: &str| parse(&format!(r#"{{"image":"a",{fields}}}"#)).expect(fields).1;
        assert_eq!(array(r#""count":1"#), None);
        assert_eq!(array(r#""count":3"#), Some(Array::of(3)));
        assert_eq!(array(r#""array":"0""#), Some(Array::of(1)));
        assert_eq!(array(r#""array":"4-8:2%2""#).expect("an array").to_string(), "4-8:2%2");
    }

    #[test]
    fn unknown_fields_are_refused_by_name() {
        assert!(parse(r#"{"image":"a","cpus":2}"#).expect_err("unknown").contains("cpus"));
    }

    #[test]
    fn resources_out_of_range_are_refused_with_the_field_and_a_hint() {
        for (field, value) in [
            ("cpu_cores", "-1"),
            ("cpu_cores", "0"),
            ("cpu_cores", "0.001"),
            ("cpu_cores", "1e12"),
            ("cpu_cores", "\"NaN\""),
            ("mem", "0"),
            ("mem", "\"1MiB\""),
            ("mem", "1e300"),
            ("storage", "-0.5"),
            ("storage", "0"),
            ("storage", "\"0MiB\""),
            ("gpu_cores", "\"inf\""),
            ("gpu_cores", "5000"),
        ] {
            let error = parse(&format!(r#"{{"image":"a","{field}":{value}}}"#)).expect_err(value);
            assert!(error.contains(field), "{error}");
        }
    }

    #[test]
    fn names_labels_env_and_counts_are_checked() {
        for bad in [
            r#"{"image":"a","name":""}"#,
            r#"{"image":"a","name":"a\u001b[31m"}"#,
            r#"{"image":"a","env":{"A=B":"x"}}"#,
            r#"{"image":"a","env":{"":"x"}}"#,
            r#"{"image":"a","env":{"A":"\u0000"}}"#,
            r#"{"image":"a","labels":{"":"x"}}"#,
            r#"{"image":"a","count":0}"#,
            r#"{"image":"a","count":1000001}"#,
            r#"{"image":"a","array":"9-0"}"#,
            r#"{"image":"a","array":"0-9","count":10}"#,
            r#"{"image":"a","command":""}"#,
            r#"{"image":"a","command":[]}"#,
            r#"{"image":"a","worker_id":"../x"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
