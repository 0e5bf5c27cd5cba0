//! Clients: they submit, retry with the same key, and cancel. What would run for ever is always cancelled, so a cancel
//! that was forgotten shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::Answer;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::record::IdempotencyKey;
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit;
use rand::RngExt;
use rand::rngs::StdRng;
use shared::array::Array;
use shared::id::{AttemptKey, Elements, RequestId, TaskId, TaskRef, UserName};
use shared::policy::RunPolicy;
use shared::ranges::RangeSet;
use shared::span::Span;
use shared::task::TaskSpec;
use ulid::Ulid;

use super::reach::Probe;
use super::schedule::Event;
use super::script::{BROKEN_IMAGE, ENDLESS, MISSING_IMAGE, Script};
use super::swarm::Swarm;
use super::world::World;
use super::{Check, between};

/// After this time without an answer a client gives up, and tries again if it has a key.
const PATIENCE: u64 = 10_000;

/// Everybody who waits for an answer.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) plans: Vec<Plan>,
    asked: BTreeMap<RequestId, Asked>,
    last_task: u64,
}

/// One submission.
#[derive(Debug)]
pub(crate) struct Plan {
    spec: Arc<TaskSpec>,
    array: Option<Arc<Array>>,
    key: Option<IdempotencyKey>,
    /// Runs until it is cancelled, so its client does that.
    endless: bool,
    answered: bool,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    Submit {
        index: usize,
        waits: bool,
    },
    /// With the key of an earlier submission, but for something else.
    Misuse,
    Inquiry,
    /// `insists`: asks until it is answered.
    Cancel {
        target: TaskRef,
        insists: bool,
    },
    Upload {
        worker: usize,
        life: u32,
        key: AttemptKey,
    },
}

impl Clients {
    pub(crate) fn draw(rng: &mut StdRng, swarm: &Swarm) -> Self {
        let plans = (0..swarm.submissions).map(|index| Plan::draw(rng, swarm, index)).collect();
        Self { plans, asked: BTreeMap::new(), last_task: 0 }
    }
}

impl Plan {
    fn draw(rng: &mut StdRng, swarm: &Swarm, index: usize) -> Self {
        let mut spec = testkit::spec(between(rng, 1, 4));
        let large = rng.random_bool(0.03);
        let longest = if large { 500 } else { swarm.longest_run };
        let mut script = Script::draw(rng, longest);
        let endless = rng.random_bool(0.07);
        if endless {
            script.duration = ENDLESS;
        }
        spec.command = script.to_command();
        match between(rng, 0, 30) {
            0 => spec.image = MISSING_IMAGE.to_owned(),
            1 => spec.image = BROKEN_IMAGE.to_owned(),
            2 | 3 => spec.worker = "w0".parse().ok(),
            _ => {}
        }
        spec.policy = policy(rng);
        let array = match between(rng, 0, 2) {
            _ if large => Some(Self::array(rng, 20, 60)),
            0 => Some(Self::array(rng, 1, 8)),
            _ => None,
        };
        let digest = [index as u8; 16];
        // Who has to cancel it must come to know its id.
        let key =
            (endless || rng.random_bool(0.5)).then(|| IdempotencyKey { key: format!("key {index}").into(), digest });
        Self { spec: Arc::new(spec), array, key, endless, answered: false }
    }

    fn array(rng: &mut StdRng, least: u64, most: u64) -> Arc<Array> {
        let (first, step) = (between(rng, 0, 3) as u32, between(rng, 1, 3) as u32);
        let count = between(rng, least, most) as u32;
        let limit = rng.random_bool(0.3).then(|| between(rng, 1, 4) as u32);
        Arc::new(Array { indices: RangeSet::progression(first, first + (count - 1) * step, step), limit })
    }

    /// Elements.
    pub(crate) fn count(&self) -> u32 {
        self.array.as_ref().map_or(1, |array| array.indices.len())
    }
}

/// Most ask for nothing.
fn policy(rng: &mut StdRng) -> RunPolicy {
    let span = |rng: &mut StdRng, most| Span(Duration::from_millis(between(rng, 1_000, most)));
    let mut policy = RunPolicy::default();
    match between(rng, 0, 11) {
        0 | 1 => policy.at_most_once = true,
        2 => {
            policy.retries = between(rng, 1, 2) as u32;
            policy.backoff = "1s..20s".parse().ok();
            policy.memory_max_bytes = rng.random_bool(0.7).then_some(3 << 30);
        }
        3 => policy.time_limit = Some(span(rng, 120_000)),
        4 => policy.queue_time_limit = Some(span(rng, 600_000)),
        _ => {}
    }
    policy
}

impl World {
    pub(crate) fn ask(&mut self, asked: Asked) -> RequestId {
        self.master.last_request += 1;
        let request = RequestId(self.master.last_request);
        self.clients.asked.insert(request, asked);
        request
    }

    fn user() -> UserName {
        "ada".parse().expect("a name")
    }

    pub(crate) fn submit(&mut self, index: usize) {
        if self.master.cluster.is_none() {
            // Refused: surely not done, so everybody tries again.
            let pause = self.between(500, 5_000);
            self.schedule.after(pause, Event::Submit { index });
            return;
        }
        let submission = self.submission(index);
        let request = self.ask(Asked::Submit { index, waits: true });
        self.schedule.after(PATIENCE, Event::ClientGivesUp { request });
        self.tell_master(Input::SubmitTask { request, submission, known: None });
        let plan = &self.clients.plans[index];
        if plan.answered && plan.key.is_some() {
            let mut misuse = self.submission(index);
            misuse.key.iter_mut().for_each(|key| key.digest = [255; 16]);
            let request = self.ask(Asked::Misuse);
            self.tell_master(Input::SubmitTask { request, submission: misuse, known: None });
        }
    }

