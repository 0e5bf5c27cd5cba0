//! Runs that are kept for a worker that was lost, because no other one that gets work could take them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::id::ElementId;

use crate::queue::Shape;

/// An index of these runs by what they ask for, so that of a worker that gets work it is asked once for each class whether
/// it could take them. The runs themselves stand in their tasks; the invariant `away` ([`crate::invariant::check`])
/// compares the two. What may run once at most is not among them: nobody else is to have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    classes: BTreeMap<Arc<Shape>, BTreeSet<ElementId>>,
}

impl Kept {
    /// The worker of a run was lost, and nobody else could take it.
    pub(crate) fn insert(&mut self, shape: Arc<Shape>, element: ElementId) {
        self.classes.entry(shape).or_default().insert(element);
    }

    /// Its worker is back, or it is over. Nothing, if it was not kept.
    pub(crate) fn remove(&mut self, shape: &Shape, element: ElementId) {
        if let Some(class) = self.classes.get_mut(shape) {
            class.remove(&element);
            if class.is_empty() {
                self.classes.remove(shape);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    pub(crate) fn contains(&self, shape: &Shape, element: ElementId) -> bool {
        self.classes.get(shape).is_some_and(|class| class.contains(&element))
    }

    /// Each class with its runs, in the order of the shapes.
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&Arc<Shape>, &BTreeSet<ElementId>)> {
        self.classes.iter()
    }
}
