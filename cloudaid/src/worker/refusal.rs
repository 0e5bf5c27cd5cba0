//! That the disk has refused the journal: why, and when it is asked again.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::journal::Written;
use crate::pause::Pauses;

/// What to do about a disk that fails.
pub(super) const ADVICE: &str = "what runs goes on; mend the disk, or put the data directory on a good one, and start the \
                                 worker again if it does not go on by itself";
/// Before what found no room is tried again, if nothing comes that is tried with it.
const ROOM_AGAIN: Duration = Duration::from_secs(1);
/// The longest pause before a disk that fails is asked again: the whole journal is written to it each time.
const LONGEST: Duration = Duration::from_secs(20);

/// The last refusal, while something waits for the disk.
#[derive(Debug)]
pub(super) struct Refusals {
    last: Option<(Written, Instant)>,
    /// Since when it has taken nothing.
    since: Option<Instant>,
    pauses: Pauses,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { last: None, since: None, pauses: Pauses::up_to(LONGEST) }
    }
}

impl Refusals {
    /// Takes in what came of records.
    pub(super) fn note(&mut self, written: Written, now: Instant) {
        let pause = match written {
            // Others may wait still.
            Written::Durable => {
                self.since = None;
                return;
            }
            Written::NoRoom => {
                self.pauses.reset();
                ROOM_AGAIN
            }
            Written::Failed(_) => self.pauses.next(),
        };
        self.last = Some((written, now + pause));
        self.since.get_or_insert(now);
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        (self.last, self.since) = (None, None);
        self.pauses.reset();
    }

    /// What a disk that fails has said last, if it is not to be asked yet. Whether there is room costs nothing to ask.
    pub(super) fn stands(&self, now: Instant) -> Option<Written> {
        let (written, again_at) = self.last?;
        (matches!(written, Written::Failed(_)) && now < again_at).then_some(written)
    }

    /// When what waits is tried again, if nothing comes that is tried with it.
    pub(super) fn again_at(&self, now: Instant) -> Instant {
        self.last.map_or(now + ROOM_AGAIN, |(_, again_at)| again_at)
    }

    /// When who has waited for it since `from` has waited for `patience`; none: it does not refuse. What it takes meanwhile is
    /// a reason to go on waiting.
    pub(super) fn given_up_at(&self, from: Instant, patience: Duration) -> Option<Instant> {
        self.since.map(|since| since.max(from) + patience)
    }

    /// Why no new tasks should come, and what to do.
    pub(super) fn in_words(&self, journal: &Path) -> Option<String> {
        let journal = journal.display();
        match self.last?.0 {
            Written::Durable => None,
            Written::NoRoom => Some(format!("its disk is full, and {journal} cannot grow")),
            Written::Failed(errno) => {
                Some(format!("its disk fails, and {journal} cannot be written: {errno}; {ADVICE}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_disk_that_fails_is_asked_less_and_less() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        assert_eq!(refusals.stands(begin), None);
        let (mut now, mut longest) = (begin, Duration::ZERO);
        for _ in 0..20 {
            refusals.note(Written::Failed(Errno::IO), now);
            let again_at = refusals.again_at(now);
            longest = longest.max(again_at - now);
            assert!(again_at > now, "whoever comes meanwhile does not ask it");
            assert_eq!(refusals.stands(now), Some(Written::Failed(Errno::IO)));
            assert_eq!(refusals.stands(again_at), None);
            now = again_at;
        }
        assert!(longest > LONGEST / 2 - Duration::from_millis(1) && longest <= LONGEST, "{longest:?}");
        assert!(now - begin < 20 * LONGEST);
        refusals.clear();
        refusals.note(Written::Failed(Errno::IO), now);
        assert!(refusals.again_at(now) - now < Duration::from_secs(1), "it was well meanwhile");
    }

    #[test]
    fn room_is_asked_for_whenever_something_comes() {
        let mut refusals = Refusals::default();
        let now = Instant::now();
        refusals.note(Written::NoRoom, now);
        assert_eq!((refusals.stands(now), refusals.again_at(now)), (None, now + ROOM_AGAIN));
        refusals.note(Written::Durable, now);
        assert!(refusals.in_words(Path::new("/data/journal")).is_some(), "what needs no room is not all that there is");
    }

    #[test]
    fn who_waits_for_it_gives_up_when_it_has_taken_nothing_for_so_long() {
        let mut refusals = Refusals::default();
        let (begin, second, patience) = (Instant::now(), Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(refusals.given_up_at(begin, patience), None);
        for (number, written) in
            (1_u32..).zip([Written::Failed(Errno::IO), Written::NoRoom, Written::Failed(Errno::ROFS)])
        {
            refusals.note(written, begin + second * number);
            assert_eq!(refusals.given_up_at(begin, patience), Some(begin + second + patience), "{written:?}");
        }
        let late = begin + second * 50;
        assert_eq!(refusals.given_up_at(late, patience), Some(late + patience), "it is tried for so long then");
        refusals.note(Written::Durable, late);
        assert_eq!(refusals.given_up_at(begin, patience), None, "something ends still");
        refusals.note(Written::NoRoom, late + second);
        assert_eq!(refusals.given_up_at(begin, patience), Some(late + second + patience));
        refusals.clear();
        assert_eq!(refusals.given_up_at(begin, patience), None);
    }

    #[test]
    fn it_says_what_the_disk_has_said_and_what_to_do() {
        let mut refusals = Refusals::default();
        let mut words = |written| {
            refusals.note(written, Instant::now());
            refusals.in_words(Path::new("/data/journal")).expect("a problem")
        };
        assert_eq!(words(Written::NoRoom), "its disk is full, and /data/journal cannot grow");
        let words = words(Written::Failed(Errno::ROFS));
        let begin = "its disk fails, and /data/journal cannot be written: Read-only file system (os error 30); what runs goes on; ";
        assert!(words.starts_with(begin) && words.ends_with(ADVICE), "{words}");
        refusals.clear();
        assert_eq!(refusals.in_words(Path::new("/data/journal")), None);
    }
}
