//! Tells a worker who its master is, again and again, until it has registered.

use std::time::Duration;

use tokio::sync::watch;

use super::line::Line;
use crate::pause::Pauses;

/// The longest pause between two tries. A worker that was off for days is found within it.
const LONGEST: Duration = Duration::from_secs(60);

/// Dials whenever `is_silent` says that nothing is heard of the worker.
pub(super) async fn whenever_silent(line: Line, mut is_silent: watch::Receiver<bool>) {
    loop {
        // Nobody says so any more: the worker is no more.
        if is_silent.wait_for(|silent| *silent).await.is_err() {
            return;
        }
        let mut pauses = Pauses::up_to(LONGEST);
        while *is_silent.borrow_and_update() {
            match line.register().await {
                Ok(()) => tracing::info!("The worker at {} was told of its master", line.address()),
                Err(error) => tracing::debug!("The worker at {} was not told of its master: {error}", line.address()),
            }
            // It answers by registering; until then it has not understood.
            tokio::select! {
                heard = is_silent.wait_for(|silent| !silent) => if heard.is_err() { return },
                () = tokio::time::sleep(pauses.next()) => {}
            }
        }
    }
}
