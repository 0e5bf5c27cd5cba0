//! `cloudctl edit`

use shared::submit::TaskEdit;

use super::Session;
use crate::args::EditArgs;
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Gives a task that waits another name or other labels.
pub(super) async fn run(args: &EditArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let set = args.label.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let taken = args.unlabel.iter().map(|name| (name.clone(), None));
    let name = if args.no_name { Some(None) } else { args.name.clone().map(Some) };
    let edit = TaskEdit { name, labels: taken.chain(set).collect() };
    Ok(View::Task(Box::new(session.client.edit(args.id, &edit).await?)).into())
}
