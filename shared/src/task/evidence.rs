//! What a verdict rests on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::resources::Bytes;

/// A part of what a container has stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoredPart {
    /// A file or folder as it is called inside the container, made printable. `(deleted)`: files that have no name any more,
    /// and that it had open.
    pub path: String,
    /// How much that is, with all that is in it, in bytes.
    pub bytes: u64,
}

impl fmt::Display for StoredPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, Bytes(self.bytes))
    }
}

/// What takes the most of what was stored, where that is known.
pub(super) struct Largest<'a>(pub(super) &'a [StoredPart]);

impl fmt::Display for Largest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, before) in self.0.iter().zip(["; largest: "].into_iter().chain(std::iter::repeat(", "))) {
            write!(f, "{before}{part}")?;
        }
        Ok(())
    }
}

/// A limit, and what was measured, where something was.
pub(super) struct Measured {
    pub(super) limit: u64,
    pub(super) amount: Option<u64>,
    pub(super) what: &'static str,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "limit {}", Bytes(self.limit))?;
        self.amount.map_or(Ok(()), |amount| write!(f, ", {} {}", self.what, Bytes(amount)))
    }
}

/// A process that was killed, by its name, and how much memory it had, where that is known.
pub(super) struct Killed<'a> {
    pub(super) name: &'a str,
    pub(super) bytes: Option<u64>,
}

impl fmt::Display for Killed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        self.bytes.map_or(Ok(()), |bytes| write!(f, " ({})", Bytes(bytes)))
    }
}

/// What looks like the end by a signal.
pub(super) struct Signalled {
    pub(super) signal: i32,
    /// Whether somebody had the engine send it.
    pub(super) by_hand: bool,
}

impl fmt::Display for Signalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signal, by_hand } = *self;
        if by_hand {
            return write!(f, "killed by signal {signal}, which somebody had the container engine send");
        }
        // The engine tells a program that was killed no otherwise than one that ends with this code.
        write!(f, "exit code {} (killed by signal {signal}, or ended so by itself)", signal.saturating_add(128))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_have_ended_so_by_itself_is_not_said_to_be_killed() {
        let words = |signal, by_hand| Signalled { signal, by_hand }.to_string();
        assert_eq!(words(15, false), "exit code 143 (killed by signal 15, or ended so by itself)");
        assert_eq!(words(9, true), "killed by signal 9, which somebody had the container engine send");
    }
}
