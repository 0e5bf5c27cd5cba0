//! Output files: all of a run have arrived, or some are no longer wanted.

use std::sync::Arc;

use shared::id::{AttemptKey, RequestId, UserName, WorkerId};

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::files::{FileUsage, GoneFile, Leftover};
use crate::record::{Change, FileRecord};
use crate::reject::Reject;

/// The files count only if the run is still the present one of its worker; a repetition replaces them. `before`: what
/// the store has of this run already; contents of it that stand among the files stay.
pub(crate) fn on_stored(
    cluster: &mut Cluster,
    request: RequestId,
    worker: &WorkerId,
    key: AttemptKey,
    (files, before): (Arc<[FileRecord]>, &[GoneFile]),
    effects: &mut Vec<Effect>,
) {
    let answer = check(cluster, worker, key, effects).and_then(|()| keep(cluster, key, files, before, effects));
    effects.push(Effect::Reply(request, answer));
}

/// Whether the run is the present one of its worker. Says so where it is not.
pub(super) fn check(
    cluster: &Cluster,
    worker: &WorkerId,
    key: AttemptKey,
    effects: &mut Vec<Effect>,
) -> Result<(), Reject> {
    super::report::check(cluster, worker, key).map_err(|reason| {
        let worker = worker.clone();
        effects.push(Effect::Publish(Event::ReportRefused { worker, key, reason }));
        Reject::NotCurrent(key)
    })
}

fn keep(
    cluster: &mut Cluster,
    key: AttemptKey,
    files: Arc<[FileRecord]>,
    before: &[GoneFile],
    effects: &mut Vec<Effect>,
) -> Result<Answer, Reject> {
    let Some(user) = cluster.tasks.get(&key.task).map(|task| task.record.user.clone()) else {
        return Err(Reject::NotCurrent(key));
    };
    let (old, new) =
        (FileUsage::of(before.iter().map(|file| file.size)), FileUsage::of(files.iter().map(|file| file.size)));
    cluster.check_room(&user, new.minus(old))?;
    change_usage(cluster, &user, |usage| usage.minus(old).plus(new), effects);
    let stays = |gone: &GoneFile| files.iter().any(|file| file.path == gone.path && file.blob == gone.blob);
    let replaced: Vec<GoneFile> = before.iter().filter(|gone| !stays(gone)).cloned().collect();
    let leftovers: Vec<_> = replaced.iter().filter_map(GoneFile::leftover).collect();
    if !leftovers.is_empty() {
        effects.push(Effect::Save(Change::FilesGone(replaced.into())));
        effects.push(Effect::Publish(Event::FilesDeleted { user, leftovers }));
    }
    effects.push(Effect::Save(Change::Files(key, files)));
    Ok(Answer::Done)
}

/// They are in the store.
pub(crate) fn on_delete(
    cluster: &mut Cluster,
    request: RequestId,
    user: UserName,
    files: Arc<[GoneFile]>,
    effects: &mut Vec<Effect>,
) {
    let size = FileUsage::of(files.iter().map(|file| file.size));
    change_usage(cluster, &user, |usage| usage.minus(size), effects);
    let leftovers = files.iter().filter_map(GoneFile::leftover).collect();
    effects.push(Effect::Save(Change::FilesGone(files)));
    effects.push(Effect::Publish(Event::FilesDeleted { user, leftovers }));
    effects.push(Effect::Reply(request, Ok(Answer::Done)));
}

/// They are in the store, all of these runs.
pub(crate) fn on_delete_runs(
    cluster: &mut Cluster,
    request: RequestId,
    user: UserName,
    (runs, size): (&[AttemptKey], FileUsage),
    effects: &mut Vec<Effect>,
) {
    change_usage(cluster, &user, |usage| usage.minus(size), effects);
    effects.extend(runs.iter().map(|key| Effect::Save(Change::RunFilesGone(*key, true))));
    let leftovers = runs.iter().map(|key| Leftover::Run(key.element(), key.attempt)).collect();
    effects.push(Effect::Publish(Event::FilesDeleted { user, leftovers }));
    effects.push(Effect::Reply(request, Ok(Answer::Done)));
}

/// Counts what a user keeps.
pub(crate) fn change_usage(
    cluster: &mut Cluster,
    user: &UserName,
    change: impl FnOnce(FileUsage) -> FileUsage,
    effects: &mut Vec<Effect>,
) {
    let before = cluster.file_usage(user);
    let after = change(before);
    if after != before {
        cluster.file_usage.insert(user.clone(), after);
        effects.push(Effect::Save(Change::FileUsage(user.clone(), after)));
    }
}
