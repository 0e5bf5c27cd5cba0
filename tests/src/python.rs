//! Python, with the packages that tests use.

use tokio::process::Command;

/// `python3`, which finds the packages of `requirements.txt`.
///
/// # Panics
/// When they are not there: `tests/run.sh` gets them.
#[must_use]
pub fn python() -> Command {
    let packages = std::env::var_os("CLOUDAI_TEST_PYTHON").expect("run ./tests/run.sh");
    let mut command = Command::new("python3");
    // Nothing is left beside the programs.
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
