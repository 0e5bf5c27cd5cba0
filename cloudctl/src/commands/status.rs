//! `cloudctl status`

use tokio::time::{MissedTickBehavior, interval};

use super::Session;
use super::until_key::until_key;
use crate::args::StatusArgs;
use crate::exit::CtlError;
use crate::render::{Done, Format, Repaint, View};

/// The cluster in numbers, once or again and again.
pub(super) async fn run(args: &StatusArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if !args.watch {
        return Ok(View::Status(session.client.status().await?).into());
    }
    let terminal = session.terminal;
    if terminal.style.terminal && terminal.is_table() && terminal.can_ask() {
        terminal.remark("any key ends this");
    }
    let rounds = async {
        let mut ticks = interval(args.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut repaint = Repaint::default();
        loop {
            ticks.tick().await;
            let status = match session.client.status().await {
                Ok(status) => View::Status(status),
                // A master that is started again is no reason to stop looking.
                Err(error) if error.is_transient() && terminal.style.terminal => {
                    terminal.warn(error.to_string());
                    repaint = Repaint::default();
                    continue;
                }
                Err(error) => return Err(error),
            };
            match &terminal.format {
                Format::Table if terminal.style.terminal => repaint.show(&terminal.table(&status))?,
                Format::Json | Format::Yaml => terminal.event("status", &status)?,
                _ => terminal.print(&status)?,
            }
        }
    };
    let ended: Option<()> = until_key(terminal, rounds).await?;
    debug_assert!(ended.is_none(), "it ends by a key or by an error");
    Ok(Done::default())
}
