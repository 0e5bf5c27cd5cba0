//! Accounts, and what people get in with.

use cloudaid_core::account::TokenRecord;
use cloudaid_core::guesses::{GuessCount, GuessKey};
use cloudaid_core::login::LoginRecord;
use rusqlite::{Transaction, params};
use shared::id::{LoginId, TokenId};

use crate::store::StoreError;
use crate::store::coalesce::Batch;

/// All of it that the batch names.
pub(super) fn write(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO users VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for user in &batch.users {
        let role = user.role.as_str();
        insert.execute(params![user.name.as_str(), user.password_hash, role, user.created_at.0, user.disabled])?;
    }
    write_tokens(transaction, &batch.tokens)?;
    write_logins(transaction, &batch.logins)?;
    write_guesses(transaction, &batch.guesses)
}

fn write_tokens(transaction: &Transaction<'_>, tokens: &[(TokenId, Option<TokenRecord>)]) -> Result<(), StoreError> {
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO tokens VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM tokens WHERE id = ?1")?;
    for (id, record) in tokens {
        let id = id.to_string();
        match record {
            None => delete.execute(params![id])?,
            Some(token) => insert.execute(params![
                id,
                token.user.as_str(),
                token.name,
                token.digest,
                token.role.as_str(),
                token.created_at.0,
                token.expires_at.0,
                token.used_at.map(|at| at.0),
            ])?,
        };
    }
    Ok(())
}

fn write_logins(transaction: &Transaction<'_>, logins: &[(LoginId, Option<LoginRecord>)]) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO logins VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM logins WHERE id = ?1")?;
    for (id, record) in logins {
        let id = id.to_string();
        match record {
            None => delete.execute(params![id])?,
            Some(login) => insert.execute(params![
                id,
                login.user.as_str(),
                login.kind.as_str(),
                login.address.map(|address| address.to_string()),
                login.serial,
                login.created_at.0,
                login.renewed_at.0,
            ])?,
        };
    }
    Ok(())
}

fn write_guesses(transaction: &Transaction<'_>, guesses: &[(GuessKey, Option<GuessCount>)]) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO guesses VALUES (?1, ?2, ?3, ?4)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM guesses WHERE name = ?1 AND place = ?2")?;
    for (key, count) in guesses {
        let (name, place) = (key.name.as_str(), key.place.map(|place| place.to_string()).unwrap_or_default());
        match count {
            None => delete.execute(params![name, place])?,
            Some(count) => insert.execute(params![name, place, count.failures, count.blocked_until.0])?,
        };
    }
    Ok(())
}
