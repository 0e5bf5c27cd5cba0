//! What both ends of every CloudAI wire agree on.
//!
//! Read in this order: [`id`], [`mod@array`], [`resources`], [`time`], [`task`], [`worker`], [`link`], [`error`], [`view`], [`context`].
//! With the feature `wire` also the generated protobuf ([`proto`]) and its conversions ([`mod@convert`]).
//!
//! Absent on purpose: anything that does IO, reads a clock or makes random numbers. The pure core builds on this crate.

pub mod array;
pub mod context;
pub mod error;
pub mod id;
pub mod link;
pub mod ranges;
pub mod resources;
pub mod submit;
pub mod task;
pub mod text;
pub mod time;
pub mod view;
pub mod worker;

#[cfg(feature = "wire")]
pub mod convert;
#[cfg(feature = "wire")]
pub mod proto;
