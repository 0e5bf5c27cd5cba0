//! Scenarios for the master's core: inputs in, the whole list of effects out. Every step checks all invariants.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod core {
    mod account;
    mod admit;
    mod array;
    mod audit;
    mod breaker;
    mod cancel;
    mod cordon;
    mod edit;
    mod explain;
    mod gpus;
    mod input_files;
    mod inquire;
    mod join;
    mod kept;
    mod labels;
    mod lease;
    mod limits;
    mod login;
    mod pools;
    mod random;
    mod reconnect;
    mod recover;
    mod registries;
    mod report;
    mod silence;
    mod skew;
    mod stopped;
    mod submit;
    mod trial;
    mod uploads;
}
