//! Rows to records. A value that is not what it should be names its column.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cloudaid_core::account::{TokenRecord, UserRecord};
use cloudaid_core::files::{FileUsage, InputFile, InputRecord};
use cloudaid_core::guesses::{GuessCount, GuessKey};
use cloudaid_core::login::LoginRecord;
use cloudaid_core::record::{
    AttemptRecord, ClusterRecord, FileRecord, IdempotencyKey, Progress, ResultRecord, TaskRecord, WorkerRecord,
};
use rusqlite::Row;
use serde::de::DeserializeOwned;
use shared::audit::{AuditEntry, Seal};
use shared::id::{AttemptKey, ElementId, Fence, TaskId, UserName};
use shared::role::Role;
use shared::task::AttemptState;
use shared::time::WallTime;

use crate::store::{StoreError, StoredFile, StoredTask};

/// What [`task_record`] and [`progress`] read, from column 0 on, of `tasks t`.
pub(super) const TASK: &str = "t.sequence, t.id, t.user, t.array, t.key, t.digest, t.submitted_at, t.spec, t.progress,
    t.started_at, t.finished_at, t.retry_of";
const AFTER_TASK: usize = 12;

/// What [`attempt`] reads, of `assignments a`.
pub(super) const ATTEMPT: &str = "a.attempt, a.fence, a.worker, a.state, a.verdict, a.infrastructure_failures,
    a.placed_at, a.started_at, a.finished_at, a.memory, a.gpus, a.confinement, a.notes";
/// How many columns that is.
pub(super) const ATTEMPT_WIDTH: usize = 13;
const AFTER_ATTEMPT: usize = AFTER_TASK + ATTEMPT_WIDTH;

/// What [`result`] reads, of `results r`.
pub(super) const RESULT: &str = "r.verdict, r.attempt, r.worker, r.started_at, r.finished_at, r.outcome";

/// Joins to `tasks t` the last run and the result of a plain submission.
pub(super) const ONLY_ELEMENT: &str = "
    LEFT JOIN assignments a ON t.array IS NULL AND a.task = t.id AND a.idx = 0
        AND a.attempt = (SELECT max(attempt) FROM assignments WHERE task = t.id AND idx = 0)
    LEFT JOIN results r ON t.array IS NULL AND r.task = t.id AND r.idx = 0";

/// Reads [`TASK`], [`ATTEMPT`] and [`RESULT`], joined by [`ONLY_ELEMENT`].
pub(super) fn stored_task(row: &Row<'_>) -> Result<StoredTask, StoreError> {
    let record = task_record(row)?;
    let element = ElementId { task: record.id, index: 0 };
    let is_there = |column| row.get_ref(column).map(|value| value.as_i64_or_null().ok().flatten().is_some());
    Ok(StoredTask {
        progress: progress(row)?,
        last_attempt: is_there(AFTER_TASK)?.then(|| attempt(row, AFTER_TASK, element)).transpose()?,
        result: is_there(AFTER_ATTEMPT + 1)?.then(|| result(row, AFTER_ATTEMPT, element)).transpose()?,
        record,
    })
}

/// Reads [`TASK`].
pub(super) fn task_record(row: &Row<'_>) -> Result<Arc<TaskRecord>, StoreError> {
    let key = match (row.get::<_, Option<Arc<str>>>(4)?, row.get::<_, Option<[u8; 16]>>(5)?) {
        (Some(key), Some(digest)) => Some(IdempotencyKey { key, digest }),
        _ => None,
    };
    Ok(Arc::new(TaskRecord {
        sequence: row.get::<_, i64>(0)?.cast_unsigned(),
        id: parsed(row, 1)?,
        user: parsed(row, 2)?,
        array: optional_json(row, 3)?,
        retry_of: optional(row, 11)?,
        key,
        submitted_at: WallTime(row.get(6)?),
        spec: Arc::new(json(row, 7)?),
    }))
}

/// Reads [`TASK`].
pub(super) fn progress(row: &Row<'_>) -> Result<Progress, StoreError> {
    let progress: Progress = json(row, 8)?;
    Ok(Progress { started_at: time(row, 9)?, finished_at: time(row, 10)?, ..progress })
}

/// Reads [`ATTEMPT`] from column `first` on.
pub(super) fn attempt(row: &Row<'_>, first: usize, element: ElementId) -> Result<AttemptRecord, StoreError> {
    let fence = Fence(row.get::<_, i64>(first + 1)?.cast_unsigned());
    Ok(AttemptRecord {
        key: AttemptKey { task: element.task, index: element.index, attempt: row.get(first)?, fence },
        worker: parsed(row, first + 2)?,
        state: attempt_state(row, first + 3)?,
        verdict: optional_json(row, first + 4)?,
        infrastructure_failures: row.get(first + 5)?,
        memory: row.get::<_, Option<i64>>(first + 9)?.map(i64::cast_unsigned),
        gpus: optional_json(row, first + 10)?.unwrap_or_default(),
        confinement: optional_json(row, first + 11)?,
        notes: optional_json(row, first + 12)?.unwrap_or_default(),
        placed_at: WallTime(row.get(first + 6)?),
        started_at: time(row, first + 7)?,
        finished_at: time(row, first + 8)?,
    })
}

