//! Everything that CloudAI decides, as pure state machines.
//!
//! The master's side is [`Cluster`]: `step(now, input, &mut effects)` for each input of a batch, then once
//! `settle(now, &mut effects)`, which runs the scheduler; [`Cluster::next_wake`] says when time alone will change
//! something. The shell commits all [`effect::Effect::Save`]s of the batch in one commit, and only then carries out the
//! rest. The worker's side, [`agent::Agent`], has the same shape.
//!
//! The contract: no async, IO, clock, randomness, environment, logging or hash-map order in this crate. Equal inputs
//! give equal effects on every machine, so the whole cluster runs in one thread under a seeded simulator. What a peer or
//! client says is checked and refused, never asserted.
//!
//! Read in this order: [`input`], [`effect`], [`event`], [`record`], `cluster`, `task`, [`recent`], `worker`, `kept`, `queue`,
//! `nature`, `step`, [`scheduler`], [`explain`], [`recover`], [`invariant`].

#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::iter_over_hash_type)]

pub mod account;
pub mod admission;
pub mod agent;
pub mod alike;
pub mod audit;
pub mod effect;
pub mod event;
pub mod explain;
pub mod files;
pub mod gpus;
pub mod guesses;
pub mod images;
pub mod input;
pub mod invariant;
pub mod login;
pub mod queue;
pub mod recent;
pub mod record;
pub mod recover;
pub mod registry;
pub mod reject;
pub mod scheduler;
pub mod settings;
pub mod testkit;
pub mod trial;

mod alarm;
mod cluster;
mod failing;
mod internal;
mod kept;
mod ledger;
mod look;
mod nature;
mod notes;
mod required;
mod step;
mod task;
mod worker;

pub use cluster::Cluster;
