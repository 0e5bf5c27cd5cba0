//! Who has done what: entries that are only ever added, each sealed with the one before it.
//!
//! The seal of an entry is the SHA-256 of the seal before it (32 zero bytes before the first) and of the entry's fields in
//! their order, each as its length in 4 bytes, big-endian, and its text in UTF-8. Whoever changes, removes or adds an
//! entry in the middle breaks all seals after it; whoever has noted the last seal also sees that the end was cut off.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::UserName;
use crate::time::WallTime;

/// The seal before the first entry.
pub const FIRST: Seal = Seal([0; 32]);

/// Proves all entries up to one. As 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal(pub [u8; 32]);

impl std::fmt::Display for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Seal {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "it is no seal, which has 64 hex digits";
        let bytes = text.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return Err(FORM);
        }
        let mut seal = [0; 32];
        for (byte, digits) in seal.iter_mut().zip(bytes.chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| FORM)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| FORM)?;
        }
        Ok(Self(seal))
    }
}

impl Serialize for Seal {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seal {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// 1 is the first; none is left out.
    pub sequence: u64,
    /// When.
    pub at: WallTime,
    /// Who, if that was proved.
    pub user: Option<UserName>,
    /// With what: `login`, `cookie`, `token:<id>`, `worker:<name>`, or `none`.
    pub via: String,
    /// From where.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "127.0.0.1"))]
    pub address: Option<IpAddr>,
    /// Names the request in the access log.
    pub request_id: String,
    /// What they wanted: the method and path of the API, `gRPC` and the method, or `report`.
    pub action: String,
    /// To what.
    pub object: String,
    /// `done`, or the code of the error.
    pub outcome: String,
    /// Proves this entry and all before it.
    pub seal: Seal,
}

impl AuditEntry {
    /// The seal that it must have behind an entry with the seal `before`.
    #[must_use]
    pub fn sealed(&self, before: Seal) -> Seal {
        let Self { sequence, at, user, via, address, request_id, action, object, outcome, seal: _ } = self;
        let mut hash = Sha256::new();
        hash.update(before.0);
        let fields = [
            sequence.to_string(),
            at.0.to_string(),
            user.as_ref().map(ToString::to_string).unwrap_or_default(),
            via.clone(),
            address.map(|address| address.to_string()).unwrap_or_default(),
            request_id.clone(),
            action.clone(),
            object.clone(),
            outcome.clone(),
        ];
        for field in fields {
            // No field is longer than a request.
            hash.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(field);
        }
        Seal(hash.finalize().into())
    }
}

/// Follows a chain, entry after entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    /// Of the last entry; 0 before the first.
    pub sequence: u64,
    /// Of the last entry.
    pub seal: Seal,
}

impl Default for Chain {
    fn default() -> Self {
        Self { sequence: 0, seal: FIRST }
    }
}

impl Chain {
    /// Whether an entry is the next one; then it is the last.
    ///
    /// # Errors
    /// Why not.
    pub fn follow(&mut self, entry: &AuditEntry) -> Result<(), String> {
        let AuditEntry { sequence, seal, .. } = entry;
        if *sequence != self.sequence + 1 {
            return Err(format!("behind entry {} comes {sequence}: some are missing", self.sequence));
        }
        if entry.sealed(self.seal) != *seal {
            return Err(format!("entry {sequence} or one before it was changed: its seal does not fit"));
        }
        *self = Self { sequence: *sequence, seal: *seal };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, before: Seal) -> AuditEntry {
        let mut entry = AuditEntry {
            sequence,
            at: WallTime(1_795_600_000_000),
            user: Some("ann".parse().expect("a name")),
            via: "login".into(),
            address: Some([127, 0, 0, 1].into()),
            request_id: "r1".into(),
            action: "POST /api/tasks".into(),
            object: "task-1".into(),
            outcome: "done".into(),
            seal: FIRST,
        };
        entry.seal = entry.sealed(before);
        entry
    }

    fn chain() -> Vec<AuditEntry> {
        let mut all: Vec<AuditEntry> = Vec::new();
        for sequence in 1..=5 {
            all.push(entry(sequence, all.last().map_or(FIRST, |last| last.seal)));
        }
        all
    }

    fn broken_at(entries: &[AuditEntry]) -> Option<usize> {
        let mut chain = Chain::default();
        entries.iter().position(|entry| chain.follow(entry).is_err())
    }

    /// Computed by hand: `sha256sum` over the 32 zero bytes and the fields.
    #[test]
    fn the_seal_is_what_it_says_it_is() {
        let first = entry(1, FIRST);
        assert_eq!(first.seal.to_string(), "abde6297a8d16467a51fd861f5d90da093c070bac04f271e49d4ce3082d5f202");
        assert_eq!(first.seal.to_string().parse(), Ok(first.seal));
        assert!("xyz".parse::<Seal>().is_err() && "é".repeat(32).parse::<Seal>().is_err());
    }

    #[test]
    fn whatever_is_changed_breaks_the_chain_there() {
        assert_eq!(broken_at(&chain()), None);
        type Change = fn(&mut AuditEntry);
        let changes: [Change; 9] = [
            |entry| entry.at.0 += 1,
            |entry| entry.user = None,
            |entry| entry.via.push('x'),
            |entry| entry.address = None,
            |entry| entry.request_id.clear(),
            |entry| entry.action.push(' '),
            |entry| entry.object.push('2'),
            |entry| entry.outcome = "permission_denied".into(),
            |entry| entry.seal.0[31] ^= 1,
        ];
        for change in changes {
            let mut entries = chain();
            change(&mut entries[2]);
            assert_eq!(broken_at(&entries), Some(2));
        }
        // What moves from one field to the next changes the seal too.
        let mut entries = chain();
        (entries[2].action, entries[2].object) = ("POST /api/tasksta".into(), "sk-1".into());
        assert_eq!(broken_at(&entries), Some(2));
    }

    #[test]
    fn what_is_missing_added_or_swapped_breaks_the_chain() {
        let mut missing = chain();
        missing.remove(1);
        assert_eq!(broken_at(&missing), Some(1));
        let mut swapped = chain();
        swapped.swap(1, 2);
        assert_eq!(broken_at(&swapped), Some(1));
        let mut forged = chain();
        forged[4] = entry(5, FIRST);
        assert_eq!(broken_at(&forged), Some(4));
    }
}
