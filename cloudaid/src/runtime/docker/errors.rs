//! What went wrong between us and the engine, and what that means to the caller.

use std::future::Future;
use std::time::Duration;

use bollard::errors::Error;
use shared::reference;

use crate::runtime::RuntimeError;

/// The longest message that is passed on, in characters.
const MESSAGE_LIMIT: usize = 500;

/// Words of registries for: there is no such image, or not for us; and of an engine that does not trust the registry.
const MISSING: [&str; 13] = [
    "no basic auth credentials",
    "403 forbidden",
    "manifest unknown",
    "name unknown",
    "not found",
    "does not exist",
    "access denied",
    "denied:",
    "unauthorized",
    "invalid reference format",
    "no matching manifest",
    "x509:",
    "server gave http response to https client",
];
/// Words of the network and of overloaded registries: later it may work.
const PASSING: [&str; 10] = [
    "dial tcp",
    "no such host",
    "lookup ",
    "connection refused",
    "connection reset",
    "network is unreachable",
    "timeout",
    "toomanyrequests",
    "rate limit",
    "service unavailable",
];
/// Words of an engine that got as far as the container itself; and of one that does not find in its image what the image says
/// of itself: its user, or a place for its working directory.
const OF_THE_CONTAINER: [&str; 8] = [
    "oci runtime",
    "could not select device driver",
    "error while creating mount source",
    "invalid mount config",
    "unable to find user ",
    "unable to find group ",
    "uids and gids must be in range",
    "cannot mkdir: ",
];
/// How it ends that a directory of an image cannot be made or looked at.
const IN_THE_WAY: [&str; 3] = ["not a directory", "too many levels of symbolic links", "file name too long"];
/// How messages end of a kernel or an engine that has too little for itself, or is broken. Only the end of a message is the
/// cause: before it are names that the task or its image has chosen.
const OF_THE_NODE: [&str; 9] = [
    "no space left on device",
    "disk quota exceeded",
    "cannot allocate memory",
    "resource temporarily unavailable",
    "too many open files",
    "device or resource busy",
    "input/output error",
    READ_ONLY,
    "context deadline exceeded",
];
const READ_ONLY: &str = "read-only file system";
/// Words of an engine that has lost touch with what is below it, and cannot know what that has done.
const OUT_OF_TOUCH: [&str; 5] = ["deadline exceeded", "context canceled", "transport", "connection", "ttrpc"];

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The engine answered, with this status.
    Answer {
        /// HTTP status; 0 for an error inside a stream that had begun well.
        status: u16,
        /// As the engine put it.
        message: String,
    },
    /// No answer: whether the engine did it is not known.
    Lost(String),
}

impl Failure {
    /// Whether the engine answered with this status.
    pub(super) fn is(&self, code: u16) -> bool {
        matches!(self, Self::Answer { status, .. } if *status == code)
    }

    /// Whether the engine's message has these words, in any case.
    pub(super) fn mentions(&self, words: &str) -> bool {
        matches!(self, Self::Answer { message, .. } if message.to_lowercase().contains(words))
    }

    /// Of a call about a container.
    pub(super) fn of_container(self) -> RuntimeError {
        if self.is(404) { RuntimeError::NotFound } else { self.of_engine() }
    }

    /// Whether the engine knows what it has not done.
    pub(super) fn is_certain(&self) -> bool {
        matches!(self, Self::Answer { .. }) && !OUT_OF_TOUCH.iter().any(|words| self.mentions(words))
    }

    /// Whether the cause is one of these words, in lower case.
    fn is_because_of(&self, causes: &[&str]) -> bool {
        let Self::Answer { message, .. } = self else { return false };
        let message = message.to_lowercase();
        // Some layers put what the one below has said in quotes.
        let message = message.trim().trim_end_matches(": unknown").trim_end_matches(['"', '\\', '.']);
        let cause = causes.iter().find_map(|cause| message.strip_suffix(*cause));
        cause.is_some_and(|before| before.is_empty() || before.ends_with([' ', '"']))
    }

