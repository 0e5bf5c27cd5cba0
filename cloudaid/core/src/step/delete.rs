//! Forgets work that has ended, with all that it left.

use shared::id::{RequestId, TaskId, UserName};

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::event::Event;
use crate::files::FileUsage;
use crate::record::Change;
use crate::reject::Reject;

/// Whether it is there at all is known to the store, which was asked before; here only what has not ended is known.
pub(crate) fn on_delete(
    cluster: &mut Cluster,
    request: RequestId,
    id: TaskId,
    user: UserName,
    files: FileUsage,
    effects: &mut Vec<Effect>,
) {
    let answer = match cluster.tasks.get(&id) {
        Some(task) => Err(Reject::NotEnded(id.into(), task.tally().summary())),
        None => {
            super::files::change_usage(cluster, &user, |usage| usage.minus(files), effects);
            effects.push(Effect::Save(Change::Gone(id)));
            effects.push(Effect::Publish(Event::TaskDeleted { task: id, user }));
            Ok(Answer::Done)
        }
    };
    effects.push(Effect::Reply(request, answer));
}
