//! A terminal, and a person in front of it: tmux.

use std::process::Output;
use std::time::Duration;

use ulid::Ulid;

use crate::ctl::Ctl;
use crate::wait::{PATIENCE, eventually};

/// A terminal in which one command line runs. Dropped, it is closed.
#[derive(Debug)]
pub struct Terminal {
    ctl: Ctl,
    socket: String,
}

impl Terminal {
    /// Runs `line` in a terminal of this size, in the directory and with the configuration of `ctl`.
    ///
    /// # Panics
    /// When tmux is not there.
    pub async fn open(ctl: &Ctl, line: &str, (columns, rows): (u16, u16)) -> Self {
        let socket = format!("cloudai-test-{}", Ulid::generate());
        let terminal = Self { ctl: ctl.clone(), socket };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // Ctrl-C is for the command alone. With the rest the screen stays to be read when the command has ended.
        let line = format!("trap : INT; {line}; echo \"[exit $?]\"; exec sleep 600");
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, "sh", "-c", &line]).await;
        terminal
    }

    /// What is on it.
    pub async fn screen(&self) -> String {
        String::from_utf8_lossy(&self.tmux(&["capture-pane", "-p"]).await.stdout).into_owned()
    }

    /// Types text.
    pub async fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]).await;
    }

    /// Presses a key by the name that tmux has for it: `Enter`, `Tab`, `Up`, `C-c`.
    pub async fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).await;
    }

    /// Types a line.
    pub async fn enter(&self, line: &str) {
        self.write(line).await;
        self.press("Enter").await;
    }

    /// Changes its size.
    pub async fn resize(&self, (columns, rows): (u16, u16)) {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]).await;
    }

    /// Waits until this stands on it, and returns the screen.
    ///
    /// # Panics
    /// When it never does; with what stands there.
    pub async fn shows(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text)).await
    }

    /// Waits until the last line with anything on it is this.
    ///
    /// # Panics
    /// When it never is; with what stands there.
    pub async fn ends_with(&self, line: &str) -> String {
        let is_last =
            |screen: &str| screen.lines().rfind(|line| !line.trim().is_empty()).map(str::trim_end) == Some(line);
        self.until(line, is_last).await
    }

    async fn until(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let wait = eventually(2 * PATIENCE, what, || async {
            let screen = self.screen().await;
            fits(&screen).then_some(screen)
        });
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(screen) => screen,
            Err(_) => panic!("{what:?} does not come on the screen:\n{}", self.screen().await),
        }
    }

    async fn tmux(&self, args: &[&str]) -> Output {
        let mut command = self.ctl.command("tmux");
        command.env("TERM", "xterm-256color").args(["-L", &self.socket, "-f", "/dev/null"]).args(args);
        let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await;
        output.expect("tmux answers").expect("tmux is installed: run ./tests/run.sh")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::process::Command::new("tmux").args(["-L", &self.socket, "kill-server"]).output();
    }
}
