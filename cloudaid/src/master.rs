//! x
pub mod auth;
pub mod files;
pub mod handle;
pub mod logs;
