//! x
pub mod config;
pub mod failpoint;
pub mod runtime;
pub mod worker;
