//! What an error of the driver means: whether something may have been written, and whether to try again.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind};
use tokio::time::timeout;

use crate::store::{CommitError, StoreError};

/// A call that did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It never reached the server.
    Unsent(StoreError),
    /// It may have been carried out, now or in a while.
    Unknown(StoreError),
    /// It was refused, and would be again.
    Refused(StoreError),
}

impl Fault {
    /// Whether the same call may succeed later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Unsent(_) | Self::Unknown(_))
    }

    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Unsent(error) | Self::Unknown(error) | Self::Refused(error) => error,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        fault.into_error()
    }
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unsent(error) => Self::Unavailable(error),
            Fault::Unknown(error) => Self::Unknown(error),
            Fault::Refused(error) => Self::Fatal(error),
        }
    }
}

/// Waits for a call to the server, but not longer than `limit`. The call itself goes on: the driver's futures must not be
/// dropped half way.
pub(super) async fn call<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
) -> Result<T, Fault> {
    call_as(limit, work, classify).await
}

/// The same, with errors that mean something else.
pub(super) async fn call_as<T: Send + 'static>(
    limit: Duration,
    work: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
    classify: fn(&Error) -> Fault,
) -> Result<T, Fault> {
    match timeout(limit, tokio::spawn(work)).await {
        Ok(Ok(answer)) => answer.map_err(|error| classify(&error)),
        Ok(Err(panicked)) => Err(Fault::Refused(StoreError::Server(panicked.to_string()))),
        Err(_) => Err(Fault::Unknown(StoreError::Unreachable(format!("no answer within {limit:.1?}")))),
    }
}

/// Server errors after which it is not known what was done, or that pass: of elections, shutdowns, time limits and write
/// concerns (<https://www.mongodb.com/docs/manual/reference/error-codes/>, and the retryable ones of the driver's
/// specification).
const PASSING: [i32; 22] =
    [6, 7, 50, 63, 64, 79, 89, 91, 100, 112, 133, 134, 150, 189, 202, 234, 262, 317, 358, 384, 10107, 13388];
const PASSING_TOO: [i32; 6] = [9001, 11600, 11602, 13435, 13436, 14031];

pub(super) fn is_passing(code: i32) -> bool {
    PASSING.contains(&code) || PASSING_TOO.contains(&code)
}

/// What it means. The driver's texts name hosts, never users or passwords.
fn classify(error: &Error) -> Fault {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } => Fault::Unsent(unreachable(message)),
        ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::Io(_) | ErrorKind::DnsResolve { .. } => {
            Fault::Unknown(StoreError::Unreachable(error.kind.to_string()))
        }
        ErrorKind::Command(command) if is_passing(command.code) => {
            Fault::Unknown(StoreError::Unreachable(command.message.clone()))
        }
        ErrorKind::Command(command) => Fault::Refused(refused(command.code, &command.message)),
        ErrorKind::Authentication { .. } => Fault::Refused(StoreError::NotAllowed(
            "it does not accept the user name and password: check MONGODB_URI, or MONGODB_USERNAME and MONGODB_PASSWORD; a \
             user that was made in another database needs `?authSource=` and its name behind the URI"
                .to_owned(),
        )),
        ErrorKind::IncompatibleServer { message, .. } => Fault::Refused(StoreError::Server(format!(
            "{message}: MongoDB 4.4 or newer is needed"
        ))),
        other => Fault::Refused(StoreError::Server(other.to_string())),
    }
}

/// The same of the first call, where what is wrong may be the settings. Later the same texts are those of a server that comes
/// and goes.
pub(super) fn classify_first(error: &Error) -> Fault {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } => {
            misconfigured(message).map_or_else(|| classify(error), Fault::Refused)
        }
        _ => classify(error),
    }
}

/// No server could be used. The driver lists those it knows, each with what was wrong with it.
fn unreachable(message: &str) -> StoreError {
    let reason = reason(message).map(|reason| format!(": {reason}")).unwrap_or_default();
    StoreError::Unreachable(format!("no server could be reached{reason}"))
}

fn misconfigured(message: &str) -> Option<StoreError> {
    if !message.contains("Address:") {
        return Some(StoreError::Server(
            "no server at these hosts is of the replica set that MONGODB_URI names: correct `replicaSet=`".to_owned(),
        ));
    }
    let reason = reason(message)?;
    let folded = reason.to_ascii_lowercase();
    let is_tls = ["tls", "certificate", "handshake", "corrupt message"].iter().any(|word| folded.contains(word));
    is_tls.then(|| {
        StoreError::Server(format!(
            "a server is there, and no encrypted connection can be made: {reason}; correct `tls=` and its certificates in \
             MONGODB_URI"
        ))
    })
}

/// What was wrong with the first of them.
fn reason(message: &str) -> Option<&str> {
    message.split("Error: ").nth(1).and_then(|rest| rest.split([',', '}']).next()).map(str::trim)
}

/// An answer of the server that is final.
pub(super) fn refused(code: i32, message: &str) -> StoreError {
    match code {
        // Unauthorized, AuthenticationFailed.
        13 | 18 | 8000 => StoreError::NotAllowed(format!(
            "{message}: give its user the role readWrite on the database (MONGODB_URI, or MONGODB_USERNAME and MONGODB_PASSWORD)"
        )),
        _ => StoreError::Server(format!("{message} (code {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_wrong_only_at_the_first_call() {
        let server = "Topology: { Type: Unknown, Servers: [ { Address: db:27017, Type: Unknown, Error: ";
        for (message, first) in [
            (format!("{server}Kind: I/O error: tls handshake eof }}, ] }}"), true),
            ("Topology: { Type: ReplicaSetNoPrimary, Set Name: rs0, Servers: [  ] }".to_owned(), true),
            (format!("{server}Kind: I/O error: Connection refused (os error 111) }}, ] }}"), false),
        ] {
            assert_eq!(misconfigured(&message).is_some(), first, "{message}");
            assert!(matches!(unreachable(&message), StoreError::Unreachable(_)), "{message}");
        }
    }
}
