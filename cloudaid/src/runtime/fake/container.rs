//! One container of the fake runtime.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use shared::id::{ClusterId, WorkerId};
use shared::link::{LogStream, RunLimits};
use shared::time::WallTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::behaviour::{Behaviour, Piece};
use super::flood::{PIECE, flood};
use super::{Exit, FoundState, RuntimeError, StopSignal, at};
use crate::runtime::ContainerSpec;

/// 128 and the number of the signal.
const TERMINATED: i32 = 128 + 15;
const KILLED: i32 = 128 + 9;

/// A container. That it has ended by itself is found out when somebody looks: no timer runs for it.
#[derive(Debug)]
pub(super) struct Container {
    cluster: ClusterId,
    worker: WorkerId,
    output: PathBuf,
    limits: RunLimits,
    behaviour: Behaviour,
    /// Pieces of its log that were read.
    read: Arc<AtomicU32>,
    /// Those who wait and read hear of every change; gone with the container.
    life: watch::Sender<Life>,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Life {
    /// Not started.
    Created,
    /// Started then; ends by itself at `ends_at`, if at all.
    Started { since: Instant, started_at: WallTime, ends_at: Option<Instant> },
    /// Stopped from outside, then.
    Stopped { since: Instant, started_at: WallTime, stopped: Instant, code: i32 },
}

impl Container {
    pub(super) fn new(spec: &ContainerSpec, behaviour: Behaviour) -> Self {
        Self {
            cluster: spec.cluster,
            worker: spec.worker.clone(),
            output: spec.output.clone(),
            limits: spec.limits,
            behaviour,
            read: Arc::default(),
            life: watch::Sender::new(Life::Created),
        }
    }

    pub(super) fn belongs_to(&self, cluster: ClusterId, worker: &WorkerId) -> bool {
        self.cluster == cluster && self.worker == *worker
    }

    pub(super) fn limits(&self) -> RunLimits {
        self.limits
    }

    /// Whether this started it: not if it runs or has ended already.
    pub(super) fn start(&mut self, started_at: WallTime) -> Result<bool, RuntimeError> {
        if !matches!(*self.life.borrow(), Life::Created) {
            return Ok(false);
        }
        if let Some(error) = &self.behaviour.start_error {
            return Err(error.clone());
        }
        if !self.behaviour.files.is_empty() {
            let made = crate::runtime::output::ensure(&self.output);
            made.map_err(|error| RuntimeError::Engine(format!("{}: {error}", self.output.display())))?;
        }
        for (path, bytes) in &self.behaviour.files {
            write(&self.output.join(path), bytes)?;
        }
        let since = Instant::now();
        let ends_at = self.behaviour.duration.map(|duration| since + duration);
        self.life.send_replace(Life::Started { since, started_at, ends_at });
        Ok(true)
    }

    pub(super) fn signal(&mut self, signal: StopSignal) {
        match signal {
            StopSignal::Term if self.behaviour.ignores_term => {}
            StopSignal::Term => self.stop(TERMINATED),
            StopSignal::Kill => self.stop(KILLED),
        }
    }

    pub(super) fn kill(&mut self) {
        self.stop(KILLED);
    }

    fn stop(&mut self, code: i32) {
        let life = *self.life.borrow();
        if let Life::Started { since, started_at, ends_at } = life
            && !passed(ends_at)
        {
            self.life.send_replace(Life::Stopped { since, started_at, stopped: Instant::now(), code });
        }
    }

    pub(super) fn state(&self) -> FoundState {
        match *self.life.borrow() {
            Life::Created => FoundState::Created,
            Life::Started { ends_at, .. } if !passed(ends_at) => FoundState::Running,
            Life::Started { .. } | Life::Stopped { .. } => FoundState::Exited,
        }
    }

