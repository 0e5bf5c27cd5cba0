//! Ctrl-C while tasks are waited for.

use std::pin::pin;

use crossterm::event::KeyCode;
use shared::error::ErrorCode;
use shared::id::TaskRef;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Session;
use crate::client::with_retries;
use crate::exit::CtlError;
use crate::render::Keys;

/// Ctrl-C from now on.
pub(crate) fn interrupts() -> Result<Signal, CtlError> {
    signal(SignalKind::interrupt()).map_err(CtlError::local("cannot listen to Ctrl-C"))
}

/// What Ctrl-C means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing: it was not meant.
    GoOn,
    /// Cancel the tasks, and wait for the end that this brings.
    Cancel,
    /// Leave the tasks to themselves.
    Detach,
}

/// Does the work, which waits for `tasks`. The first Ctrl-C asks whether to cancel or to detach, and where nobody can be
/// asked means `unasked`; the second one detaches.
pub(super) async fn heed_interrupts<T>(
    work: impl Future<Output = Result<T, CtlError>>,
    tasks: &[TaskRef],
    unasked: Wish,
    session: &Session<'_>,
) -> Result<T, CtlError> {
    let mut interrupts = interrupts()?;
    session.terminal.heeds_interrupts.set(true);
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = interrupts.recv() => {}
        }
        match ask(&mut interrupts, unasked, session).await? {
            Wish::GoOn => {}
            Wish::Detach => return Err(detached(tasks, session)),
            Wish::Cancel => break,
        }
    }
    session.terminal.note("cancelling; Ctrl-C again detaches");
    let cancelled = async {
        for &task in tasks {
            match with_retries(|_| (), || session.client.cancel(task, false)).await {
                // It has ended just now: that is what is waited for.
                Err(CtlError::Api(error)) if error.code == ErrorCode::TaskEnded => {}
                Err(error) => session.terminal.warn(format!("cannot cancel {task}: {error}")),
                Ok(_) => {}
            }
        }
    };
    let mut both = pin!(async { tokio::join!(work, cancelled).0 });
    tokio::select! {
        done = &mut both => done,
        _ = interrupts.recv() => Err(detached(tasks, session)),
    }
}

/// Asks, while nothing else is printed.
async fn ask(interrupts: &mut Signal, unasked: Wish, session: &Session<'_>) -> Result<Wish, CtlError> {
    let keys = if session.terminal.can_ask() { Keys::listen()? } else { None };
    let Some(mut keys) = keys else { return Ok(unasked) };
    // Behind the `^C` that the terminal has written.
    session.terminal.note("");
    session.terminal.note("cancel (c) or detach and leave it running (d, Ctrl-C)? Any other key goes on.");
    tokio::select! {
        biased;
        _ = interrupts.recv() => Ok(Wish::Detach),
        key = keys.next() => Ok(match key? {
            KeyCode::Char('c' | 'C') => Wish::Cancel,
            KeyCode::Char('d' | 'D') => Wish::Detach,
            _ => Wish::GoOn,
        }),
    }
}

fn detached(tasks: &[TaskRef], session: &Session<'_>) -> CtlError {
    session.terminal.note(match tasks {
        [only] => format!("left {only}; `cloudctl show {only}` says how it went on"),
        many => format!("left {} tasks; `cloudctl list-tasks` says how they went on", many.len()),
    });
    CtlError::Interrupted
}
