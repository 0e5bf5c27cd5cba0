//! What somebody has the engine send to a container, past its worker: `docker kill`, `docker stop`, `docker restart`.
//!
//! The engine tells of each signal that it was told to send. It is listened to all the time, in one stream for all containers,
//! so that the end of one costs no question. Only where that stream is not open, or what ended a container was a signal of
//! which it has not told, the engine is asked what it remembers: some hundred events, for as long as it runs.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use shared::task;
use shared::time::WallTime;
use tokio::task::AbortHandle;

use super::errors::within;
use super::{CALL_LIMIT, labels};
use crate::clock;
use crate::pause::Pauses;

/// A stream that has not broken for so long is open.
const SETTLED: Duration = Duration::from_secs(1);
/// What was sent last, of all containers. Hardly anybody sends anything.
const REMEMBERED: usize = 1024;
/// What asks a program to end, besides what its image wants to be sent: INT, QUIT, KILL and TERM.
const ASKING: [i32; 4] = [2, 3, 9, 15];
/// Who is asked may take as long as it has been given, and so much longer.
const SHORTLY: Duration = Duration::from_secs(60);
/// Two clocks of one machine differ by less.
const TOLERANCE: Duration = Duration::from_secs(1);

/// Listens for what is sent to containers.
#[derive(Debug, Default)]
pub(super) struct Hands {
    heard: Arc<Mutex<Heard>>,
    task: OnceLock<AbortHandle>,
}

#[derive(Debug, Default)]
struct Heard {
    sent: VecDeque<Sent>,
    is_open: bool,
}

/// A signal that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    /// To the container with this id of the engine.
    id: String,
    signal: i32,
    at: WallTime,
}

/// How a container ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    /// With this exit code.
    pub(super) code: i32,
    /// When it began; none: not known.
    pub(super) began: Option<WallTime>,
    pub(super) at: WallTime,
    /// The signal that `docker stop` sends it.
    pub(super) stop_signal: i32,
    /// How long it then waits.
    pub(super) grace: Duration,
}

impl Drop for Hands {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Hands {
    /// Listens from now on, if it does not yet.
    pub(super) fn listen(&self, engine: &Docker) {
        self.task.get_or_init(|| tokio::spawn(follow(engine.clone(), Arc::clone(&self.heard))).abort_handle());
    }

    /// The signal that ended the container, or asked it to shortly before, if the engine was told to send that.
    pub(super) async fn sent(&self, engine: &Docker, id: &str, end: &End) -> Option<i32> {
        let (heard, is_open) = {
            let heard = self.heard.lock();
            let own = heard.sent.iter().filter(|sent| sent.id == id);
            (end.cause(own.map(|sent| (sent.signal, sent.at))), heard.is_open)
        };
        let is_known = match task::signal_of(end.code) {
            Some(signal) => heard == Some(signal),
            None => heard.is_some() || is_open,
        };
        if is_known { heard } else { ask(engine, id, end).await.or(heard) }
    }
}

impl Heard {
    fn note(&mut self, event: &EventMessage) {
        let Some((signal, at)) = read(event) else { return };
        let Some(id) = event.actor.as_ref().and_then(|actor| actor.id.clone()) else { return };
        let sent = Sent { id, signal, at };
        // A stream that is opened again begins with what the engine remembers.
        if self.sent.contains(&sent) {
            return;
        }
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(sent);
    }
}

impl End {
    /// The one of these signals that it ended by, else the last that asked it to end.
    fn cause(&self, sent: impl Iterator<Item = (i32, WallTime)>) -> Option<i32> {
        let own = task::signal_of(self.code);
        let (from, until) = (self.earliest(), self.at + TOLERANCE);
        let mut asked = None;
        for (signal, at) in sent {
            if own == Some(signal) && at >= self.began.unwrap_or(from) && at <= until {
                return own;
            }
            let asks = ASKING.contains(&signal) || signal == self.stop_signal;
            if asks && (from..=until).contains(&at) {
                asked = Some(signal);
            }
        }
        asked
    }

