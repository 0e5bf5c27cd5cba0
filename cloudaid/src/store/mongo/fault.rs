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
pub(super) fn classify(error: &Error) -> Fault {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } => unselected(message),
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

/// No server could be used. The driver lists those it knows, each with what was wrong with it.
fn unselected(message: &str) -> Fault {
    if !message.contains("Address:") {
        return Fault::Refused(StoreError::Server(
            "no server at these hosts is of the replica set that MONGODB_URI names: correct `replicaSet=`".to_owned(),
        ));
    }
    let reason = message.split("Error: ").nth(1).and_then(|rest| rest.split([',', '}']).next()).map(str::trim);
    let folded = reason.unwrap_or_default().to_ascii_lowercase();
    if ["tls", "certificate", "handshake", "corrupt message"].iter().any(|word| folded.contains(word)) {
        return Fault::Refused(StoreError::Server(format!(
            "a server is there, and no encrypted connection can be made: {}; correct `tls=` and its certificates in \
             MONGODB_URI",
            reason.unwrap_or_default()
        )));
    }
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Fault::Unsent(StoreError::Unreachable(format!("no server could be reached{reason}")))
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
