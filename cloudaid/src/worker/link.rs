//! The control stream to the master: hello, heartbeats and reports out; assignments, cancels and acknowledgements in.
//! When it is lost the containers go on, and it is dialled again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloudaid_core::agent::AgentInput;
use shared::feature::Features;
use shared::gpu::IllGpu;
use shared::id::ClusterId;
use shared::link::{FromWorker, Heartbeat, Hello, PROTOCOL, ToWorker, Welcome};
use shared::proto;
use shared::time::BootTime;
use shared::version::PRODUCT;
use shared::worker::{Usage, WorkerFacts};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::capacity;
use super::data_dir::failed;
use super::driver::{Event, Saying};
use super::error::WorkerError;
use super::gpu::Gpus;
use super::health::Problem;
use crate::clock;
use crate::config::WorkerConfig;
use crate::pause::Pauses;
use crate::runtime::{Runtime, RuntimeInfo};
use dial::{Dialer, Line, LinkError, Uplink};
use pulse::Pulse;

pub(super) mod connector;
pub(super) mod dial;
mod pulse;

/// For the end of a session at shutdown.
pub(super) const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
/// A master that says nothing for this long after a hello is not one.
const WELCOME_LIMIT: Duration = Duration::from_secs(15);
/// A session that lasted this long was a good one: after it the first pause is a short one again.
const STABLE: Duration = Duration::from_secs(1);
/// After a refusal that only a person can end, or an update of one of the two.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// Reports in one message; each is small, and all together stay far below the limit of a message.
const REPORTS_LIMIT: usize = 128;
/// Messages between this end of the stream and the network.
const OUTBOUND_LIMIT: usize = 16;

/// What this worker says of itself.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    facts: WorkerFacts,
    incarnation: String,
}

impl Offer {
    /// Without `info` the engine has not said yet what it has: the machine is offered as it is.
    pub(super) fn measure(config: &WorkerConfig, info: Option<&RuntimeInfo>, gpus: &Gpus) -> Result<Self, WorkerError> {
        let boot_id = clock::boot_id().map_err(|source| failed(Path::new(clock::BOOT_ID), source))?;
        let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Self {
            facts: WorkerFacts {
                address: config.advertise.clone().unwrap_or_else(host),
                version: PRODUCT.to_owned(),
                boot_id,
                capacity: capacity::measure(info, gpus, config.overrides, &config.data_dir),
                gpus: gpus.offered.clone(),
                labels: Arc::new(config.labels.clone()),
                features: Features::ALL,
            },
            incarnation: format!("{:032x}", rand::random::<u128>()),
        })
    }

    /// The engine has said what it has.
    pub(super) fn measure_again(&mut self, config: &WorkerConfig, info: &RuntimeInfo, gpus: &Gpus) {
        self.facts.capacity = capacity::measure(Some(info), gpus, config.overrides, &config.data_dir);
    }
}

/// Keeps a session with the master.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) dialer: Dialer,
    /// A change is told by a new hello.
    pub(super) offer: watch::Receiver<Offer>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Where bulk data goes while there is a session.
    pub(super) uplinks: watch::Sender<Option<Uplink>>,
    pub(super) usage: watch::Receiver<Usage>,
    /// Why no new work should come.
    pub(super) health: watch::Receiver<Option<Problem>>,
    /// The same, of the journal.
    pub(super) refused: watch::Receiver<Option<String>>,
    /// GPUs that should get no new work.
    pub(super) ill_gpus: watch::Receiver<Vec<IllGpu>>,
    /// The worker waits for its runs to end, and takes nothing new.
    pub(super) leaving: CancellationToken,
    pub(super) running: Arc<AtomicU32>,
    pub(super) life: CancellationToken,
}

impl Link {
    /// Dials, talks, and dials again, until the worker stops.
    pub(super) async fn run(self) {
        let mut pauses = Pauses::default();
        let mut welcomed = false;
        let mut turn = 0_usize;
        loop {
            let life = self.life.clone();
            let dialled = life.run_until_cancelled(self.dialer.dial(turn)).await;
            let ended = match dialled {
                None => return,
                Some(Err(error)) => Err(error),
                Some(Ok(line)) => self.converse(line, &mut welcomed, &mut pauses).await,
            };
            let pause = match ended {
                Ok(Next::Stop) => return,
                Ok(Next::Hello) => continue,
                Err(LinkError::Refused(error)) if !welcomed && !error.may_pass() => {
                    // The driver is there as long as this is.
                    let _ = self.events.send(Event::Fatal(error)).await;
                    return;
                }
                Err(LinkError::Refused(error)) => {
                    tracing::error!("Worker connection refused: {error}; {}", error.hint());
                    REFUSED_PAUSE
                }
                Err(LinkError::Lost { master, reason }) => {
                    let pause = pauses.next();
                    tracing::warn!(%master, reason, "Master connection lost; containers go on, trying again in {pause:.1?}");
                    pause
                }
            };
            if life.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            turn = turn.wrapping_add(1);
        }
    }

