//! What both ends of every CloudAI wire agree on.
//!
//! Read in this order: [`id`], [`mod@array`], [`resources`], [`time`], [`span`], [`policy`], [`selector`],
//! [`task`], [`worker`], [`link`], [`error`], [`view`]. With the feature `wire` also the generated protobuf ([`proto`]) and its conversions ([`mod@convert`]), with
//! `context-file` the file that `cloudctl` and `cloudaid dev` share ([`context`]), with `tls` trust by fingerprint
//! ([`tls`]).
//!
//! Absent on purpose, but for that file: anything that does IO, reads a clock or makes random numbers. The pure core
//! builds on this crate.

pub mod array;
pub mod audit;
pub mod confinement;
pub mod error;
pub mod feature;
pub mod files_of;
pub mod gpu;
pub mod id;
pub mod link;
pub mod policy;
pub mod pull;
pub mod ranges;
pub mod reference;
pub mod registry;
pub mod resources;
pub mod role;
pub mod selector;
pub mod span;
pub mod submit;
pub mod task;
pub mod text;
pub mod time;
pub mod version;
pub mod view;
pub mod worker;

#[cfg(feature = "context-file")]
pub mod context;
#[cfg(feature = "wire")]
pub mod convert;
#[cfg(feature = "openapi")]
pub mod openapi;
#[cfg(feature = "wire")]
pub mod proto;
#[cfg(feature = "wire")]
pub mod seed_task;
#[cfg(feature = "tls")]
pub mod tls;
