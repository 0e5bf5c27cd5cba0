//! `cloudctl audit`

use jiff::Zoned;
use shared::audit::Chain;
use shared::error::exit;
use shared::view::AuditListView;

use super::Session;
use super::pages::{self, PAGE, Page};
use super::since::parse_since;
use crate::args::AuditArgs;
use crate::exit::CtlError;
use crate::render::{Done, VerifiedView, View};

/// Lists who has done what, the newest first; or checks all of it.
pub(super) async fn run(args: &AuditArgs, session: &Session<'_>) -> Result<Done, CtlError> {
    if args.verify {
        return verify(args.contains, session).await;
    }
    let since = args.since.as_deref().map(|text| parse_since("--since", text, &Zoned::now())).transpose()?;
    let mut query = Vec::new();
    query.extend(args.user.clone().map(|user| ("user", user)));
    query.extend(since.map(|since| ("since", since)));
    let ask = async |cursor: Option<&str>, limit: u32| {
        let mut query = query.clone();
        query.push(("limit", limit.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor.to_owned())));
        let page = session.client.audit(&query).await?;
        let next_cursor = page.next_cursor.clone();
        let rest = View::Audit(AuditListView { entries: Vec::new(), next_cursor: next_cursor.clone() });
        Ok(Page { rows: page.entries.len(), view: View::Audit(page), rest, next_cursor })
    };
    let more = |_| "there are older ones: --all or --limit N".to_owned();
    pages::print(session, (!args.all).then_some(args.limit), ask, more).await
}

/// Follows the chain from its first entry to its last. The seals are computed here: the server is not believed.
async fn verify(contains: Option<Chain>, session: &Session<'_>) -> Result<Done, CtlError> {
    let mut chain = Chain::default();
    let mut is_found = contains.is_none_or(|wanted| wanted == chain);
    loop {
        let query = [("after", chain.sequence.to_string()), ("limit", PAGE.to_string())];
        let page = session.client.audit(&query).await?;
        for entry in &page.entries {
            chain.follow(entry).map_err(broken)?;
            is_found |= contains == Some(chain);
        }
        if page.next_cursor.is_none() {
            break;
        }
    }
    match contains {
        Some(wanted) if !is_found => Err(broken(format!(
            "entry {} is not there with that seal: the log was replaced or its end was cut off",
            wanted.sequence
        ))),
        _ => Ok(View::Verified(VerifiedView { entries: chain.sequence, seal: chain.seal.to_string() }).into()),
    }
}

fn broken(message: String) -> CtlError {
    CtlError::refused(exit::DATA, message, "keep the master's data directory as it is, and find out who could write it")
}
