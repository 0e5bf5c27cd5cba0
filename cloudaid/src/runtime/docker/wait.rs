//! Waiting for the end of a container, and what can be known of it.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::WaitContainerOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt};
use shared::id::AttemptKey;
use shared::link::ContainerUsage;
use shared::time::WallTime;
use tokio::sync::oneshot;

use super::daemon::Daemon;
use super::errors::{Failure, short, within};
use super::fall::{Outage, Times};
use super::usage::Group;
use super::witness::{Seen, Witness};
use super::{CALL_LIMIT, DockerRuntime, fall, hand, logs, oom, orphan, usage};
use crate::clock;
use crate::runtime::{Exit, RuntimeError};

/// The exit codes of the engine's init when it cannot run the command.
const INIT_FAILED: [i32; 2] = [126, 127];
/// The exit code of KILL, whoever sent it.
const KILLED: i32 = 128 + 9;

/// Nothing starts more processes than it may in less time. Most that fails at once need not be looked for in the kernel's log.
const LONG: Duration = Duration::from_millis(50);

/// What a container has used.
struct Used {
    usage: Option<ContainerUsage>,
    /// Where it was counted to the end, and not only looked at now and again.
    memory_peak: Option<u64>,
    /// Whether all was counted to the end, what it was refused too.
    is_whole: bool,
}

impl DockerRuntime {
    pub(super) async fn wait_for_end(&self, key: &AttemptKey) -> Result<Exit, RuntimeError> {
        let waited = self.wait_once(key).await;
        if let (Err(RuntimeError::Engine(_)), Some(known)) = (&waited, self.known.lock().get_mut(key)) {
            Outage::extend(&mut known.outage);
        }
        waited
    }

    async fn wait_once(&self, key: &AttemptKey) -> Result<Exit, RuntimeError> {
        let id = self.resolve(key).await?;
        let seen = self.wait_until_stopped(key, &id).await?;
        let state = self.inspect(&id).await?.state.unwrap_or_default();
        if was_forgotten(&state) {
            let processes = orphan::kill(&id).await;
            tracing::warn!(
                "The engine forgot that it has started {key}: it is given up, {processes} processes killed."
            );
            return Err(RuntimeError::NotFound);
        }
        let mut exit = exit_of(&state)?;
        (exit.usage, exit.memory_peak) = (seen.usage, seen.memory_peak);
        exit.oom |= exit.usage.is_some_and(|usage| usage.oom_kills > 0);
        if exit.code != 0
            && !seen.is_whole
            && lasted(&exit) >= LONG
            && let Some(usage) = &mut exit.usage
            && usage.forks_refused == 0
        {
            usage.forks_refused = u64::from(oom::was_refused(&id).await);
        }
        let outage = self.known.lock().get_mut(key).and_then(|known| {
            known.ended = true;
            known.outage
        });
        if exit.code == KILLED || exit.oom && exit.code != 0 {
            let killed = oom::killed(&id).await;
            exit.oom |= killed.any;
            exit.killed = killed.last;
        }
        exit.by_engine = self.has_fallen(&exit, outage).await;
        if !exit.by_engine && !exit.oom {
            exit.by_hand = hand::sent(self.engine()?, &id, &exit).await;
        }
        if INIT_FAILED.contains(&exit.code) {
            self.check_it_ran(&id).await?;
        }
        Ok(exit)
    }

    /// Whether it fell with the engine or the host. The engine is asked only where it matters.
    async fn has_fallen(&self, exit: &Exit, outage: Option<Outage>) -> bool {
        let is_typical = fall::CODES.contains(&exit.code);
        let left = self.left.filter(|_| exit.started_at < Some(self.made));
        if !is_typical && outage.is_none() && left.is_none() {
            return false;
        }
        let engine = Daemon::find(&self.socket).await.map(|daemon| daemon.began);
        let times = Times { engine, host: Some(clock::booted()), outage, left };
        if fall::went_down(exit, &times) {
            return true;
        }
        let (fell, may_live_on) = match is_typical {
            true => (fall::fell(exit, &times), fall::was_seen(exit, engine)),
            false => (fall::was_asked(exit, &times), true),
        };
        fell && !(may_live_on && self.has_live_restore().await)
    }

    /// Whether containers outlive the engine. It may be told so while it runs, so an earlier answer is not good enough.
    async fn has_live_restore(&self) -> bool {
        let Ok(engine) = self.engine() else { return false };
        within(CALL_LIMIT, engine.info()).await.is_ok_and(|info| info.live_restore_enabled == Some(true))
    }

    async fn wait_until_stopped(&self, key: &AttemptKey, id: &str) -> Result<Used, RuntimeError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut waiting = self.engine()?.wait_container(id, Some(options));
        let around = self.facts().await?.parent.as_ref().map(|parent| Group::around(parent, key));
        let (over, stopped) = oneshot::channel();
        let ended = async {
            let answer = waiting.next().await;
            drop(over);
            answer
        };
        let watched = async {
            let witness = match &around {
                Some(around) => Witness::inside(around, id).await,
                None => match self.inspect(id).await.ok().and_then(|found| found.state?.pid) {
                    Some(process) => Witness::of(id, process).await,
                    None => None,
                },
            };
            match witness {
                Some(witness) => witness.watch(stopped).await,
                None => Seen::default(),
            }
        };
        let (answer, seen) = tokio::join!(ended, watched);
        match answer {
            // The client makes an error of every exit code but 0.
            Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => {
                let counted = usage::joined(usage::read(around).await, seen.end);
                let memory_peak = counted.map(|usage| usage.memory_peak_bytes).filter(|peak| *peak > 0);
                let is_whole = seen.end.is_some();
                Ok(Used { usage: usage::joined(counted, seen.last), memory_peak, is_whole })
            }
            Some(Err(error)) => Err(Failure::from(error).of_container()),
            None => Err(RuntimeError::Engine("the engine has stopped waiting: it may be restarting".to_owned())),
        }
    }

    /// The engine starts its init, and the init the command: if there is no such command, the init says so in the log
    /// and nothing of the task's has run.
    async fn check_it_ran(&self, id: &str) -> Result<(), RuntimeError> {
        let log = within(CALL_LIMIT, logs::last_lines(self.engine()?, id, 2).try_collect::<Vec<_>>());
        match complaint_of_init(&log.await.map_err(Failure::of_container)?) {
            Some(complaint) => Err(RuntimeError::Setup(complaint)),
            None => Ok(()),
        }
    }
}

