//! The harness of the whole-system tests: real masters and workers as processes, with real Docker.
//!
//! A test makes a [`Cluster`](cluster::Cluster) and talks to it as a client does, through [`Api`](api::Api) or through
//! `cloudctl` ([`Ctl`](ctl::Ctl)). Each cluster has its own directory, ports, workers and cluster id, so tests run side by
//! side; they share only the Docker engine that `tests/run.sh` starts for them. Whatever a cluster started ends with it.
//!
//! [`sim`] needs neither: it runs the cores of master and workers in one thread, in virtual time.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod api;
pub mod bench;
pub mod cluster;
pub mod ctl;
pub mod docker;
pub mod embedded;
pub mod engine;
pub mod engine_proxy;
pub mod golden;
pub mod gpus;
pub mod grpc;
pub mod hostile;
pub mod master;
pub mod mongo;
pub mod netns;
pub mod peer;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod python;
pub mod registry;
pub mod runtime_bench;
pub mod s3;
pub mod sim;
pub mod socket;
pub mod specification;
pub mod terminal;
pub mod tool;
pub mod uploads;
pub mod wait;
pub mod witness;
pub mod worker;
