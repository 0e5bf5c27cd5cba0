//! One file per thing that can happen. Each checks everything first and changes everything then.

pub(crate) mod admit;
pub(crate) mod audit;
pub(crate) mod cancel;
pub(crate) mod connect;
pub(crate) mod cordon;
pub(crate) mod delete;
pub(crate) mod drain;
pub(crate) mod edit;
pub(crate) mod end;
pub(crate) mod files;
pub(crate) mod input_files;
pub(crate) mod inquire;
pub(crate) mod join;
pub(crate) mod keep;
pub(crate) mod lease;
pub(crate) mod login;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod ring;
pub(crate) mod silence;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod unregister;
pub(crate) mod upload;
pub(crate) mod user;
