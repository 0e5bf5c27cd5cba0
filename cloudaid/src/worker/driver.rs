//! The loop: take what has come, step the core, make its journal records durable with one sync, carry the rest out. What the
//! journal has no room for waits, and is tried again; so does what its disk does not take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloudaid_core::agent::{Agent, AgentEffect, AgentInput, AgentSettings, FoundContainer, Lease};
use parking_lot::Mutex;
use shared::id::AttemptKey;
use shared::link::{Decision, Held, Inventory, Report, Welcome};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backlog::{Backlog, Waits};
use super::error::WorkerError;
use super::execute::Executor;
use super::journal::{Journal, Written};
use super::lease::LeaseFile;
use super::refusal::Refusals;
use crate::clock;
use crate::config::OnStop;

/// The most inputs that share one sync.
const BATCH_LIMIT: usize = 1024;
/// The most events that wait; whoever sends one more waits too.
pub(super) const EVENT_LIMIT: usize = 4096;

/// What reaches the driver.
#[derive(Debug)]
pub(super) enum Event {
    /// For the core.
    Input(AgentInput),
    /// The engine, which gave no answer at the start, says what is there.
    Surveyed(Vec<FoundContainer>),
    /// The link wants to say hello.
    Inventory(oneshot::Sender<Vec<Held>>),
    /// A session began; what is to be told in it goes there.
    Connected(Welcome, mpsc::UnboundedSender<Saying>),
    /// It cannot go on.
    Fatal(WorkerError),
}

/// What the master is told in a session, in this order.
#[derive(Debug)]
pub(super) enum Saying {
    /// Something has happened to a run.
    Report(Report),
    /// It wanted to know what is here.
    Inventory(Inventory),
}

/// Owns the core.
#[derive(Debug)]
pub(super) struct Driver {
    agent: Agent,
    executor: Executor,
    journal: Arc<Mutex<Journal>>,
    /// What waits for the journal. Bounded as `master` is, and by runs that were already on their way here when it was said
    /// that none should come.
    backlog: Backlog,
    refusals: Refusals,
    /// Why it waits.
    refused: watch::Sender<Option<String>>,
    lease_file: LeaseFile,
    /// As it is in the file.
    lease: Option<Lease>,
    inbox: mpsc::Receiver<Event>,
    /// Of the session that there is. Bounded by the runs that there are, a few reports each, and by what the master asks.
    master: Option<mpsc::UnboundedSender<Saying>>,
    running: Arc<AtomicU32>,
}

impl Driver {
    pub(super) fn new(
        settings: AgentSettings,
        executor: Executor,
        journal: Journal,
        refused: watch::Sender<Option<String>>,
        lease_file: LeaseFile,
        inbox: mpsc::Receiver<Event>,
        running: Arc<AtomicU32>,
    ) -> Self {
        Self {
            agent: Agent::with(settings),
            executor,
            journal: Arc::new(Mutex::new(journal)),
            backlog: Backlog::default(),
            refusals: Refusals::default(),
            refused,
            lease_file,
            lease: None,
            inbox,
            master: None,
            running,
        }
    }

    /// Takes up the runs of an earlier life; without `found` as the journal alone has them.
    pub(super) async fn recover(
        &mut self,
        found: Option<Vec<FoundContainer>>,
        lease: Option<Lease>,
    ) -> Result<(), WorkerError> {
        let journal = self.journal.lock().entries();
        let noted: BTreeMap<_, _> = journal.iter().map(|entry| (entry.key, "")).collect();
        if let Some(found) = &found {
            self.sweep(noted.keys().copied().collect(), found);
        }
        self.lease = lease;
        let recovered = AgentInput::Recovered { journal, found, lease };
        self.step_all(vec![Event::Input(recovered)]).await?;
        self.say_what_was_taken_up(&noted);
        Ok(())
    }

