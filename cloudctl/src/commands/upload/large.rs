//! One large file, from where it was cut off.

use std::sync::Arc;

use parking_lot::Mutex;
use shared::id::InputId;

use super::content::{self, Hashed};
use super::{ToSend, changed};
use crate::client::with_retries;
use crate::commands::Session;
use crate::exit::CtlError;
use crate::render::Progress;

/// Sends all that is missing of it, over broken connections too. Returns the digest of what was read.
pub(super) async fn send(
    id: InputId,
    file: &ToSend<'_>,
    progress: &Progress,
    session: &Session<'_>,
) -> Result<blake3::Hash, CtlError> {
    let ToSend { path, local, remote, .. } = file;
    progress.file(&remote.path);
    let hashed = Arc::new(Mutex::new(Hashed::default()));
    let notice = |error: &CtlError| progress.pause(|| session.terminal.warn(format!("{error}; trying again")));
    // What the server has is asked for again only when something went wrong.
    let received = tokio::sync::Mutex::new(Some(remote.received));
    let send = || async {
        let known = received.lock().await.take();
        let offset = match known {
            Some(offset) => offset,
            None => match session.client.input(id).await?.files.get(file.number) {
                // Only the answer was lost.
                Some(there) if there.blake3.is_some() => return Ok(()),
                Some(there) => there.received,
                None => 0,
            },
        };
        let (sink, body) = content::body();
        let feeding = tokio::task::spawn_blocking({
            let (local, hashed) = ((*local).clone(), Arc::clone(&hashed));
            move || content::feed(&local, offset, &mut hashed.lock(), &sink)
        });
        let sent = session.client.upload_part(id, path, offset, body).await;
        // Why it could not be read says more than that its upload broke off.
        feeding.await.unwrap_or(Ok(false))?;
        let view = sent?;
        if view.blake3.is_some() { Ok(()) } else { Err(changed(local)) }
    };
    let mut before = remote.received;
    loop {
        let sent = with_retries(notice, send).await;
        match sent {
            Ok(()) => break,
            Err(error) if error.is_transient() => {
                // A network that breaks often still brings it, as long as each round brings something.
                let now = session.client.input(id).await?.files.get(file.number).map_or(0, |file| file.received);
                if now <= before {
                    return Err(error);
                }
                before = now;
            }
            Err(error) => return Err(error),
        }
    }
    progress.advance(local.size - remote.received);
    hashed.lock().digest_of(local)
}
