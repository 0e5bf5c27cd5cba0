//! Getting to know a server, before it is told who we are.

use shared::tls::Fingerprint;
use url::Url;

use crate::client::{Client, fingerprint_of};
use crate::context::{Target, is_local};
use crate::exit::CtlError;
use crate::render::Terminal;
use crate::trust::Trust;

/// Connects to the server as it is trusted. One that nobody here knows is trusted only if the person says so who has
/// compared its fingerprint: no flag says it in advance but the one with the fingerprint itself.
pub(super) async fn server(server: Url, trust: Trust, terminal: &Terminal) -> Result<Target, CtlError> {
    let target = Target::new(server, trust, None);
    if target.server.scheme() == "http" {
        if !is_local(&target.server) {
            terminal.warn("the connection is not encrypted: the password can be read on the network");
        }
        return Ok(target);
    }
    match (Client::new(&target)?.greet().await, &target.trust) {
        (Ok(()), _) => Ok(target),
        (Err(CtlError::Untrusted { server, cause, .. }), Trust::System) => {
            let shown = fingerprint_of(&target.server).await?;
            ask(&server, cause, shown, terminal)?;
            let target = Target { trust: Trust::Pinned(shown), ..target };
            Client::new(&target)?.greet().await?;
            Ok(target)
        }
        (Err(error), _) => Err(error),
    }
}

/// Whether it is the right one can only be said by who has seen the fingerprint somewhere else.
fn ask(server: &str, cause: String, shown: Fingerprint, terminal: &Terminal) -> Result<(), CtlError> {
    if !terminal.can_ask() {
        let hint = format!(
            "only if the master's log says the same at its start, `Certificate fingerprint: {shown}`, repeat with \
             --fingerprint {shown}"
        );
        return Err(CtlError::Untrusted { server: server.to_owned(), cause, hint });
    }
    terminal.note(format!("The certificate of {server} is not trusted on this machine: {cause}."));
    terminal.note("Somebody else may be answering. The master's log says at its start what it should show:");
    terminal.note(format!("  Certificate fingerprint: {shown}"));
    terminal.confirm("Does it say the same? Trust it?", false)
}
