//! x
pub mod outputs;
