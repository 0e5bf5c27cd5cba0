//! The same for each of several tasks, workers or tokens.

use super::Session;
use crate::exit::CtlError;

/// What became of all of them.
#[derive(Debug)]
pub(super) struct Each<T> {
    /// What worked, in their order.
    pub(super) done: Vec<T>,
    /// The exit code of the first that did not; 0 if all did.
    pub(super) exit: u8,
}

/// Calls for each of them, one after the other. One that fails does not keep the others from being tried.
///
/// # Errors
/// There is one only, and it failed.
pub(super) async fn each<I: Clone, T, F: Future<Output = Result<T, CtlError>>>(
    items: &[I],
    session: &Session<'_>,
    call: impl Fn(I) -> F,
) -> Result<Each<T>, CtlError> {
    let mut each = Each { done: Vec::new(), exit: 0 };
    for item in items {
        match call(item.clone()).await {
            Ok(done) => each.done.push(done),
            Err(error) if items.len() == 1 => return Err(error),
            Err(error) => {
                session.terminal.fail(&error);
                each.exit = if each.exit == 0 { error.exit() } else { each.exit };
            }
        }
    }
    Ok(each)
}
