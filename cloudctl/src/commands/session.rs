//! What every verb works with.

use crate::args::GlobalArgs;
use crate::client::Client;
use crate::context::resolve;
use crate::exit::CtlError;
use crate::render::Terminal;

/// A master, and the person who asks it.
pub(crate) struct Session<'a> {
    pub(crate) client: Client,
    pub(crate) terminal: &'a Terminal,
    /// The context that the token is of.
    pub(crate) context: Option<String>,
}

impl<'a> Session<'a> {
    /// Finds the master.
    pub(crate) fn open(global: &GlobalArgs, terminal: &'a Terminal) -> Result<Self, CtlError> {
        let target = resolve(global)?;
        Ok(Self { client: Client::new(&target)?, terminal, context: target.context })
    }
}
