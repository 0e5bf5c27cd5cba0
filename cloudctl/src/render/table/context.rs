//! Contexts.

use comfy_table::Cell;
use shared::time::WallTime;

use super::grid::{Grid, optional, text};
use crate::render::{ContextListView, ContextView, Style};

/// `context list`
pub(super) fn list(view: &ContextListView, style: &Style, now: WallTime) -> String {
    if view.contexts.is_empty() {
        return "No contexts. `cloudctl login --server URL` makes one, and so does `cloudaid dev`.\n".to_owned();
    }
    let mut grid = Grid::new(style, ["", "NAME", "SERVER", "USER", "TOKEN", "TRUST"], &[2]).hide_if_narrow(&[5]);
    for context in &view.contexts {
        grid.row([
            Cell::new(if context.current { "*" } else { "" }),
            text(&context.name, style),
            text(&context.server, style),
            optional(context.username.as_ref(), style),
            Cell::new(token(context, style, now)),
            Cell::new(context.trust),
        ]);
    }
    grid.finish()
}

/// `context show`
pub(super) fn show(view: &ContextView, style: &Style, now: WallTime) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| out.push_str(&format!("{name:<9} {}\n", style.text(value)));
    line("Context:", &view.name);
    line("Current:", if view.current { "yes" } else { "no" });
    line("Server:", &view.server);
    line("User:", view.username.as_deref().unwrap_or("-"));
    line("Token:", &token(view, style, now));
    line("Trust:", trust(view));
    out
}

/// Whose word is good for the server.
fn trust(view: &ContextView) -> &str {
    match (&view.fingerprint, view.trust) {
        (Some(fingerprint), _) => fingerprint,
        (None, "ca") => "authorities of its own (--ca)",
        (None, "system") => "authorities of this machine",
        (None, _) => "none, not encrypted",
    }
}

fn token(view: &ContextView, style: &Style, now: WallTime) -> String {
    match (view.logged_in, view.expires_at) {
        (false, _) => "none".to_owned(),
        (true, None) => "yes".to_owned(),
        (true, Some(end)) if end < now => "over, log in again".to_owned(),
        (true, Some(end)) => format!("until {}", style.time(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str, logged_in: bool, expires_at: Option<i64>) -> ContextView {
        ContextView {
            name: name.into(),
            current: name == "dev",
            server: "http://h".into(),
            username: logged_in.then(|| "ann".into()),
            trust: if logged_in { "none" } else { "system" },
            fingerprint: None,
            logged_in,
            expires_at: expires_at.map(WallTime),
        }
    }

    #[test]
    fn the_current_one_is_marked() {
        let contexts =
            vec![context("dev", true, Some(5000)), context("lab", true, Some(1)), context("old", false, None)];
        let expected = [
            "   NAME  SERVER    USER  TOKEN                      TRUST\n",
            "*  dev   http://h  ann   until 1970-01-01 00:00:05  none\n",
            "   lab   http://h  ann   over, log in again         none\n",
            "   old   http://h  -     none                       system\n",
        ]
        .concat();
        assert_eq!(list(&ContextListView { contexts }, &Style::default(), WallTime(1000)), expected);
    }

    #[test]
    fn how_the_server_is_trusted_is_shown() {
        for (trust, fingerprint, said) in [
            ("none", None, "none, not encrypted"),
            ("system", None, "authorities of this machine"),
            ("ca", None, "authorities of its own (--ca)"),
            ("fingerprint", Some("sha256:ab".to_owned()), "sha256:ab"),
        ] {
            let view = ContextView { trust, fingerprint, ..context("dev", true, None) };
            let text = show(&view, &Style::default(), WallTime(0));
            assert!(text.ends_with(&format!("Trust:    {said}\n")), "{text}");
        }
    }
}
