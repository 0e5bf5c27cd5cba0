//! What the gateway must not forget, in files that are replaced as a whole.
//!
//! ```text
//! seed/cluster             the id that the containers of this worker carry
//! seed/master              where the master was when it last registered us
//! seed/tasks/<task>/task   one task: the master's name for it, what runs, how it ended
//! seed/tasks/<task>/files  the names of the files that were uploaded
//! seed/tasks/<task>/log-N  see `spool.rs`
//! ```
//!
//! A task has two names: the master's, any text, and ours, by which the agent and the containers know it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::id::{ClusterId, TaskId};
use shared::link::{Assignment, Outcome};
use shared::task::Verdict;
use shared::time::WallTime;
use ulid::Ulid;

use super::master::Master;
use crate::worker::data_dir::{entries, failed, remove_tree, replace, sync_parent};
use crate::worker::error::WorkerError;

/// What is known of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// As the master names it.
    pub(super) wire_id: String,
    /// As the master names its user; goes back with the files.
    pub(super) user_id: String,
    /// As the master names it for people.
    pub(super) task_name: String,
    /// What runs, and under which key.
    pub(super) assignment: Assignment,
    /// Somebody wants it stopped.
    pub(super) cancelled: bool,
    /// There once the master has acknowledged it.
    pub(super) end: Option<End>,
}

/// How a task ended, in the master's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) status: Status,
    /// What the log is followed by: the protocol has no other place for it.
    pub(super) remarks: Vec<String>,
    pub(super) at: WallTime,
}

/// The three ends that the master knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Success,
    Failed,
    Cancelled,
}

impl Status {
    /// On the wire.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        let status = match &outcome.verdict {
            Verdict::Success => Status::Success,
            Verdict::Cancelled => Status::Cancelled,
            Verdict::ExitCode { .. }
            | Verdict::Signal { .. }
            | Verdict::Oom { .. }
            | Verdict::Timeout { .. }
            | Verdict::QueueTimeout { .. }
            | Verdict::Image { .. }
            | Verdict::Setup { .. }
            | Verdict::Disk { .. }
            | Verdict::WorkerLost { .. }
            | Verdict::Rejected { .. } => Status::Failed,
        };
        let verdict = (status == Status::Failed).then(|| format!("cloudaid: {}", outcome.verdict));
        let notes =
            outcome.output_notes.iter().map(|note| format!("cloudaid: not all of /output was collected: {note}"));
        Self { status, remarks: verdict.into_iter().chain(notes).collect(), at: outcome.finished_at }
    }
}

/// The files.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    cluster: ClusterId,
}

impl Ledger {
    /// Reads what is there; makes it if there is none. `joined` is the cluster of the data directory.
    pub(super) fn open(data: &Path, joined: Option<ClusterId>) -> Result<(Self, Vec<Record>), WorkerError> {
        let path = data.join("seed");
        let tasks = path.join("tasks");
        fs::create_dir_all(&tasks).map_err(|source| failed(&tasks, source))?;
        let cluster_path = path.join("cluster");
        let cluster = match (read(&cluster_path)?, joined) {
            (Some(cluster), None) => cluster,
            (Some(cluster), Some(joined)) if cluster == joined => cluster,
            (_, Some(joined)) => return Err(WorkerError::OtherProtocol { path: data.to_owned(), cluster: joined }),
            (None, None) => {
                let cluster = ClusterId(Ulid::generate());
                write(&cluster_path, &cluster).map_err(|source| failed(&cluster_path, source))?;
                cluster
            }
        };
        let mut known = Vec::new();
        for path in entries(&tasks).map_err(|source| failed(&tasks, source))? {
            match read(&path.join("task"))? {
                Some(record) => known.push(record),
                // A crash came before its first line was written: nobody was told that it is here.
                None => remove_tree(&path).map_err(|source| failed(&path, source))?,
            }
        }
        Ok((Self { path, cluster }, known))
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Where the files of a task are.
    pub(super) fn directory(&self, task: TaskId) -> PathBuf {
        self.path.join("tasks").join(task.to_string())
    }

    /// Writes a task down, durably.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        let directory = self.directory(record.assignment.key.task);
        if !directory.exists() {
            fs::create_dir(&directory)?;
            sync_parent(&directory)?;
        }
        write(&directory.join("task"), record)
    }