    /// What was sent before that has nothing to do with its end.
    fn earliest(&self) -> WallTime {
        let before = self.grace.saturating_add(SHORTLY);
        WallTime(self.at.0.saturating_sub(i64::try_from(before.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Notes what the engine tells, for ever.
async fn follow(engine: Docker, heard: Arc<Mutex<Heard>>) {
    let mut pauses = Pauses::default();
    let filters =
        HashMap::from([("type", vec!["container"]), ("event", vec!["kill"]), ("label", vec![labels::CLUSTER])]);
    loop {
        // From the beginning: what was sent while it was not open is among what the engine remembers.
        let options = EventsOptionsBuilder::default().since("1").filters(&filters).build();
        if hear(Box::pin(engine.events(Some(options))), &heard, SETTLED).await {
            pauses.reset();
        }
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Notes what one stream tells, until it breaks. Returns whether it had not for so long, and so was open.
async fn hear<E>(
    mut events: impl Stream<Item = Result<EventMessage, E>> + Unpin,
    heard: &Mutex<Heard>,
    settled: Duration,
) -> bool {
    // From its opening, however much it tells.
    let mut opens = pin!(tokio::time::sleep(settled));
    let mut is_open = false;
    loop {
        tokio::select! {
            biased;
            () = &mut opens, if !is_open => {
                is_open = true;
                heard.lock().is_open = true;
            }
            next = events.next() => match next {
                Some(Ok(event)) => heard.lock().note(&event),
                Some(Err(_)) | None => break,
            },
        }
    }
    heard.lock().is_open = false;
    is_open
}

/// Asks the engine what it remembers.
async fn ask(engine: &Docker, id: &str, end: &End) -> Option<i32> {
    let since = end.began.unwrap_or_else(|| end.earliest()).0.max(1000) / 1000;
    let now = clock::wall().0;
    let filters = HashMap::from([("container", vec![id]), ("event", vec!["kill"])]);
    let options = EventsOptionsBuilder::default()
        .since(&since.to_string())
        // What has happened by now: the engine waits for what is still to come.
        .until(&format!("{}.{:03}000000", now / 1000, now % 1000))
        .filters(&filters)
        .build();
    let events = within(CALL_LIMIT, engine.events(Some(options)).try_collect::<Vec<_>>()).await.ok()?;
    end.cause(events.iter().filter_map(read))
}

/// What was sent, and when.
fn read(event: &EventMessage) -> Option<(i32, WallTime)> {
    let signal = event.actor.as_ref()?.attributes.as_ref()?.get("signal")?.parse().ok()?;
    let at = event.time_nano.map(|nanos| nanos / 1_000_000).or_else(|| event.time.map(|time| time * 1000))?;
    Some((signal, WallTime(at)))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::ready;

    use bollard::models::EventActor;
    use futures_util::stream;

    use super::*;

    fn end(code: i32) -> End {
        let (began, at) = (Some(WallTime(1_000_000)), WallTime(2_000_000));
        End { code, began, at, stop_signal: 10, grace: Duration::from_secs(10) }
    }

    fn cause(code: i32, sent: &[(i32, i64)]) -> Option<i32> {
        end(code).cause(sent.iter().map(|(signal, at)| (*signal, WallTime(*at))))
    }

    fn killed(id: &str, signal: &str, nanos: i64) -> EventMessage {
        let attributes = Some(HashMap::from([("signal".to_owned(), signal.to_owned())]));
        let actor = Some(EventActor { id: Some(id.to_owned()), attributes });
        EventMessage { actor, time_nano: Some(nanos), ..EventMessage::default() }
    }

    #[test]
    fn what_was_asked_to_end_shortly_before_it_did_was_stopped_whatever_it_ended_with() {
        for code in [0, 5, 134] {
            assert_eq!(cause(code, &[(15, 1_995_000)]), Some(15), "{code}");
            assert_eq!(cause(code, &[(10, 1_995_000)]), Some(10), "{code}: as its image wants it");
            assert_eq!(cause(code, &[(12, 1_995_000), (1, 1_999_000)]), None, "{code}: that is no stop");
            assert_eq!(cause(code, &[(15, 1_900_000)]), None, "{code}: that was long before");
            assert_eq!(cause(code, &[(15, 2_005_000)]), None, "{code}: that was after it");
            assert_eq!(cause(code, &[]), None, "{code}");
        }
    }

    #[test]
    fn the_signal_that_ended_it_is_named_whenever_it_was_sent() {
        assert_eq!(cause(137, &[(15, 1_990_000), (9, 2_000_000)]), Some(9));
        assert_eq!(cause(143, &[(15, 1_100_000)]), Some(15));
        assert_eq!(cause(143, &[(15, 900_000)]), None, "to the one that ran before");
        assert_eq!(cause(138, &[(10, 1_100_000)]), Some(10));
    }

    #[tokio::test]
    async fn a_stream_is_open_soon_though_it_tells_of_something_all_the_time() {
        let heard = Mutex::new(Heard::default());
        let often = stream::iter(0..1000).then(|number| async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok::<_, Infallible>(killed("a", "15", number * 1_000_000))
        });
        let until_open = often.take_while(|_| ready(!heard.lock().is_open));
        assert!(hear(Box::pin(until_open), &heard, Duration::from_millis(50)).await, "it never was");
        assert!(!heard.lock().is_open, "it has broken");
        let none = stream::empty::<Result<EventMessage, Infallible>>();
        assert!(!hear(none, &heard, Duration::from_secs(60)).await, "it broke at once");
    }

    #[test]
    fn what_the_engine_tells_twice_was_sent_once() {
        let mut heard = Heard::default();
        for event in [killed("a", "15", 7_000_000), killed("a", "15", 7_000_000), killed("b", "SIGODD", 8)] {
            heard.note(&event);
        }
        assert_eq!(heard.sent, [Sent { id: "a".to_owned(), signal: 15, at: WallTime(7) }]);
        for nanos in 0..3000 {
            heard.note(&killed("b", "9", nanos * 1_000_000));
        }
        assert_eq!(heard.sent.len(), REMEMBERED);
    }
}
