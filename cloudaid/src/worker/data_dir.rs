//! The worker's directory: who owns it, and the output directories of its runs.
//!
//! ```text
//! lock        held by the one worker that uses the directory
//! identity    the cluster and the worker that it belongs to
//! journal     see `journal.rs`
//! present     see `presence.rs`
//! lease       see `lease.rs`
//! runs/<task>.<index>-<attempt>/output
//! runs/<task>.<index>-<attempt>/output.img, output-device  see `volume.rs`
//! runs/<task>.<index>-<attempt>/input  the id of the input that the run reads
//! runs/<task>.<index>-<attempt>/storage  how many bytes the run may store
//! runs/<task>.<index>-<attempt>/given-up  see `uploads/unreadable.rs`
//! runs/<task>.<index>-<attempt>/log-place  see `logs/place.rs`
//! runs/<task>.<index>-<attempt>/log-spool, log-spool.<number>  see `logs/spool.rs`
//! images      see `runtime/docker/image/shelf.rs`
//! gpus.json   see `gpu/records.rs`
//! inputs/<input>  see `inputs.rs`
//! seed/           see `seed/ledger.rs`
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use shared::id::{AttemptKey, ClusterId, InputId, WorkerId};

use super::error::WorkerError;
use super::removal;
use super::volume::Volume;

/// The name of the note of a run that it reads an input.
const CLAIM: &str = "input";
/// The name of the note of a run on what its /output is.
const DEVICE: &str = "output-device";
/// The name of the note of a run on how much it may store.
const STORAGE: &str = "storage";
/// What helps where containers have written as another user.
const ADVICE: &str = "it ran as another user; run the worker as root, or remove it by hand";
/// Before the name of an input that is being fetched.
const COMING: &str = "coming-";

/// A directory that is ours alone.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    name: WorkerId,
    cluster: Option<ClusterId>,
    /// Keeps the lock.
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    cluster: ClusterId,
    worker: WorkerId,
}

