//! Accounts, and what lets somebody in.

use std::sync::Arc;

use cloudaid_core::account::{AccountChange, TokenChange, UserRecord};
use cloudaid_core::guesses::GuessChange;
use cloudaid_core::input::Input;
use cloudaid_core::login::LoginChange;
use shared::error::ApiError;
use shared::id::UserName;

use super::ClusterHandle;
use crate::master::accounts::Accounts;

impl ClusterHandle {
    /// The accounts as they are now.
    #[must_use]
    pub fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.shell.accounts)
    }

    /// Makes or changes an account.
    ///
    /// # Errors
    /// No such account, or one of that name already; or nobody could administer the cluster then.
    pub async fn change_account(&self, name: UserName, change: AccountChange) -> Result<(), ApiError> {
        self.ask(|request| Input::ChangeAccount { request, name, change }).await.map(|_done| ())
    }

    /// Makes or ends a personal token, or notes its use.
    ///
    /// # Errors
    /// There is no such account, or it has too many.
    pub async fn change_token(&self, change: TokenChange) -> Result<(), ApiError> {
        self.ask(|request| Input::ChangeToken { request, change }).await.map(|_done| ())
    }

    /// Begins, renews or ends a login, or notes its use.
    ///
    /// # Errors
    /// It has ended, or its account may not log in.
    pub async fn change_login(&self, change: LoginChange) -> Result<(), ApiError> {
        self.ask(|request| Input::ChangeLogin { request, change }).await.map(|_done| ())
    }

    /// Keeps what has changed of the counters of wrong passwords.
    ///
    /// # Errors
    /// The master is stopping, or its store takes nothing.
    pub async fn keep_guesses(&self, changes: Vec<GuessChange>) -> Result<(), ApiError> {
        self.ask(|request| Input::KeepGuesses { request, changes }).await.map(|_done| ())
    }

    /// Makes the first account.
    ///
    /// # Errors
    /// Conflict if there is one already.
    pub async fn create_first_user(&self, user: UserRecord) -> Result<(), ApiError> {
        self.ask(|request| Input::CreateFirstUser { request, user }).await.map(|_done| ())
    }
}
