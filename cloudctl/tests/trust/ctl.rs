//! The program, with a home of its own.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `cloudctl` with its own home and variables.
#[derive(Clone)]
pub(crate) struct Ctl {
    home: Arc<TempDir>,
    variables: Vec<(String, String)>,
}

/// What it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ctl {
    pub(crate) fn new() -> Self {
        Self { home: Arc::new(TempDir::new().expect("a directory")), variables: Vec::new() }
    }

    pub(crate) fn with_env(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.variables.push((name.to_owned(), value.to_owned()));
        other
    }

    /// Writes a file into the home, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, content).expect("written");
        path.display().to_string()
    }

    /// The file of contexts, if there is one.
    pub(crate) fn contexts(&self) -> String {
        fs::read_to_string(self.home.path().join(".config/cloudctl/contexts.toml")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.home.path()).env("TERM", "xterm");
        command.envs(self.variables.clone()).current_dir(self.home.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        self.run_with(args, "")
    }

    /// Logs in as ann, with the password on stdin.
    pub(crate) fn login(&self, server: &str, more: &[&str], password: &str) -> Said {
        let args = ["login", "--server", server, "--username", "ann", "--password-stdin"];
        self.run_with(&[&args, more].concat(), password)
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_cloudctl"));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // One that reads no password has closed it.
        let _ = child.stdin.take().expect("a pipe").write_all(stdin.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().expect("a code");
        Said { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs it in a terminal.
    pub(crate) fn terminal(&self, line: &str) -> Terminal {
        let line = format!("{} {line}", env!("CARGO_BIN_EXE_cloudctl"));
        let mut command = self.command("script");
        command.env("SHELL", "/bin/sh").args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("script is installed (util-linux)");
        let (keys, mut output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let shared = screen.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                shared.0.lock().expect("no panic").push_str(&String::from_utf8_lossy(&buffer[..read]));
                shared.1.notify_all();
            }
        });
        Terminal { child, keys, screen }
    }
}

/// A terminal, and a person in front of it.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    /// Waits until this has appeared, and returns all that has.
    pub(crate) fn until(&self, text: &str) -> String {
        let (screen, news) = &*self.screen;
        let screen = screen.lock().expect("no panic");
        let wait = news.wait_timeout_while(screen, PATIENCE, |screen| !screen.contains(text));
        let (screen, timeout) = wait.expect("no panic");
        assert!(!timeout.timed_out(), "{text:?} does not appear:\n{screen}");
        screen.clone()
    }

    /// Types a line.
    pub(crate) fn enter(&mut self, line: &str) {
        write!(self.keys, "{line}\r").and_then(|()| self.keys.flush()).expect("typed");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