    /// Of a call that makes or starts a container.
    pub(super) fn of_setup(self) -> RuntimeError {
        let is_of_a_place = self.mentions("mkdir ") || self.mentions("lstat ");
        let in_the_way = is_of_a_place && self.is_because_of(&IN_THE_WAY);
        let own = in_the_way || OF_THE_CONTAINER.iter().any(|words| self.mentions(words));
        // An image may want a place below one that cannot be written.
        let is_inside = self.mentions("oci runtime") && self.is_because_of(&[READ_ONLY]);
        let of_the_node = !is_inside && self.is_because_of(&OF_THE_NODE);
        match self {
            other if of_the_node => other.of_engine(),
            Self::Answer { status: 404, message } if message.contains("No such container") => RuntimeError::NotFound,
            Self::Answer { status, message } if own || matches!(status, 400 | 403 | 409) => {
                RuntimeError::Setup(short(&message))
            }
            other => other.of_engine(),
        }
    }

    /// Of a pull of `image`.
    pub(super) fn of_pull(self, image: &str) -> RuntimeError {
        let said = match &self {
            Self::Answer { message, .. } => Said::of(&message.to_lowercase(), &image.to_lowercase()),
            Self::Lost(_) => Said::default(),
        };
        let passing = PASSING.iter().any(|words| said.without_tag.contains(words));
        let missing = MISSING.iter().any(|words| said.without_name.contains(words));
        match self {
            Self::Lost(reason) => RuntimeError::Engine(reason),
            // Another worker may have room.
            Self::Answer { message, .. } if message.contains("no space left on device") => {
                RuntimeError::NoRoom(format!("{image} could not be pulled: {}", short(&message)))
            }
            Self::Answer { message, .. } if passing => RuntimeError::ImageUnavailable(format!(
                "{image} could not be pulled, its registry cannot be reached now: {}",
                short(&message)
            )),
            Self::Answer { status, message } if missing || matches!(status, 400 | 401 | 403 | 404) => {
                RuntimeError::ImageNotFound(format!("{image} cannot be pulled: {}", short(&message)))
            }
            Self::Answer { message, .. } => {
                RuntimeError::ImageUnavailable(format!("{image} could not be pulled now: {}", short(&message)))
            }
        }
    }

    /// Of any other call.
    pub(super) fn of_engine(self) -> RuntimeError {
        match self {
            Self::Answer { status, message } => RuntimeError::Engine(format!("{} (status {status})", short(&message))),
            Self::Lost(reason) => RuntimeError::Engine(reason),
        }
    }
}

/// What was said of an image, without what may contain any words: its name, its tag, and addresses with them.
#[derive(Debug, Default)]
struct Said {
    without_name: String,
    /// A tag that stands by itself is left out too: registries say `Tag x was deleted`.
    without_tag: String,
}

impl Said {
    /// Both in lower case.
    fn of(message: &str, image: &str) -> Self {
        let name = reference::name_of(image);
        let version = &image[name.len()..];
        let (tag, digest) = version.split_once('@').unwrap_or((version, ""));
        let is_host = |host: &str| host.contains(['.', ':']);
        // The engine leaves out the registry that is understood, and registries leave out themselves.
        let (host, path) = name.split_once('/').filter(|(host, _)| is_host(host)).unwrap_or(("", name));
        let without_name = without(message, &[host, path.trim_start_matches("library/"), digest]);
        let without_tag = without(&without_name, &[tag.trim_start_matches(':')]);
        Self { without_name, without_tag }
    }
}

/// `message` without its words that have one of these parts, and without addresses.
fn without(message: &str, parts: &[&str]) -> String {
    let plain = |text: &str| format!("/{}/", text.replace([':', '@'], "/"));
    let parts: Vec<_> = parts.iter().filter(|part| !part.is_empty()).map(|part| plain(part)).collect();
    let is_between = |c: char| c.is_whitespace() || "\"'`\\,;()[]{}<>".contains(c);
    let words = message.split_inclusive(is_between).map(|word| {
        let end = word.trim_end_matches(is_between).len();
        let named = plain(&word[..end]);
        // As a whole part: a short one may be in any.
        let is_left_out = word.contains("://") || parts.iter().any(|part| named.contains(part.as_str()));
        if is_left_out { &word[end..] } else { word }
    });
    words.collect()
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => Self::Answer { status: status_code, message },
            Error::DockerStreamError { error } => Self::Answer { status: 0, message: error },
            Error::RequestTimeoutError => Self::Lost("no answer in time".to_owned()),
            Error::SocketNotFoundError(path) => {
                Self::Lost(format!("there is no socket at {path}: is Docker installed and running?"))
            }
            other => Self::Lost(with_causes(&other)),
        }
    }
}

