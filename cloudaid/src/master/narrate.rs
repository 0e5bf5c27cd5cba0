//! What the master's log says, in the words of the specification.

use std::time::Duration;

use cloudaid_core::admission::Admission;
use cloudaid_core::event::{Event, Findings, RefusedReport};
use shared::id::WorkerId;
use shared::resources::{GIB, MIB};
use shared::task::{TaskState, Verdict};
use shared::time::BootTime;
use shared::worker::{Cordon, Usage};
use tracing::{debug, info, warn};

use crate::clock;

/// One line for what has happened.
pub(crate) fn event(event: &Event) {
    match event {
        Event::TaskSubmitted { task, user, name, count } => {
            let name = name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
            let elements = if *count > 1 { format!(", {count} elements") } else { String::new() };
            info!("Task submission: {task}{name} by {user}{elements}");
        }
        Event::AttemptPlaced { task, key, worker } => {
            let again = if key.attempt > 1 { format!(" (attempt {})", key.attempt) } else { String::new() };
            info!("Task assignment: {task} to worker {worker}{again}");
        }
        Event::AttemptStarted { task, worker, .. } => debug!("Task started: {task} on worker {worker}"),
        Event::AttemptEnded { task, key, worker, verdict, again } => {
            let status = status(verdict);
            if *again {
                warn!(
                    "Task interrupted: {task} attempt {} on worker {worker}: {verdict}; it will run again",
                    key.attempt
                );
            } else if matches!(verdict, Verdict::Success | Verdict::Cancelled) {
                info!("Task completion: {task} from worker {worker} [Status: {status}]");
            } else {
                info!("Task completion: {task} from worker {worker} [Status: {status}] ({verdict})");
            }
        }
        Event::ElementEnded { task, verdict } => debug!("Task ended: {task} [Status: {}]", status(verdict)),
        Event::TaskEnded { task, state } => debug!("Task over: {task} is {state}"),
        Event::CancelRequested { task, elements } => info!("Task cancellation: {task}, elements: {elements}"),
        Event::AccountChanged { user } => {
            let state = if user.disabled { "disabled" } else { "enabled" };
            info!("Account: {} is {}, {state}", user.name, user.role);
        }
        Event::LoginChanged { .. } => {}
        Event::TaskEdited { task, name } => {
            info!("Task: {task} is {} now", name.as_deref().unwrap_or("without a name"));
        }
        Event::FilesDeleted { user, leftovers } => info!("Files: {} of {user} are deleted", leftovers.len()),
        Event::UploadDropped(leftover) => info!("Files: the upload of {leftover} will not end, and is dropped"),
        Event::TaskDeleted { task, .. } => info!("Task: {task} is deleted"),
        Event::LoginReused { id, user } => {
            warn!("Login: {id} of {user} has ended: a token of it was used again that another had replaced");
        }
        Event::TokenChanged { id, record: Some(token) } => debug!("Token: {id} of {}", token.user),
        Event::TokenChanged { id, record: None } => info!("Token: {id} works no longer"),
        Event::WorkerAdmitted { worker, admission } => match admission {
            Admission::None => {}
            Admission::Certificate(_) => info!("Worker {worker} has joined"),
            Admission::Dialed(address) => info!("Worker {worker} is registered at {address}"),
        },
        Event::WorkerWaits { worker, address } => {
            warn!("Worker {worker} at {address} asks to be let in: `cloudctl approve {worker}`, if you know it");
        }
        Event::WorkerUnregistered { worker, attempts } => {
            warn!("Worker {worker} is taken out of the cluster; {attempts} attempts are given up");
        }
        Event::WorkerRegistered { worker, facts, rebooted, kept, stopped } => {
            let capacity = facts.capacity;
            info!(
                "Worker registration: {worker} (IP: {}, CPU: {:.2}, Memory: {:.2} GB)",
                facts.address,
                capacity.cpu_millis as f64 / 1e3,
                capacity.memory_bytes as f64 / GIB as f64,
            );
            if *rebooted {
                info!("The host of worker {worker} was restarted since it was last here");
            }
            if kept + stopped > 0 {
                info!("Worker {worker} brought {kept} attempts that go on and {stopped} that were given up");
            }
        }
        Event::WorkerHealth { worker, problem: Some(problem) } => {
            warn!("Worker {worker} gets no new tasks: {problem}");
        }
        Event::WorkerGpus { worker, ill, well } => {
            for uuid in well {
                info!("GPU {uuid} of worker {worker} gets new tasks again");
            }
            for ill in ill {
                warn!("Worker {worker} has a GPU that gets no new tasks: {}: {}", ill.uuid, ill.reason);
            }
        }
        Event::WorkerHealth { worker, problem: None } => info!("Worker {worker} is well again and gets new tasks"),
        Event::WorkersSilent { silent, of, hold } => warn!(
            "{silent} of {of} workers were silent at once, so it may be the network of this master: what they run is kept \
             for {} s more before it runs elsewhere",
            hold.as_secs()
        ),
        Event::MasterSlept { late } => warn!(
            "This master did not run for {} s (its host slept, or it was stopped); every worker gets time to be heard of \
             again",
            late.as_secs()
        ),
        Event::WorkerSuspected { worker } => warn!("Worker {worker} is suspect: heartbeats are missing"),
        Event::WorkerRecovered { worker } => info!("Worker {worker} is heard of again"),
        Event::WorkerDisconnected { worker, live_attempts } => {
            warn!("Worker {worker} marked inactive: its connection is closed (live attempts: {live_attempts})");
        }
        Event::WorkerLost { worker, attempts, kept: 0 } => {
            warn!("Worker {worker} lost: not heard of for longer than its lease; {attempts} attempts are given up");
        }
        Event::WorkerLost { worker, attempts, kept } => warn!(
            "Worker {worker} lost: not heard of for longer than its lease; {attempts} attempts are given up, and {kept} are \
             unreachable until it is back: they may run once at most, or no other worker could take them"
        ),
        Event::WorkerLeftOut { worker, reason } => warn!("Worker {worker} is left out: {reason}"),
        Event::WorkerCordoned { worker, cordon: None } => info!("Worker {worker} gets new tasks again"),
        Event::WorkerCordoned { worker, cordon: Some(cordon) } => {
            let Cordon { by, reason, draining, .. } = cordon;
            let what = if *draining { "is drained" } else { "is cordoned" };
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            info!("Worker {worker} {what} by {by}{reason}");
        }
        Event::WorkerEvicts { worker, attempts } => {
            info!("Worker {worker} is drained: {attempts} attempts are stopped there, and run elsewhere");
        }
        Event::WorkerTriedAgain { worker } => info!("Worker {worker} gets new tasks again"),
        Event::WorkerReconciled { worker, findings, .. } => {
            let Findings { live, containers, orphans, adopted, lost, sent_again, leaving, problem } = findings;
            if let Some(problem) = problem {
                warn!("Worker {worker} cannot list its containers: {problem}");
            }
            // Such a comparison only waits for what an earlier one has found.
            if leaving.is_empty() {
                info!("Worker {worker} compared: {live} attempts live, {containers} containers");
            } else {
                debug!("Worker {worker} compared: {} containers are still being stopped", leaving.len());
            }
            for (keys, what) in [
                (orphans, "a container of no live attempt, is stopped and removed"),
                (adopted, "had been lost sight of, is watched again"),
                (lost, "has lost its container and has ended"),
                (sent_again, "had never arrived, is sent again"),
            ] {
                keys.iter().for_each(|key| warn!("Worker {worker}: {key}, {what}"));
            }
        }
        Event::ReportRefused { worker, key, reason: RefusedReport::Repeated } => {
            debug!("Report of {worker} on {key} repeated: it had ended already");
        }
        Event::ReportRefused { worker, key, reason } => {
            warn!("Report of {worker} on {key} refused: {}", reason.as_str());
        }
    }
}

