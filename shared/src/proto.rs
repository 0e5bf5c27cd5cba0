//! The generated protobuf: `proto/worker_session.proto` and `proto/worker_identity.proto` here, `proto/master_worker.proto`
//! in [`seed`].
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::large_futures,
    clippy::needless_pass_by_value,
    clippy::or_fun_call
)]

tonic::include_proto!("cloudai.v1");

/// What the services look like, for whoever asks them: a `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// `cluster.MasterWorker`: the service of workers of the first generation.
pub mod seed {
    tonic::include_proto!("cluster");

    pub use crate::seed_task::Task;
}