    /// One session, from hello to its end. Returns `Ok` if it is the worker that ends it.
    async fn converse(&self, line: Line, welcomed: &mut bool, pauses: &mut Pauses) -> Result<Next, LinkError> {
        let master = line.master.clone();
        let life = self.life.clone();
        let mut offers = self.offer.clone();
        let offer = offers.borrow_and_update().clone();
        let Some(greeted) = life.run_until_cancelled(self.greet(line, offer)).await else {
            return Ok(Next::Stop);
        };
        let Session { welcome, greeted_at, inbound, outbound, uplink } = greeted?;
        tracing::info!(
            "Worker registration: {} accepted by master {master} (cluster {}, epoch {})",
            self.dialer.name(),
            welcome.cluster,
            welcome.epoch.0
        );
        *welcomed = true;
        let heartbeat = welcome.heartbeat;
        let begin = tokio::time::Instant::now();
        let (sayings, outbox) = mpsc::unbounded_channel();
        let closed = uplink.closed.clone();
        self.uplinks.send_replace(Some(uplink));
        let _ = self.events.send(Event::Connected(welcome, sayings)).await;
        let _ = self.events.send(Event::Input(AgentInput::Heard { sent: greeted_at })).await;
        let ended = self.talk(inbound, outbound, outbox, heartbeat, offers).await;
        // Two processes of one name end each other's sessions: they shall do so more and more slowly.
        if begin.elapsed() >= STABLE {
            pauses.reset();
        }
        self.uplinks.send_replace(None);
        closed.cancel();
        // At shutdown the driver is not there any more.
        let _ = self.events.send(Event::Input(AgentInput::Disconnected)).await;
        ended.map_err(|reason| LinkError::Lost { master, reason })
    }

