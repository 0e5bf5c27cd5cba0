//! How the program ends: every failure it knows, and the exit code of each.

use std::io;

use shared::error::{ApiError, ErrorCode};
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
    /// Something on this machine is not as it must be.
    #[error("{message}")]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Whoever reads our output has gone; not a failure.
    #[error("the output was closed")]
    OutputClosed,
    /// The person pressed Ctrl-C twice.
    #[error("interrupted")]
    Interrupted,
}

/// The exit code of a task that was cancelled, and of an interrupted cloudctl: as of a shell's child after Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

impl CtlError {
    /// A wrong call.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    /// A failure of this machine. A closed output is told apart.
    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local { what, source }
    }

    /// A failure to write to stdout or stderr.
    pub(crate) fn output(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Local { what: "cannot write the output".to_owned(), source }
        }
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
            Self::Usage { hint, .. } | Self::Refused { hint, .. } => hint.clone(),
            Self::Protocol { .. } => {
                "check that --server is a CloudAI master, of about the version of `cloudctl version`".to_owned()
            }
            Self::Local { .. } | Self::OutputClosed | Self::Interrupted => String::new(),
        }
    }

    /// See the table in `cloudctl --help`.
    pub(crate) fn exit(&self) -> u8 {
        match self {
            Self::Api(error) => error.code.exit(),
            Self::Unreachable { .. } => ErrorCode::Unavailable.exit(),
            Self::Usage { .. } => ErrorCode::InvalidArgument.exit(),
            Self::Protocol { .. } | Self::Local { .. } | Self::Refused { .. } => 1,
            Self::OutputClosed => 0,
            Self::Interrupted => INTERRUPTED,
        }
    }
}

/// The exit code for a task that has ended: its own, so that `task --wait` behaves like running the command here.
pub(crate) fn of_task(state: TaskState, verdict: Option<&Verdict>) -> u8 {
    match (verdict, state) {
        (Some(Verdict::Success), _) | (None, TaskState::Completed) => 0,
        (Some(Verdict::ExitCode { exit_code }), _) => byte(*exit_code),
        (Some(Verdict::Signal { signal }), _) => byte(128 + signal),
        (Some(Verdict::Oom { .. }), _) => 137,
        (Some(Verdict::Timeout { .. }), _) => 124,
        (Some(Verdict::Cancelled), _) | (None, TaskState::Cancelled) => INTERRUPTED,
        (
            Some(
                Verdict::Image { .. }
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
            (Verdict::Signal { signal: 11 }, 139),
            (Verdict::Oom { limit_bytes: 1 }, 137),
            (Verdict::Timeout { limit_seconds: 1 }, 124),
            (Verdict::Cancelled, 130),
            (Verdict::Image { message: message() }, 125),
            (Verdict::Setup { message: message() }, 125),
            (Verdict::Disk { limit_bytes: 1 }, 125),
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
    fn refusals_exit_by_their_code_and_a_dead_server_by_7() {
        for code in ErrorCode::ALL {
            assert_eq!(CtlError::from(ApiError::new(code, "", "")).exit(), code.exit());
        }
        let dead = CtlError::Unreachable { server: "http://x".into(), cause: "refused".into() };
        assert_eq!(dead.exit(), 7);
        assert!(dead.is_transient() && !dead.hint().is_empty());
        assert_eq!(CtlError::usage("", "").exit(), 2);
    }
}
