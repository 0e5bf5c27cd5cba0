//! The CloudAI daemon.
//!
//! Read in this order: [`config`], [`master`] (with [`store`], [`mod@http`] and [`mod@grpc`]), [`worker`] (with
//! [`runtime`]), [`dev`].

pub mod args;
pub mod clock;
pub mod config;
pub mod dev;
pub mod failpoint;
pub mod grpc;
pub mod http;
pub mod master;
pub mod observe;
pub mod runtime;
pub mod store;
pub mod tls;
pub mod tools;
mod upload_chain;
pub mod worker;

mod address;
mod connections;
mod file_bytes;
mod held;
mod keepalive;
mod open_files;
mod pause;
