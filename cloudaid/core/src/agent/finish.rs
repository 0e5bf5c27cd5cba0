//! From the end of the container to the last trace of it.

use shared::link::{AttemptChange, Outcome};
use shared::resources::Bytes;
use shared::task::Verdict;

use super::effect::AgentEffect;
use super::input::{Ended, EngineError, LogBytes};
use super::journal::{Exited, JournalRecord, StopOrder, StopReason};
use super::out::Out;
use super::pace::Pace;
use super::run::{Collected, Harvest, Run, Stage, Stop};
use super::verdict;

/// What is said of a log of which more was written than is there.
const LOST_LOG: &str = "the log may lack its end, or a part of it: the container, its engine, or what that keeps of its log, was gone before all of it was read";

impl Run {
    pub(super) fn exited(&mut self, ended: &Ended, out: &mut Out<'_>) {
        if ended.runs_again {
            self.runs_again(ended, out);
            return;
        }
        let stop = self.stop.as_ref().filter(|_| !self.ended_in_time(ended));
        let verdict = verdict::of(ended, self.memory_limit, stop);
        let notes = self.notes(Some(ended));
        if !self.was_started_again {
            self.started_at = ended.started_at.or(self.started_at);
        }
        let finished_at = ended.finished_at.unwrap_or(out.now.wall);
        let (exit_code, usage) = (Some(ended.code), ended.usage);
        self.harvest(Harvest { verdict, exit_code, finished_at, usage, notes, logs: None, outputs: None }, out);
    }

    /// Whether it was stopped for the time limit, and had ended before that: an engine that hangs tells of an end late.
    fn ended_in_time(&self, ended: &Ended) -> bool {
        // Its time counts from the first start.
        let started = if self.was_started_again { self.started_at } else { ended.started_at };
        let (Some(started), Some(finished)) = (started, ended.finished_at) else { return false };
        let ran = finished.since(started);
        match self.stop {
            // What ended by TERM or KILL most likely ended by ours, whatever the clocks say.
            Some(Stop::Order(StopOrder { reason: StopReason::TimeLimit(limit), .. })) => {
                ran < limit && !matches!(ended.code, 137 | 143)
            }
            Some(Stop::Order(_) | Stop::Discard) | None => false,
        }
    }

    pub(super) fn wait_failed(&mut self, error: &EngineError, out: &mut Out<'_>) {
        let (Stage::Running(watch) | Stage::Stopping(watch, _)) = &mut self.stage else { return };
        match error {
            EngineError::NotFound => {
                let verdict = match self.stop {
                    None => verdict::container_gone(),
                    Some(_) => verdict::stopped(self.stop.as_ref()),
                };
                self.harvest_unseen(verdict, out);
            }
            // It has ended, and the engine knows that the command itself was never run.
            EngineError::Setup(message) => {
                self.harvest_unseen(Verdict::Setup { message: message.clone() }, out);
            }
            EngineError::ImageNotFound(_)
            | EngineError::ImageUnavailable(_)
            | EngineError::NoRoom(_)
            | EngineError::Engine(_)
            | EngineError::NotStarted(_) => {
                watch.wait.failed(out.now.boot);
            }
        }
    }

    /// Of what nobody knows but how it ended.
    fn harvest_unseen(&mut self, verdict: Verdict, out: &mut Out<'_>) {
        let (finished_at, notes) = (out.now.wall, self.notes(None));
        let harvest = Harvest { verdict, exit_code: None, finished_at, usage: None, notes, logs: None, outputs: None };
        self.harvest(harvest, out);
    }

    fn harvest(&mut self, mut harvest: Harvest, out: &mut Out<'_>) {
        let (Stage::Running(watch) | Stage::Stopping(watch, _)) = &self.stage else { return };
        if self.stop == Some(Stop::Discard) {
            self.remove(out);
            return;
        }
        let logs = watch.logs;
        let reads_anew = self.was_started_again && logs.is_some();
        // Who reads it, or has, may have stopped at an earlier end.
        self.reads_log_again = self.was_started_again && logs.is_none();
        harvest.logs = logs.filter(|_| !reads_anew);
        // Now, and not when log and outputs have arrived: until then the container may go, and its exit code with it.
        let (verdict, finished_at, usage) = (harvest.verdict.clone(), harvest.finished_at, harvest.usage);
        let exited = Exited { verdict, started_at: self.started_at, finished_at, usage, notes: harvest.notes.clone() };
        out.journal(JournalRecord::Exited { key: self.key, exited });
        self.stage = Stage::Harvesting(harvest);
        if reads_anew {
            out.emit(AgentEffect::CollectLogs(self.key));
        }
        out.emit(AgentEffect::UploadOutputs(self.key));
    }

    pub(super) fn logs_drained(&mut self, bytes: LogBytes, out: &mut Out<'_>) {
        match &mut self.stage {
            Stage::Running(_) | Stage::Stopping(..) | Stage::Harvesting(_) if self.reads_log_again => {
                self.reads_log_again = false;
                out.emit(AgentEffect::CollectLogs(self.key));
            }
            Stage::Running(watch) | Stage::Stopping(watch, _) => watch.logs = Some(bytes),
            Stage::Harvesting(harvest) => {
                harvest.logs = Some(bytes);
                self.finish_harvest(out);
            }
            Stage::Unseen(_)
            | Stage::WaitsToPrepare(_)
            | Stage::WaitsToStart
            | Stage::Preparing { .. }
            | Stage::Creating { .. }
            | Stage::Starting(_)
            | Stage::Reporting(_)
            | Stage::Removing(_) => {}
        }
    }

