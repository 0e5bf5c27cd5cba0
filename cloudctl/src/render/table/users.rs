//! Accounts.

use comfy_table::Cell;
use shared::time::WallTime;
use shared::view::{InviteView, KeysView, NewTokenView, TokenListView, TokenView, UserListView, UserView};

use super::grid::{Grid, text};
use crate::render::{RevokedView, Style};

/// `users`
pub(super) fn list(view: &UserListView, style: &Style, now: WallTime) -> String {
    let mut grid = Grid::new(style, ["NAME", "ROLE", "STATE", "MADE"], &[]);
    for user in &view.users {
        grid.row([
            text(user.username.as_str(), style),
            Cell::new(user.role),
            Cell::new(state(user)),
            Cell::new(style.ago(now, user.created_at)),
        ]);
    }
    grid.finish()
}

/// `users show`, and what the others have made of an account.
pub(super) fn show(view: &UserView, style: &Style, now: WallTime) -> String {
    let made = style.time_and_ago(now, view.created_at);
    format!("{} is {}, {}, made {made}\n", view.username, view.role, state(view))
}

/// `users invite`
pub(super) fn invite(view: &InviteView, style: &Style) -> String {
    let InviteView { invite, username, role, expires_at } = view;
    format!(
        "Whoever has this can make the account {username} ({role}), once, until {}:\n{invite}\n\
         In a file it goes with: cloudctl register --username {username} --invite-file FILE\n",
        style.time(*expires_at)
    )
}

/// `tokens`
pub(super) fn tokens(view: &TokenListView, style: &Style, now: WallTime) -> String {
    if view.tokens.is_empty() {
        return "No tokens. `cloudctl tokens create NAME` makes one.\n".to_owned();
    }
    let mut grid = Grid::new(style, ["ID", "NAME", "USER", "ROLE", "UNTIL", "USED"], &[1]);
    for token in &view.tokens {
        grid.row([
            Cell::new(token.token_id),
            text(&token.name, style),
            text(token.username.as_str(), style),
            Cell::new(token.role),
            Cell::new(if token.expires_at <= now { "over".to_owned() } else { style.time(token.expires_at) }),
            Cell::new(token.used_at.map_or_else(|| "never".to_owned(), |at| style.ago(now, at))),
        ]);
    }
    grid.finish()
}

/// `tokens create`
pub(super) fn new_token(view: &NewTokenView, style: &Style) -> String {
    let TokenView { name, role, expires_at, .. } = &view.view;
    format!(
        "{} ({role}), until {}. It is shown only now; a script gives it in CLOUDCTL_TOKEN:\n{}\n",
        style.text(name),
        style.time(*expires_at),
        view.token
    )
}

/// `admin rotate-keys`
pub(super) fn keys(view: &KeysView, style: &Style) -> String {
    let previous = view.previous_key_id.as_ref().map_or_else(String::new, |id| {
        format!("\nWhat {} has signed stays good until the next rotation.", style.text(id))
    });
    format!("✓ Tokens are signed with the key {} now.{previous}\n", style.text(&view.key_id))
}

/// `tokens revoke`
pub(super) fn revoked(view: &RevokedView, style: &Style) -> String {
    view.revoked.iter().map(|id| format!("✓ {} works no longer\n", style.text(id))).collect()
}

fn state(user: &UserView) -> &'static str {
    if user.disabled { "disabled" } else { "enabled" }
}

#[cfg(test)]
mod tests {
    use shared::role::Role;

    use super::*;

    #[test]
    fn accounts_are_lines() {
        let user = |name: &str, role, disabled| UserView {
            username: name.parse().expect("a name"),
            role,
            disabled,
            created_at: WallTime(0),
        };
        let users = vec![user("ann", Role::Admin, false), user("bob", Role::ReadOnly, true)];
        let expected = [
            "NAME  ROLE       STATE     MADE\n",
            "ann   admin      enabled   1m ago\n",
            "bob   read-only  disabled  1m ago\n",
        ];
        assert_eq!(list(&UserListView { users }, &Style::default(), WallTime(60_000)), expected.concat());
    }
}
