//! `cloudctl task`

use super::{Session, submit};
use crate::args::TaskArgs;
use crate::exit::CtlError;
use crate::render::Done;

/// Submits a task for the scheduler to place.
pub(super) async fn run(args: &TaskArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    submit::run(args.image.as_deref(), None, &args.options, session).await
}