    /// Forgets a task and its log.
    pub(super) fn remove(&self, task: TaskId) -> io::Result<()> {
        remove_tree(&self.directory(task))
    }

    /// The names of the uploaded files of a task.
    pub(super) fn files(&self, task: TaskId) -> io::Result<Vec<String>> {
        let path = self.directory(task).join("files");
        match fs::read(&path) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Keeps them for its report.
    pub(super) fn save_files(&self, task: TaskId, names: &[String]) -> io::Result<()> {
        write(&self.directory(task).join("files"), &names)
    }

    /// Where the master was.
    pub(super) fn master(&self) -> Result<Option<Master>, WorkerError> {
        read(&self.path.join("master"))
    }

    /// Remembers it.
    pub(super) fn save_master(&self, master: &Master) -> io::Result<()> {
        write(&self.path.join("master"), master)
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    replace(path, &serde_json::to_vec(value)?)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, WorkerError> {
    let json = match fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    let value = serde_json::from_slice(&json);
    value.map(Some).map_err(|error| WorkerError::Unreadable { path: path.to_owned(), problem: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::record;
    use super::*;

    #[test]
    fn what_was_saved_is_there_at_the_next_start() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (ledger, known) = Ledger::open(scratch.path(), None).expect("a new one");
        assert_eq!((known, ledger.master().expect("read")), (vec![], None));
        let mut record = record("their-7");
        let task = record.assignment.key.task;
        ledger.save(&record).expect("saved");
        record.end = Some(End { status: Status::Failed, remarks: vec!["why".to_owned()], at: WallTime(7) });
        ledger.save(&record).expect("saved again");
        assert_eq!(ledger.files(task).expect("read"), [""; 0]);
        ledger.save_files(task, &["a".to_owned()]).expect("saved");
        let master = Master { id: "m".to_owned(), address: "127.0.0.1:1".to_owned() };
        ledger.save_master(&master).expect("saved");
        // A crash between the directory and its first file.
        fs::create_dir(scratch.path().join("seed/tasks/task-01arz3ndektsv4rrffq69g5faw")).expect("made");

        let (again, known) = Ledger::open(scratch.path(), Some(ledger.cluster())).expect("the same");
        assert_eq!((known, again.cluster()), (vec![record], ledger.cluster()));
        assert_eq!(again.master().expect("read"), Some(master));
        assert_eq!(again.files(task).expect("read"), ["a"]);
        again.remove(task).expect("removed");
        let (_, known) = Ledger::open(scratch.path(), None).expect("the same");
        assert_eq!(known, []);
    }

    #[test]
    fn the_directory_of_a_worker_of_the_other_kind_is_refused() {
        let scratch = tempfile::tempdir().expect("a directory");
        let joined = ClusterId(Ulid(1));
        let refused = Ledger::open(scratch.path(), Some(joined)).expect_err("another's");
        assert!(matches!(refused, WorkerError::OtherProtocol { .. }), "{refused}");
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let scratch = tempfile::tempdir().expect("a directory");
        let (ledger, _) = Ledger::open(scratch.path(), None).expect("a new one");
        let record = record("their-7");
        ledger.save(&record).expect("saved");
        fs::write(ledger.directory(record.assignment.key.task).join("task"), "{").expect("written");
        assert!(matches!(Ledger::open(scratch.path(), None), Err(WorkerError::Unreadable { .. })));
    }

    #[test]
    fn a_failure_says_why_behind_its_log() {
        let outcome = |verdict| Outcome {
            verdict,
            started_at: None,
            finished_at: WallTime(7),
            stdout_bytes: 0,
            stderr_bytes: 0,
            output_files: 0,
            output_bytes: Some(0),
            output_notes: vec!["x: a link".to_owned()],
            usage: None,
            handed_back: false,
            perhaps_stopped: false,
        };
        let end = End::from(&outcome(Verdict::ExitCode { exit_code: 3 }));
        assert_eq!(end.status.as_str(), "failed");
        let note = "cloudaid: not all of /output was collected: x: a link";
        assert_eq!(end.remarks, ["cloudaid: exit code 3", note]);
        let end = End::from(&outcome(Verdict::Success));
        assert_eq!((end.status.as_str(), end.remarks), ("success", vec![note.to_owned()]));
        assert_eq!(End::from(&outcome(Verdict::Cancelled)).status.as_str(), "cancelled");
    }
}