impl DataDir {
    /// Makes it if it is not there, and locks it.
    pub(super) fn open(path: &Path, name: &WorkerId) -> Result<Self, WorkerError> {
        make_private(path).map_err(|source| failed(path, source))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).append(true).open(&lock_path);
        let lock = lock.map_err(|source| failed(&lock_path, source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WorkerError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path, source)),
        }
        let identity = read_identity(&path.join("identity"))?;
        if let Some(identity) = &identity
            && identity.worker != *name
        {
            let owner = identity.worker.clone();
            return Err(WorkerError::OtherWorker { path: path.to_owned(), owner, name: name.clone() });
        }
        let cluster = identity.map(|identity| identity.cluster);
        Ok(Self { path: path.to_owned(), name: name.clone(), cluster, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &WorkerId {
        &self.name
    }

    /// The cluster that it belongs to, if it was ever used.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// From now on it belongs to this cluster.
    pub(super) fn join(mut self, cluster: ClusterId) -> Result<Self, WorkerError> {
        if self.cluster.is_none() {
            let identity = Identity { cluster, worker: self.name.clone() };
            let path = self.path.join("identity");
            let json = serde_json::to_vec(&identity).map_err(io::Error::from);
            json.and_then(|json| replace(&path, &json)).map_err(|source| failed(&path, source))?;
            self.cluster = Some(cluster);
        }
        Ok(self)
    }

    /// What the container of a run sees as /output.
    pub(super) fn output(&self, key: &AttemptKey) -> PathBuf {
        self.run(key).join("output")
    }

    /// The device that the container of a run has its /output on, since it was made.
    pub(super) fn output_device(&self, key: &AttemptKey) -> Option<PathBuf> {
        fs::read_to_string(self.run(key).join(DEVICE)).ok().map(PathBuf::from)
    }

    /// Notes that device.
    pub(super) fn note_output_device(&self, key: &AttemptKey, device: &Path) -> io::Result<()> {
        replace(&self.run(key).join(DEVICE), device.as_os_str().as_bytes())
    }

    /// How many bytes a run may store; none: it is not known any more, or never was.
    pub(super) fn storage(&self, key: &AttemptKey) -> Option<u64> {
        fs::read_to_string(self.run(key).join(STORAGE)).ok()?.parse::<u64>().ok().filter(|bytes| *bytes > 0)
    }

    /// Notes that. It is not made durable: it keeps holes in files from being brought, and nothing else hangs on it.
    pub(super) fn note_storage(&self, key: &AttemptKey, bytes: u64) -> io::Result<()> {
        let run = self.run(key);
        fs::create_dir_all(&run)?;
        fs::write(run.join(STORAGE), bytes.to_string())
    }

    /// Where it is kept which of its output files are given up: see `uploads/unreadable.rs`.
    pub(super) fn given_up(&self, key: &AttemptKey) -> PathBuf {
        self.run(key).join("given-up")
    }

    /// The file system that the /output of a run may be.
    pub(super) fn volume(&self, key: &AttemptKey) -> Volume {
        Volume::of(&self.run(key))
    }

    /// Where it is kept how far a long log has been read: see `logs/place.rs`.
    pub(super) fn log_place(&self, key: &AttemptKey) -> PathBuf {
        self.run(key).join("log-place")
    }

    /// Where its log waits for the master: see `logs/spool.rs`.
    pub(super) fn log_spool(&self, key: &AttemptKey) -> PathBuf {
        self.run(key).join("log-spool")
    }

    /// How long this worker may act on its own: see `lease.rs`.
    pub(super) fn lease(&self) -> PathBuf {
        self.path.join("lease")
    }

    /// What GPUs have reported: see `gpu/records.rs`.
    pub(super) fn gpu_reports(&self) -> PathBuf {
        self.path.join("gpus.json")
    }

    /// Whether there is anything of a run. One look at one name: not worth a thread.
    pub(super) fn has_run(&self, key: &AttemptKey) -> bool {
        fs::symlink_metadata(self.run(key)).is_ok()
    }

    /// Removes all that a run has written. What containers wrote as root stays if this process is not root: it is said, and
    /// tried again at the next start.
    pub(super) fn remove_run(&self, key: &AttemptKey) -> io::Result<()> {
        remove_run(&self.run(key)).map(drop)
    }

    /// Directories of runs that nobody holds any more, for [`remove_stale`].
    pub(super) fn stale(&self, held: &BTreeSet<AttemptKey>) -> io::Result<Vec<PathBuf>> {
        let keep: BTreeSet<_> = held.iter().map(|key| self.run(key)).collect();
        let all = entries(&self.path.join("runs"))?;
        Ok(all.into_iter().filter(|path| !keep.contains(path)).collect())
    }

    /// What containers see as /input.
    pub(super) fn input(&self, id: InputId) -> PathBuf {
        self.inputs().join(id.to_string())
    }

    /// Notes that a run reads an input, so that it stays. Whether it is here.
    pub(super) fn claim_input(&self, key: &AttemptKey, id: InputId) -> io::Result<bool> {
        let run = self.run(key);
        fs::create_dir_all(&run)?;
        fs::write(run.join(CLAIM), id.to_string())?;
        self.input(id).try_exists()
    }

    /// Whether a run reads an input. One look at one name: not worth a thread.
    pub(super) fn reads_input(&self, key: &AttemptKey) -> bool {
        fs::symlink_metadata(self.run(key).join(CLAIM)).is_ok()
    }

    /// An empty folder to fetch an input into.
    pub(super) fn begin_input(&self, id: InputId) -> io::Result<PathBuf> {
        let coming = self.coming(id);
        remove_tree(&coming)?;
        fs::create_dir_all(&coming)?;
        fs::set_permissions(&coming, Permissions::from_mode(0o755))?;
        Ok(coming)
    }

    /// All of it is there: durably, and under its name from now on.
    pub(super) fn finish_input(&self, id: InputId) -> io::Result<()> {
        let coming = self.coming(id);
        rustix::fs::syncfs(File::open(&coming)?)?;
        fs::rename(coming, self.input(id))?;
        sync_parent(&self.input(id))
    }

    /// Removes inputs that no run here reads, and none has for a while.
    pub(super) fn sweep_inputs(&self, unused_for: Duration) -> io::Result<()> {
        let mut claimed = BTreeSet::new();
        for run in entries(&self.path.join("runs"))? {
            claimed.extend(fs::read_to_string(run.join(CLAIM)).ok());
        }
        for path in entries(&self.inputs())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let id = name.strip_prefix(COMING).unwrap_or(&name);
            if claimed.contains(id) {
                // Its age counts from now on.
                File::open(&path)?.set_modified(SystemTime::now())?;
                continue;
            }
            let age = fs::metadata(&path)?.modified()?.elapsed().unwrap_or_default();
            if age >= unused_for {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    fn inputs(&self) -> PathBuf {
        self.path.join("inputs")
    }

    fn coming(&self, id: InputId) -> PathBuf {
        self.inputs().join(format!("{COMING}{id}"))
    }

    fn run(&self, key: &AttemptKey) -> PathBuf {
        self.path.join("runs").join(format!("{}-{}", key.element(), key.attempt))
    }
}

/// What stands in a directory, which need not be there.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes the whole file durably, or leaves the old one.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// A name is durable when its directory is.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))
}

fn read_identity(path: &Path) -> Result<Option<Identity>, WorkerError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    let identity = serde_json::from_slice(&text);
    identity.map(Some).map_err(|error| WorkerError::Unreadable { path: path.to_owned(), problem: error.to_string() })
}

/// Removes what is left of runs; what cannot be removed keeps no other. Each is tried again at the next start.
pub(super) fn remove_stale(runs: Vec<PathBuf>) {
    let mut foreign = 0;
    for path in runs {
        match remove_run(&path) {
            Ok(is_left) => foreign += usize::from(is_left),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "What an old run has left cannot be removed");
            }
        }
    }
    if foreign > 0 {
        tracing::warn!(
            "{foreign} runs that are over have left what this worker may not remove, and it takes up the disk: {ADVICE}"
        );
    }
}

