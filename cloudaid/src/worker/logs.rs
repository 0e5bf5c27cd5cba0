//! Bringing to the master what containers write: one stream per session for all runs, acknowledged by offset.
//!
//! Nothing touches the disk while the master takes it. While it does not, what is read goes on into files of the run
//! ([`spool`]), so that a container may be removed by hand without its log; when they are full, the middle goes out of them,
//! and is counted. When the log began is kept as well, and of one of hundreds of MiB places in it ([`place`]): the engine
//! drops the start of one that becomes too long. When the master is back, what is not here any more is read again from the
//! engine, and where that does not have it the master is told how much was cut ([`intake`]): what it has then, and what it was
//! told of, is what was written, to the byte. A run that writes nothing costs no message at all, and no memory while the
//! master is away.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::agent::LogBytes;
use shared::id::AttemptKey;
use shared::proto;
use shared::proto::log_frame::Content;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pause::Pauses;
use lane::{Lane, Route};
use offsets::{Chunk, Offsets};

pub(super) use intake::Intake;
pub(super) use lane::Lanes;
pub(super) use place::Place;
pub(super) use room::Room;
pub(super) use spool::Spool;

mod intake;
mod lane;
mod offsets;
mod place;
mod reader;
mod room;
mod spool;

/// Bytes of one run that may be on their way without acknowledgement.
const WINDOW: u64 = 1 << 20;
/// How long what waits for the master waits in memory: links have hiccups.
const PATIENCE: Duration = Duration::from_secs(2);

/// Pushes the log of one run.
pub(super) struct Pump {
    pub(super) key: AttemptKey,
    pub(super) lanes: Arc<Lanes>,
    pub(super) intake: Intake,
    /// Whether there is something that waits for the master.
    pub(super) waits: watch::Sender<bool>,
}

/// Why pushing stopped before the end.
#[derive(Debug)]
enum Broken {
    /// Start over by offsets.
    Link,
    /// The master cannot keep it now: start over after a while.
    Later(String),
    /// The master does not want it.
    GiveUp(String),
}

impl Pump {
    /// Returns when all that was and will be written is at the master, or cannot be brought there.
    pub(super) async fn drain(mut self) -> LogBytes {
        let mut pauses = Pauses::default();
        let mut pause = Duration::ZERO;
        let mut patience = None;
        self.intake.recall().await;
        loop {
            while self.intake.is_empty() {
                self.waits.send_replace(self.intake.is_troubled());
                if self.intake.is_unknown() {
                    break;
                }
                if self.intake.has_ended() {
                    return self.intake.all();
                }
                self.intake.fill().await;
                pauses.reset();
                (pause, patience) = (Duration::ZERO, None);
            }
            self.waits.send_replace(true);
            let before = self.intake.durable();
            let until = *patience.get_or_insert_with(|| Instant::now() + PATIENCE);
            match self.push(until, pause).await {
                Ok(()) => return self.intake.all(),
                Err(Broken::GiveUp(reason)) => {
                    self.waits.send_replace(false);
                    tracing::warn!(task = %self.key, reason, "The rest of the log is given up");
                    return self.intake.give_up().await;
                }
                Err(Broken::Later(reason)) => {
                    tracing::warn!(task = %self.key, reason, "The master cannot keep the log now; it waits here");
                }
                Err(Broken::Link) => tracing::debug!(task = %self.key, "The log waits for the master"),
            }
            if self.intake.durable() != before {
                pauses.reset();
                patience = None;
            }
            pause = pauses.next();
        }
    }

    /// One try, to the end of the log or of the link.
    async fn push(&mut self, patience: Instant, pause: Duration) -> Result<(), Broken> {
        let (lane, mut route, durable) = self.reach(patience, pause).await?;
        self.intake.begin(durable).await;
        loop {
            self.unspool(&lane, &mut route).await?;
            if let Some(to) = self.intake.bridge().await {
                self.declare(&lane, &mut route, to).await?;
            } else if self.intake.kept().is_none() && self.relay(&lane, &mut route).await? {
                return Ok(());
            }
        }
    }

    /// Asks the master how much it has. Reading goes on meanwhile: until `patience` is over into memory, then to the disk.
    async fn reach(&mut self, patience: Instant, pause: Duration) -> Result<(Arc<Lane>, Route, Offsets), Broken> {
        let Self { key, lanes, intake, .. } = self;
        let opened = async {
            tokio::time::sleep(pause).await;
            open(*key, lanes).await
        };
        tokio::pin!(opened);
        let mut spools = !intake.spool().is_empty();
        loop {
            tokio::select! {
                opened = &mut opened => return opened,
                () = tokio::time::sleep_until(patience), if !spools => {
                    spools = true;
                    intake.put_by().await;
                }
                _ = intake.fill(), if intake.takes_more(spools) => {
                    intake.settle().await;
                    if spools {
                        intake.put_by().await;
                    }
                }
            }
        }
    }

