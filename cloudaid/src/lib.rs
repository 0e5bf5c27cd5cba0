//! x
pub mod master;
