//! Output files of a run that come in parts: nobody sees any of them until all of them are there.

use std::sync::Arc;

use shared::id::{AttemptKey, RequestId, WorkerId};

use super::files::{change_usage, check};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::files::{FileUsage, Leftover, UploadRecord};
use crate::record::{Change, FileRecord};
use crate::reject::Reject;

/// A part has arrived. It does not count as kept yet, but there has to be room for it.
pub(crate) fn on_staged(
    cluster: &Cluster,
    request: RequestId,
    (worker, key): (&WorkerId, AttemptKey),
    files: Arc<[FileRecord]>,
    upload: UploadRecord,
    effects: &mut Vec<Effect>,
) {
    let answer = check(cluster, worker, key, effects).and_then(|()| {
        let task = cluster.tasks.get(&key.task).ok_or(Reject::NotCurrent(key))?;
        cluster.check_room(&task.record.user, upload.size)?;
        if !files.is_empty() {
            effects.push(Effect::Save(Change::FilesAdded(key, files)));
        }
        effects.push(Effect::Save(Change::Upload(key, Some(upload))));
        Ok(Answer::Done)
    });
    effects.push(Effect::Reply(request, answer));
}

/// The last part has arrived: all of them are the user's now.
pub(crate) fn on_ended(
    cluster: &mut Cluster,
    request: RequestId,
    (worker, key): (&WorkerId, AttemptKey),
    files: Arc<[FileRecord]>,
    staged: Option<FileUsage>,
    effects: &mut Vec<Effect>,
) {
    let answer = check(cluster, worker, key, effects).and_then(|()| {
        let user = cluster.tasks.get(&key.task).ok_or(Reject::NotCurrent(key))?.record.user.clone();
        let size = staged.unwrap_or_default().plus(FileUsage::of(files.iter().map(|file| file.size)));
        cluster.check_room(&user, size)?;
        change_usage(cluster, &user, |usage| usage.plus(size), effects);
        if !files.is_empty() {
            effects.push(Effect::Save(Change::FilesAdded(key, files)));
        }
        if staged.is_some() {
            effects.push(Effect::Save(Change::Upload(key, None)));
        }
        Ok(Answer::Done)
    });
    effects.push(Effect::Reply(request, answer));
}

/// What is staged is for nobody.
pub(crate) fn on_drop(request: RequestId, key: AttemptKey, sweep: bool, effects: &mut Vec<Effect>) {
    effects.push(Effect::Save(Change::RunFilesGone(key, sweep)));
    if sweep {
        effects.push(Effect::Publish(Event::UploadDropped(Leftover::Run(key.element(), key.attempt))));
    }
    effects.push(Effect::Reply(request, Ok(Answer::Done)));
}
