//! The CloudAI daemon.
//!
//! Read in this order: [`config`], [`master`] (with [`store`], [`mod@http`] and [`mod@grpc`]), [`worker`] (with
//! [`runtime`]), [`dev`].

pub mod failpoint;
pub mod master;
pub mod store;

pub mod grpc;
