//! x
pub mod failpoint;
pub mod runtime;
pub mod worker;
