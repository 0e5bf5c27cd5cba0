//! An engine whose answers come late or not at all, or that hangs: stands between a worker and a real one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the answer to a request that was carried out begins.
const DONE: &[u8] = b"HTTP/1.1 2";
/// The end of the path of all containers.
const LIST: &str = "/containers/json";

/// Passes requests on to an engine. Dropped, nobody can connect any more.
///
/// It takes each connection for one request, which is what the workers' client makes of it.
#[derive(Debug)]
pub struct EngineProxy {
    socket: PathBuf,
    state: Arc<Mutex<State>>,
    hang: watch::Sender<Hang>,
    /// Ends of paths: answers to what is posted there are held back.
    held: watch::Sender<Vec<String>>,
    task: JoinHandle<()>,
}

/// Where an engine hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hang {
    /// Nowhere.
    Not,
    /// It is not there at all: there is not even a socket.
    Absent,
    /// Its socket is there, and nobody accepts.
    Accepting,
    /// It accepts, and answers nothing.
    Answering,
    /// It says that it is there, and does not say which containers it has.
    Listing,
}

impl Hang {
    /// Whether this request gets no answer.
    fn holds(self, request: &[u8]) -> bool {
        match self {
            Self::Not => false,
            Self::Absent | Self::Accepting | Self::Answering => true,
            Self::Listing => path_of("GET", request).is_some_and(|path| path.ends_with(LIST)),
        }
    }
}

/// What is done to answers, and what was seen of them.
#[derive(Debug, Default)]
struct State {
    /// Before each answer.
    delay: Duration,
    /// The end of a path: the next answer to what was posted there is lost.
    losing: Option<String>,
    /// How many answers were.
    lost: usize,
    /// The paths of all that was posted and carried out.
    done: Vec<String>,
}

impl EngineProxy {
    /// A proxy at `socket` before the engine at `host` (`unix:///path`).
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn start(host: &str, socket: PathBuf) -> Self {
        Self::start_with(host, socket, Hang::Not)
    }

