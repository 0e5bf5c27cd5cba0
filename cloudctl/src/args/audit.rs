//! Arguments of `audit`.

use clap::Args;
use shared::audit::{Chain, Seal};

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Only what this user did.
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Only what was done since: 2026-11-23T17:00:00Z, 2026-11-23, or 30m, 2h, 7d ago.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
    /// All of them.
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    /// Read all entries, and check that none was changed, added or taken away.
    #[arg(long, conflicts_with_all = ["user", "since", "limit", "all"])]
    pub(crate) verify: bool,
    /// What an earlier --verify ended with: the log must still contain it.
    #[arg(long, value_name = "NUMBER:SEAL", requires = "verify", value_parser = chain)]
    pub(crate) contains: Option<Chain>,
}

fn chain(text: &str) -> Result<Chain, String> {
    let form = || "give NUMBER:SEAL, as --verify prints it".to_owned();
    let (sequence, seal) = text.split_once(':').ok_or_else(form)?;
    let seal: Seal = seal.parse().map_err(|_| form())?;
    Ok(Chain { sequence: sequence.parse().map_err(|_| form())?, seal })
}
