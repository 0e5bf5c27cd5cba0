//! The one table of error codes: what each is called, and what it is on each transport.

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// No such path or thing.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
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

/// A row of the table.
struct Row {
    name: &'static str,
    grpc: GrpcCode,
    http: u16,
    exit: u8,
}

impl ErrorCode {
    /// All codes.
    pub const ALL: [Self; 18] = [
        Self::InvalidArgument,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::TaskNotFound,
        Self::WorkerNotFound,
        Self::FileNotFound,
        Self::NotFound,
        Self::MethodNotAllowed,
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

    /// Exit codes of cloudctl: 2 wrong request, 3 not found, 4 log in, 5 not allowed, 6 conflict, 7 not now, 8 deadline,
    /// 1 anything else.
    const fn row(self) -> Row {
        const fn row(name: &'static str, grpc: GrpcCode, http: u16, exit: u8) -> Row {
            Row { name, grpc, http, exit }
        }
        match self {
            Self::InvalidArgument => row("invalid_argument", GrpcCode::InvalidArgument, 400, 2),
            Self::TooLarge => row("too_large", GrpcCode::OutOfRange, 413, 2),
            Self::Unauthenticated => row("unauthenticated", GrpcCode::Unauthenticated, 401, 4),
            Self::PermissionDenied => row("permission_denied", GrpcCode::PermissionDenied, 403, 5),
            Self::TaskNotFound => row("task_not_found", GrpcCode::NotFound, 404, 3),
            Self::WorkerNotFound => row("worker_not_found", GrpcCode::NotFound, 404, 3),
            Self::FileNotFound => row("file_not_found", GrpcCode::NotFound, 404, 3),
            Self::NotFound => row("not_found", GrpcCode::NotFound, 404, 3),
            Self::MethodNotAllowed => row("method_not_allowed", GrpcCode::Unimplemented, 405, 2),
            Self::TaskEnded => row("task_ended", GrpcCode::FailedPrecondition, 409, 6),
            Self::Conflict => row("conflict", GrpcCode::AlreadyExists, 409, 6),
            Self::IdempotencyKeyReused => row("idempotency_key_reused", GrpcCode::AlreadyExists, 422, 6),
            Self::RangeNotSatisfiable => row("range_not_satisfiable", GrpcCode::OutOfRange, 416, 2),
            Self::ResourceExhausted => row("resource_exhausted", GrpcCode::ResourceExhausted, 429, 7),
            Self::Unavailable => row("unavailable", GrpcCode::Unavailable, 503, 7),
            Self::OutcomeUnknown => row("outcome_unknown", GrpcCode::Unavailable, 503, 7),
            Self::Timeout => row("timeout", GrpcCode::DeadlineExceeded, 504, 8),
            Self::Internal => row("internal", GrpcCode::Internal, 500, 1),
        }
    }

    /// The name in `{"error":{"code": ...}}`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().name
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
