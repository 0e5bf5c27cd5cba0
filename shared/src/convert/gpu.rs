//! GPUs.

use super::{InvalidMessage, each, plain_text};
use crate::gpu::{Gpu, GpuLease, IllGpu, WHOLE};
use crate::proto;

/// The most GPUs of one worker, slices counted.
const GPU_LIMIT: usize = 256;
const TEXT_LIMIT: usize = 255;
/// The longest reason: its end is what a driver said.
const REASON_LIMIT: usize = 1024;

/// Each with a UUID of its own.
pub(super) fn gpus(wire: Vec<proto::Gpu>) -> Result<Vec<Gpu>, InvalidMessage> {
    if wire.len() > GPU_LIMIT {
        return Err(InvalidMessage::new("gpus", format_args!("are more than {GPU_LIMIT}")));
    }
    let mut gpus: Vec<Gpu> = each(wire)?;
    gpus.sort_by(|one, other| one.uuid.cmp(&other.uuid));
    match gpus.windows(2).find(|pair| pair[0].uuid == pair[1].uuid) {
        None => Ok(gpus),
        Some(twice) => Err(InvalidMessage::new("gpus", format_args!("{} is there twice", twice[0].uuid))),
    }
}

/// Empty: all are well.
pub(super) fn ill_gpus(wire: Vec<proto::IllGpu>) -> Result<Vec<IllGpu>, InvalidMessage> {
    if wire.len() > GPU_LIMIT {
        return Err(InvalidMessage::new("ill_gpus", format_args!("are more than {GPU_LIMIT}")));
    }
    each(wire)
}

impl From<Gpu> for proto::Gpu {
    fn from(gpu: Gpu) -> Self {
        let Gpu { uuid, name, millis, memory_bytes, parent } = gpu;
        Self { uuid, name, millis, memory_bytes, parent: parent.unwrap_or_default() }
    }
}

impl TryFrom<proto::Gpu> for Gpu {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Gpu) -> Result<Self, InvalidMessage> {
        if wire.uuid.is_empty() {
            return Err(InvalidMessage::missing("uuid"));
        }
        if !(1..=WHOLE).contains(&wire.millis) {
            return Err(InvalidMessage::new("millis", format_args!("{} is not 1 to {WHOLE}", wire.millis)));
        }
        let parent = plain_text("parent", wire.parent, TEXT_LIMIT)?;
        Ok(Self {
            uuid: plain_text("uuid", wire.uuid, TEXT_LIMIT)?,
            name: plain_text("name", wire.name, TEXT_LIMIT)?,
            millis: wire.millis,
            memory_bytes: wire.memory_bytes,
            parent: (!parent.is_empty()).then_some(parent),
        })
    }
}

impl From<IllGpu> for proto::IllGpu {
    fn from(ill: IllGpu) -> Self {
        Self { uuid: ill.uuid, reason: ill.reason }
    }
}

impl TryFrom<proto::IllGpu> for IllGpu {
    type Error = InvalidMessage;
    fn try_from(wire: proto::IllGpu) -> Result<Self, InvalidMessage> {
        Ok(Self {
            uuid: plain_text("uuid", wire.uuid, TEXT_LIMIT)?,
            reason: plain_text("reason", wire.reason, REASON_LIMIT)?,
        })
    }
}

impl From<GpuLease> for proto::GpuLease {
    fn from(lease: GpuLease) -> Self {
        Self { uuid: lease.uuid, millis: lease.millis }
    }
}

impl From<proto::GpuLease> for GpuLease {
    fn from(wire: proto::GpuLease) -> Self {
        Self { uuid: wire.uuid, millis: wire.millis }
    }
}
