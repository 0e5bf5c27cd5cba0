//! What `cloudctl watch` shows.

mod draw;
mod rates;
mod snapshot;

pub(crate) use draw::{Look, draw};
pub(crate) use rates::Rates;
pub(crate) use snapshot::Snapshot;
