//! The CloudAI daemon: master, worker, or both in one process.
//!
//! Read in this order: [`args`], [`config`], [`observe`], [`dev`], [`master`], [`worker`].

pub mod args;
pub mod config;
pub mod dev;
pub mod master;
pub mod observe;
pub mod worker;
