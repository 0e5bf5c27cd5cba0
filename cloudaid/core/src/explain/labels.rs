//! What is said of workers whose labels are not what a task asks for.

use shared::selector::LabelWish;

use crate::queue::Shape;
use crate::scheduler::Room;

/// What nobody has of those who are meant; none: each wish is met by somebody, but no one meets all of them.
pub(super) fn unmet(rooms: &[Room], shape: &Shape) -> Option<String> {
    if let Some(wanted) = &shape.worker {
        return rooms.iter().find(|room| room.worker == *wanted).map(|room| unmet_by(room, shape));
    }
    let by_nobody = |wish: &&LabelWish| !rooms.iter().any(|room| wish.is_met_by(&room.labels));
    let says = |wish: &LabelWish| {
        let who = if wish.is_ban() { "every worker" } else { "no worker" };
        format!("{who} has the label {}", wish.label())
    };
    let all: Vec<_> = shape.worker_labels.wishes().filter(by_nobody).map(says).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// What is wrong with the labels of one worker.
pub(crate) fn unmet_by(room: &Room, shape: &Shape) -> String {
    let says = |wish: &LabelWish| {
        let has = if wish.is_ban() { "has" } else { "does not have" };
        format!("{has} the label {}", wish.label())
    };
    let unmet = shape.worker_labels.wishes().filter(|wish| !wish.is_met_by(&room.labels));
    format!("{} {}", room.worker, unmet.map(says).collect::<Vec<_>>().join(" and "))
}