/// Returns whether something stays that is somebody else's.
fn remove_run(path: &Path) -> io::Result<bool> {
    let volume = Volume::of(path);
    if volume.exists() {
        volume.close()?;
    }
    match remove_all(path) {
        // It was mounted just now, by somebody who came too late.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            volume.close()?;
            remove_all(path)
        }
        other => other,
    }
}

/// Removes a directory with all that is in it. What is somebody else's stays, and is said.
///
/// # Errors
/// The file system fails.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_all(path).map(drop)
}

/// The same; returns whether something stays.
fn remove_all(path: &Path) -> io::Result<bool> {
    let left = removal::remove(path)?;
    if let Some(left) = &left {
        tracing::warn!(path = %path.display(), %left, "A container has left what this worker may not remove: {ADVICE}");
    }
    Ok(left.is_some())
}

pub(super) fn failed(path: &Path, source: io::Error) -> WorkerError {
    WorkerError::Data { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> WorkerId {
        text.parse().expect("a name")
    }

    fn cluster() -> ClusterId {
        "01arz3ndektsv4rrffq69g5fav".parse().expect("an id")
    }

    fn key(attempt: u32) -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index: 3, attempt, fence: shared::id::Fence(1) }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o7777
    }

    #[test]
    fn a_second_worker_is_refused_until_the_first_is_gone() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("a/b");
        let first = DataDir::open(&path, &name("w1")).expect("ours");
        assert_eq!(mode(&path), 0o700);
        assert!(matches!(DataDir::open(&path, &name("w1")), Err(WorkerError::InUse { .. })));
        drop(first);
        assert!(DataDir::open(&path, &name("w1")).is_ok());
    }

    #[test]
    fn it_remembers_whose_it_is() {
        let scratch = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(scratch.path(), &name("w1")).expect("ours");
        assert_eq!(data.cluster(), None);
        drop(data.join(cluster()).expect("joined"));
        let data = DataDir::open(scratch.path(), &name("w1")).expect("ours");
        assert_eq!(data.cluster(), Some(cluster()));
        drop(data);
        let error = DataDir::open(scratch.path(), &name("w2")).expect_err("another's");
        assert!(matches!(error, WorkerError::OtherWorker { .. }));
        assert!(error.hint().contains("--name w1"), "{}", error.hint());
    }

    #[test]
    fn an_identity_that_cannot_be_read_is_not_taken_for_none() {
        let scratch = tempfile::tempdir().expect("a directory");
        fs::write(scratch.path().join("identity"), "{").expect("written");
        assert!(matches!(DataDir::open(scratch.path(), &name("w1")), Err(WorkerError::Unreadable { .. })));
    }

    #[test]
    fn outputs_go_with_their_run() {
        let scratch = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(scratch.path(), &name("w1")).expect("ours");
        let output = data.output(&key(1));
        assert!(!data.has_run(&key(1)));
        for number in [1, 2] {
            fs::create_dir_all(data.output(&key(number))).expect("made");
        }
        fs::write(output.join("r.txt"), "data").expect("written");
        assert_eq!(data.storage(&key(1)), None);
        data.note_storage(&key(1), 7).expect("noted");
        assert_eq!(data.storage(&key(1)), Some(7));
        remove_stale(data.stale(&BTreeSet::from([key(1)])).expect("listed"));
        assert!(output.exists() && data.has_run(&key(1)) && !data.has_run(&key(2)));
        data.remove_run(&key(1)).expect("removed");
        data.remove_run(&key(1)).expect("removed twice");
        assert!(!output.exists());
    }

    #[test]
    fn an_input_stays_while_a_run_reads_it_and_for_a_while() {
        let scratch = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(scratch.path(), &name("w1")).expect("ours");
        let (id, other) = (InputId(1.into()), InputId(2.into()));
        assert!(!data.claim_input(&key(1), id).expect("claimed"), "it is not here");
        for id in [id, other] {
            let coming = data.begin_input(id).expect("begun");
            fs::write(coming.join("f"), "data").expect("written");
            assert!(!data.input(id).exists());
            data.finish_input(id).expect("finished");
            assert_eq!(fs::read_to_string(data.input(id).join("f")).expect("there"), "data");
        }
        data.begin_input(InputId(3.into())).expect("begun, and never finished");
        assert!(data.claim_input(&key(1), id).expect("claimed again"), "it is here");
        data.sweep_inputs(Duration::from_secs(600)).expect("swept");
        assert_eq!(entries(&data.inputs()).expect("listed").len(), 3, "all are young");
        data.sweep_inputs(Duration::ZERO).expect("swept");
        assert_eq!(entries(&data.inputs()).expect("listed"), [data.input(id)]);
        data.remove_run(&key(1)).expect("removed");
        data.sweep_inputs(Duration::ZERO).expect("swept");
        assert_eq!(entries(&data.inputs()).expect("listed").len(), 0);
    }
}