    /// How it ended; or else when it will, if that is known.
    pub(super) fn end(&self) -> Result<Exit, Option<Instant>> {
        let Behaviour { exit_code, oom, .. } = self.behaviour;
        let (code, oom, started_at, ran) = match *self.life.borrow() {
            Life::Created => return Err(None),
            Life::Started { since, started_at, ends_at } => match ends_at.filter(|end| passed(Some(*end))) {
                None => return Err(ends_at),
                Some(end) => (exit_code, oom, started_at, end - since),
            },
            Life::Stopped { since, started_at, stopped, code } => (code, false, started_at, stopped - since),
        };
        let finished_at = started_at + ran;
        Ok(Exit {
            code,
            oom,
            killed: None,
            by_engine: false,
            by_hand: None,
            runs_again: false,
            memory_peak: None,
            started_at: Some(started_at),
            finished_at: Some(finished_at),
            usage: None,
        })
    }

    /// News of it. One that was never started has no end to wait for and no log.
    pub(super) fn watch(&self) -> Result<watch::Receiver<Life>, RuntimeError> {
        match *self.life.borrow() {
            Life::Created => Err(RuntimeError::Engine("it was never started".to_owned())),
            Life::Started { .. } | Life::Stopped { .. } => Ok(self.life.subscribe()),
        }
    }

    pub(super) fn layer_bytes(&self) -> u64 {
        self.behaviour.layer
    }

    pub(super) fn log(&self) -> Log {
        let Behaviour { output, flood, .. } = &self.behaviour;
        Log { pieces: output.clone().into(), flooded: 0, flood: *flood, taken: 0, read: Arc::clone(&self.read) }
    }

    /// Pieces that its engine has dropped, if it drops any.
    pub(super) fn dropped(&self) -> Option<u32> {
        self.behaviour.fleeting.then(|| self.read.load(Ordering::Relaxed))
    }
}

/// What is left to read of a container's log.
#[derive(Debug)]
pub(super) struct Log {
    pieces: VecDeque<Piece>,
    /// Bytes of the flood that were read.
    flooded: u64,
    flood: u64,
    /// Pieces that were taken out of it, and the most that anybody has taken.
    taken: u32,
    read: Arc<AtomicU32>,
}

impl Log {
    /// Without the first so many pieces.
    pub(super) fn forget(&mut self, pieces: u32) {
        for _ in 0..pieces {
            if self.pieces.pop_front().is_none() {
                self.flooded = self.flood.min(self.flooded + PIECE as u64);
            }
        }
        self.taken = pieces;
    }

    fn count(&mut self) {
        self.taken += 1;
        self.read.fetch_max(self.taken, Ordering::Relaxed);
    }

    /// The next piece, when it is written; none at the container's end.
    pub(super) async fn next(&mut self, changes: &mut watch::Receiver<Life>) -> Option<(LogStream, Bytes)> {
        loop {
            let life = *changes.borrow_and_update();
            let (since, end) = match life {
                Life::Created => return None,
                Life::Started { since, ends_at, .. } => (since, ends_at),
                Life::Stopped { since, stopped, .. } => (since, Some(stopped)),
            };
            if self.pieces.is_empty() && self.flooded < self.flood {
                let bytes = flood(self.flooded, self.flood);
                self.flooded += bytes.len() as u64;
                self.count();
                return Some((LogStream::Stdout, bytes));
            }
            let due = self.pieces.front().map(|piece| since + piece.after);
            let due = due.filter(|due| end.is_none_or(|end| *due <= end));
            if due.is_none() && passed(end) {
                return None;
            }
            if passed(due) {
                self.count();
                return self.pieces.pop_front().map(|piece| (piece.stream, piece.bytes));
            }
            tokio::select! {
                // Removed: what it would have written it never will.
                gone = changes.changed() => gone.ok()?,
                () = at(due.or(end)) => {}
            }
        }
    }
}

fn passed(time: Option<Instant>) -> bool {
    time.is_some_and(|time| time <= Instant::now())
}

fn write(path: &std::path::Path, bytes: &Bytes) -> Result<(), RuntimeError> {
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = folder.and_then(|()| std::fs::write(path, bytes));
    written.map_err(|error| RuntimeError::Engine(format!("{}: {error}", path.display())))
}
