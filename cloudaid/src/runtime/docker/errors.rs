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
/// Words of an engine that got as far as the container itself.
const OF_THE_CONTAINER: [&str; 4] =
    ["oci runtime", "could not select device driver", "error while creating mount source", "invalid mount config"];

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

    /// Of a call that makes or starts a container.
    pub(super) fn of_setup(self) -> RuntimeError {
        let own = OF_THE_CONTAINER.iter().any(|words| self.mentions(words));
        match self {
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
            Self::Answer { message, .. } => without(&message.to_lowercase(), image),
            Self::Lost(_) => String::new(),
        };
        let passing = PASSING.iter().any(|words| said.contains(words));
        let missing = MISSING.iter().any(|words| said.contains(words));
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

/// `message` without the name of an image, which may contain any words.
fn without(message: &str, image: &str) -> String {
    let image = image.to_lowercase();
    let name = reference::name_of(&image);
    // The engine leaves out the registry that is understood, and registries leave out themselves.
    let path = name.split_once('/').filter(|(host, _)| host.contains(['.', ':'])).map_or(name, |(_, path)| path);
    let mut rest = message.to_owned();
    for name in [name, path, path.trim_start_matches("library/")] {
        // As a word: a short one may be a part of any.
        let words = rest.split_inclusive(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)));
        rest =
            words.map(|word| word.strip_prefix(name).filter(|end| end.chars().count() <= 1).unwrap_or(word)).collect();
    }
    rest
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
        assert!(matches!(answer(500, "no space left on device").of_setup(), RuntimeError::Engine(_)));
        assert_eq!(answer(404, "No such container: x").of_setup(), RuntimeError::NotFound);
        assert!(matches!(Failure::Lost("reset".to_owned()).of_setup(), RuntimeError::Engine(_)));
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
