//! The generated protobuf of `proto/worker_session.proto`.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    clippy::large_futures,
    clippy::needless_pass_by_value,
    clippy::or_fun_call
)]

tonic::include_proto!("cloudai.v1");
