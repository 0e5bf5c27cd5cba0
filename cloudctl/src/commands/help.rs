//! `cloudctl help`

use crate::args::HelpArgs;
use crate::exit::CtlError;
use crate::help::{Help, find};
use crate::render::{Done, View};

/// The overview, a command, or a topic.
pub(super) fn run(args: &HelpArgs) -> Result<Done, CtlError> {
    Ok(match find(&args.about)? {
        Help::Text(text) => View::Text(text),
        Help::ExitCodes(codes) => View::ExitCodes(codes),
    }
    .into())
}
