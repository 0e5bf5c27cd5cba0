//! Calls that an engine does not answer though it answers others: no new work is good there.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::runtime::RuntimeError;

/// So long after the last call that had no answer it may be well again: who gets no new work does not call.
const FRESH: Duration = Duration::from_secs(60);
/// An answer that is on its way is there within that time.
pub(super) const MOMENT: Duration = Duration::from_secs(1);

/// A call that may have no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// To start a container.
    Start,
    /// To wait for its end.
    Wait,
}

/// When each call was last seen to have no answer.
#[derive(Debug, Default)]
pub(super) struct Silences(Mutex<[Option<Instant>; 2]>);

impl Silences {
    /// It has no answer, though the engine says what that would have said.
    pub(super) fn note(&self, call: Call) {
        self.0.lock()[call as usize] = Some(Instant::now());
    }

    /// It was answered.
    pub(super) fn heard(&self, call: Call) {
        self.0.lock()[call as usize] = None;
    }

    /// # Errors
    /// One had no answer lately.
    pub(super) fn check(&self) -> Result<(), RuntimeError> {
        self.check_at(Instant::now())
    }

    fn check_at(&self, now: Instant) -> Result<(), RuntimeError> {
        let silent = *self.0.lock();
        for call in [Call::Start, Call::Wait] {
            if silent[call as usize].is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
                let what = match call {
                    Call::Start => "/start, so that containers begin without its saying so, or not at all",
                    Call::Wait => "/wait, so that the ends of containers have to be looked for",
                };
                return Err(RuntimeError::Engine(format!("it answers, but not {what}; restart it if that lasts")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_an_answer_is_held_against_the_engine_until_it_answers_or_for_a_while() {
        let silences = Silences::default();
        assert_eq!(silences.check(), Ok(()));
        silences.note(Call::Wait);
        silences.heard(Call::Start);
        let problem = silences.check();
        assert!(matches!(&problem, Err(RuntimeError::Engine(words)) if words.contains("not /wait")), "{problem:?}");
        assert_eq!(silences.check_at(Instant::now() + FRESH), Ok(()));
        silences.heard(Call::Wait);
        silences.note(Call::Start);
        let problem = silences.check();
        assert!(matches!(&problem, Err(RuntimeError::Engine(words)) if words.contains("not /start")), "{problem:?}");
        silences.heard(Call::Start);
        assert_eq!(silences.check(), Ok(()));
    }
}
