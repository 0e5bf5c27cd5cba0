//! One record in the file: `length u32, checksum u32, JSON`, little-endian.

use std::collections::BTreeMap;
use std::io;

use cloudaid_core::agent::{JournalEntry, JournalRecord};
use shared::id::AttemptKey;

use super::weight::Weights;
use crate::worker::checksum::checksum;
use crate::worker::link::dial::MESSAGE_LIMIT;

const HEAD: usize = 8;
/// No record is longer, in bytes: what says so is no record. What stands in one has come in one message, of which JSON
/// makes at most six bytes of each, or is what is said of an end, which is far shorter; and it has names for its fields.
const LIMIT: usize = 6 * MESSAGE_LIMIT + (64 << 10);

/// Adds a record; returns how many bytes it takes.
///
/// # Errors
/// It is longer than [`LIMIT`], and would not be read again.
pub(super) fn encode(record: &JournalRecord, frames: &mut Vec<u8>) -> io::Result<usize> {
    let start = frames.len();
    frames.extend_from_slice(&[0; HEAD]);
    serde_json::to_writer(&mut *frames, record)?;
    let body = start + HEAD;
    let length = frames.len() - body;
    if length > LIMIT {
        return Err(io::Error::other(format!("a record of {length} bytes, of {}", record.key())));
    }
    let length = u32::try_from(length).map_err(io::Error::other)?;
    let checksum = checksum(&frames[body..]);
    frames[start..start + 4].copy_from_slice(&length.to_le_bytes());
    frames[start + 4..body].copy_from_slice(&checksum);
    Ok(frames.len() - start)
}

/// What frames add up to, until the first that is not good.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) entries: BTreeMap<AttemptKey, JournalEntry>,
    pub(super) weights: Weights,
    /// How many were good, and their bytes.
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Replayed {
    pub(super) fn of(mut frames: &[u8]) -> Self {
        let mut all = Self::default();
        while let Some((record, length)) = decode(frames) {
            record.apply(&mut all.entries);
            all.weights.add(&record, length);
            all.records += 1;
            all.bytes += length;
            frames = &frames[length..];
        }
        all
    }
}

fn decode(frames: &[u8]) -> Option<(JournalRecord, usize)> {
    let (length, rest) = frames.split_first_chunk::<4>()?;
    let (expected, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LIMIT)?;
    let body = rest.get(..length)?;
    if checksum(body) != *expected {
        return None;
    }
    Some((serde_json::from_slice(body).ok()?, HEAD + length))
}

#[cfg(test)]
mod tests {
    use shared::submit::{COMMAND_LIMIT, ENV_LIMIT, ENV_VALUE_LIMIT};

    use super::*;

    #[test]
    fn there_is_room_for_the_largest_task_that_can_be_submitted() {
        const LARGEST: usize = COMMAND_LIMIT + ENV_LIMIT * ENV_VALUE_LIMIT + 1024;
        const { assert!(6 * LARGEST < LIMIT && LIMIT <= u32::MAX as usize) };
        assert_eq!(serde_json::to_string("\u{1}").expect("a string").len() - 2, 6, "no byte takes more");
    }
}