/// Reads [`RESULT`] from column `first` on.
pub(super) fn result(row: &Row<'_>, first: usize, element: ElementId) -> Result<ResultRecord, StoreError> {
    Ok(ResultRecord {
        element,
        verdict: json(row, first)?,
        attempt: row.get(first + 1)?,
        worker: optional(row, first + 2)?,
        started_at: time(row, first + 3)?,
        finished_at: WallTime(row.get(first + 4)?),
        outcome: optional_json(row, first + 5)?,
    })
}

/// Reads `idx, attempt, path, size, blake3, blob, start` from column `first` on.
pub(super) fn file(row: &Row<'_>, first: usize, task: TaskId) -> Result<StoredFile, StoreError> {
    Ok(StoredFile {
        element: ElementId { task, index: row.get(first)? },
        attempt: row.get(first + 1)?,
        file: FileRecord {
            path: row.get(first + 2)?,
            size: row.get::<_, i64>(first + 3)?.cast_unsigned(),
            blake3: row.get(first + 4)?,
            blob: optional(row, first + 5)?,
            start: row.get::<_, Option<i64>>(first + 6)?.map(i64::cast_unsigned),
        },
    })
}

/// Reads `path, size, executable, blob, blake3`.
pub(super) fn input_file(row: &Row<'_>) -> Result<InputFile, StoreError> {
    let digest: Vec<u8> = row.get(4)?;
    Ok(InputFile {
        path: row.get(0)?,
        size: row.get::<_, i64>(1)?.cast_unsigned(),
        executable: row.get(2)?,
        blob: parsed(row, 3)?,
        // Empty: it has not arrived.
        blake3: if digest.is_empty() { None } else { Some(row.get(4)?) },
    })
}

/// All inputs.
pub(super) const INPUTS: &str = "SELECT id, user, bytes, files, missing, created_at, used_at FROM inputs";

/// Reads [`INPUTS`].
pub(super) fn input(row: &Row<'_>) -> Result<InputRecord, StoreError> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok(InputRecord {
        id: parsed(row, 0)?,
        user: parsed(row, 1)?,
        size: FileUsage { bytes: number(2)?, files: number(3)? },
        missing: number(4)?,
        created_at: WallTime(row.get(5)?),
        used_at: WallTime(row.get(6)?),
    })
}

/// Contents of inputs that have not arrived, each with its input.
pub(super) const MISSING: &str = "SELECT task, blob FROM file_metadata WHERE blake3 = x''";

/// What users keep.
pub(super) const FILE_USAGE: &str = "SELECT user, bytes, files FROM file_usage";

/// Reads [`FILE_USAGE`].
pub(super) fn file_usage(row: &Row<'_>) -> Result<(UserName, FileUsage), StoreError> {
    let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    Ok((parsed(row, 0)?, FileUsage { bytes: number(1)?, files: number(2)? }))
}

/// Reads `cluster, epoch`, which are both there or both not.
pub(super) fn cluster(row: &Row<'_>) -> Result<Option<ClusterRecord>, StoreError> {
    let Some(epoch) = row.get::<_, Option<u32>>(1)? else {
        return Ok(None);
    };
    Ok(Some(ClusterRecord { cluster: parsed(row, 0)?, epoch: shared::id::Epoch(epoch) }))
}

/// All accounts, for [`user`].
pub(super) const USERS: &str = "SELECT name, password_hash, role, created_at, disabled FROM users";

/// Reads a row of [`USERS`].
pub(super) fn user(row: &Row<'_>) -> Result<UserRecord, StoreError> {
    let role = text(row, 2)?.parse::<Role>().map_err(|error| corrupt(row, 2, &error.to_string()))?;
    Ok(UserRecord {
        name: parsed(row, 0)?,
        password_hash: row.get(1)?,
        role,
        created_at: WallTime(row.get(3)?),
        disabled: row.get(4)?,
    })
}

/// All personal tokens, for [`token`].
pub(super) const TOKENS: &str = "SELECT id, user, name, digest, role, created_at, expires_at, used_at FROM tokens";

/// Reads a row of [`TOKENS`].
pub(super) fn token(row: &Row<'_>) -> Result<TokenRecord, StoreError> {
    let role = text(row, 4)?.parse::<Role>().map_err(|error| corrupt(row, 4, &error.to_string()))?;
    Ok(TokenRecord {
        id: parsed(row, 0)?,
        user: parsed(row, 1)?,
        name: row.get(2)?,
        digest: row.get(3)?,
        role,
        created_at: WallTime(row.get(5)?),
        expires_at: WallTime(row.get(6)?),
        used_at: row.get::<_, Option<i64>>(7)?.map(WallTime),
    })
}