/// The word of the specification for an end.
fn status(verdict: &Verdict) -> &'static str {
    match verdict.state() {
        TaskState::Completed => "success",
        TaskState::Cancelled => "cancelled",
        TaskState::Queued | TaskState::Pending | TaskState::Running | TaskState::Failed => "failed",
    }
}

/// The heartbeats of one connection: each at debug, a summary once a minute.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    worker: WorkerId,
    last_summary: BootTime,
    since_summary: u32,
}

impl Heartbeats {
    const SUMMARY_EVERY: Duration = Duration::from_secs(60);

    pub(crate) fn new(worker: WorkerId) -> Self {
        Self { worker, last_summary: clock::boot(), since_summary: 0 }
    }

    /// A heartbeat has arrived.
    pub(crate) fn beat(&mut self, usage: &Usage) {
        self.since_summary += 1;
        let line = format!(
            "Heartbeat from {}: CPU={:.2}%, Memory={:.2}MB, Running Tasks={}",
            self.worker,
            usage.cpu_percent,
            usage.memory_used_bytes as f64 / MIB as f64,
            usage.running,
        );
        debug!("{line}");
        let now = clock::boot();
        if now.since(self.last_summary) >= Self::SUMMARY_EVERY {
            info!("{line} ({} heartbeats in the last minute)", self.since_summary);
            self.last_summary = now;
            self.since_summary = 0;
        }
    }
}
