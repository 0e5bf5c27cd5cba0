//! Work that a key ends.

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::CtlError;
use crate::render::{Keys, Terminal};

/// Does the work until it is done, or until the person presses a key: then there is no result. Only where both ends are a
/// terminal; elsewhere there are no keys, and Ctrl-C ends the program as it ends any other.
pub(super) async fn until_key<T>(
    terminal: &Terminal,
    work: impl Future<Output = Result<T, CtlError>>,
) -> Result<Option<T>, CtlError> {
    let keys = if terminal.style.terminal { Keys::listen()? } else { None };
    let Some(mut keys) = keys else { return work.await.map(Some) };
    let failed = || CtlError::local("cannot listen to signals");
    // Heard, so that the terminal is put back before the end.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
    tokio::select! {
        biased;
        _ = interrupt.recv() => Err(CtlError::Interrupted),
        _ = terminate.recv() => Err(CtlError::Interrupted),
        key = keys.next() => key.map(|_| None),
        done = work => done.map(Some),
    }
}
