//! Many small files in one request.

use std::collections::BTreeMap;
use std::io;

use shared::id::InputId;
use ulid::Ulid;

use super::ToSend;
use super::collect::LocalFile;
use super::content::{self, Hashed, Sink};
use crate::client::with_retries;
use crate::commands::Session;
use crate::exit::CtlError;
use crate::render::Progress;

/// The most of one request: when it breaks, all of it is sent again.
const FILES: usize = 1000;
const BYTES: u64 = 64 << 20;

/// Sends all of them. Returns the digests of what was read, by number.
pub(super) async fn send(
    id: InputId,
    files: &[&ToSend<'_>],
    progress: &Progress,
    session: &Session<'_>,
) -> Result<BTreeMap<usize, blake3::Hash>, CtlError> {
    let notice = |error: &CtlError| progress.pause(|| session.terminal.warn(format!("{error}; trying again")));
    let mut digests = BTreeMap::new();
    let mut rest = files;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take(FILES).take_while(|file| {
            bytes += file.local.size;
            bytes <= BYTES
        });
        let (batch, others) = rest.split_at(fits.count().max(1));
        rest = others;
        if let Some(first) = batch.first() {
            progress.file(&first.remote.path);
        }
        let form: Vec<_> = batch.iter().map(|file| (file.number, file.local.clone())).collect();
        let send = || async {
            let boundary = format!("cloudctl-{}", Ulid::generate());
            let (sink, body) = content::body();
            let feeding = tokio::task::spawn_blocking({
                let (form, boundary) = (form.clone(), boundary.clone());
                move || feed(&form, &boundary, &sink)
            });
            let sent = session.client.upload_form(id, &boundary, body).await;
            // Why a file could not be read says more than that its upload broke off.
            let fed = feeding
                .await
                .unwrap_or_else(|error| Err(CtlError::local("reading failed")(io::Error::other(error))))?;
            sent.map(|_view| fed)
        };
        digests.extend(with_retries(notice, send).await?);
        progress.advance(batch.iter().map(|file| file.local.size).sum());
    }
    Ok(digests)
}

/// Writes the form. Stops when nobody takes it any more; the request itself knows why.
fn feed(files: &[(usize, LocalFile)], boundary: &str, sink: &Sink) -> Result<BTreeMap<usize, blake3::Hash>, CtlError> {
    let mut digests = BTreeMap::new();
    for (number, local) in files {
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{number}\"; filename=\"{number}\"\r\n\r\n");
        let mut hashed = Hashed::default();
        let fed = sink.blocking_send(Ok(head.into())).is_ok().then(|| content::feed(local, 0, &mut hashed, sink));
        match fed {
            Some(Ok(true)) if sink.blocking_send(Ok("\r\n".into())).is_ok() => {
                digests.insert(*number, hashed.digest_of(local)?);
            }
            Some(Err(error)) => {
                // So that the form does not seem to have ended.
                let _ = sink.blocking_send(Err(io::Error::other("a file cannot be read")));
                return Err(error);
            }
            Some(Ok(_)) | None => return Ok(digests),
        }
    }
    // As before.
    let _ = sink.blocking_send(Ok(format!("--{boundary}--\r\n").into()));
    Ok(digests)
}
