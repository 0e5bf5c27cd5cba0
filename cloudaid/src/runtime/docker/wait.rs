//! Waiting for the end of a container, and what can be known of it.
//!
//! An engine may answer everything but that. So where the kernel has told of the end, or nobody would, or there was nothing to
//! signal, it is asked how the container is.

use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::{ContainerConfig, ContainerState, ContainerStateStatusEnum};
use bollard::query_parameters::WaitContainerOptionsBuilder;
use futures_util::{StreamExt, TryStreamExt};
use shared::id::AttemptKey;
use shared::link::ContainerUsage;
use shared::time::WallTime;
use tokio::sync::{Notify, oneshot};

use super::daemon::Daemon;
use super::errors::{Failure, short, within};
use super::fall::{Outage, Times};
use super::hand::End;
use super::silence::{Call, MOMENT};
use super::usage::Group;
use super::witness::{Seen, Witness};
use super::{CALL_LIMIT, DockerRuntime, fall, logs, oom, orphan, stop, usage};
use crate::clock;
use crate::runtime::{Exit, RuntimeError};

/// The exit codes of the engine's init when it cannot run the command.
const INIT_FAILED: [i32; 2] = [126, 127];
/// The exit code of KILL, whoever sent it.
const KILLED: i32 = 128 + 9;

/// Nothing starts more processes than it may in less time. Most that fails at once need not be looked for in the kernel's log.
const LONG: Duration = Duration::from_millis(50);

/// After its end an engine with much to do takes so long to say so.
const SOON: Duration = Duration::from_secs(2);
/// Before the first look at one of whose end nobody would tell. Each pause is twice as long as the one before.
const UNSEEN: Duration = Duration::from_secs(5);
/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Within so long after it has stopped a container `docker restart` has begun to start it again.
const RESTARTS: Duration = Duration::from_millis(500);
/// What `docker stop` waits where nothing else is said.
const USUAL_GRACE: Duration = Duration::from_secs(10);

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
        self.hands.listen(self.engine()?);
        let (code, seen) = self.wait_until_stopped(key, &id).await?;
        let found = self.inspect(&id).await?;
        let (state, config) = (found.state.unwrap_or_default(), found.config.unwrap_or_default());
        if was_forgotten(&state) {
            let processes = orphan::kill(&id).await;
            tracing::warn!(
                "The engine forgot that it has started {key}: it is given up, {processes} processes killed."
            );
            return Err(RuntimeError::NotFound);
        }
        let mut exit = if runs(&state) { first_end(code)? } else { exit_of(&state)? };
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
        let outage = self.known.lock().get(key).and_then(|known| known.outage);
        if exit.code == KILLED || exit.oom && exit.code != 0 {
            let killed = oom::killed(&id).await;
            exit.oom |= killed.any;
            exit.killed = killed.last;
        }
        exit.by_engine = self.has_fallen(&exit, outage).await;
        if !exit.by_engine && !exit.oom {
            exit.by_hand = self.hands.sent(self.engine()?, &id, &end_of(&exit, &config)).await;
        }
        if exit.by_hand.is_some() && !exit.runs_again {
            exit.runs_again = self.is_restarted(key, &id).await;
        }
        if exit.runs_again {
            tracing::warn!("The container of {key} was started again by somebody else");
            return Ok(exit);
        }
        if let Some(known) = self.known.lock().get_mut(key) {
            known.ended = true;
        }
        if INIT_FAILED.contains(&exit.code) {
            self.check_it_ran(&id).await?;
        }
        Ok(exit)
    }

    /// Whether one that somebody else has stopped is started again at once.
    async fn is_restarted(&self, key: &AttemptKey, id: &str) -> bool {
        if self.known.lock().get(key).is_some_and(|known| known.signalled) {
            return false;
        }
        tokio::time::sleep(RESTARTS).await;
        self.inspect(id).await.is_ok_and(|found| found.state.as_ref().is_some_and(runs))
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

    /// The exit code, if the engine has told it, and what it has used.
    async fn wait_until_stopped(&self, key: &AttemptKey, id: &str) -> Result<(Option<i32>, Used), RuntimeError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut waiting = self.engine()?.wait_container(id, Some(options));
        let around = self.facts().await?.parent.as_ref().map(|parent| Group::around(parent, key));
        let doubt = self.known.lock().get(key).map(|known| Arc::clone(&known.doubt)).unwrap_or_default();
        let (over, stopped) = oneshot::channel();
        let (left, gone) = oneshot::channel();
        let ended = async {
            let answer = tokio::select! {
                biased;
                answer = waiting.next() => Some(answer),
                () = self.stopped_unheard(id, gone, &doubt) => None,
            };
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
            let Some(witness) = witness else { return Seen::default() };
            // Dropped where it would not hear of the end, it says that nobody does.
            let left = witness.hears().then_some(left);
            let seen = witness.watch(stopped).await;
            if let Some(left) = left {
                // Nobody listens where the engine has told already.
                let _ = left.send(());
            }
            seen
        };
        let (answer, seen) = tokio::join!(ended, watched);
        let code = match answer {
            Some(Some(Ok(answer))) => Some(answer.status_code),
            // The client makes an error of every exit code but 0.
            Some(Some(Err(Error::DockerContainerWaitError { code, .. }))) => Some(code),
            Some(Some(Err(error))) => return Err(Failure::from(error).of_container()),
            Some(None) => {
                return Err(RuntimeError::Engine("the engine has stopped waiting: it may be restarting".to_owned()));
            }
            None => None,
        };
        match code {
            Some(_) => self.silences.heard(Call::Wait),
            None => {
                tracing::warn!(
                    "The engine does not tell that the container of {key} has ended; it was asked how it is"
                );
                self.silences.note(Call::Wait);
            }
        }
        let counted = usage::joined(usage::read(around).await, seen.end);
        let memory_peak = counted.map(|usage| usage.memory_peak_bytes).filter(|peak| *peak > 0);
        let is_whole = seen.end.is_some();
        let used = Used { usage: usage::joined(counted, seen.last), memory_peak, is_whole };
        Ok((code.and_then(|code| i32::try_from(code).ok()), used))
    }

    /// Returns when the engine says that it does not run, and has not told whoever waits. `gone` tells that it has ended, and
    /// fails where nobody would tell; after `doubt` it may have.
    async fn stopped_unheard(&self, id: &str, gone: oneshot::Receiver<()>, doubt: &Notify) {
        let mut pause = tokio::select! {
            told = gone => if told.is_ok() { SOON } else { UNSEEN },
            () = doubt.notified() => Duration::ZERO,
        };
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = doubt.notified() => {}
            }
            pause = (pause * 2).clamp(SOON, LONGEST);
            let is_over = match self.inspect(id).await {
                Ok(found) => !found.state.as_ref().is_some_and(runs),
                Err(error) => error == RuntimeError::NotFound,
            };
            if is_over {
                // The answer may be on its way.
                tokio::time::sleep(MOMENT).await;
                return;
            }
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

