//! x
pub mod input;
pub mod record;
