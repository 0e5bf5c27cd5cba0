//! What masters send.

use std::time::Duration;

use super::{InvalidMessage, attempt_key, each, from_millis, plain_text, required, sorted, to_millis, variant};
use crate::confinement::{Confinement, NetworkAccess, Profile};
use crate::id::{AttemptKey, Epoch, Fence};
use crate::link::{Assignment, CancelOrder, Decision, ToWorker, Welcome};
use crate::proto::{self, assignment::Command as WireCommand, to_worker::Message};
use crate::pull::PullPolicy;
use crate::task::Command;

/// The longest reason of a goodbye.
const REASON_LIMIT: usize = 1024;

impl From<ToWorker> for proto::ToWorker {
    fn from(message: ToWorker) -> Self {
        let message = match message {
            ToWorker::Welcome(welcome) => Message::Welcome(welcome.into()),
            ToWorker::Assign(assignments) => Message::Assignments(proto::Assignments {
                assignments: assignments.into_iter().map(Into::into).collect(),
            }),
            ToWorker::Cancel(orders) => {
                Message::Cancels(proto::Cancels { cancels: orders.into_iter().map(Into::into).collect() })
            }
            ToWorker::Ack { through } => Message::Ack(proto::Ack { through }),
            ToWorker::Inquire { horizon } => Message::Inquiry(proto::Inquiry { horizon: horizon.0 }),
            ToWorker::Decide(decisions) => Message::Decisions(proto::Decisions {
                decisions: decisions.into_iter().map(decision_to_wire).collect(),
            }),
            ToWorker::Heard { number } => Message::Heard(proto::Heard { number }),
            ToWorker::Goodbye { reason } => Message::Goodbye(proto::Goodbye { reason }),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<proto::ToWorker> for ToWorker {
    type Error = InvalidMessage;
    fn try_from(wire: proto::ToWorker) -> Result<Self, InvalidMessage> {
        Ok(match required("message", wire.message)? {
            Message::Welcome(welcome) => Self::Welcome(welcome.try_into()?),
            Message::Assignments(assignments) => Self::Assign(each(assignments.assignments)?),
            Message::Cancels(cancels) => Self::Cancel(each(cancels.cancels)?),
            Message::Ack(proto::Ack { through }) => Self::Ack { through },
            Message::Inquiry(proto::Inquiry { horizon }) => Self::Inquire { horizon: Fence(horizon) },
            Message::Decisions(wire) => {
                Self::Decide(wire.decisions.into_iter().map(decision_from_wire).collect::<Result<_, _>>()?)
            }
            Message::Heard(proto::Heard { number }) => Self::Heard { number },
            Message::Goodbye(goodbye) => Self::Goodbye { reason: plain_text("reason", goodbye.reason, REASON_LIMIT)? },
        })
    }
}

impl From<Welcome> for proto::Welcome {
    fn from(welcome: Welcome) -> Self {
        let decisions = welcome.decisions.into_iter();
        Self {
            cluster_id: welcome.cluster.to_string(),
            epoch: welcome.epoch.0,
            heartbeat_ms: to_millis(welcome.heartbeat),
            lease_ms: to_millis(welcome.lease),
            decisions: decisions.map(decision_to_wire).collect(),
        }
    }
}

impl TryFrom<proto::Welcome> for Welcome {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Welcome) -> Result<Self, InvalidMessage> {
        // A heartbeat of zero would be a busy loop.
        if wire.heartbeat_ms == 0 {
            return Err(InvalidMessage::missing("heartbeat_ms"));
        }
        Ok(Self {
            cluster: wire.cluster_id.parse().map_err(|error| InvalidMessage::new("cluster_id", error))?,
            epoch: Epoch(wire.epoch),
            heartbeat: from_millis(wire.heartbeat_ms),
            lease: from_millis(wire.lease_ms),
            decisions: wire.decisions.into_iter().map(decision_from_wire).collect::<Result<_, _>>()?,
        })
    }
}

fn decision_to_wire((key, decision): (AttemptKey, Decision)) -> proto::Decision {
    let verb = match decision {
        Decision::Keep => proto::Verb::Keep,
        Decision::Stop => proto::Verb::Stop,
        Decision::Forget => proto::Verb::Forget,
    };
    proto::Decision { attempt: Some(key.into()), verb: verb.into() }
}

fn decision_from_wire(wire: proto::Decision) -> Result<(AttemptKey, Decision), InvalidMessage> {
    let decision = match variant("verb", wire.verb)? {
        proto::Verb::Unspecified => return Err(InvalidMessage::missing("verb")),
        proto::Verb::Keep => Decision::Keep,
        proto::Verb::Stop => Decision::Stop,
        proto::Verb::Forget => Decision::Forget,
    };
    Ok((attempt_key(wire.attempt)?, decision))
}

impl From<Assignment> for proto::Assignment {
    fn from(assignment: Assignment) -> Self {
        let command = match assignment.command {
            Command::ImageDefault => None,
            Command::Shell(line) => Some(WireCommand::Shell(line)),
            Command::Argv(args) => Some(WireCommand::Argv(proto::Argv { args })),
        };
        Self {
            attempt: Some(assignment.key.into()),
            image: assignment.image,
            command,
            resources: Some(assignment.resources.into()),
            env: assignment.env.into_iter().collect(),
            user: assignment.user.to_string(),
            name: assignment.name.unwrap_or_default(),
            stop_grace_ms: to_millis(assignment.stop_grace),
            input_id: assignment.input.map(|input| input.to_string()).unwrap_or_default(),
            time_limit_ms: limit_to_wire(assignment.time_limit),
            at_most_once: assignment.at_most_once,
            blocking_log: assignment.blocking_log,
            storage_reserved: assignment.storage_reserved,
            pull: pull_to_wire(assignment.pull).into(),
            profile: profile_to_wire(assignment.confinement.profile).into(),
            network: network_to_wire(assignment.confinement.network).into(),
            gpus: assignment.gpus.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Assignment> for Assignment {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Assignment) -> Result<Self, InvalidMessage> {
        if wire.image.is_empty() {
            return Err(InvalidMessage::missing("image"));
        }
        let command = match wire.command {
            None => Command::ImageDefault,
            Some(WireCommand::Shell(line)) => Command::Shell(line),
            Some(WireCommand::Argv(argv)) => Command::Argv(argv.args),
        };
        let pull = match variant("pull", wire.pull)? {
            proto::Pull::Missing => PullPolicy::Missing,
            proto::Pull::Always => PullPolicy::Always,
            proto::Pull::Never => PullPolicy::Never,
        };
        let profile = match variant("profile", wire.profile)? {
            proto::Profile::Standard => Profile::Standard,
            proto::Profile::Strict => Profile::Strict,
        };
        let network = match variant("network", wire.network)? {
            proto::NetworkAccess::Outgoing => NetworkAccess::Outgoing,
            proto::NetworkAccess::Public => NetworkAccess::Public,
            proto::NetworkAccess::None => NetworkAccess::None,
        };
        let input = match wire.input_id.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| InvalidMessage::new("input_id", error))?),
        };
        Ok(Self {
            key: attempt_key(wire.attempt)?,
            image: wire.image,
            pull,
            confinement: Confinement { profile, network },
            command,
            resources: required("resources", wire.resources)?.into(),
            gpus: wire.gpus.into_iter().map(Into::into).collect(),
            env: sorted(wire.env),
            user: wire.user.parse().map_err(|error| InvalidMessage::new("user", error))?,
            name: (!wire.name.is_empty()).then_some(wire.name),
            stop_grace: from_millis(wire.stop_grace_ms),
            input,
            time_limit: limit_from_wire(wire.time_limit_ms),
            at_most_once: wire.at_most_once,
            blocking_log: wire.blocking_log,
            storage_reserved: wire.storage_reserved,
        })
    }
}

impl From<CancelOrder> for proto::Cancel {
    fn from(order: CancelOrder) -> Self {
        Self {
            attempt: Some(order.key.into()),
            grace_ms: to_millis(order.grace),
            time_limit_ms: limit_to_wire(order.time_limit),
        }
    }
}

impl TryFrom<proto::Cancel> for CancelOrder {
    type Error = InvalidMessage;
    fn try_from(wire: proto::Cancel) -> Result<Self, InvalidMessage> {
        Ok(Self {
            key: attempt_key(wire.attempt)?,
            grace: from_millis(wire.grace_ms),
            time_limit: limit_from_wire(wire.time_limit_ms),
        })
    }
}

fn pull_to_wire(pull: PullPolicy) -> proto::Pull {
    match pull {
        PullPolicy::Missing => proto::Pull::Missing,
        PullPolicy::Always => proto::Pull::Always,
        PullPolicy::Never => proto::Pull::Never,
    }
}

fn profile_to_wire(profile: Profile) -> proto::Profile {
    match profile {
        Profile::Standard => proto::Profile::Standard,
        Profile::Strict => proto::Profile::Strict,
    }
}

fn network_to_wire(network: NetworkAccess) -> proto::NetworkAccess {
    match network {
        NetworkAccess::Outgoing => proto::NetworkAccess::Outgoing,
        NetworkAccess::Public => proto::NetworkAccess::Public,
        NetworkAccess::None => proto::NetworkAccess::None,
    }
}

/// 0 on the wire: there is none.
fn limit_to_wire(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn limit_from_wire(millis: u64) -> Option<Duration> {
    (millis > 0).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuLease;
    use crate::id::InputId;
    use crate::resources::Resources;

    fn key() -> AttemptKey {
        let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
        AttemptKey { task, index: 3, attempt: 1, fence: Fence(9) }
    }

    fn assignment(command: Command, name: Option<&str>) -> Assignment {
        Assignment {
            key: key(),
            image: "busybox".to_owned(),
            command,
            resources: Resources::TASK_DEFAULT,
            gpus: name.map(|_| GpuLease { uuid: "GPU-1".to_owned(), millis: 500 }).into_iter().collect(),
            env: [("A".to_owned(), "1".to_owned())].into(),
            user: "ada".parse().expect("a name"),
            name: name.map(str::to_owned),
            stop_grace: Duration::from_secs(30),
            input: name.map(|_| InputId(7.into())),
            time_limit: name.map(|_| Duration::from_secs(3600)),
            at_most_once: name.is_some(),
            blocking_log: name.is_some(),
            storage_reserved: name.is_some(),
            pull: name.map_or(PullPolicy::Never, |_| PullPolicy::Always),
            confinement: Confinement {
                profile: name.map_or(Profile::Standard, |_| Profile::Strict),
                network: name.map_or(NetworkAccess::None, |_| NetworkAccess::Outgoing),
            },
        }
    }

    fn welcome() -> Welcome {
        Welcome {
            cluster: "01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
            epoch: Epoch(4),
            heartbeat: Duration::from_secs(5),
            lease: Duration::from_secs(30),
            decisions: [Decision::Keep, Decision::Stop, Decision::Forget].map(|decision| (key(), decision)).into(),
        }
    }

    #[test]
    fn every_message_reads_back_as_written() {
        let messages = [
            ToWorker::Welcome(welcome()),
            ToWorker::Assign(vec![
                assignment(Command::ImageDefault, None),
                assignment(Command::Shell("echo hi".to_owned()), Some("n")),
                assignment(Command::Argv(vec!["a".to_owned(), String::new()]), None),
            ]),
            ToWorker::Cancel(vec![
                CancelOrder { key: key(), grace: Duration::from_millis(1), time_limit: None },
                CancelOrder { key: key(), grace: Duration::ZERO, time_limit: Some(Duration::from_secs(9_000_000)) },
            ]),
            ToWorker::Heard { number: 7 },
            ToWorker::Ack { through: u64::MAX },
            ToWorker::Inquire { horizon: Fence(u64::MAX) },
            ToWorker::Decide(welcome().decisions),
            ToWorker::Goodbye { reason: "the master stops".to_owned() },
        ];
        for message in messages {
            assert_eq!(ToWorker::try_from(proto::ToWorker::from(message.clone())), Ok(message));
        }
    }

    #[test]
    fn hostile_messages_are_refused_by_field() {
        let hostile = |change: fn(&mut proto::Assignment)| {
            let mut wire = proto::Assignment::from(assignment(Command::ImageDefault, None));
            change(&mut wire);
            Assignment::try_from(wire).expect_err("refused").field()
        };
        assert_eq!(hostile(|wire| wire.attempt = None), "attempt");
        assert_eq!(hostile(|wire| wire.image.clear()), "image");
        assert_eq!(hostile(|wire| wire.resources = None), "resources");
        assert_eq!(hostile(|wire| wire.user = "a/b".to_owned()), "user");

        let hostile = |change: fn(&mut proto::Welcome)| {
            let mut wire = proto::Welcome::from(welcome());
            change(&mut wire);
            Welcome::try_from(wire).expect_err("refused").field()
        };
        assert_eq!(hostile(|wire| wire.cluster_id.clear()), "cluster_id");
        assert_eq!(hostile(|wire| wire.heartbeat_ms = 0), "heartbeat_ms");
        assert_eq!(hostile(|wire| wire.decisions[0].verb = 0), "verb");
        assert_eq!(hostile(|wire| wire.decisions[0].verb = -7), "verb");
        assert_eq!(hostile(|wire| wire.decisions[0].attempt = None), "attempt");

        let refused = ToWorker::try_from(proto::ToWorker { message: None }).expect_err("refused");
        assert_eq!(refused.to_string(), "`message`: is missing");
    }

    #[test]
    fn a_duration_that_the_wire_cannot_hold_is_the_longest_it_can() {
        assert_eq!(to_millis(Duration::MAX), u32::MAX);
    }
}