fn runs(state: &ContainerState) -> bool {
    state.running == Some(true)
}

/// How one has ended that runs again, as whoever waited for that was told.
fn first_end(code: Option<i32>) -> Result<Exit, RuntimeError> {
    let code =
        code.ok_or_else(|| RuntimeError::Engine("it runs again, and nobody has seen how it ended before".to_owned()))?;
    Ok(Exit {
        code,
        oom: false,
        killed: None,
        by_engine: false,
        by_hand: None,
        runs_again: true,
        memory_peak: None,
        started_at: None,
        finished_at: Some(clock::wall()),
        usage: None,
    })
}

/// The same for whoever knows what was sent to it.
fn end_of(exit: &Exit, config: &ContainerConfig) -> End {
    let grace = config.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok());
    End {
        code: exit.code,
        began: exit.started_at,
        at: exit.finished_at.unwrap_or_else(clock::wall),
        stop_signal: stop::number(config.stop_signal.as_deref().unwrap_or_default()),
        grace: grace.map_or(USUAL_GRACE, Duration::from_secs),
    }
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
            by_hand: None,
            runs_again: false,
            memory_peak: None,
            started_at,
            // Of what is killed at once, the end is noted before the start.
            finished_at: finished_at.max(started_at),
            usage: None,
        }),
        _ => Err(RuntimeError::Engine("it has stopped, and its end is not known yet".to_owned())),
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
    fn of_what_runs_again_the_first_end_is_what_was_told() {
        let first = first_end(Some(143)).expect("an end");
        assert!(first.runs_again && first.code == 143 && first.finished_at.is_some(), "{first:?}");
        assert!(matches!(first_end(None), Err(RuntimeError::Engine(_))));
        let running = |running| ContainerState { running, ..ContainerState::default() };
        assert!(runs(&running(Some(true))) && !runs(&running(Some(false))) && !runs(&running(None)));
    }

    #[test]
    fn what_a_stop_sends_and_waits_is_as_the_container_says() {
        let exit = Exit { finished_at: Some(WallTime(5)), ..first_end(Some(7)).expect("an end") };
        let config = ContainerConfig {
            stop_signal: Some("SIGQUIT".to_owned()),
            stop_timeout: Some(70),
            ..ContainerConfig::default()
        };
        let end = end_of(&exit, &config);
        assert_eq!((end.code, end.at, end.stop_signal, end.grace), (7, WallTime(5), 3, Duration::from_secs(70)));
        let end = end_of(&exit, &ContainerConfig::default());
        assert_eq!((end.stop_signal, end.grace), (15, USUAL_GRACE));
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
