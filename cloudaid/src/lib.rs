//! x
pub mod failpoint;
pub mod master;
pub mod store;
