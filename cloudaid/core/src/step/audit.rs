//! Notes what was done, in the same commit.

use shared::error::ApiError;
use shared::id::RequestId;
use shared::time::WallTime;

use crate::audit::{AuditNote, Outcome, entry};
use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::record::Change;

/// Notes a call and what became of it: what the note says, or what the requests `of` it were answered earlier in this batch.
pub(crate) fn on_note(
    cluster: &mut Cluster,
    at: WallTime,
    mut note: AuditNote,
    of: &[RequestId],
    effects: &mut Vec<Effect>,
) {
    let answers = Answers::find(effects, of);
    let outcome = note.outcome.unwrap_or(answers.outcome);
    let mut object = std::mem::take(&mut note.object);
    if !answers.tasks.is_empty() {
        object = if object.is_empty() { answers.tasks } else { format!("{object} {}", answers.tasks) };
    }
    let mut entry = entry(note, cluster.audit.sequence + 1, at, object, outcome);
    entry.seal = entry.sealed(cluster.audit.seal);
    (cluster.audit.sequence, cluster.audit.seal) = (entry.sequence, entry.seal);
    effects.push(Effect::Save(Change::Audit(entry)));
}

/// What requests were answered.
struct Answers {
    outcome: Outcome,
    /// What submissions have made: the first, and how many more.
    tasks: String,
}

impl Answers {
    /// They are the last ones, so that looking for them does not cost by the size of the batch.
    fn find(effects: &[Effect], of: &[RequestId]) -> Self {
        let (mut missing, mut made, mut first, mut refusal) = (of.len(), 0_usize, None, None);
        for effect in effects.iter().rev() {
            if missing == 0 {
                break;
            }
            let Effect::Reply(request, answer) = effect else { continue };
            if of.binary_search(request).is_err() {
                continue;
            }
            missing -= 1;
            match answer {
                Ok(Answer::Submitted(view)) => {
                    made += 1;
                    first = Some(view.task_id.clone());
                }
                Ok(_) => {}
                Err(reject) => refusal = Some(ApiError::from(reject.clone()).code),
            }
        }
        let refused = of.len() - missing - made;
        let tasks = match (first, made) {
            (None, _) => String::new(),
            (Some(first), 1) if refused == 0 => first,
            (Some(first), made) => format!("{first} and {} more, {refused} refused", made - 1),
        };
        // A call of many is done if any of it is.
        let outcome = match refusal {
            Some(code) if made == 0 => Outcome::Refused(code),
            _ if missing > 0 => Outcome::Refused(shared::error::ErrorCode::OutcomeUnknown),
            _ => Outcome::Done,
        };
        Self { outcome, tasks }
    }
}
