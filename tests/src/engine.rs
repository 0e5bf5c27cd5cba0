//! A Docker engine of its own for tests in which the engine dies.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bollard::query_parameters::{KillContainerOptionsBuilder, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::docker;
use crate::wait::eventually;

/// How long an engine may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds that it may take for one answer, where somebody waits for more than a sign of life.
const ANSWER_LIMIT: u64 = 60;

/// The engine. Dropped, it ends with all its containers.
#[derive(Debug)]
pub struct Engine {
    socket: PathBuf,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    process: Child,
}

impl Engine {
    /// Starts one with its data in `dir`, and gives it the image of the tests. With `live_restore` its containers outlive
    /// it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(dir: &Path, live_restore: bool) -> Self {
        Self::run(dir, live_restore.then(|| "live-restore".to_owned())).await
    }

    /// Starts one in `dir` with its data on a disk of its own, of so many bytes.
    ///
    /// # Panics
    /// When it does not come up, or the machine has no loop devices.
    pub async fn on_disk(dir: &Path, bytes: u64) -> Self {
        Self::run(dir, Some(format!("disk={bytes}"))).await
    }

    async fn run(dir: &Path, wish: Option<String>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sh/mortal-engine.sh");
        let mut process = Command::new(script)
            .arg(dir)
            .args(wish)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Whatever kills the test and its group leaves it the time to unmount its disk.
            .process_group(0)
            .spawn()
            .expect("an engine");
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let orders = process.stdin.take();
        let engine = Self { socket: dir.join("docker.sock"), orders, answers, process };
        engine.ready().await;
        let load =
            format!("docker --host {} save {} | docker --host {} load", docker::host(), docker::image(), engine.host());
        let loaded = Command::new("sh").args(["-c", &load]).stdout(Stdio::null()).status().expect("a shell");
        assert!(loaded.success(), "the image is there");
        engine
    }

    /// Its address.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Kills it with SIGKILL and starts it again; does not wait until it answers.
    pub fn kill(&mut self) {
        self.order("kill");
    }

    /// Stops it in good order, as its service manager does, and starts it again; does not wait until it answers.
    pub fn restart(&mut self) {
        self.order("restart");
    }

    /// Kills it with SIGKILL.
    pub fn down(&mut self) {
        self.order("down");
    }

    /// Starts it after [`Engine::down`].
    pub fn up(&mut self) {
        self.order("up");
    }

    /// It stands still, as one that hangs does.
    pub fn pause(&mut self) {
        self.order("pause");
    }

    /// It goes on.
    pub fn go_on(&mut self) {
        self.order("go-on");
    }

    /// Fills the disk of [`Engine::on_disk`] to its last block.
    pub fn fill_disk(&mut self) {
        self.order("fill");
    }

    /// Makes room again after [`Engine::fill_disk`].
    pub fn free_disk(&mut self) {
        self.order("free");
    }

    /// Sends a signal to the program of each container that runs.
    ///
    /// # Panics
    /// When the engine refuses.
    pub async fn signal(&self, signal: &str) {
        let path = self.socket.to_str().expect("a plain path");
        let engine = Docker::connect_with_unix(path, ANSWER_LIMIT, API_DEFAULT_VERSION).expect("the engine");
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        for container in engine.list_containers(None::<ListContainersOptions>).await.expect("its containers") {
            let id = container.id.unwrap_or_default();
            engine.kill_container(&id, Some(options.clone())).await.expect("it is signalled");
        }
    }

    /// What it has kept of what its one container has written to stdout.
    ///
    /// # Panics
    /// When it has none, or many.
    #[must_use]
    pub fn log(&self) -> Vec<u8> {
        let read = format!("docker --host {0} logs $(docker --host {0} ps --quiet)", self.host());
        let read = Command::new("sh").args(["-c", &read]).stderr(Stdio::null()).output().expect("a shell");
        assert!(read.status.success(), "the log of its container");
        read.stdout
    }

    /// Waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ready(&self) {
        let path = self.socket.to_str().expect("a plain path").to_owned();
        eventually(PATIENCE, "the engine answers", || {
            let path = path.clone();
            async move {
                let engine = Docker::connect_with_unix(&path, 5, API_DEFAULT_VERSION).ok()?;
                engine.ping().await.ok()
            }
        })
        .await;
    }

    fn order(&mut self, word: &str) {
        let orders = self.orders.as_mut().expect("it is there");
        writeln!(orders, "{word}").expect("it listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        assert_eq!(answer, "done\n", "to {word}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It ends when it hears no more.
        self.orders = None;
        let _ = self.process.wait();
    }
}
