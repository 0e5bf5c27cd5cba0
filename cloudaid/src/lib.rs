//! x
pub mod http;
pub mod master;
pub mod store;
