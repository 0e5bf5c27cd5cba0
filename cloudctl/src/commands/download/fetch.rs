//! Bringing one file.

use http::StatusCode;
use shared::files_of::FilesOf;
use shared::view::FileView;

use super::path::exact_path;
use super::sandbox::{NewFile, Sandbox};
use crate::client::with_retries;
use crate::commands::Session;
use crate::exit::CtlError;
use crate::render::Progress;

/// Brings one file whole, over broken connections too. With `resume` it goes on with what an earlier call has brought.
pub(super) async fn fetch(
    of: FilesOf,
    file: &FileView,
    path: &[u8],
    resume: bool,
    sandbox: &Sandbox,
    progress: &Progress,
    session: &Session<'_>,
) -> Result<(), CtlError> {
    let exact = exact_path(file)?;
    progress.file(&file.path);
    let new = sandbox.create(path, file, resume)?;
    progress.skip(new.size());
    // Each try goes on where the one before ended.
    let new = tokio::sync::Mutex::new(new);
    let notice = |error: &CtlError| {
        // That many files take many requests is nothing to hear of; it only takes longer.
        if !error.is_throttled() {
            progress.pause(|| session.terminal.warn(format!("{error}; trying again")));
        }
    };
    let bring = || async {
        let mut new = new.lock().await;
        let new: &mut NewFile = &mut new;
        if new.size() == file.size {
            return Ok(());
        }
        let mut response = session.client.file(of, file, &exact, new.size()).await?;
        if new.size() > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            new.start_again()?;
        }
        while let Some(piece) = response.chunk().await.map_err(|error| session.client.broken(&error))? {
            new.write(&piece, file.size)?;
            progress.advance(piece.len() as u64);
        }
        Ok(())
    };
    let mut brought_before = new.lock().await.size();
    let brought = loop {
        let brought = with_retries(notice, bring).await;
        let size = new.lock().await.size();
        // A network that breaks often still brings it, as long as each round brings something.
        match &brought {
            Err(error) if error.is_transient() && size > brought_before => brought_before = size,
            _ => break brought,
        }
    };
    let new = new.into_inner();
    match brought {
        Ok(()) => new.finish(file),
        Err(error) => {
            if error.is_transient() {
                new.keep();
            }
            Err(error)
        }
    }
}
