//! x
pub mod handle;