    async fn greet(&self, mut line: Line, offer: Offer) -> Result<Session, LinkError> {
        let lost = |reason: &str| LinkError::Lost { master: line.master.clone(), reason: reason.to_owned() };
        let (asked, answer) = oneshot::channel();
        let _ = self.events.send(Event::Inventory(asked)).await;
        let inventory = answer.await.map_err(|_| lost("the worker stops"))?;
        let Offer { facts, incarnation } = offer;
        let hello = Hello {
            worker: self.dialer.name().clone(),
            protocol: PROTOCOL,
            facts,
            incarnation,
            inventory,
            problem: self.problem(),
            ill_gpus: self.ill_gpus.borrow().clone(),
        };
        let greeted_at = clock::boot();
        let (outbound, stream) = mpsc::channel(OUTBOUND_LIMIT);
        let _ = outbound.send(FromWorker::Hello(hello).into()).await;
        let opened = timeout(WELCOME_LIMIT, async {
            let mut inbound = line.control.open(ReceiverStream::new(stream)).await?.into_inner();
            let first = inbound.message().await?;
            Ok::<_, tonic::Status>((inbound, first))
        });
        let (inbound, first) = match opened.await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(line.failed(&status)),
            Err(_) => return Err(lost("no welcome came")),
        };
        let first = first.ok_or_else(|| lost("the master closed the connection"))?;
        match ToWorker::try_from(first) {
            Ok(ToWorker::Welcome(welcome)) => {
                line.check_cluster(welcome.cluster)?;
                Ok(Session { welcome, greeted_at, inbound, outbound, uplink: Uplink::new(line.bulk) })
            }
            Ok(ToWorker::Goodbye { reason }) => Err(lost(&reason)),
            Ok(
                ToWorker::Assign(_)
                | ToWorker::Cancel(_)
                | ToWorker::Ack { .. }
                | ToWorker::Inquire { .. }
                | ToWorker::Decide(_)
                | ToWorker::Heard { .. },
            ) => Err(lost("no welcome came first")),
            Err(error) => Err(lost(&error.to_string())),
        }
    }

    /// Both directions until one ends; says why.
    async fn talk(
        &self,
        mut inbound: Streaming<proto::ToWorker>,
        outbound: mpsc::Sender<proto::FromWorker>,
        mut outbox: mpsc::UnboundedReceiver<Saying>,
        heartbeat: Duration,
        mut offers: watch::Receiver<Offer>,
    ) -> Result<Next, String> {
        let mut beats = tokio::time::interval(heartbeat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut health, mut refused) = (self.health.clone(), self.refused.clone());
        let mut ill_gpus = self.ill_gpus.clone();
        let mut sayings = Vec::new();
        let mut pulse = Pulse::default();
        let mut leaves = self.leaving.is_cancelled();
        loop {
            let messages = tokio::select! {
                () = self.life.cancelled() => {
                    while let Ok(saying) = outbox.try_recv() {
                        sayings.push(saying);
                    }
                    for message in together(sayings) {
                        // Only if there is room: who stops does not wait for a slow master.
                        let _ = outbound.try_send(message.into());
                    }
                    return Ok(Next::Stop);
                }
                received = inbound.message() => {
                    self.receive(received.map_err(|status| dial::describe_status(&status))?, &mut pulse).await?;
                    continue;
                }
                _ = beats.tick() => vec![self.heartbeat(&mut pulse)],
                // At once: until the master knows, it sends tasks here.
                Ok(()) = health.changed() => vec![self.heartbeat(&mut pulse)],
                Ok(()) = refused.changed() => vec![self.heartbeat(&mut pulse)],
                Ok(()) = ill_gpus.changed() => vec![self.heartbeat(&mut pulse)],
                Ok(()) = offers.changed() => return Ok(Next::Hello),
                () = self.leaving.cancelled(), if !leaves => {
                    leaves = true;
                    vec![self.heartbeat(&mut pulse)]
                }
                count = outbox.recv_many(&mut sayings, REPORTS_LIMIT) => match count {
                    0 => return Ok(Next::Stop),
                    _ => {
                        let mut messages = together(std::mem::take(&mut sayings));
                        // The master has to know first that a GPU is ill, or it blames who ran there.
                        if ill_gpus.has_changed().unwrap_or(false) {
                            ill_gpus.mark_unchanged();
                            messages.insert(0, self.heartbeat(&mut pulse));
                        }
                        messages
                    }
                },
            };
            for message in messages {
                match self.life.run_until_cancelled(outbound.send(message.into())).await {
                    Some(Ok(())) => {}
                    Some(Err(_)) => return Err("the connection is closed".to_owned()),
                    None => return Ok(Next::Stop),
                }
            }
        }
    }

    async fn receive(&self, message: Option<proto::ToWorker>, pulse: &mut Pulse) -> Result<(), String> {
        let message = message.ok_or_else(|| "the master closed the connection".to_owned())?;
        let input = match ToWorker::try_from(message).map_err(|error| format!("the master sent nonsense: {error}"))? {
            ToWorker::Welcome(_) => return Err("the master sent a second welcome".to_owned()),
            ToWorker::Assign(assignments) => {
                for assignment in &assignments {
                    tracing::info!("Run accepted: {} ({})", assignment.key, assignment.image);
                }
                AgentInput::Assigned(assignments)
            }
            ToWorker::Cancel(orders) => AgentInput::Cancelled(orders),
            ToWorker::Ack { through } => AgentInput::Acked { through },
            ToWorker::Inquire { horizon } => AgentInput::Inquired { horizon },
            ToWorker::Decide(decisions) => AgentInput::Decided(decisions),
            ToWorker::Heard { number } => match pulse.arrived(number) {
                Some(sent) => AgentInput::Heard { sent },
                None => return Ok(()),
            },
            ToWorker::Goodbye { reason } => return Err(format!("the master says goodbye: {reason}")),
        };
        let sent = self.events.send(Event::Input(input)).await;
        sent.map_err(|_| "the worker stops".to_owned())
    }

    /// Why no new work should come.
    fn problem(&self) -> Option<String> {
        if self.leaving.is_cancelled() {
            return Some("it is being stopped".to_owned());
        }
        let refused = self.refused.borrow().clone();
        refused.or_else(|| self.health.borrow().as_ref().map(ToString::to_string))
    }

    fn heartbeat(&self, pulse: &mut Pulse) -> FromWorker {
        let usage = Usage { running: self.running.load(Ordering::Relaxed), ..*self.usage.borrow() };
        tracing::debug!(?usage, "Heartbeat");
        let (problem, ill_gpus) = (self.problem(), self.ill_gpus.borrow().clone());
        let pulling = self.runtime.pulling();
        FromWorker::Heartbeat(Heartbeat { usage, problem, ill_gpus, pulling, number: pulse.beat(clock::boot()) })
    }
}

/// Neighbouring reports in one message, everything in its order.
fn together(sayings: Vec<Saying>) -> Vec<FromWorker> {
    let mut messages = Vec::new();
    for saying in sayings {
        match (saying, messages.last_mut()) {
            (Saying::Report(report), Some(FromWorker::Reports(reports))) => reports.push(report),
            (Saying::Report(report), _) => messages.push(FromWorker::Reports(vec![report])),
            (Saying::Inventory(inventory), _) => messages.push(FromWorker::Inventory(inventory)),
        }
    }
    messages
}

/// What comes after a session that the worker has ended.
#[derive(Debug)]
enum Next {
    /// Nothing: it stops.
    Stop,
    /// Another one: what it says of itself has changed.
    Hello,
}

/// A session that has begun.
#[derive(Debug)]
struct Session {
    welcome: Welcome,
    /// When the hello was sent.
    greeted_at: BootTime,
    inbound: Streaming<proto::ToWorker>,
    outbound: mpsc::Sender<proto::FromWorker>,
    uplink: Uplink,
}

impl Line {
    fn check_cluster(&self, theirs: ClusterId) -> Result<(), LinkError> {
        match self.cluster {
            ours if ours == theirs => Ok(()),
            ours => Err(LinkError::Refused(WorkerError::OtherCluster { master: self.master.clone(), ours, theirs })),
        }
    }
}