    /// Brings what is on the disk and goes on from what the master has, a little at a time.
    async fn unspool(&mut self, lane: &Lane, route: &mut Route) -> Result<(), Broken> {
        while let Some((end, length)) = self.intake.kept() {
            let (mut at, mut sent) = (spool::HEAD, self.intake.durable());
            while !self.intake.durable().reach(end) {
                if at >= length || sent.beyond(self.intake.durable()) >= WINDOW {
                    self.intake.learn(taken(route.next().await)?);
                    continue;
                }
                let batch = match self.intake.spooled(at).await {
                    Ok(batch) if batch.next > at => batch,
                    unreadable => {
                        let error = unreadable.err().map(|error| error.to_string());
                        tracing::warn!(task = %self.key, error, "What was kept of the log cannot be read; it is read again, if its container is there");
                        self.intake.lose_kept().await;
                        break;
                    }
                };
                at = batch.next;
                for chunk in batch.chunks {
                    if !self.intake.durable().has(&chunk) {
                        sent.pass(&chunk);
                        send_chunk(self.key, lane, chunk).await?;
                    }
                }
            }
            self.intake.tidy().await;
        }
        Ok(())
    }

    /// Tells the master that what it lacks before that is nowhere any more, and waits until it knows it.
    async fn declare(&mut self, lane: &Lane, route: &mut Route, to: Offsets) -> Result<(), Broken> {
        send_cut(self.key, lane, route, self.intake.durable(), to).await?;
        while !self.intake.durable().reach(to) {
            self.intake.learn(taken(route.next().await)?);
        }
        self.intake.tidy().await;
        Ok(())
    }

    /// Brings what is in memory, and what comes. Returns whether that was all: else there is something that is to be brought
    /// in another way, or lacking.
    async fn relay(&mut self, lane: &Lane, route: &mut Route) -> Result<bool, Broken> {
        let (mut told, mut chunks) = (None, Vec::from(self.intake.held().clone()));
        loop {
            let cut = self.intake.cut().filter(|to| told != Some(*to));
            if let Some(to) = cut.filter(|_| !chunks.is_empty()) {
                told = cut;
                send_cut(self.key, lane, route, self.intake.durable(), to).await?;
            }
            for chunk in std::mem::take(&mut chunks) {
                send_chunk(self.key, lane, chunk).await?;
            }
            if self.intake.settle().await {
                return Ok(false);
            }
            self.intake.tidy().await;
            self.intake.remember().await;
            let (unacknowledged, is_troubled) = (self.intake.unacknowledged(), self.intake.is_troubled());
            self.waits.send_if_modified(|waits| {
                let now = is_troubled || unacknowledged >= WINDOW || *waits && unacknowledged >= WINDOW / 2;
                std::mem::replace(waits, now) != now
            });
            let has_ended = self.intake.has_ended();
            if has_ended && self.intake.is_brought() {
                return Ok(true);
            }
            tokio::select! {
                ack = route.next() => self.intake.learn(taken(ack)?),
                read = self.intake.fill(), if !has_ended && unacknowledged < WINDOW => chunks = read,
            }
        }
    }
}

/// This run's part of the lane, and what the master has of its log.
async fn open(key: AttemptKey, lanes: &Lanes) -> Result<(Arc<Lane>, Route, Offsets), Broken> {
    let lane = lanes.open().await.ok_or(Broken::Link)?;
    let mut route = lane.register(key).ok_or(Broken::Link)?;
    send(key, &lane, Content::Open(proto::LogOpen {})).await?;
    let durable = taken(route.next().await)?;
    Ok((lane, route, durable))
}

async fn send_chunk(key: AttemptKey, lane: &Lane, (stream, offset, data): Chunk) -> Result<(), Broken> {
    let chunk = proto::LogChunk { stream: proto::LogStream::from(stream).into(), offset, data };
    send(key, lane, Content::Chunk(chunk)).await
}

async fn send_cut(key: AttemptKey, lane: &Lane, route: &Route, durable: Offsets, to: Offsets) -> Result<(), Broken> {
    if !route.takes_cuts() {
        // It would close the lane of all runs.
        let reason = "a part of it is nowhere any more, and this master is of a version that cannot be told so";
        return Err(Broken::Later(reason.to_owned()));
    }
    let Offsets { stdout, stderr } = to;
    tracing::warn!(task = %key, bytes = to.beyond(durable), "A part of the log was written while the master was away, and is nowhere any more; the master is told how much");
    send(key, lane, Content::Cut(proto::LogCut { stdout_offset: stdout, stderr_offset: stderr })).await
}

async fn send(key: AttemptKey, lane: &Lane, content: Content) -> Result<(), Broken> {
    let frame = proto::LogFrame { attempt: Some(key.into()), content: Some(content) };
    lane.send(frame).await.map_err(|lane::Closed| Broken::Link)
}

fn taken(ack: Option<proto::LogAck>) -> Result<Offsets, Broken> {
    let ack = ack.ok_or(Broken::Link)?;
    if ack.refused.is_empty() {
        return Ok(Offsets { stdout: ack.stdout_offset, stderr: ack.stderr_offset });
    }
    let reason = ack.refused.chars().take(500).collect::<String>().escape_debug().to_string();
    Err(if ack.later { Broken::Later(reason) } else { Broken::GiveUp(reason) })
}

#[cfg(test)]
mod tests;
