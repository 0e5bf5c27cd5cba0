//! x
pub mod agent;
pub mod input;
pub mod record;
