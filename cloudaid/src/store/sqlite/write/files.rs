//! Writes files of runs and of inputs, and what users keep.

use std::sync::Arc;

use cloudaid_core::files::{FileUsage, GoneFile, InputFile, InputRecord, Leftover, UploadRecord};
use cloudaid_core::record::FileRecord;
use rusqlite::{Connection, params};
use shared::id::{AttemptKey, BlobId, InputId, UserName};

use super::json;
use crate::store::coalesce::Batch;
use crate::store::{FileName, StoreError};

pub(super) fn write(connection: &Connection, batch: &Batch) -> Result<(), StoreError> {
    forget_runs(connection, &batch.run_files_gone)?;
    write_runs(connection, &batch.files)?;
    add_files(connection, &batch.files_added)?;
    write_uploads(connection, &batch.uploads)?;
    forget_files(connection, &batch.files_gone)?;
    write_inputs(connection, &batch.inputs)?;
    write_input_files(connection, &batch.input_files)?;
    forget_inputs(connection, &batch.inputs_gone)?;
    write_usage(connection, &batch.file_usage)
}

/// All of these runs, also those of uploads that have not ended.
fn forget_runs(connection: &Connection, runs: &[(AttemptKey, bool)]) -> Result<(), StoreError> {
    for (key, sweep) in runs {
        for table in ["file_metadata", "uploads"] {
            let sql = format!("DELETE FROM {table} WHERE task = ?1 AND idx = ?2 AND attempt = ?3");
            connection.prepare_cached(&sql)?.execute(params![key.task.to_string(), key.index, key.attempt])?;
        }
        if *sweep {
            leave(connection, Leftover::Run(key.element(), key.attempt))?;
        }
    }
    Ok(())
}

/// In place of those that were known of the runs.
fn write_runs(connection: &Connection, files: &[(AttemptKey, Arc<[FileRecord]>)]) -> Result<(), StoreError> {
    let delete = "DELETE FROM file_metadata WHERE task = ?1 AND idx = ?2 AND attempt = ?3";
    for (key, _) in files {
        connection.prepare_cached(delete)?.execute(params![key.task.to_string(), key.index, key.attempt])?;
    }
    add_files(connection, files)
}

/// In place of those with the same path.
fn add_files(connection: &Connection, files: &[(AttemptKey, Arc<[FileRecord]>)]) -> Result<(), StoreError> {
    let insert =
        "INSERT OR REPLACE INTO file_metadata (task, idx, attempt, path, size, blake3, blob, start, path_blake3)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    let mut insert = connection.prepare_cached(insert)?;
    for (key, files) in files {
        let task = key.task.to_string();
        for FileRecord { path, size, blake3, blob, start } in files.iter() {
            let (size, start) = (size.cast_signed(), start.map(u64::cast_signed));
            let blob = blob.map(|blob| blob.to_string());
            let digest = FileName::digest(path);
            insert.execute(params![task, key.index, key.attempt, path, size, blake3, blob, start, digest])?;
        }
    }
    Ok(())
}

/// How far uploads are; none: one has ended.
fn write_uploads(connection: &Connection, uploads: &[(AttemptKey, Option<UploadRecord>)]) -> Result<(), StoreError> {
    for (AttemptKey { task, index, attempt, fence }, upload) in uploads {
        let task = task.to_string();
        match upload {
            Some(upload) => {
                let sql = "INSERT OR REPLACE INTO uploads VALUES (?1, ?2, ?3, ?4, ?5)";
                let values = params![task, index, attempt, fence.0.cast_signed(), json(upload)?];
                connection.prepare_cached(sql)?.execute(values)?;
            }
            None => {
                let sql = "DELETE FROM uploads WHERE task = ?1 AND idx = ?2 AND attempt = ?3";
                connection.prepare_cached(sql)?.execute(params![task, index, attempt])?;
            }
        }
    }
    Ok(())
}

/// A file of the same name that has come since stays.
fn forget_files(connection: &Connection, gone: &[GoneFile]) -> Result<(), StoreError> {
    let delete = "DELETE FROM file_metadata
                  WHERE task = ?1 AND idx = ?2 AND attempt = ?3 AND path = ?4 AND blob IS ?5";
    let mut delete = connection.prepare_cached(delete)?;
    for file in gone {
        let (task, blob) = (file.element.task.to_string(), file.blob.map(|blob| blob.to_string()));
        delete.execute(params![task, file.element.index, file.attempt, file.path, blob])?;
        if let Some(leftover) = file.leftover() {
            leave(connection, leftover)?;
        }
    }
    Ok(())
}

fn write_inputs(connection: &Connection, inputs: &[InputRecord]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO inputs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for input in inputs {
        let FileUsage { bytes, files } = input.size;
        insert.execute(params![
            input.id.to_string(),
            input.user.as_str(),
            bytes.cast_signed(),
            files.cast_signed(),
            input.missing.cast_signed(),
            input.created_at.0,
            input.used_at.0,
        ])?;
    }
    Ok(())
}

fn write_input_files(connection: &Connection, inputs: &[(InputId, Arc<[InputFile]>)]) -> Result<(), StoreError> {
    let insert = "INSERT OR REPLACE INTO file_metadata (task, idx, attempt, path, size, blake3, blob, executable)
                  VALUES (?1, 0, 0, ?2, ?3, ?4, ?5, ?6)";
    let mut insert = connection.prepare_cached(insert)?;
    for (id, files) in inputs {
        let id = id.to_string();
        for InputFile { path, size, executable, blob: BlobId(blob), blake3 } in files.iter() {
            let digest = blake3.as_ref().map_or(&[][..], |digest| &digest[..]);
            let blob = BlobId(*blob).to_string();
            insert.execute(params![id, path, size.cast_signed(), digest, blob, executable])?;
        }
    }
    Ok(())
}

fn forget_inputs(connection: &Connection, gone: &[InputId]) -> Result<(), StoreError> {
    for id in gone {
        let text = id.to_string();
        connection.prepare_cached("DELETE FROM file_metadata WHERE task = ?1")?.execute(params![text])?;
        if connection.prepare_cached("DELETE FROM inputs WHERE id = ?1")?.execute(params![text])? > 0 {
            leave(connection, Leftover::Input(*id))?;
        }
    }
    Ok(())
}

fn write_usage(connection: &Connection, usage: &[(UserName, FileUsage)]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO file_usage VALUES (?1, ?2, ?3)")?;
    for (user, FileUsage { bytes, files }) in usage {
        insert.execute(params![user.as_str(), bytes.cast_signed(), files.cast_signed()])?;
    }
    Ok(())
}

/// Notes what is still kept of something that is no more.
pub(super) fn leave(connection: &Connection, leftover: Leftover) -> Result<(), StoreError> {
    connection.prepare_cached("INSERT OR IGNORE INTO unswept VALUES (?1)")?.execute(params![leftover.to_string()])?;
    Ok(())
}

/// What was left is gone too.
pub(super) fn swept(connection: &Connection, leftovers: &[Leftover]) -> Result<(), StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM unswept WHERE leftover = ?1")?;
    leftovers.iter().try_for_each(|leftover| delete.execute(params![leftover.to_string()]).map(drop))?;
    Ok(())
}
