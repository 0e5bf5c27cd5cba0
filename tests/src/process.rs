//! A program under test: started, killed, started again.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{PATIENCE, eventually};

/// How much of a log is shown when a test fails.
const TAIL_LINES: usize = 60;

/// Variables of other programs that ours read too.
const OF_OTHERS: [&str; 5] = ["DOCKER_HOST", "JWT_SECRET", "MONGODB_URI", "MONGODB_USERNAME", "MONGODB_PASSWORD"];

/// The path of one of our programs.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    // This test is target/<profile>/deps/<test>-<hash>, the programs are two levels up.
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>");
    let path = profile.join(name);
    assert!(path.is_file(), "{} is missing: run ./tests/run.sh, or `cargo build --workspace --bins`", path.display());
    path
}

/// How to start a program, always in the same way.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// For messages and the name of the log.
    pub name: String,
    /// Which program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides what it inherits.
    pub env: Vec<(String, String)>,
    /// Its working directory; the log is written there.
    pub dir: PathBuf,
}

/// A program that runs, or is down between two runs. Dropped, it is killed; in a test that fails its log is shown.
#[derive(Debug)]
pub struct Process {
    recipe: Recipe,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(recipe: Recipe) -> Self {
        fs::create_dir_all(&recipe.dir).expect("the directory of a process");
        let log = recipe.dir.join(format!("{}.log", recipe.name));
        let mut process = Self { recipe, log, child: None };
        process.start_again();
        process
    }

    /// Starts it with the same arguments; its log goes on in the same file.
    ///
    /// # Panics
    /// When it runs, or cannot be started.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.recipe.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("the log of a process");
        let mut command = Command::new(&self.recipe.program);
        // What the person who runs the tests has set must not change what is tested.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CLOUDAI_") || text.starts_with("CLOUDCTL_") || OF_OTHERS.contains(&&*text) {
                command.env_remove(&name);
            }
        }
        let child = command
            .args(&self.recipe.args)
            .env("RUST_BACKTRACE", "1")
            .envs(self.recipe.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.recipe.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log of a process"))
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}", self.recipe.program.display())));
    }

    /// The recipe, to change it between two runs.
    pub fn recipe_mut(&mut self) -> &mut Recipe {
        &mut self.recipe
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is down.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} is down", self.recipe.name)).id()
    }

    /// Kills it, as a crash or a power cut would, and waits until it is gone.
    ///
    /// # Panics
    /// When it is down already.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().unwrap_or_else(|| panic!("{} is down already", self.recipe.name));
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Panics
    /// When it does not stop in time.
    pub async fn term(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn ended(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.recipe.name);
        let status = eventually(PATIENCE, &what, || {
            let status = self.exit_status();
            async move { status }
        });
        let status = status.await;
        self.child = None;
        status
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("wait"))
    }

    /// Sends a signal, for example STOP and CONT.
    ///
    /// # Panics
    /// When it is down.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("signal");
    }

    /// All that it has logged, over all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails the test if it has ended, with the end of its log.
    ///
    /// # Panics
    /// When it has ended.
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("{} ended with {status}", self.recipe.name);
        }
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("-- the end of the log of {}:\n{}\n--", self.recipe.name, self.tail());
        }
    }
}
