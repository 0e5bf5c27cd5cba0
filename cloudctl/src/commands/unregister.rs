//! `cloudctl unregister`

use shared::id::WorkerId;

use super::Session;
use super::each::each;
use crate::args::UnregisterArgs;
use crate::exit::CtlError;
use crate::render::{Done, UnregisteredView, View};

/// Removes workers from the cluster, after asking.
pub(super) async fn run(args: &UnregisterArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    session.terminal.confirm(&question(&args.workers), args.yes)?;
    let each = each(&args.workers, session, |worker| async move {
        session.client.unregister_worker(&worker).await.map(|()| worker)
    });
    let each = each.await?;
    Ok(Done { view: Some(View::Unregistered(UnregisteredView { unregistered: each.done })), exit: each.exit })
}

fn question(workers: &[WorkerId]) -> String {
    let names = workers.iter().map(WorkerId::as_str).collect::<Vec<_>>().join(", ");
    match workers {
        [_] => format!("Unregister {names}? Its running tasks are run elsewhere, and its certificate is revoked."),
        _ => format!("Unregister {names}? Their running tasks are run elsewhere, and their certificates are revoked."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_the_workers_and_what_becomes_of_their_tasks() {
        let worker = |name: &str| name.parse::<WorkerId>().expect("a name");
        assert!(question(&[worker("a")]).starts_with("Unregister a? Its running tasks are run elsewhere"));
        assert!(question(&[worker("a"), worker("b")]).starts_with("Unregister a, b? Their running tasks"));
    }
}
