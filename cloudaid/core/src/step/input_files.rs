//! Files that users upload for tasks to read.

use std::collections::BTreeSet;
use std::sync::Arc;

use shared::id::{InputId, RequestId, UserName};
use shared::time::WallTime;

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::files::{FileUsage, InputFile, InputRecord, Leftover};
use crate::record::{Change, TaskRecord};
use crate::reject::Reject;

/// All that a user wants to upload counts from the moment it is announced, so that there is room for it to its end.
pub(crate) fn on_add(
    cluster: &mut Cluster,
    at: WallTime,
    request: RequestId,
    (id, user): (InputId, UserName),
    files: Arc<[InputFile]>,
    effects: &mut Vec<Effect>,
) {
    let size = FileUsage::of(files.iter().map(|file| file.size));
    let answer = cluster.check_room(&user, size).map(|()| {
        let missing: BTreeSet<_> = files.iter().filter(|file| file.blake3.is_none()).map(|file| file.blob).collect();
        let count = missing.len() as u64;
        cluster.missing.insert(id, missing);
        super::files::change_usage(cluster, &user, |usage| usage.plus(size), effects);
        let record = InputRecord { id, user, size, missing: count, created_at: at, used_at: at };
        save(cluster, record, effects);
        effects.push(Effect::Save(Change::InputFiles(id, files)));
        Answer::Done
    });
    effects.push(Effect::Reply(request, answer));
}

/// Files that have arrived. What had arrived before never changes.
pub(crate) fn on_received(
    cluster: &mut Cluster,
    at: WallTime,
    request: RequestId,
    id: InputId,
    files: &[InputFile],
    effects: &mut Vec<Effect>,
) {
    let answer = match cluster.inputs.get(&id).cloned() {
        None => Err(Reject::InputNotFound(id)),
        Some(record) => {
            let missing = cluster.missing.entry(id).or_default();
            let new: Arc<[_]> = files.iter().filter(|file| missing.remove(&file.blob)).cloned().collect();
            let left = missing.len() as u64;
            save(cluster, InputRecord { missing: left, used_at: at, ..record }, effects);
            if !new.is_empty() {
                effects.push(Effect::Save(Change::InputFiles(id, new)));
            }
            Ok(Answer::Done)
        }
    };
    effects.push(Effect::Reply(request, answer));
}

/// What a task reads stays until it ends.
pub(crate) fn on_delete(cluster: &mut Cluster, request: RequestId, id: InputId, effects: &mut Vec<Effect>) {
    let answer = match (cluster.inputs.contains_key(&id), cluster.input_readers(id)) {
        (false, _) => Err(Reject::InputNotFound(id)),
        (true, 0) => {
            forget(cluster, id, effects);
            Ok(Answer::Done)
        }
        (true, readers) => Err(Reject::InputInUse(id, readers)),
    };
    effects.push(Effect::Reply(request, answer));
}

/// Forgets what nobody has read or added to since then.
pub(crate) fn on_expire(
    cluster: &mut Cluster,
    unused_since: WallTime,
    except: &BTreeSet<InputId>,
    effects: &mut Vec<Effect>,
) {
    let is_unused = |input: &&InputRecord| input.used_at < unused_since && !except.contains(&input.id);
    let unused = cluster.inputs.values().filter(is_unused);
    let unused: Vec<_> = unused.map(|input| input.id).filter(|id| cluster.input_readers(*id) == 0).collect();
    for id in unused {
        forget(cluster, id, effects);
    }
}

/// A task can only read what is there, whole, and of its own user.
pub(crate) fn check(cluster: &Cluster, user: &UserName, wanted: Option<InputId>) -> Result<(), Reject> {
    let Some(id) = wanted else { return Ok(()) };
    match cluster.inputs.get(&id).filter(|input| input.user == *user) {
        None => Err(Reject::InputNotFound(id)),
        Some(InputRecord { missing: 0, .. }) => Ok(()),
        Some(input) => Err(Reject::InputIncomplete(id, input.missing)),
    }
}

/// A task that reads it has been accepted.
pub(crate) fn begin_reading(cluster: &mut Cluster, at: WallTime, task: &TaskRecord, effects: &mut Vec<Effect>) {
    if let Some(id) = task.spec.input {
        *cluster.input_readers.entry(id).or_default() += 1;
        touch(cluster, at, id, effects);
    }
}

/// A task that read it is over.
pub(crate) fn end_reading(cluster: &mut Cluster, at: WallTime, task: &TaskRecord, effects: &mut Vec<Effect>) {
    let Some(id) = task.spec.input else { return };
    if let Some(readers) = cluster.input_readers.get_mut(&id) {
        *readers -= 1;
        if *readers == 0 {
            cluster.input_readers.remove(&id);
        }
    }
    touch(cluster, at, id, effects);
}

/// An input is in use: a part of it has arrived, or a task that read it has ended.
pub(crate) fn touch(cluster: &mut Cluster, at: WallTime, id: InputId, effects: &mut Vec<Effect>) {
    if let Some(record) = cluster.inputs.get(&id) {
        save(cluster, InputRecord { used_at: at, ..record.clone() }, effects);
    }
}

fn save(cluster: &mut Cluster, record: InputRecord, effects: &mut Vec<Effect>) {
    if record.missing == 0 {
        cluster.missing.remove(&record.id);
    }
    effects.push(Effect::Save(Change::Input(record.clone())));
    cluster.inputs.insert(record.id, record);
}

fn forget(cluster: &mut Cluster, id: InputId, effects: &mut Vec<Effect>) {
    let Some(record) = cluster.inputs.remove(&id) else { return };
    cluster.missing.remove(&id);
    super::files::change_usage(cluster, &record.user, |usage| usage.minus(record.size), effects);
    effects.push(Effect::Save(Change::InputGone(id)));
    effects.push(Effect::Publish(Event::FilesDeleted { user: record.user, leftovers: vec![Leftover::Input(id)] }));
}
