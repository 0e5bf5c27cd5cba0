//! Hashes and checks passwords: Argon2id, off the async threads, a few at a time.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use tokio::sync::Semaphore;

use super::LoginError;

/// The longest password, in bytes: nobody shall make us hash a book.
const MAX_BYTES: usize = 1024;
/// What of a password is judged: whole ones of a kilobyte can be made to take half a second.
const JUDGED_CHARS: usize = 64;
/// Hashes at a time: each takes 19 MiB and a core for 40 ms, and the scheduler wants to run too.
const AT_ONCE: usize = 2;
/// Hashes that may wait; beyond that a login is told to come again.
const QUEUE: usize = 32;
/// OWASP's first choice for Argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The hashing of passwords, with its limits.
pub(super) struct Passwords {
    /// The shortest new password, in characters.
    least: usize,
    running: Semaphore,
    admitted: Semaphore,
}

impl Passwords {
    pub(super) fn new(least: usize) -> Self {
        Self { least, running: Semaphore::new(AT_ONCE), admitted: Semaphore::new(AT_ONCE + QUEUE) }
    }

    /// Whether `name` may have a new password: long enough to be one, and none of those that are tried first.
    pub(super) async fn check_new(&self, password: &str, name: &UserName) -> Result<(), LoginError> {
        check_length(password)?;
        if password.chars().count() < self.least {
            let message = format!("password: is shorter than {} characters", self.least);
            let hint = "take a longer one, for example four words";
            return Err(ApiError::new(ErrorCode::InvalidArgument, message, hint).into());
        }
        let (password, name) = (password.to_owned(), name.to_string());
        self.limited(move || check_guesses(&password, &name)).await
    }

    /// The PHC string to keep for a password.
    pub(super) async fn hash(&self, password: String) -> Result<String, LoginError> {
        self.limited(move || {
            let hash = argon2().and_then(|argon2| argon2.hash_password(password.as_bytes()));
            hash.map(|hash| hash.to_string()).map_err(|error| broken(&error))
        })
        .await
    }

    /// Whether `password` is the one that `hash` was made of.
    pub(super) async fn verify(&self, password: String, hash: String) -> Result<bool, LoginError> {
        use argon2::password_hash::Error;
        self.limited(move || {
            let verified = argon2().and_then(|argon2| argon2.verify_password(password.as_bytes(), hash.as_str()));
            match verified {
                Ok(()) => Ok(true),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(broken(&error)),
            }
        })
        .await
    }

    async fn limited<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, LoginError> {
        let _admitted = self.admitted.try_acquire().map_err(|_| LoginError::Busy)?;
        let _running = self.running.acquire().await.map_err(|_| LoginError::Busy)?;
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| broken(&error))?.map_err(LoginError::Refused)
    }
}

/// Checked for accounts that do not exist, so that they take as long as those that do. No password makes this tag.
pub(super) fn dummy_hash() -> &'static str {
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
}

/// Whether a hash was made with the parameters that a new one would have.
pub(super) fn is_current(hash: &str) -> bool {
    hash.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
}

/// Whether a password takes more than a million guesses, by zxcvbn: lists of passwords, words and names, repeats,
/// sequences, rows of a keyboard, dates, and the name that it is for.
fn check_guesses(password: &str, name: &str) -> Result<(), ApiError> {
    let first: String = password.chars().take(JUDGED_CHARS).collect();
    let estimate = zxcvbn::zxcvbn(&first, &[name, "cloudai", "cloudaid", "cloudctl"]);
    if estimate.score() >= zxcvbn::Score::Two {
        return Ok(());
    }
    let hint = "take one that nobody would think of, for example four words that have nothing to do with each other";
    Err(ApiError::new(ErrorCode::InvalidArgument, "password: is among the first that are guessed", hint))
}

/// Whether a password is short enough to look at.
pub(super) fn check_length(password: &str) -> Result<(), ApiError> {
    if password.len() > MAX_BYTES {
        let message = format!("password: is longer than {MAX_BYTES} bytes");
        return Err(ApiError::new(ErrorCode::InvalidArgument, message, "take a shorter one"));
    }
    Ok(())
}

fn argon2() -> Result<Argon2<'static>, argon2::password_hash::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn broken(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a password could not be hashed");
    ApiError::new(ErrorCode::Internal, "the password could not be checked", "see the master's log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_knows_its_password_and_carries_the_current_parameters() {
        let passwords = Passwords::new(12);
        let hash = passwords.hash("correct horse battery".into()).await.expect("hash");
        let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parameters(&hash), ["", "argon2id", "v=19", "m=19456,t=2,p=1"]);
        assert_eq!(parameters(&hash), parameters(dummy_hash()));
        assert!(passwords.verify("correct horse battery".into(), hash.clone()).await.expect("verify"));
        assert!(!passwords.verify("correct horse batterz".into(), hash).await.expect("verify"));
    }

    #[tokio::test]
    async fn the_dummy_is_a_valid_hash_that_nothing_matches() {
        assert!(!Passwords::new(12).verify(String::new(), dummy_hash().into()).await.expect("verify"));
    }

    #[tokio::test]
    async fn a_full_queue_says_so_at_once() {
        let passwords = Passwords::new(12);
        let all = u32::try_from(AT_ONCE + QUEUE).expect("small");
        let full = passwords.admitted.acquire_many(all).await.expect("open");
        assert!(matches!(passwords.hash("x".into()).await, Err(LoginError::Busy)));
        drop(full);
        assert!(passwords.hash("x".into()).await.is_ok());
    }

    #[tokio::test]
    async fn length_limits_one_below_at_and_above() {
        let passwords = Passwords::new(12);
        let name = "ann".parse().expect("a name");
        let phrase = "grün wühlt der Maulwurf unterm Zwetschgenbaum ".repeat(30);
        let first = |bytes: usize| phrase.get(..bytes).expect("at a letter's start");
        assert!(passwords.check_new("ü7Wq-Zk!m2p", &name).await.is_err());
        assert!(passwords.check_new("ü7Wq-Zk!m2pö", &name).await.is_ok());
        assert!(passwords.check_new(first(MAX_BYTES), &name).await.is_ok());
        assert!(passwords.check_new(first(MAX_BYTES + 1), &name).await.is_err());
        assert!(Passwords::new(13).check_new("ü7Wq-Zk!m2pö", &name).await.is_err());
    }

    #[test]
    fn what_is_guessed_first_is_no_password() {
        for common in [
            "password1234",
            "qwertyuiop[]",
            "123456789012",
            "aaaaaaaaaaaaaaaa",
            "abcabcabcabcabc",
            "Passw0rd2024",
            "annette.muster",
        ] {
            assert!(check_guesses(common, "annette.muster").is_err(), "{common}");
        }
        for good in ["correct horse battery", "another good one", "a long password", "xk7-Trüb-Salat"] {
            assert!(check_guesses(good, "ann").is_ok(), "{good}");
        }
    }
}
