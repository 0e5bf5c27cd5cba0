//! Keys, as they are pressed.

use std::fs::File;
use std::io::{self, IsTerminal};

use crossterm::event::{Event, EventStream, KeyCode, KeyEventKind};
use futures_util::StreamExt;
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::exit::CtlError;

/// While it lives, keys come one by one and are not shown. Ctrl-C stays a signal: who waits for keys has to listen to it
/// too, so that the terminal is left as it was.
pub(crate) struct Keys {
    events: EventStream,
    terminal: File,
    before: Termios,
}

impl Keys {
    /// Listens at the terminal of the process; none if it has none, or if stdin is something else.
    pub(crate) fn listen() -> Result<Option<Self>, CtlError> {
        let Ok(terminal) = File::open("/dev/tty") else { return Ok(None) };
        // A job in the background must leave the terminal to whoever is in front.
        if !io::stdin().is_terminal() || tcgetpgrp(&terminal).ok() != Some(getpgrp()) {
            return Ok(None);
        }
        let failed = || CtlError::local("cannot listen to keys");
        let before = tcgetattr(&terminal).map_err(|error| failed()(error.into()))?;
        let mut now = before.clone();
        // Only these: what is printed meanwhile needs its line ends, and Ctrl-C its signal.
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &now).map_err(|error| failed()(error.into()))?;
        Ok(Some(Self { events: EventStream::new(), terminal, before }))
    }

    /// The next key.
    pub(crate) async fn next(&mut self) -> Result<KeyCode, CtlError> {
        loop {
            match self.events.next().await {
                Some(Ok(Event::Key(key))) if key.kind == KeyEventKind::Press => return Ok(key.code),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(CtlError::local("cannot read a key")(error)),
                // The terminal is gone.
                None => return Err(CtlError::Interrupted),
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // There is nobody to tell that it failed.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
