//! Scenarios for the master's core: inputs in, the whole list of effects out. Every step checks all invariants.
#![allow(missing_docs)]

mod core {
    mod cancel;
    mod explain;
    mod lease;
    mod random;
    mod reconnect;
    mod recover;
    mod report;
    mod submit;
}
