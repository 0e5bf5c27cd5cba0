//! When this worker was last there, for the process that comes after it: what ended about then may have been asked to end by
//! whoever stopped the worker, with its engine or with the host.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shared::time::WallTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::health::Problem;
use crate::clock;

/// The file in the data directory whose time it is. What it says is lost with the last seconds before a crash of the host: it is
/// not worth a wait for the disk.
const NAME: &str = "present";
/// How often it is written.
const EVERY: Duration = Duration::from_secs(5);

/// When the worker of this data directory was last there; none: it never was.
pub(super) fn last(data: &Path) -> Option<WallTime> {
    let written = data.join(NAME).metadata().and_then(|file| file.modified());
    written.ok().map(clock::wall_of)
}

/// Says that it is there until the end of its life, and once more then; but not while its engine is away: without that it
/// does not see who ends. On a full disk there is room for it.
pub(super) async fn show(data: PathBuf, problem: watch::Receiver<Option<Problem>>, life: CancellationToken) {
    loop {
        let path = data.join(NAME);
        let is_last = life.is_cancelled();
        let sees = !matches!(*problem.borrow(), Some(Problem::Engine(_)));
        match tokio::task::spawn_blocking(move || if sees { touch(&path) } else { Ok(()) }).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "It cannot be noted that this worker is there"),
            Err(_) => return,
        }
        if is_last {
            return;
        }
        life.run_until_cancelled(tokio::time::sleep(EVERY)).await;
    }
}

fn touch(path: &Path) -> io::Result<()> {
    File::options().create(true).append(true).open(path)?.set_modified(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_process_knows_when_this_one_was_last_there() {
        let scratch = tempfile::tempdir().expect("a directory");
        assert_eq!(last(scratch.path()), None);
        let life = CancellationToken::new();
        let (problem, seen) = watch::channel(None);
        let showing = tokio::spawn(show(scratch.path().to_owned(), seen.clone(), life.clone()));
        while last(scratch.path()).is_none() {
            tokio::task::yield_now().await;
        }
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let file = File::options().append(true).open(scratch.path().join(NAME)).expect("the file");
        file.set_modified(long_ago).expect("set");
        let before = clock::wall();
        life.cancel();
        showing.await.expect("ended");
        assert!(last(scratch.path()) >= Some(before), "the end of its life is noted");
        file.set_modified(long_ago).expect("set");
        problem.send_replace(Some(Problem::Engine("no answer".to_owned())));
        show(scratch.path().to_owned(), seen.clone(), life.clone()).await;
        assert_eq!(last(scratch.path()), Some(clock::wall_of(long_ago)), "nobody was there for the containers");
        problem.send_replace(Some(Problem::Disk("full".to_owned())));
        show(scratch.path().to_owned(), seen, life).await;
        assert!(last(scratch.path()) >= Some(before), "who has no room sees the containers");
    }
}