    pub(super) fn outputs_collected(&mut self, outputs: Collected, out: &mut Out<'_>) {
        let Stage::Harvesting(harvest) = &mut self.stage else { return };
        harvest.outputs = Some(outputs);
        self.finish_harvest(out);
    }

    /// Both the log and the outputs must be at the master before it hears of the end.
    fn finish_harvest(&mut self, out: &mut Out<'_>) {
        let Stage::Harvesting(harvest) = &mut self.stage else { return };
        let Some(logs) = harvest.logs else { return };
        let Some(Collected { files, bytes, mut notes }) = harvest.outputs.take() else { return };
        notes.extend(harvest.notes.iter().cloned());
        if logs.lacks_end {
            notes.push(LOST_LOG.to_owned());
        }
        if let (
            Verdict::Disk { .. },
            Some(Stop::Order(StopOrder { reason: StopReason::Storage { limit_bytes, used_bytes, .. }, .. })),
        ) = (&harvest.verdict, &self.stop)
        {
            let (limit, used) = (*limit_bytes, *used_bytes);
            notes.push(storage_note(limit, used, self.storage_reserved, harvest.exit_code));
        }
        let (verdict, perhaps_stopped) = match self.is_adopted {
            true => verdict::of_adopted(harvest.verdict.clone()),
            false => (harvest.verdict.clone(), false),
        };
        let outcome = Outcome {
            verdict,
            started_at: self.started_at,
            finished_at: harvest.finished_at,
            stdout_bytes: logs.stdout,
            stderr_bytes: logs.stderr,
            output_files: files,
            output_bytes: Some(bytes),
            output_notes: notes,
            usage: harvest.usage,
            handed_back: self.is_handed_back(),
            perhaps_stopped,
        };
        self.finish(outcome, out);
    }

    /// Ends a run whose container never ran, or of which nothing is left.
    pub(super) fn finish_unstarted(&mut self, verdict: Verdict, out: &mut Out<'_>) {
        let started_at = match &verdict {
            Verdict::WorkerLost { .. } => self.started_at,
            Verdict::Success
            | Verdict::ExitCode { .. }
            | Verdict::Signal { .. }
            | Verdict::Oom { .. }
            | Verdict::Timeout { .. }
            | Verdict::QueueTimeout { .. }
            | Verdict::Image { .. }
            | Verdict::Setup { .. }
            | Verdict::Disk { .. }
            | Verdict::Cancelled
            | Verdict::Rejected { .. } => None,
        };
        let outcome = Outcome {
            verdict,
            started_at,
            finished_at: out.now.wall,
            stdout_bytes: 0,
            stderr_bytes: 0,
            output_files: 0,
            output_bytes: Some(0),
            output_notes: Vec::new(),
            usage: None,
            handed_back: self.is_handed_back(),
            perhaps_stopped: false,
        };
        self.finish(outcome, out);
    }

    fn is_handed_back(&self) -> bool {
        matches!(self.stop, Some(Stop::Order(StopOrder { reason: StopReason::HandedBack, .. })))
    }

    fn finish(&mut self, outcome: Outcome, out: &mut Out<'_>) {
        if self.stop == Some(Stop::Discard) {
            self.remove(out);
            return;
        }
        out.journal(JournalRecord::Finished { key: self.key, outcome: outcome.clone() });
        out.report(self.key, AttemptChange::Finished(outcome.clone()));
        self.stage = Stage::Reporting(outcome);
    }

    /// The master has recorded the end.
    pub(super) fn acknowledged(&mut self, out: &mut Out<'_>) {
        let Stage::Reporting(_) = &self.stage else { return };
        self.remove(out);
    }

    pub(super) fn remove(&mut self, out: &mut Out<'_>) {
        out.emit(AgentEffect::Remove(self.key));
        self.stage = Stage::Removing(Pace::default());
    }

    pub(super) fn remove_failed(&mut self, out: &mut Out<'_>) {
        let Stage::Removing(pace) = &mut self.stage else { return };
        pace.failed(out.now.boot);
    }
}

/// How it came to the end of what it may store, and who has seen that.
fn storage_note(limit: u64, used: Option<u64>, reserved: bool, exit_code: Option<i32>) -> String {
    let limit_text = Bytes(limit).to_string();
    let Some(used) = used else {
        // It ended by itself, and perhaps for another reason.
        let ended = exit_code.map(|code| format!("; it ended with exit code {code}")).unwrap_or_default();
        return format!("its /output was full: it may store {limit_text}, and is a file system of that size{ended}");
    };
    let used_text = match Bytes(used).to_string() {
        same if same == limit_text => format!("{} bytes more than {limit_text}", used.saturating_sub(limit)),
        text => text,
    };
    let what = "/output and the container's own layer, as the worker measured them";
    if reserved {
        format!("a disk of its worker was full, it stored {used_text}, and {limit_text} were reserved for it: {what}")
    } else {
        format!("it stored {used_text} and may store {limit_text}: {what}")
    }
}
