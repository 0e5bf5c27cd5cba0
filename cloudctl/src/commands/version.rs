//! `cloudctl version`

use shared::error::exit;
use shared::version::{PRODUCT, Version, check_client};

use super::Session;
use crate::args::GlobalArgs;
use crate::exit::CtlError;
use crate::help::OUTPUT_VERSION;
use crate::render::{Done, ServerVersionView, Terminal, VersionView, View};

/// The version of this program and, where one is known, of the master. If the master should answer and does not, that is
/// what the exit code says.
pub(super) async fn run(global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    let mut view = VersionView { version: PRODUCT, output_version: OUTPUT_VERSION, server: None };
    let mut code = 0;
    match server(global, terminal).await {
        Ok((url, version)) => {
            // What is no version says nothing.
            let checked = version.parse::<Version>().map_or(Ok(()), |master| check_client(Version::OWN, master));
            if let Err(error) = &checked {
                terminal.warn(format!("{}; {}", error.message, error.hint));
            }
            view.server = Some(ServerVersionView { url, version, compatible: checked.is_ok() });
        }
        // No master is named: there is nothing to compare with.
        Err(error) if error.exit() == exit::CONFIG => {}
        Err(error) => {
            terminal.fail(&error);
            code = error.exit();
        }
    }
    Ok(Done { view: Some(View::Version(view)), exit: code })
}

async fn server(global: &GlobalArgs, terminal: &Terminal) -> Result<(String, String), CtlError> {
    let session = Session::open(global, terminal)?;
    let version = session.client.server_version().await?;
    Ok((session.client.server().to_owned(), version))
}
