//! All output files of a run have arrived.

use std::sync::Arc;

use shared::id::{AttemptKey, RequestId, WorkerId};

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::record::{Change, FileRecord};
use crate::reject::Reject;

/// The files count only if the run is still the present one of its worker; a repetition replaces them.
pub(crate) fn on_stored(
    cluster: &Cluster,
    request: RequestId,
    worker: &WorkerId,
    key: AttemptKey,
    files: Arc<[FileRecord]>,
    effects: &mut Vec<Effect>,
) {
    let answer = match super::report::check(cluster, worker, key) {
        Ok(()) => {
            effects.push(Effect::Save(Change::Files(key, files)));
            Ok(Answer::Done)
        }
        Err(reason) => {
            let worker = worker.clone();
            effects.push(Effect::Publish(crate::event::Event::ReportRefused { worker, key, reason }));
            Err(Reject::NotCurrent(key))
        }
    };
    effects.push(Effect::Reply(request, answer));
}
