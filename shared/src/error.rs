//! The one table of error codes: what each is called, and what it is on each transport.

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is wrong.
    InvalidArgument,
    /// The body is larger than the limit.
    TooLarge,
    /// No credential, or one that is expired or forged.
    Unauthenticated,
    /// The credential is good but does not allow this.
    PermissionDenied,
    /// No such task.
    TaskNotFound,
    /// No such worker.
    WorkerNotFound,
    /// No such file.
    FileNotFound,
    /// No such account.
    UserNotFound,
    /// No such path or thing.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The versions of the two sides do not go together.
    VersionSkew,
    /// The task has ended; it cannot be changed any more.
    TaskEnded,
    /// The thing exists already, or its state forbids the request.
    Conflict,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused,
    /// A byte range outside of the file.
    RangeNotSatisfiable,
    /// Too many requests, or a limit is reached: later it may work.
    ResourceExhausted,
    /// The master cannot do it now: later it may.
    Unavailable,
    /// It is not known whether the request took effect; retry with the same `Idempotency-Key`.
    OutcomeUnknown,
    /// A deadline passed.
    Timeout,
    /// A fault of the server. Its log says more.
    Internal,
}

/// The gRPC status codes used, by their numbers in the gRPC specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the gRPC specification")]
pub enum GrpcCode {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// Exit codes of cloudctl, after BSD's `sysexits.h` where that has one. A task that is waited for ends it with the task's
/// own code instead.
pub mod exit {
    /// A wrong call, or a value that the master refuses.
    pub const USAGE: u8 = 2;
    /// What is sent is wrong or too large.
    pub const DATA: u8 = 65;
    /// No such task, worker, file or path.
    pub const NOT_FOUND: u8 = 66;
    /// It is not known who asks.
    pub const UNAUTHENTICATED: u8 = 67;
    /// The master is not there, or cannot do it now.
    pub const UNAVAILABLE: u8 = 69;
    /// A fault in the master or in cloudctl.
    pub const INTERNAL: u8 = 70;
    /// A file cannot be made.
    pub const CANNOT_CREATE: u8 = 73;
    /// Reading or writing on this machine failed.
    pub const IO: u8 = 74;
    /// A time or a limit was reached: later it may work.
    pub const TEMPORARY: u8 = 75;
    /// The two sides do not understand each other.
    pub const PROTOCOL: u8 = 76;
    /// It is known who asks, and they may not.
    pub const NO_PERMISSION: u8 = 77;
    /// What cloudctl keeps about its masters is wrong or missing.
    pub const CONFIG: u8 = 78;
    /// What it is about is in a state that does not allow it. (`sysexits.h` ends at 78.)
    pub const CONFLICT: u8 = 79;
}

/// A row of the table.
struct Row {
    name: &'static str,
    grpc: GrpcCode,
    http: u16,
    exit: u8,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 20] = [
        Self::InvalidArgument,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::TaskNotFound,
        Self::WorkerNotFound,
        Self::FileNotFound,
        Self::UserNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::VersionSkew,
        Self::TaskEnded,
        Self::Conflict,
        Self::IdempotencyKeyReused,
        Self::RangeNotSatisfiable,
        Self::ResourceExhausted,
        Self::Unavailable,
        Self::OutcomeUnknown,
        Self::Timeout,
        Self::Internal,
    ];