/// Runs one call, and gives it up after `limit`.
pub(super) async fn within<T>(limit: Duration, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => Err(Failure::Lost(format!("no answer within {} s", limit.as_secs()))),
    }
}

/// One line for people, without what only repeats that it is an error, and not too long.
pub(super) fn short(message: &str) -> String {
    let message = message.trim().trim_end_matches(": unknown").trim_end_matches('.');
    // `A failed: B failed: cause` of the engine's layers: the innermost says it.
    let message = message.rsplit_once("caused: ").map_or(message, |(_, cause)| cause);
    let message = message.rsplit_once("unable to start container process: ").map_or(message, |(_, cause)| cause);
    let cut: String = message.chars().take(MESSAGE_LIMIT).collect();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The error and its causes, each once: the outer layers of the HTTP client say nothing by themselves.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, message: &str) -> Failure {
        Failure::Answer { status, message: message.to_owned() }
    }

    #[test]
    fn pulls_that_will_never_work_are_told_from_those_that_may() {
        let never = [
            (404, "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: x"),
            (404, "manifest for busybox:nope not found: manifest unknown: manifest unknown"),
            (400, "invalid reference format: repository name must be lowercase"),
            (0, "unauthorized: authentication required"),
            (0, "no matching manifest for linux/amd64 in the manifest list entries"),
            (500, "Get \"https://r/v2/\": x509: certificate signed by unknown authority"),
            (500, "Get \"https://r/v2/\": http: server gave HTTP response to HTTPS client"),
        ];
        for (status, message) in never {
            let error = answer(status, message).of_pull("i");
            assert!(matches!(error, RuntimeError::ImageNotFound(_)), "{message}: {error:?}");
        }
        // The name of an image says nothing of what is wrong with it.
        for image in
            ["acme/timeout:1", "timeout", "docker.io/library/timeout:latest", "r.example:5000/acme/timeout@sha256:0"]
        {
            let message = format!(
                "pull access denied for {}, repository does not exist: denied",
                image.split([':', '@']).next().unwrap_or(image)
            );
            let error = answer(404, &message).of_pull(image);
            assert!(matches!(error, RuntimeError::ImageNotFound(_)), "{message}: {error:?}");
        }
        // Nor does its tag, nor the address at which it was looked for.
        for (image, message) in [
            ("busybox:timeout", "manifest for busybox:timeout not found: manifest unknown: manifest unknown"),
            ("busybox:lookup", "manifest for busybox:lookup not found: manifest unknown"),
            ("busybox:503", "manifest for docker.io/library/busybox:503 not found: manifest unknown"),
            ("docker.io/library/busybox:timeout", "manifest for busybox:timeout not found: manifest unknown"),
            ("r.io:5000/a/b:Timeout", "manifest for r.io:5000/a/b:Timeout not found: manifest unknown"),
            ("a/b:timeout@sha256:0f", "manifest for a/b:timeout@sha256:0f not found: manifest unknown"),
            ("quay.io/a/b:timeout", "manifest unknown: Tag timeout was deleted or has expired"),
            ("a/b:timeout", "errors: manifest unknown: manifest tagged by \"timeout\" is not found"),
            ("a/timeout:1", "Get \"https://r/v2/a/timeout/manifests/1\": unauthorized: authentication required"),
            ("timeout.io/a:1", "Get \"https://timeout.io/v2/\": x509: certificate is valid for b.io, not timeout.io"),
        ] {
            let error = answer(404, message).of_pull(image);
            assert!(matches!(error, RuntimeError::ImageNotFound(_)), "{message}: {error:?}");
            let error = answer(0, message).of_pull(image);
            assert!(matches!(error, RuntimeError::ImageNotFound(_)), "in a stream, {message}: {error:?}");
        }
        let error = answer(500, "dial tcp: lookup r.io: i/o timeout").of_pull("r.io/acme/a:lookup");
        assert!(matches!(error, RuntimeError::ImageUnavailable(_)), "{error:?}");
        let error = answer(500, "Get \"https://r/v2/acme/denied:\": i/o timeout").of_pull("r/acme/denied:1");
        assert!(matches!(error, RuntimeError::ImageUnavailable(_)), "{error:?}");
        let later = [
            (500, "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host"),
            (500, "toomanyrequests: You have reached your pull rate limit"),
            (500, "received unexpected HTTP status: 503 Service Unavailable"),
            (500, "Get \"https://r/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)"),
            (0, "unexpected EOF"),
        ];
        for (status, message) in later {
            let error = answer(status, message).of_pull("i");
            assert!(matches!(error, RuntimeError::ImageUnavailable(_)), "{message}: {error:?}");
        }
    }

    #[test]
    fn what_the_task_asked_for_is_told_from_the_engines_own_trouble() {
        let setup = [
            (400, "OCI runtime create failed: exec: \"nosuch\": executable file not found in $PATH: unknown"),
            (500, "could not select device driver \"\" with capabilities: [[gpu]]"),
            (400, "Minimum memory limit allowed is 6MB"),
        ];
        for (status, message) in setup {
            let error = answer(status, message).of_setup();
            assert!(matches!(error, RuntimeError::Setup(_)), "{message}: {error:?}");
        }
        // What the image says of itself is not in it.
        for message in [
            "unable to find user ghost: no matching entries in passwd file",
            "linux spec user: unable to find user no space left on device: no matching entries in passwd file",
            "unable to find group ghost: no matching entries in group file",
            "uids and gids must be in range 0-2147483647",
            "Cannot mkdir: /etc/passwd is not a directory",
            "mkdir /var/lib/docker/overlay2/0f/merged/etc/passwd/x: not a directory",
            "lstat /var/lib/docker/overlay2/0f/merged/file/x: not a directory",
            "mkdir /var/lib/docker/overlay2/0f/merged/loop: too many levels of symbolic links",
            "OCI runtime create failed: container_linux.go:380: starting container process caused: chdir to cwd \
             (\"/no space left on device\") set in config.json failed: permission denied: unknown",
            "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \
             \"cannot allocate memory\": executable file not found in $PATH: unknown",
            "OCI runtime create failed: stat /context deadline exceeded: no such file or directory: unknown",
        ] {
            let error = answer(500, message).of_setup();
            assert!(matches!(error, RuntimeError::Setup(_)), "{message}: {error:?}");
        }
        assert!(matches!(answer(500, "no space left on device").of_setup(), RuntimeError::Engine(_)));
        assert_eq!(answer(404, "No such container: x").of_setup(), RuntimeError::NotFound);
        assert!(matches!(Failure::Lost("reset".to_owned()).of_setup(), RuntimeError::Engine(_)));
    }

    #[test]
    fn what_the_node_has_too_little_of_is_not_the_tasks() {
        for cause in OF_THE_NODE {
            for message in [
                format!(
                    "OCI runtime create failed: container_linux.go:380: starting container process caused: {cause}"
                ),
                format!("OCI runtime create failed: mkdir /sys/fs/cgroup/pids/docker/0f: {cause}: unknown"),
                format!(
                    "OCI runtime create failed: container init caused \\\"mounting caused \\\\\"{cause}\\\\\"\\\"\": unknown"
                ),
                format!("failed to start shim: fork/exec /usr/bin/containerd-shim: {cause}: unknown"),
                format!("mkdir /var/lib/docker/overlay2/0f/merged/work: {cause}"),
            ] {
                let error = answer(500, &message).of_setup();
                let is_inside = cause == READ_ONLY && message.starts_with("OCI");
                let is_as_expected = match is_inside {
                    true => matches!(error, RuntimeError::Setup(_)),
                    false => matches!(error, RuntimeError::Engine(_)),
                };
                assert!(is_as_expected, "{message}: {error:?}");
            }
        }
    }

    #[test]
    fn an_engine_that_has_lost_touch_does_not_know_what_it_has_done() {
        assert!(answer(500, "no space left on device").is_certain());
        assert!(!answer(500, "failed to start shim: context deadline exceeded: unknown").is_certain());
        assert!(!answer(500, "transport is closing: unavailable").is_certain());
        assert!(!Failure::Lost("no answer in time".to_owned()).is_certain());
    }

    #[test]
    fn messages_are_one_short_line() {
        let long = "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"x\": \
                    permission denied: unknown";
        assert_eq!(short(long), "exec: \"x\": permission denied");
        assert_eq!(short("a\nb\u{1b}[1m"), "a b [1m");
        assert_eq!(short(&"x".repeat(9999)).len(), MESSAGE_LIMIT);
    }
}
