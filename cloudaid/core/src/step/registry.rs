//! What the workers pull private images with.

use shared::id::RequestId;
use shared::registry::RegistryName;

use crate::cluster::Cluster;
use crate::effect::{Answer, Effect};
use crate::record::Change;
use crate::registry::{REGISTRIES_LIMIT, RegistryRecord};
use crate::reject::Reject;

/// An admin says who the cluster is at a registry, or that it is nobody there any more.
pub(crate) fn on_change(
    cluster: &mut Cluster,
    request: RequestId,
    name: RegistryName,
    record: Option<RegistryRecord>,
    effects: &mut Vec<Effect>,
) {
    let is_known = cluster.registries.contains_key(&name);
    let answer = match &record {
        None if !is_known => Err(Reject::NoRegistry(name.clone())),
        Some(_) if !is_known && cluster.registries.len() >= REGISTRIES_LIMIT => Err(Reject::TooManyRegistries),
        None | Some(_) => {
            match record.clone() {
                Some(record) => cluster.registries.insert(name.clone(), record),
                None => cluster.registries.remove(&name),
            };
            effects.push(Effect::Save(Change::Registry(name, record)));
            Ok(Answer::Done)
        }
    };
    effects.push(Effect::Reply(request, answer));
}