    const fn row(self) -> Row {
        const fn row(name: &'static str, grpc: GrpcCode, http: u16, exit: u8) -> Row {
            Row { name, grpc, http, exit }
        }
        match self {
            Self::InvalidArgument => row("invalid_argument", GrpcCode::InvalidArgument, 400, exit::USAGE),
            Self::TooLarge => row("too_large", GrpcCode::OutOfRange, 413, exit::DATA),
            Self::Unauthenticated => row("unauthenticated", GrpcCode::Unauthenticated, 401, exit::UNAUTHENTICATED),
            Self::PermissionDenied => row("permission_denied", GrpcCode::PermissionDenied, 403, exit::NO_PERMISSION),
            Self::TaskNotFound => row("task_not_found", GrpcCode::NotFound, 404, exit::NOT_FOUND),
            Self::WorkerNotFound => row("worker_not_found", GrpcCode::NotFound, 404, exit::NOT_FOUND),
            Self::FileNotFound => row("file_not_found", GrpcCode::NotFound, 404, exit::NOT_FOUND),
            Self::UserNotFound => row("user_not_found", GrpcCode::NotFound, 404, exit::NOT_FOUND),
            Self::NotFound => row("not_found", GrpcCode::NotFound, 404, exit::NOT_FOUND),
            Self::MethodNotAllowed => row("method_not_allowed", GrpcCode::Unimplemented, 405, exit::PROTOCOL),
            Self::VersionSkew => row("version_skew", GrpcCode::FailedPrecondition, 400, exit::PROTOCOL),
            Self::TaskEnded => row("task_ended", GrpcCode::FailedPrecondition, 409, exit::CONFLICT),
            Self::Conflict => row("conflict", GrpcCode::AlreadyExists, 409, exit::CONFLICT),
            Self::IdempotencyKeyReused => row("idempotency_key_reused", GrpcCode::AlreadyExists, 422, exit::CONFLICT),
            Self::RangeNotSatisfiable => row("range_not_satisfiable", GrpcCode::OutOfRange, 416, exit::DATA),
            Self::ResourceExhausted => row("resource_exhausted", GrpcCode::ResourceExhausted, 429, exit::TEMPORARY),
            Self::Unavailable => row("unavailable", GrpcCode::Unavailable, 503, exit::UNAVAILABLE),
            Self::OutcomeUnknown => row("outcome_unknown", GrpcCode::Unavailable, 503, exit::TEMPORARY),
            Self::Timeout => row("timeout", GrpcCode::DeadlineExceeded, 408, exit::TEMPORARY),
            Self::Internal => row("internal", GrpcCode::Internal, 500, exit::INTERNAL),
        }
    }

    /// The name in `{"error":{"code": ...}}`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// What it means, for the specification of the API.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::InvalidArgument => "The request itself is wrong",
            Self::TooLarge => "The body is larger than the limit",
            Self::Unauthenticated => "No credential, or one that is expired or forged",
            Self::PermissionDenied => "The credential is good but does not allow this",
            Self::TaskNotFound => "No such task",
            Self::WorkerNotFound => "No such worker",
            Self::FileNotFound => "No such file",
            Self::UserNotFound => "No such account",
            Self::NotFound => "No such path or thing",
            Self::MethodNotAllowed => "The path exists, the method does not",
            Self::VersionSkew => "The versions of the two sides do not go together",
            Self::TaskEnded => "The task has ended; it cannot be changed any more",
            Self::Conflict => "The thing exists already, or its state forbids the request",
            Self::IdempotencyKeyReused => "The `Idempotency-Key` was used for another request",
            Self::RangeNotSatisfiable => "A byte range outside of the file",
            Self::ResourceExhausted => "Too many requests, or a limit is reached: later it may work",
            Self::Unavailable => "The master cannot do it now: later it may",
            Self::OutcomeUnknown => {
                "It is not known whether the request took effect; retry with the same `Idempotency-Key`"
            }
            Self::Timeout => "What was sent did not arrive in time",
            Self::Internal => "A fault of the server. Its log says more",
        }
    }

    /// The gRPC status.
    #[must_use]
    pub const fn grpc(self) -> GrpcCode {
        self.row().grpc
    }

    /// The HTTP status.
    #[must_use]
    pub const fn http(self) -> u16 {
        self.row().http
    }

    /// The exit code of cloudctl.
    #[must_use]
    pub const fn exit(self) -> u8 {
        self.row().exit
    }
}

/// A refusal as a client sees it. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{message}")]
pub struct ApiError {
    /// Which row of the table.
    pub code: ErrorCode,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl ApiError {
    /// A refusal with a hint. Both are for a person.
    pub fn new(code: ErrorCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

/// The body of every HTTP answer that is an error: `{"error":{"code","message","hint"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// The refusal.
    pub error: ApiError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_table_are_the_names_on_the_wire() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_string(&code).expect("json"), format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn no_error_looks_like_success() {
        for code in ErrorCode::ALL {
            assert!(code.http() >= 400 && code.exit() != 0 && code.grpc() as i32 != 0, "{code:?}");
        }
    }
}
