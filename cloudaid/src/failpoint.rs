//! Named points at which the crash tests stop or delay the process.
//!
//! With the feature `failpoints`, the environment variable `CLOUDAI_FAILPOINTS` says what happens where. Several are
//! separated by `;`:
//!
//! - `store.commit.before=abort` ends the process at once, as a crash does, the first time the point is hit;
//! - `store.commit.before=abort@3` does so the third time;
//! - `store.commit.before=sleep:250` waits 250 ms, every time.
//!
//! Without the feature, which is how it is shipped, [`hit`] is empty and the variable is not read.
//!
//! The points:
//!
//! | name | where |
//! |---|---|
//! | `store.commit.before` | everything of a commit is written, nothing of it is durable |
//! | `store.commit.after` | a commit is durable, nobody knows it yet |
//! | `store.show.tasks` | MongoDB: a commit is durable, and new submissions of it are in their collection |
//! | `store.show.new` | MongoDB: so is what else is new |
//! | `store.show.changed` | MongoDB: all of it is, and the next commit is not |
//! | `master.sweep.before` | a task is deleted, and its bytes are still on disk |
//! | `worker.journal.before` | before an entry of the worker's journal is durable |
//! | `worker.journal.after` | after it is |
//! | `docker.<call>.before` | before a call to the engine: `create`, `start`, `wait`, `signal`, `remove`, `pull` |
//! | `docker.<call>.after` | after it was answered |

/// Does what was asked for at the point `name`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Does what was asked for at the point `name`.
#[cfg(feature = "failpoints")]
pub fn hit(name: &'static str) {
    for point in active::points().iter().filter(|point| point.name == name) {
        point.hit();
    }
}

#[cfg(feature = "failpoints")]
mod active {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::parse::{Action, parse};

    /// A point that something happens at.
    pub(super) struct Point {
        pub(super) name: String,
        action: Action,
        hits: AtomicU64,
    }

    impl Point {
        pub(super) fn hit(&self) {
            let hits = self.hits.fetch_add(1, Ordering::SeqCst) + 1;
            match self.action {
                Action::Abort { at } if hits == at => std::process::abort(),
                Action::Abort { .. } => {}
                Action::Sleep(time) => std::thread::sleep(time),
            }
        }
    }

    /// What the environment says, read once. A mistake in it ends the process: a crash test that tests nothing is worse.
    pub(super) fn points() -> &'static [Point] {
        static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
        POINTS.get_or_init(|| {
            let text = std::env::var("CLOUDAI_FAILPOINTS").unwrap_or_default();
            let points = parse(&text).unwrap_or_else(|error| {
                eprintln!("CLOUDAI_FAILPOINTS: {error}");
                std::process::exit(2)
            });
            let point = |(name, action)| Point { name, action, hits: AtomicU64::new(0) };
            points.into_iter().map(point).collect()
        })
    }
}

#[cfg(any(test, feature = "failpoints"))]
mod parse {
    use std::time::Duration;

    /// What happens at a point.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Action {
        /// The process ends the `at`-th time.
        Abort { at: u64 },
        /// The caller waits.
        Sleep(Duration),
    }

    /// Reads the form that the module's documentation describes.
    pub(super) fn parse(text: &str) -> Result<Vec<(String, Action)>, String> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| point(part).ok_or_else(|| mistake(part))).collect()
    }

    fn point(part: &str) -> Option<(String, Action)> {
        let (name, action) = part.split_once('=')?;
        let action = match action.split_once([':', '@']) {
            None if action == "abort" => Action::Abort { at: 1 },
            Some(("abort", at)) if action.contains('@') => Action::Abort { at: at.parse().ok().filter(|at| *at > 0)? },
            Some(("sleep", time)) if action.contains(':') => Action::Sleep(Duration::from_millis(time.parse().ok()?)),
            _ => return None,
        };
        (!name.is_empty()).then(|| (name.to_owned(), action))
    }

    fn mistake(part: &str) -> String {
        format!("`{part}` is not `name=abort`, `name=abort@N` (N from 1) or `name=sleep:MILLISECONDS`")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse::{Action, parse};

    #[test]
    fn points_are_read() {
        let points = parse("store.commit.before=abort; docker.start.after=abort@3;worker.journal.before=sleep:250;");
        let expected = [
            ("store.commit.before".to_owned(), Action::Abort { at: 1 }),
            ("docker.start.after".to_owned(), Action::Abort { at: 3 }),
            ("worker.journal.before".to_owned(), Action::Sleep(Duration::from_millis(250))),
        ];
        assert_eq!(points.as_deref(), Ok(&expected[..]));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn mistakes_are_refused() {
        for text in
            ["x", "x=", "=abort", "x=abort@", "x=abort@0", "x=abort:2", "x=sleep", "x=sleep@5", "x=sleep:-1", "x=die"]
        {
            assert!(parse(text).is_err_and(|message| message.contains(text)), "{text}");
        }
    }
}
