//! A program of `tests/python` that a test talks to: JSON lines to its stdin, JSON lines from its stdout. It shares no code
//! with what it is a peer of.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

use crate::python::python;
use crate::wait::{PATIENCE, eventually};

/// A peer that runs. Dropped, it ends, and what it had started with it.
#[derive(Debug)]
pub struct Peer {
    name: String,
    stdin: ChildStdin,
    said: Arc<Mutex<Vec<Value>>>,
    address: String,
    _child: Child,
}

impl Peer {
    /// Starts `tests/python/NAME.py` and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub async fn start(name: &str, args: &[&str]) -> Self {
        let mut command = python();
        command.arg(script(name)).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("python3");
        let stdin = child.stdin.take().expect("a stdin");
        let mut lines = BufReader::new(child.stdout.take().expect("a stdout")).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                heard.lock().expect("no panic").push(event);
            }
        });
        let mut peer = Self { name: name.to_owned(), stdin, said, address: String::new(), _child: child };
        let listening = peer.event("listening", |_| true).await;
        peer.address = listening["address"].as_str().expect("an address").to_owned();
        peer
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Tells it to do something.
    ///
    /// # Panics
    /// When it does not listen any more.
    pub async fn tell(&mut self, command: &Value) {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await.expect("it listens");
    }

    /// Tells it to do something, and returns its answer.
    ///
    /// # Panics
    /// When none comes in time.
    pub async fn ask(&mut self, command: &Value) -> Value {
        let before = self.count("answer");
        self.tell(command).await;
        eventually(PATIENCE, &format!("{} answers {command}", self.name), || async {
            self.events("answer").into_iter().nth(before)
        })
        .await
    }

    /// All events with this name so far.
    ///
    /// # Panics
    /// When it has said something that is no JSON.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        self.said.lock().expect("only JSON lines").iter().filter(|event| event["event"] == name).cloned().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.events(name).len()
    }

    /// Waits for the first event with this name that is `wanted`.
    ///
    /// # Panics
    /// When it does not come in time.
    pub async fn event(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(PATIENCE, &format!("`{name}` of {}", self.name), || async {
            self.events(name).into_iter().find(|event| wanted(event))
        })
        .await
    }
}

/// Makes one gRPC call by `tests/python/calls.py`: `args` are its address, method, JSON and flags. Returns `code`,
/// `message` and `answer`.
///
/// # Panics
/// When the call could not be made.
pub async fn call(args: &[&str]) -> Value {
    let output = python().arg(script("calls")).args(args).output().await.expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(format!("{name}.py"))
}
