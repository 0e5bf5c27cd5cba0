//! `cloudctl watch`

use std::time::Instant;

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::Session;
use crate::args::WatchArgs;
use crate::clock;
use crate::exit::CtlError;
use crate::render::Done;
use crate::screen::{Look, Rates, Snapshot, draw};

/// Shows the cluster until a key ends it.
pub(super) async fn run(args: &WatchArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if !session.terminal.style.terminal {
        let hint = "`cloudctl status --watch -o jsonl` is for scripts";
        return Err(CtlError::usage("a screen needs a terminal", hint));
    }
    // Whatever is wrong with the first look is told on the terminal as it was.
    let first = Snapshot::take(&session.client).await?;
    let screen = ratatui::try_init().map_err(CtlError::local("cannot take over the terminal"))?;
    let watched = watch(first, screen, args, session).await;
    ratatui::restore();
    watched.map(|()| Done::default())
}

async fn watch(
    mut snapshot: Snapshot,
    mut screen: DefaultTerminal,
    args: &WatchArgs,
    session: &Session<'_>,
) -> Result<(), CtlError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CtlError::local("cannot listen to signals"))?;
    let mut events = EventStream::new();
    let mut ticks = interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut rates, mut taken) = (Rates::default(), Instant::now());
    rates.note(snapshot.status.tasks, taken.elapsed());
    let mut problem: Option<String> = None;
    loop {
        let look = Look {
            server: session.client.server(),
            colour: session.terminal.style.colour,
            now: clock::wall(),
            problem: problem.as_deref(),
        };
        let drawn = screen.draw(|frame| draw(frame, &snapshot, &rates, &look));
        drawn.map_err(CtlError::local("cannot draw"))?;
        tokio::select! {
            _ = terminate.recv() => return Err(CtlError::Interrupted),
            event = events.next() => match event {
                Some(Ok(event)) if is_end(&event) => return Ok(()),
                // Of another size, it is drawn anew.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(CtlError::local("cannot read a key")(error)),
                None => return Ok(()),
            },
            result = async { ticks.tick().await; Snapshot::take(&session.client).await } => match result {
                Ok(fresh) => {
                    rates.note(fresh.status.tasks, taken.elapsed());
                    (snapshot, taken, problem) = (fresh, Instant::now(), None);
                }
                // A master that is started again is no reason to stop looking.
                Err(error) if error.is_transient() => problem = Some(error.to_string()),
                Err(error) => return Err(error),
            },
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let ends = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || (ctrl && key.code == KeyCode::Char('c'));
    ends && key.kind == KeyEventKind::Press
}