    /// The same, which hangs from the start.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn start_with(host: &str, socket: PathBuf, hang: Hang) -> Self {
        let engine = PathBuf::from(host.strip_prefix("unix://").expect("a unix:// address"));
        // Whoever connects at once is to find it.
        let mut listener = (hang != Hang::Absent).then(|| listen(&socket));
        let state = Arc::<Mutex<State>>::default();
        let (own, at) = (Arc::clone(&state), socket.clone());
        let hang = watch::Sender::new(hang);
        let mut hangs = hang.subscribe();
        let held = watch::Sender::new(Vec::new());
        let holds = held.subscribe();
        let task = tokio::spawn(async move {
            while hangs.wait_for(|hang| *hang != Hang::Absent).await.map(drop).is_ok() {
                let listener = listener.take().unwrap_or_else(|| listen(&at));
                while let Some(client) = next(&listener, &mut hangs).await {
                    let (engine, state, hangs) = (engine.clone(), Arc::clone(&own), hangs.clone());
                    let holds = holds.clone();
                    // A connection that breaks is the business of its two ends.
                    tokio::spawn(async move { drop(pass(client, &engine, &state, hangs, holds).await) });
                }
                let _ = std::fs::remove_file(&at);
            }
        });
        Self { socket, state, hang, held, task }
    }

    /// Its address.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// From now on it hangs there. What hangs goes on when it does not hang any more.
    pub fn hang(&self, hang: Hang) {
        self.hang.send_replace(hang);
    }

    /// From now on every answer comes so much later.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().expect("no panics").delay = delay;
    }

    /// Cuts the connection instead of the answer to the next request that is posted to a path with this end, once the engine
    /// has carried it out.
    ///
    /// # Panics
    /// When a connection has panicked.
    pub fn lose_answer_to(&self, end: &str) {
        self.state.lock().expect("no panics").losing = Some(end.to_owned());
    }

    /// From now on answers to what is posted to a path with one of these ends are held back, though the engine has carried it
    /// out. What is not held any more goes on.
    pub fn hold_answers_to(&self, ends: &[&str]) {
        self.held.send_replace(ends.iter().map(|end| (*end).to_owned()).collect());
    }

    /// How many answers were lost.
    ///
    /// # Panics
    /// When a connection has panicked.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.state.lock().expect("no panics").lost
    }

    /// How many requests that were posted to a path with this end the engine has carried out.
    ///
    /// # Panics
    /// When a connection has panicked.
    #[must_use]
    pub fn done(&self, end: &str) -> usize {
        self.state.lock().expect("no panics").done.iter().filter(|path| path.ends_with(end)).count()
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(socket: &Path) -> UnixListener {
    UnixListener::bind(socket).expect("a socket")
}

/// The next connection, as soon as any are accepted; none: it is not there any more.
async fn next(listener: &UnixListener, hangs: &mut watch::Receiver<Hang>) -> Option<UnixStream> {
    loop {
        let hang = *hangs.wait_for(|hang| *hang != Hang::Accepting).await.ok()?;
        if hang == Hang::Absent {
            return None;
        }
        tokio::select! {
            biased;
            changed = hangs.changed() => changed.ok()?,
            accepted = listener.accept() => return accepted.ok().map(|(client, _)| client),
        }
    }
}

async fn pass(
    mut client: UnixStream,
    engine: &Path,
    state: &Mutex<State>,
    mut hangs: watch::Receiver<Hang>,
    holds: watch::Receiver<Vec<String>>,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let request = first_line(&mut from_client).await?;
    hangs.wait_for(|hang| !hang.holds(&request)).await.map(drop).map_err(io::Error::other)?;
    let mut engine = UnixStream::connect(engine).await?;
    let (mut from_engine, mut to_engine) = engine.split();
    to_engine.write_all(&request).await?;
    let up = copy(&mut from_client, &mut to_engine);
    let down = answer(&mut from_engine, &mut to_client, path_of("POST", &request), state, holds);
    // Whichever ends takes the other with it.
    tokio::select! {
        passed = up => passed.map(drop),
        passed = down => passed,
    }
}

async fn answer(
    engine: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
    posted_to: Option<String>,
    state: &Mutex<State>,
    mut holds: watch::Receiver<Vec<String>>,
) -> io::Result<()> {
    let begin = first_line(engine).await?;
    let Some(delay) = judge(&begin, posted_to.clone(), state) else { return Ok(()) };
    tokio::time::sleep(delay).await;
    if let Some(path) = posted_to {
        let is_free = |held: &Vec<String>| !held.iter().any(|end| path.ends_with(end.as_str()));
        holds.wait_for(is_free).await.map(drop).map_err(io::Error::other)?;
    }
    client.write_all(&begin).await?;
    copy(engine, client).await.map(drop)
}

/// How long an answer that begins so is kept back; none: it is lost.
fn judge(begin: &[u8], posted_to: Option<String>, state: &Mutex<State>) -> Option<Duration> {
    let mut state = state.lock().expect("no panics");
    if let Some(path) = posted_to.filter(|_| begin.starts_with(DONE)) {
        let is_lost = state.losing.take_if(|end| path.ends_with(end.as_str())).is_some();
        state.done.push(path);
        if is_lost {
            state.lost += 1;
            return None;
        }
    }
    Some(state.delay)
}

/// What comes until the first line is whole, or all there is.
async fn first_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    while !begin.contains(&b'\n') && stream.read_buf(&mut begin).await? > 0 {}
    Ok(begin)
}

/// Where a request of this kind goes to, without its query; none: it is of another kind.
fn path_of(method: &str, request: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let path = text.strip_prefix(method)?.strip_prefix(' ')?.split([' ', '?']).next()?;
    Some(path.to_owned())
}
