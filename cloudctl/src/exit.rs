//! How the program ends: every failure it knows, and the exit code of each.

use std::io;

use shared::context::file::ContextFileError;
use shared::error::{ApiError, ErrorCode, exit};
use shared::task::{TaskState, Verdict};

/// A failure. Its text says what is wrong; [`CtlError::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
    /// The server refused.
    #[error("{}", .0.message)]
    Api(#[from] ApiError),
    /// The server cannot be reached, or the connection broke.
    #[error("cannot reach {server}: {cause}")]
    Unreachable {
        /// As it was asked for.
        server: String,
        /// The last word of the operating system.
        cause: String,
    },
    /// The server does not show a certificate that is trusted.
    #[error("the certificate of {server} is not trusted: {cause}")]
    Untrusted {
        /// As it was asked for.
        server: String,
        /// What is wrong with the certificate.
        cause: String,
        /// How to trust it, if that is right.
        hint: String,
    },
    /// The call itself is wrong.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// The server's answer makes no sense to us.
    #[error("{server} answers what this cloudctl does not understand: {cause}")]
    Protocol {
        /// As it was asked for.
        server: String,
        /// Where reading it failed.
        cause: String,
    },
    /// Something on this machine failed.
    #[error("{what}: {source}")]
    Local {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something is not as it must be.
    #[error("{message}")]
    Refused {
        /// Of [`TABLE`].
        exit: u8,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The person was asked, and did not say yes.
    #[error("not confirmed; nothing was done")]
    Declined,
    /// Whoever reads our output has gone; not a failure.
    #[error("the output was closed")]
    OutputClosed,
    /// The person pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// The exit code of a task that was cancelled, and of an interrupted cloudctl: as of a shell's child after Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
/// The person was asked, and did not say yes.
const DECLINED: u8 = 1;

/// Every exit code of cloudctl itself, and what it means. Which of the master's refusals have it says [`ErrorCode`].
pub(crate) const TABLE: [(u8, &str); 16] = [
    (0, "done"),
    (DECLINED, "you were asked, and did not say yes: nothing was done"),
    (exit::USAGE, "a wrong call, or a value that cannot be: nothing was done"),
    (exit::DATA, "what was to be sent is wrong or too large"),
    (exit::NOT_FOUND, "there is no such task, worker, file or context"),
    (exit::UNAUTHENTICATED, "it is not known who you are: `cloudctl login`"),
    (exit::UNAVAILABLE, "the master cannot be reached, or cannot do it now"),
    (exit::INTERNAL, "a fault in the master or in cloudctl: see the master's log"),
    (exit::CANNOT_CREATE, "a file is there already, or cannot be made"),
    (exit::IO, "reading or writing on this machine failed, or a download is not whole"),
    (exit::TEMPORARY, "a time or a limit was reached (`wait --timeout`): later it may work"),
    (exit::PROTOCOL, "the two sides do not understand each other (`cloudctl version`), or the server is not trusted"),
    (exit::NO_PERMISSION, "you may not do that"),
    (exit::CONFIG, "no context, or a broken file of contexts: see `cloudctl help context`"),
    (exit::CONFLICT, "its state does not allow it: it has ended, or is there already"),
    (INTERRUPTED, "interrupted by Ctrl-C"),
];

impl CtlError {
    /// A wrong call.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// Something is not as it must be; `exit` is of [`TABLE`].
    pub(crate) fn refused(exit: u8, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { exit, message: message.into(), hint: hint.into() }
    }

    /// A failure of this machine.
    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local { what, source }
    }

    /// A failure to write to stdout or stderr. A closed output is told apart.
    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Local { what: "cannot write the output".to_owned(), source }
        }
    }

    /// Whether too much was asked for in too short a time.
    pub(crate) fn is_throttled(&self) -> bool {
        matches!(self, Self::Api(ApiError { code: ErrorCode::ResourceExhausted, .. }))
    }

    /// Whether the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Api(error) => matches!(
                error.code,
                ErrorCode::Unavailable | ErrorCode::OutcomeUnknown | ErrorCode::Timeout | ErrorCode::ResourceExhausted
            ),
            _ => false,
        }
    }

    /// Whether the request may have been carried out all the same.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Api(error) => matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::Timeout),
            _ => false,
        }
    }

    /// What to do next; empty if there is nothing to say.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Api(error) if error.code == ErrorCode::Unauthenticated && error.hint.is_empty() => {
                "log in with `cloudctl login`".to_owned()
            }
            Self::Api(error) => error.hint.clone(),
            Self::Unreachable { .. } => {
                "is the master running there? Start one with `cloudaid dev`, or name another with --server".to_owned()
            }
            Self::Untrusted { hint, .. } | Self::Usage { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Protocol { .. } => {
                "check that --server is a CloudAI master, of about the version of `cloudctl version`".to_owned()
            }
            Self::Local { .. } | Self::Declined | Self::OutputClosed | Self::Interrupted => String::new(),
        }
    }

    /// See [`TABLE`].
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Api(error) => error.code.exit(),
            Self::Unreachable { .. } => exit::UNAVAILABLE,
            Self::Usage { .. } => exit::USAGE,
            Self::Untrusted { .. } | Self::Protocol { .. } => exit::PROTOCOL,
            Self::Local { source, .. } if source.kind() == io::ErrorKind::NotFound => exit::NOT_FOUND,
            Self::Local { .. } => exit::IO,
            Self::Refused { exit, .. } => *exit,
            Self::Declined => DECLINED,
            Self::OutputClosed => 0,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// Whether there is something to tell about it.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::OutputClosed | Self::Interrupted)
    }
}