/// Only what was started is waited for: an engine that was killed right after it started a container knows nothing of
/// that any more, and takes it for one that was only made.
fn was_forgotten(state: &ContainerState) -> bool {
    state.status == Some(ContainerStateStatusEnum::CREATED)
}

/// How long it ran.
fn lasted(exit: &Exit) -> Duration {
    let millis = exit.started_at.zip(exit.finished_at).map_or(0, |(began, ended)| ended.0 - began.0);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The exit as the engine recorded it.
fn exit_of(state: &ContainerState) -> Result<Exit, RuntimeError> {
    let (started_at, finished_at) = (time(state.started_at.as_deref()), time(state.finished_at.as_deref()));
    match state.status {
        // A host that went down takes the exit code with it, and the engine shows 0 for want of a better one.
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) if finished_at.is_none() => {
            Err(RuntimeError::NotFound)
        }
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => Ok(Exit {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(255),
            oom: state.oom_killed.unwrap_or(false),
            killed: None,
            by_engine: false,
            by_hand: false,
            memory_peak: None,
            started_at,
            // Of what is killed at once, the end is noted before the start.
            finished_at: finished_at.max(started_at),
            usage: None,
        }),
        _ => Err(RuntimeError::Engine("it runs again, and nobody here has started it".to_owned())),
    }
}

/// Whether the engine behind `socket` that is there now is not the one that the container began with.
pub(super) async fn has_outlived_its_engine(state: Option<&ContainerState>, socket: &str) -> bool {
    let Some(state) = state else { return false };
    let ended = time(state.finished_at.as_deref()).filter(|_| state.running != Some(true));
    let engine = Daemon::find(socket).await.map(|daemon| daemon.began);
    fall::has_outlived(time(state.started_at.as_deref()), ended, engine)
}

/// The engine writes the year 1 for never.
fn time(text: Option<&str>) -> Option<WallTime> {
    text?.parse::<WallTime>().ok().filter(|time| time.0 > 0)
}

/// `[FATAL tini (7)] exec nosuch failed: No such file or directory`, if that is all there is.
fn complaint_of_init(log: &[LogOutput]) -> Option<String> {
    let [LogOutput::StdErr { message }] = log else { return None };
    let text = String::from_utf8_lossy(message);
    let (program, complaint) = text.strip_prefix("[FATAL ")?.split_once(")] ")?;
    let plain = program.starts_with("tini (") && complaint.starts_with("exec ") && complaint.contains(" failed: ");
    plain.then(|| short(complaint))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn state(status: ContainerStateStatusEnum, finished: &str) -> ContainerState {
        ContainerState {
            status: Some(status),
            exit_code: Some(0),
            started_at: Some("2026-11-23T17:42:39.120123456Z".to_owned()),
            finished_at: Some(finished.to_owned()),
            ..ContainerState::default()
        }
    }

    #[test]
    fn an_end_that_the_engine_did_not_see_is_no_success() {
        let never = "0001-01-01T00:00:00Z";
        let good = exit_of(&state(ContainerStateStatusEnum::EXITED, "2026-11-23T17:42:40.5Z"));
        assert!(matches!(good, Ok(Exit { code: 0, finished_at: Some(WallTime(1_795_455_760_500)), .. })), "{good:?}");
        assert_eq!(exit_of(&state(ContainerStateStatusEnum::EXITED, never)), Err(RuntimeError::NotFound));
        let running = exit_of(&state(ContainerStateStatusEnum::RUNNING, never));
        assert!(matches!(running, Err(RuntimeError::Engine(_))), "{running:?}");
    }

    #[test]
    fn what_the_engine_takes_for_never_started_is_forgotten() {
        let status = |status| ContainerState { status: Some(status), ..ContainerState::default() };
        assert!(was_forgotten(&status(ContainerStateStatusEnum::CREATED)));
        assert!(!was_forgotten(&status(ContainerStateStatusEnum::RUNNING)));
        assert!(!was_forgotten(&ContainerState::default()));
    }

    #[test]
    fn nothing_ends_before_it_began() {
        let end = exit_of(&state(ContainerStateStatusEnum::EXITED, "2026-11-23T17:42:39.119Z")).expect("an end");
        assert!(end.finished_at.is_some() && end.finished_at == end.started_at, "{end:?}");
    }

    #[test]
    fn only_the_inits_own_complaint_is_one() {
        let stderr = |text: &'static str| LogOutput::StdErr { message: Bytes::from_static(text.as_bytes()) };
        let complaint = stderr("[FATAL tini (7)] exec nosuch failed: No such file or directory\n");
        let found = complaint_of_init(std::slice::from_ref(&complaint));
        assert_eq!(found.as_deref(), Some("exec nosuch failed: No such file or directory"));
        assert_eq!(complaint_of_init(&[stderr("sh: nosuch: not found\n")]), None);
        assert_eq!(complaint_of_init(&[stderr("hello\n"), complaint]), None);
        assert_eq!(complaint_of_init(&[]), None);
    }
}
