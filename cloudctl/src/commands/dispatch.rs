//! `cloudctl dispatch`

use super::{Session, submit};
use crate::args::DispatchArgs;
use crate::exit::CtlError;
use crate::render::Done;

/// Submits a task that only the named worker may run.
pub(super) async fn run(args: &DispatchArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    submit::run(args.image.as_deref(), Some(&args.worker), &args.options, session).await
}