impl From<ContextFileError> for CtlError {
    fn from(error: ContextFileError) -> Self {
        let hint = match error {
            ContextFileError::Broken { .. } => "mend it, or move it away and run `cloudctl login` again",
            ContextFileError::Io { .. } => "check who owns it and whether the disk is full",
        };
        Self::refused(exit::CONFIG, error.to_string(), hint)
    }
}

/// The exit code for a task that has ended: its own, so that `task --wait` behaves like running the command here.
pub(crate) fn of_task(state: TaskState, verdict: Option<&Verdict>) -> u8 {
    match (verdict, state) {
        (Some(Verdict::Success), _) | (None, TaskState::Completed) => 0,
        (Some(Verdict::ExitCode { exit_code }), _) => byte(*exit_code),
        (Some(Verdict::Signal { signal, .. }), _) => byte(128 + signal),
        (Some(Verdict::Oom { .. }), _) => 137,
        (Some(Verdict::Timeout { .. }), _) => 124,
        (Some(Verdict::Cancelled), _) | (None, TaskState::Cancelled) => INTERRUPTED,
        (
            Some(
                Verdict::QueueTimeout { .. }
                | Verdict::Image { .. }
                | Verdict::Setup { .. }
                | Verdict::Disk { .. }
                | Verdict::WorkerLost { .. }
                | Verdict::Rejected { .. },
            )
            | None,
            _,
        ) => 125,
    }
}

/// A code that does not fit must still not look like success.
fn byte(code: i32) -> u8 {
    match u8::try_from(code) {
        Ok(0) | Err(_) => 125,
        Ok(code) => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_ends_cloudctl_with_its_own_code() {
        let message = String::new;
        for (verdict, code) in [
            (Verdict::Success, 0),
            (Verdict::ExitCode { exit_code: 3 }, 3),
            (Verdict::ExitCode { exit_code: 255 }, 255),
            (Verdict::Signal { signal: 11, by_hand: false }, 139),
            (Verdict::oom(1), 137),
            (Verdict::Timeout { limit_seconds: 1, exit_code: None }, 124),
            (Verdict::Cancelled, 130),
            (Verdict::Image { message: message() }, 125),
            (Verdict::Setup { message: message() }, 125),
            (Verdict::Disk { limit_bytes: 1, used_bytes: None, largest: Vec::new() }, 125),
            (Verdict::WorkerLost { message: message() }, 125),
            (Verdict::Rejected { message: message() }, 125),
        ] {
            assert_eq!(of_task(verdict.state(), Some(&verdict)), code, "{verdict:?}");
        }
    }

    #[test]
    fn without_a_verdict_the_state_decides() {
        assert_eq!(of_task(TaskState::Completed, None), 0);
        assert_eq!(of_task(TaskState::Cancelled, None), 130);
        assert_eq!(of_task(TaskState::Failed, None), 125);
    }

    #[test]
    fn a_failed_task_never_exits_with_0() {
        for exit_code in [0, 256, -1, i32::MAX] {
            assert_ne!(of_task(TaskState::Failed, Some(&Verdict::ExitCode { exit_code })), 0, "{exit_code}");
        }
    }

    #[test]
    fn refusals_exit_by_their_code_and_each_code_is_in_the_table() {
        for code in ErrorCode::ALL {
            assert_eq!(CtlError::from(ApiError::new(code, "", "")).exit(), code.exit());
            assert!(TABLE.iter().any(|(exit, _)| *exit == code.exit()), "{code:?}");
        }
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        let dead = CtlError::Unreachable { server: "http://x".into(), cause: "refused".into() };
        assert_eq!(dead.exit(), 69);
        assert!(dead.is_transient() && !dead.hint().is_empty());
        assert!(dead.leaves_doubt(), "the connection may have broken behind the request");
        let doubt = |code| CtlError::Api(ApiError::new(code, "m", "h")).leaves_doubt();
        assert!(doubt(ErrorCode::OutcomeUnknown) && !doubt(ErrorCode::Unavailable) && !doubt(ErrorCode::Conflict));
        assert_eq!(CtlError::usage("", "").exit(), 2);
    }
}
