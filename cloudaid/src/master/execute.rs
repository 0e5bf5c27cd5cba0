//! From effects to IO: one flat match. Nothing is decided here.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cloudaid_core::effect::Effect;
use cloudaid_core::event::Event;
use cloudaid_core::files::Leftover;
use tokio::sync::{Notify, mpsc};

use super::accounts::Accounts;
use super::admissions::Admissions;
use super::events::Events;
use super::file_turns::FileTurns;
use super::heard::Heard;
use super::links::Links;
use super::live::{LiveRun, LiveRuns, Watchers};
use super::logs::LogStore;
use super::repairs::{Reconciled, Repairs};
use super::reply::Replies;
use super::{narrate, task_logs};

/// What the driver, the handle and the links have in common.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) replies: Replies,
    pub(crate) links: Links,
    pub(crate) heard: Heard,
    pub(crate) live: Arc<LiveRuns>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) admissions: Arc<Admissions>,
    pub(crate) watchers: Watchers,
    pub(crate) repairs: Repairs,
    pub(crate) logs: LogStore,
    /// What has happened to tasks and workers.
    pub(crate) events: Arc<Events>,
    /// Told after each batch.
    pub(crate) pulse: Notify,
    /// Whether the store takes no commits.
    pub(crate) held: AtomicBool,
    /// Who may change what is known of the files of a task.
    pub(crate) file_turns: FileTurns,
    /// What can be removed.
    pub(crate) gone: mpsc::UnboundedSender<Leftover>,
    /// Print the last lines of a task's log when it ends.
    pub(crate) print_task_logs: bool,
}

impl Shell {
    /// One without callers, connections or runs.
    pub(crate) fn new(
        logs: LogStore,
        events: Events,
        live: LiveRuns,
        gone: mpsc::UnboundedSender<Leftover>,
        print_task_logs: bool,
    ) -> Self {
        Self {
            replies: Replies::default(),
            links: Links::default(),
            heard: Heard::default(),
            live: Arc::new(live),
            accounts: Arc::default(),
            admissions: Arc::default(),
            watchers: Watchers::default(),
            repairs: Repairs::default(),
            logs,
            events: Arc::new(events),
            pulse: Notify::default(),
            held: AtomicBool::new(false),
            file_turns: FileTurns::default(),
            gone,
            print_task_logs,
        }
    }

    /// Carries out what is not a change. Everything that was to be saved is durable by now.
    pub(crate) fn execute(&self, effect: Effect) {
        match effect {
            // Committed before, by the driver.
            Effect::Save(_) => {}
            Effect::Send(session, message) => self.links.send(session, message),
            Effect::Close(session, reject) => self.links.refuse(session, reject.into()),
            Effect::Reply(request, answer) => self.replies.answer(request, answer.map_err(Into::into)),
            Effect::Publish(event) => self.publish(&event),
        }
    }

    fn publish(&self, event: &Event) {
        narrate::event(event);
        self.events.publish(event);
        match event {
            Event::AttemptPlaced { task, key, worker } => {
                self.live.insert(LiveRun { key: *key, shown: *task, worker: worker.clone() });
                self.watchers.bump(task.task);
            }
            Event::AttemptEnded { task, key, .. } => {
                self.live.remove(*key);
                self.logs.seal(key.element(), key.attempt);
                if self.print_task_logs {
                    task_logs::print_tail(self.logs.clone(), *task, *key);
                }
                self.watchers.bump(task.task);
            }
            Event::WorkerReconciled { worker, horizon, findings } => {
                let (worker, findings) = (worker.clone(), findings.clone());
                self.repairs.tell(Reconciled { worker, horizon: *horizon, findings });
            }
            Event::AccountChanged { user } => self.accounts.insert(user.clone()),
            Event::TokenChanged { id, record } => self.accounts.set_token(*id, record.clone()),
            Event::LoginChanged { id, record } => self.accounts.set_login(*id, record.clone()),
            // Nobody takes them only while the master stops; the next start does.
            Event::TaskDeleted { task, .. } => {
                let _ = self.gone.send(Leftover::Task(*task));
                self.watchers.bump(*task);
            }
            Event::FilesDeleted { leftovers, .. } => {
                for leftover in leftovers {
                    let _ = self.gone.send(*leftover);
                }
            }
            Event::UploadDropped(leftover) => {
                let _ = self.gone.send(*leftover);
            }
            Event::TaskEdited { task, .. } => self.watchers.bump(*task),
            Event::AttemptStarted { task, .. } | Event::ElementEnded { task, .. } => self.watchers.bump(task.task),
            Event::TaskEnded { task, .. } | Event::CancelRequested { task, .. } => self.watchers.bump(*task),
            Event::WorkerAdmitted { worker, admission } => self.admissions.set(worker, Some(admission.clone())),
            Event::WorkerUnregistered { worker, .. } => self.admissions.set(worker, None),
            Event::TaskSubmitted { .. }
            | Event::LoginReused { .. }
            | Event::WorkerWaits { .. }
            | Event::WorkerRegistered { .. }
            | Event::WorkerSuspected { .. }
            | Event::WorkerRecovered { .. }
            | Event::WorkerDisconnected { .. }
            | Event::WorkerLost { .. }
            | Event::WorkersSilent { .. }
            | Event::MasterSlept { .. }
            | Event::WorkerCordoned { .. }
            | Event::WorkerEvicts { .. }
            | Event::WorkerLeftOut { .. }
            | Event::WorkerTriedAgain { .. }
            | Event::WorkerHealth { .. }
            | Event::WorkerGpus { .. }
            | Event::ReportRefused { .. } => {}
        }
    }
}
