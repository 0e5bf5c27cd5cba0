//! What a container does, written into the command of its task, so that it is known wherever it runs.

use rand::RngExt;
use rand::rngs::StdRng;
use shared::link::Assignment;
use shared::task::Command;

use super::between;

/// The image that no registry has.
pub(crate) const MISSING_IMAGE: &str = "missing";
/// The image of which no container can be started.
pub(crate) const BROKEN_IMAGE: &str = "broken";

/// What ends only if somebody ends it: longer than any run of the simulator, in milliseconds.
pub(crate) const ENDLESS: u64 = 1 << 40;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Script {
    /// In milliseconds.
    pub(crate) duration: u64,
    pub(crate) code: i32,
    /// Whether it runs out of memory.
    pub(crate) oom: bool,
    /// Whether TERM does not end it.
    pub(crate) stubborn: bool,
}

impl Script {
    pub(crate) fn draw(rng: &mut StdRng, longest: u64) -> Self {
        let (code, oom) = match between(rng, 0, 9) {
            0 | 1 => (between(rng, 1, 255) as i32, false),
            2 => (137, true),
            3 => (139, false),
            _ => (0, false),
        };
        Self { duration: between(rng, 1, longest), code, oom, stubborn: rng.random_bool(0.3) }
    }

    pub(crate) fn to_command(self) -> Command {
        let Self { duration, code, oom, stubborn } = self;
        Command::Argv(vec![duration.to_string(), code.to_string(), oom.to_string(), stubborn.to_string()])
    }

    /// The elements of an array take different times.
    pub(crate) fn of(assignment: &Assignment) -> Option<Self> {
        let Command::Argv(words) = &assignment.command else { return None };
        let [duration, code, oom, stubborn] = words.as_slice() else { return None };
        let duration: u64 = duration.parse().ok()?;
        let share = 1 + u64::from(assignment.key.index) * 7 % 11;
        Some(Self {
            duration: 1 + duration * share / 11,
            code: code.parse().ok()?,
            oom: oom.parse().ok()?,
            stubborn: stubborn.parse().ok()?,
        })
    }
}