/// All logins, for [`login`].
pub(super) const LOGINS: &str = "SELECT id, user, kind, address, serial, created_at, renewed_at FROM logins";

/// Reads a row of [`LOGINS`].
pub(super) fn login(row: &Row<'_>) -> Result<LoginRecord, StoreError> {
    Ok(LoginRecord {
        id: parsed(row, 0)?,
        user: parsed(row, 1)?,
        kind: parsed(row, 2)?,
        address: optional(row, 3)?,
        serial: row.get(4)?,
        created_at: WallTime(row.get(5)?),
        renewed_at: WallTime(row.get(6)?),
    })
}

/// What [`audit`] reads, of `audit`.
pub(super) const AUDIT: &str = "sequence, at, user, via, address, request_id, action, object, outcome, seal";

/// Reads [`AUDIT`].
pub(super) fn audit(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        sequence: row.get::<_, i64>(0)?.cast_unsigned(),
        at: WallTime(row.get(1)?),
        user: optional(row, 2)?,
        via: row.get(3)?,
        address: optional(row, 4)?,
        request_id: row.get(5)?,
        action: row.get(6)?,
        object: row.get(7)?,
        outcome: row.get(8)?,
        seal: Seal(row.get(9)?),
    })
}

/// Wrong passwords in a row, for [`guesses`].
pub(super) const GUESSES: &str = "SELECT name, nullif(place, ''), failures, blocked_until FROM guesses";

/// Reads a row of [`GUESSES`].
pub(super) fn guesses(row: &Row<'_>) -> Result<(GuessKey, GuessCount), StoreError> {
    let key = GuessKey { name: parsed(row, 0)?, place: optional(row, 1)? };
    Ok((key, GuessCount { failures: row.get(2)?, blocked_until: WallTime(row.get(3)?) }))
}

/// All workers, for [`worker`].
pub(super) const WORKERS: &str = "SELECT id, facts, registered_at, seen_at, admission, cordon FROM worker_registry";

/// Reads a row of [`WORKERS`].
pub(super) fn worker(row: &Row<'_>) -> Result<WorkerRecord, StoreError> {
    Ok(WorkerRecord {
        id: parsed(row, 0)?,
        admission: json(row, 4)?,
        facts: json(row, 1)?,
        registered_at: WallTime(row.get(2)?),
        seen_at: WallTime(row.get(3)?),
        cordon: optional_json(row, 5)?,
    })
}

/// The state of a run as it is stored; an index names `ended`.
pub(super) fn attempt_state_name(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Pending => "pending",
        AttemptState::Running => "running",
        AttemptState::Ended => "ended",
    }
}

fn attempt_state(row: &Row<'_>, column: usize) -> Result<AttemptState, StoreError> {
    match text(row, column)? {
        "pending" => Ok(AttemptState::Pending),
        "running" => Ok(AttemptState::Running),
        "ended" => Ok(AttemptState::Ended),
        other => Err(corrupt(row, column, &format!("`{other}` is not a state"))),
    }
}

/// Reads a text that is an id or a name.
pub(super) fn parsed<T: FromStr<Err: fmt::Display>>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    text(row, column)?.parse().map_err(|error| corrupt(row, column, &error))
}

/// The same where there may be none.
fn optional<T: FromStr<Err: fmt::Display>>(row: &Row<'_>, column: usize) -> Result<Option<T>, StoreError> {
    let value = row.get_ref(column)?.as_str_or_null().map_err(|error| corrupt(row, column, &error))?;
    value.map(str::parse).transpose().map_err(|error| corrupt(row, column, &error))
}

/// Reads JSON from a text that came from `column`.
pub(super) fn from_json<T: DeserializeOwned>(column: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{column}: {error}")))
}

pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    serde_json::from_str(text(row, column)?).map_err(|error| corrupt(row, column, &error))
}

fn optional_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>, StoreError> {
    let value = row.get_ref(column)?.as_str_or_null().map_err(|error| corrupt(row, column, &error))?;
    value.map(serde_json::from_str).transpose().map_err(|error| corrupt(row, column, &error))
}

fn time(row: &Row<'_>, column: usize) -> Result<Option<WallTime>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(WallTime))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, StoreError> {
    row.get_ref(column)?.as_str().map_err(|error| corrupt(row, column, &error))
}

fn corrupt(row: &Row<'_>, column: usize, what: &dyn fmt::Display) -> StoreError {
    let name = row.as_ref().column_name(column).map(str::to_owned).unwrap_or_default();
    StoreError::Corrupt(format!("{name}: {what}"))
}
