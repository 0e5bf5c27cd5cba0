//! `cloudctl version`

use shared::error::{ErrorCode, exit};

use super::Session;
use crate::args::GlobalArgs;
use crate::exit::CtlError;
use crate::help::OUTPUT_VERSION;
use crate::render::{Done, ServerVersionView, Terminal, VersionView, View};

/// The version of this program and, where one is known, of the master. If the master should answer and does not, that is
/// what the exit code says.
pub(super) async fn run(global: &GlobalArgs, terminal: &Terminal) -> Result<Done, CtlError> {
    let own = env!("CARGO_PKG_VERSION");
    let mut view = VersionView { version: own, output_version: OUTPUT_VERSION, server: None };
    let mut code = 0;
    match server(global, terminal).await {
        Ok((url, version)) => {
            let compatible = go_together(own, &version);
            if !compatible {
                terminal.warn(format!("cloudctl {own} and the master {version} are not made for each other"));
            }
            view.server = Some(ServerVersionView { url, version, compatible });
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
    let version = session.client.server_version().await;
    let version = version.map_err(|error| match error {
        CtlError::Api(mut error) if error.code == ErrorCode::Unauthenticated => {
            error.message = format!("the master tells its version only to users: {}", error.message);
            CtlError::Api(error)
        }
        other => other,
    })?;
    Ok((session.client.server().to_owned(), version))
}

/// As long as the first number is 0, the second one counts: <https://semver.org/#spec-item-4>.
fn go_together(ours: &str, theirs: &str) -> bool {
    let numbers = |version: &str| {
        let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u64>().ok());
        (numbers.next().flatten(), numbers.next().flatten())
    };
    match (numbers(ours), numbers(theirs)) {
        ((Some(0), ours), (Some(0), theirs)) => ours == theirs,
        ((ours, _), (theirs, _)) => ours == theirs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_together_as_semver_says() {
        for (ours, theirs, together) in [
            ("0.1.0", "0.1.7", true),
            ("0.1.0", "0.2.0", false),
            ("1.2.0", "1.9.3", true),
            ("1.2.0", "2.0.0", false),
            ("0.1.0", "1.1.0", false),
        ] {
            assert_eq!(go_together(ours, theirs), together, "{ours} {theirs}");
        }
    }
}