    /// Removes what is left of runs that are neither `held` nor have a container.
    fn sweep(&self, mut held: BTreeSet<AttemptKey>, found: &[FoundContainer]) {
        held.extend(found.iter().map(|found| found.key));
        self.executor.sweep(&held);
        if !held.is_empty() {
            tracing::info!(runs = held.len(), containers = found.len(), "Taking up the tasks of an earlier start");
        }
    }

    /// What stands elsewhere than before; what was not known before has no journal.
    fn say_what_was_taken_up(&self, before: &BTreeMap<AttemptKey, &str>) {
        for (key, standing) in self.agent.standings() {
            let by = match before.get(&key) {
                Some(same) if *same == standing => continue,
                Some(_) => "",
                None => "found by its labels, without a journal: ",
            };
            tracing::info!("Taken up: {key}: {by}{standing}");
        }
    }

    /// Runs until `shutdown` and what is to be done then, or until the journal cannot be kept. Who leaves and does not keep
    /// its runs says so by `leaving`, and keeps them after all when the journal has taken nothing for so long as `patience`.
    pub(super) async fn run(
        mut self,
        shutdown: CancellationToken,
        on_stop: OnStop,
        leaving: CancellationToken,
        patience: Duration,
    ) -> Result<(), WorkerError> {
        let hand_back = on_stop == OnStop::HandBack;
        let mut leaves_since = None;
        loop {
            let mut batch = Vec::new();
            let given_up_at = leaves_since.and_then(|since| self.refusals.given_up_at(since, patience));
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !leaving.is_cancelled() => {
                    if on_stop == OnStop::Keep {
                        break;
                    }
                    tracing::info!("Nothing new is taken; {}", if hand_back { "what runs is handed back" } else { "waiting for what runs" });
                    leaving.cancel();
                    leaves_since = Some(Instant::now());
                    batch.push(Event::Input(AgentInput::Leave { hand_back }));
                }
                _ = self.inbox.recv_many(&mut batch, BATCH_LIMIT) => {}
                () = clock::sleep_until(self.agent.next_wake()) => batch.push(Event::Input(AgentInput::Tick)),
                () = sleep_until(self.refusals.again_at(Instant::now())), if !self.backlog.is_empty() => {}
                () = sleep_until(given_up_at.unwrap_or_else(Instant::now)), if given_up_at.is_some() => {}
            }
            self.step_all(batch).await?;
            if leaving.is_cancelled() && self.agent.may_leave(hand_back) {
                break;
            }
            let given_up_at = leaves_since.and_then(|since| self.refusals.given_up_at(since, patience));
            if given_up_at.is_some_and(|at| at <= Instant::now()) {
                let problem = self.refusals.in_words(self.journal.lock().path()).unwrap_or_default();
                tracing::warn!(
                    problem,
                    "Nothing could be remembered for {} s: it is not waited for any longer, and what is here is kept for the next \
                     start, which finds how it ended",
                    patience.as_secs()
                );
                break;
            }
        }
        self.step_all(vec![Event::Input(AgentInput::Shutdown)]).await?;
        match self.agent.running() {
            0 => tracing::info!("Worker stopped"),
            running => tracing::info!(
                running,
                "Worker stopped; its containers go on and are taken up again at the next start with this data directory"
            ),
        }
        Ok(())
    }

    async fn step_all(&mut self, batch: Vec<Event>) -> Result<(), WorkerError> {
        let now = clock::now();
        let mut effects = Vec::new();
        for event in batch {
            match event {
                Event::Input(AgentInput::Disconnected) => {
                    // What is for the old session is said in it, and must not go to the next.
                    self.carry_out(std::mem::take(&mut effects)).await?;
                    self.agent.step(now, AgentInput::Disconnected, &mut effects);
                    self.carry_out(std::mem::take(&mut effects)).await?;
                    self.backlog.end_session();
                    self.master = None;
                }
                Event::Input(input) => self.agent.step(now, input, &mut effects),
                Event::Surveyed(found) => {
                    let known: BTreeMap<_, _> = self.agent.standings().collect();
                    self.sweep(known.keys().copied().collect(), &found);
                    self.agent.step(now, AgentInput::Surveyed(found), &mut effects);
                    self.say_what_was_taken_up(&known);
                }
                Event::Connected(welcome, master) => {
                    note_decisions(&welcome);
                    self.carry_out(std::mem::take(&mut effects)).await?;
                    self.master = Some(master);
                    self.agent.step(now, AgentInput::Connected(welcome), &mut effects);
                }
                Event::Inventory(answer) => drop(answer.send(self.agent.inventory())),
                Event::Fatal(error) => {
                    self.carry_out(effects).await?;
                    return Err(error);
                }
            }
        }
        self.carry_out(effects).await?;
        self.running.store(u32::try_from(self.agent.running()).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.keep_lease().await;
        Ok(())
    }

    /// Whoever dies before that leaves a lease that ends sooner.
    async fn keep_lease(&mut self) {
        let lease = self.agent.lease();
        if self.lease != Some(lease) {
            self.lease = Some(lease);
            let file = self.lease_file.clone();
            // Cancelled only when the process ends anyway.
            let _ = tokio::task::spawn_blocking(move || file.save(lease)).await;
        }
    }

    /// Durable first, then everything else. Of what the disk does not take as little waits as can be.
    async fn carry_out(&mut self, effects: Vec<AgentEffect>) -> Result<(), WorkerError> {
        self.backlog.add(effects);
        for waits in Waits::ALL {
            let mut due = self.backlog.take(waits);
            if self.write(&mut due).await? != Written::Durable {
                self.backlog.put_back(due);
                continue;
            }
            for order in due.orders {
                let order = match order {
                    AgentEffect::Report(report) => self.agent.say(report).map(AgentEffect::Report),
                    other => Some(other),
                };
                if let Some(order) = order {
                    self.executor.execute(order, self.master.as_ref());
                }
            }
            break;
        }
        self.say_what_waits();
        Ok(())
    }

    async fn write(&mut self, due: &mut Backlog) -> Result<Written, WorkerError> {
        if due.records.is_empty() {
            return Ok(Written::Durable);
        }
        if let Some(refused) = self.refusals.stands(Instant::now()) {
            return Ok(refused);
        }
        let (journal, records) = (Arc::clone(&self.journal), std::mem::take(&mut due.records));
        let write = move || {
            let written = journal.lock().append(&records);
            (records, written)
        };
        match tokio::task::spawn_blocking(write).await {
            Ok((records, written)) => {
                due.records = records;
                written.inspect(|written| self.refusals.note(*written, Instant::now()))
            }
            // Cancelled only when the process ends anyway; a panic is as good as a failed disk.
            Err(error) => Err(WorkerError::Data { path: "journal".into(), source: std::io::Error::other(error) }),
        }
    }

    fn say_what_waits(&mut self) {
        if self.backlog.is_empty() {
            self.refusals.clear();
        }
        let problem = self.refusals.in_words(self.journal.lock().path());
        self.refused.send_if_modified(|known| {
            let is_news = *known != problem;
            match &problem {
                Some(problem) if is_news => {
                    tracing::warn!("No new tasks are taken, and what cannot be remembered waits: {problem}");
                }
                None if is_news => tracing::info!("The journal can be written again: what waited goes on"),
                Some(_) | None => {}
            }
            *known = problem;
            is_news
        });
    }
}

/// What the master does not want kept.
fn note_decisions(welcome: &Welcome) {
    for (key, decision) in &welcome.decisions {
        match decision {
            Decision::Keep => tracing::debug!("The master wants {key} to go on"),
            Decision::Stop => {
                // One that it has ended itself is the same to it as one that it has given up.
                tracing::warn!(
                    "The master does not wait for {key}: it has given it up, or knows its end already. It is stopped, and \
                     what it leaves is removed"
                );
            }
            Decision::Forget => {
                tracing::info!("The master has recorded the end of {key}: what is left of it is removed");
            }
        }
    }
}
