//! `cloudctl registry`

use shared::view::{RegistryListView, SetRegistryRequest};

use super::each::each;
use super::{Session, passwords};
use crate::args::{RegistryArgs, RegistryVerb};
use crate::exit::CtlError;
use crate::render::{Done, RevokedView, View};

/// Lists, sets and ends what image registries know the cluster by.
pub(super) async fn run(args: &RegistryArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    let Session { client, terminal, .. } = session;
    match args.verb.as_ref().unwrap_or(&RegistryVerb::List) {
        RegistryVerb::List => Ok(View::Registries(client.registries().await?).into()),
        RegistryVerb::Login { registry, username, password_stdin } => {
            let password = passwords::known(*password_stdin, "Password or token", terminal)?;
            let (registry, username) = (registry.clone(), username.clone());
            let set = client.set_registry(&SetRegistryRequest { registry, username, password }).await?;
            Ok(View::Registries(RegistryListView { registries: vec![set] }).into())
        }
        RegistryVerb::Logout { registries } => {
            let forget = each(registries, session, |registry| async move {
                client.forget_registry(&registry).await.map(|()| registry.to_string())
            });
            let each = forget.await?;
            Ok(Done { view: Some(View::Revoked(RevokedView { revoked: each.done })), exit: each.exit })
        }
    }
}
