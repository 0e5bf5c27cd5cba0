//! `cloudctl` as a person would call it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::process::program;
use crate::wait::PATIENCE;

/// How a call ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; 128 + n for signal n, as a shell says it.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Output {
    /// What was written to stdout by a call that must have succeeded.
    ///
    /// # Panics
    /// When it failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "cloudctl failed: {self:?}");
        self.stdout
    }
}

/// Calls of `cloudctl` for one cluster, in a directory and with a configuration of their own.
#[derive(Debug, Clone)]
pub struct Ctl {
    dir: PathBuf,
    env: Vec<(String, String)>,
}

impl Ctl {
    /// Calls for the master at `server`.
    ///
    /// # Panics
    /// When the directory cannot be made.
    #[must_use]
    pub fn new(dir: PathBuf, server: String, token: String) -> Self {
        std::fs::create_dir_all(&dir).expect("the directory of cloudctl");
        let home = dir.display().to_string();
        let env = [
            ("CLOUDCTL_SERVER", server),
            ("CLOUDCTL_TOKEN", token),
            ("XDG_CONFIG_HOME", format!("{home}/config")),
            ("XDG_STATE_HOME", format!("{home}/state")),
            ("HOME", home),
            ("NO_COLOR", "1".to_owned()),
            ("COLUMNS", "120".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        Self { dir, env: env.map(|(name, value)| (name.to_owned(), value)).into() }
    }

    /// The same with a variable changed, or removed if the value is empty.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        if !value.is_empty() {
            self.env.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Its working directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Calls `cloudctl` with these arguments.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn run(&self, args: &[&str]) -> Output {
        let mut command = self.command("cloudctl");
        command.args(args);
        finish(command).await
    }

    /// Runs a line in a shell in which `cloudctl` is found.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn shell(&self, line: &str) -> Output {
        let mut command = self.command("/bin/sh");
        command.arg("-c").arg(line);
        finish(command).await
    }

    /// A program in its directory, with its configuration, that finds `cloudctl`. Nothing on stdin.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let cloudctl = program("cloudctl");
        let bin = cloudctl.parent().unwrap_or_else(|| Path::new("/")).as_os_str();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(if name == "cloudctl" { cloudctl.as_os_str() } else { OsStr::new(name) });
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CLOUDCTL_") {
                command.env_remove(&name);
            }
        }
        command.env("PATH", [bin, OsStr::new(":"), &path].into_iter().collect::<std::ffi::OsString>());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

async fn finish(mut command: Command) -> Output {
    let output = tokio::time::timeout(2 * PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("does not end: {command:?}")).expect("it starts");
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap_or_default();
    Output {
        code: output.status.code().unwrap_or(128 + signal),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