    fn submission(&mut self, index: usize) -> Submission {
        self.clients.last_task += 1;
        let random = u128::from(self.between(0, u64::MAX >> 16));
        let plan = &self.clients.plans[index];
        Submission {
            id: TaskId(Ulid((random << 32) | u128::from(self.clients.last_task))),
            user: Self::user(),
            spec: Arc::clone(&plan.spec),
            array: plan.array.clone(),
            retry_of: None,
            key: plan.key.clone(),
        }
    }

    pub(crate) fn cancel_any(&mut self) {
        let known = self.oracle.submissions.known();
        if known.is_empty() || self.master.cluster.is_none() {
            return;
        }
        let (task, indices) = &known[self.between(0, known.len() as u64 - 1) as usize];
        let pick = self.between(0, u64::from(indices.len()) - 1) as usize;
        let index = indices.iter().nth(pick).unwrap_or_default();
        let elements = match self.between(0, 3) {
            0 | 1 => Elements::All,
            2 => Elements::One(index),
            _ => Elements::Range(index, index + self.between(1, 5) as u32),
        };
        self.cancel(TaskRef { task: *task, elements }, false);
    }

    pub(crate) fn insist_on_cancel(&mut self, target: TaskRef) {
        if self.master.cluster.is_none() {
            let pause = self.between(500, 5_000);
            self.schedule.after(pause, Event::Cancel { target: Some(target) });
            return;
        }
        let request = self.cancel(target, true);
        self.schedule.after(PATIENCE, Event::ClientGivesUp { request });
    }

    pub(crate) fn inquire(&mut self) {
        if self.master.cluster.is_some() {
            let request = self.ask(Asked::Inquiry);
            self.tell_master(Input::FixResources { request });
        }
    }

    fn cancel(&mut self, target: TaskRef, insists: bool) -> RequestId {
        self.oracle.cancels.requested(target);
        let request = self.ask(Asked::Cancel { target, insists });
        self.tell_master(Input::CancelTask { request, task: target, force: false });
        request
    }

    /// An operator knows that the hosts of what may run once at most and is unreachable will not come back, or does not want
    /// to wait for them. Other work has to end without: its worker comes back, or there is another one that could take it.
    pub(crate) fn end_unreachable(&mut self) {
        let stuck: Vec<_> = self
            .master
            .saved
            .tasks
            .iter()
            .filter(|(_, (record, _))| record.spec.policy.at_most_once)
            .filter_map(|(task, (_, progress))| {
                Some(TaskRef { task: *task, elements: Elements::One(progress.unreachable.iter().next()?) })
            })
            .collect();
        for target in stuck {
            self.hit(Probe::ForcedToEnd);
            self.oracle.cancels.requested(target);
            let request = self.ask(Asked::Cancel { target, insists: false });
            self.tell_master(Input::CancelTask { request, task: target, force: true });
        }
    }

    pub(crate) fn give_up_request(&mut self, request: RequestId) {
        let index = match self.clients.asked.get(&request).copied() {
            Some(Asked::Cancel { target, insists: true }) => return self.insist_on_cancel(target),
            Some(Asked::Submit { index, waits: true }) => index,
            _ => return,
        };
        self.hit(Probe::SubmitUnanswered);
        self.clients.asked.insert(request, Asked::Submit { index, waits: false });
        let plan = &self.clients.plans[index];
        if plan.key.is_some() && !plan.answered {
            self.submit(index);
        }
    }

    /// An answer leaves the master: from now on its word counts, whether or not somebody still listens.
    pub(crate) fn reply(&mut self, request: RequestId, answer: Result<Answer, Reject>) -> Check {
        let asked = self.clients.asked.remove(&request).ok_or("an answer that nobody asked for")?;
        match (asked, answer) {
            (Asked::Upload { worker, life, key }, answer) => {
                self.upload_answered((worker, life, key), answer.err());
                Ok(())
            }
            (Asked::Submit { index, .. }, Ok(Answer::Submitted(view))) => {
                let id: TaskId = view.task_id.parse().map_err(|error| format!("{error}"))?;
                let plan = &mut self.clients.plans[index];
                plan.answered = true;
                let (key, endless) = (plan.key.as_ref().map(|key| Arc::clone(&key.key)), plan.endless);
                if view.replayed {
                    self.hit(Probe::SubmitReplayed);
                }
                if endless {
                    let pause = self.between(0, 60_000);
                    self.schedule.after(pause, Event::Cancel { target: Some(id.into()) });
                }
                // Some clients ask once more although they have their answer.
                if key.is_some() && self.goes_wrong(0.1) {
                    let pause = self.between(0, 30_000);
                    self.schedule.after(pause, Event::Submit { index });
                }
                self.oracle.submissions.acknowledged(&self.master.saved, id, key)
            }
            (Asked::Submit { .. }, Err(Reject::WorkerNotFound { .. })) => Ok(()),
            (Asked::Inquiry, Ok(Answer::Inquired(_))) => Ok(()),
            (Asked::Misuse, Err(Reject::KeyReused)) => {
                self.hit(Probe::KeyReused);
                Ok(())
            }
            (Asked::Cancel { target, insists }, Ok(Answer::Cancelled(view))) => {
                if insists {
                    self.hit(Probe::EndlessCancelled);
                }
                self.hit(if view.cancelling { Probe::CancelLive } else { Probe::CancelWaiting });
                self.oracle.cancels.acknowledged(&self.master.saved, target)
            }
            (Asked::Cancel { target, .. }, Err(Reject::TaskNotFound(_) | Reject::TaskEnded(..))) => {
                self.oracle.cancels.refused(&self.master.saved, target)
            }
            (asked, answer) => Err(format!("{asked:?} was answered with {answer:?}")),
        }
    }
}
