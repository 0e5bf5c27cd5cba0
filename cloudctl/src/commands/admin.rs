//! `cloudctl admin`

use super::Session;
use crate::args::{AdminArgs, AdminVerb};
use crate::exit::CtlError;
use crate::render::{Done, View};

/// Does something to the master itself.
pub(super) async fn run(args: &AdminArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    match args.verb {
        AdminVerb::RotateKeys => Ok(View::Keys(session.client.rotate_keys().await?).into()),
        AdminVerb::RotateCa => Ok(View::Authority(session.client.rotate_authority().await?).into()),
    }
}
