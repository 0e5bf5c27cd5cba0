//! Signed tokens: JWTs with HS256 and nothing else, whatever their header says.
//!
//! Each kind has an audience of its own, so that one can never pass for the other. A token names its user and the
//! generation of the account; what the user may do is looked up, so that it is never older than the account.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, get_current_timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::role::Role;
use shared::time::WallTime;
use ulid::Ulid;

const ISSUER: &str = "cloudai";
/// Lets its bearer in.
const ACCESS: &str = "cloudai-api";
/// Lets its bearer make the account that it names.
const INVITE: &str = "cloudai-invite";
/// For clocks that differ.
const LEEWAY_SECONDS: u64 = 5;
/// Characters of a key id.
const KEY_ID: usize = 16;

/// Makes and checks tokens.
pub(super) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    /// Names the key, without telling anything of it.
    key_id: String,
}

/// What every token says. Each field is typed, so a claim of another type makes the token invalid and not the claim
/// absent.
#[derive(Serialize, Deserialize)]
struct Claims<T> {
    sub: UserName,
    iat: u64,
    nbf: u64,
    exp: u64,
    iss: String,
    aud: String,
    jti: String,
    #[serde(flatten)]
    of_kind: T,
}

#[derive(Serialize, Deserialize)]
struct Access {
    /// Of the account when the token was made. Tokens of the first version have none: they count for the first one.
    #[serde(default, rename = "gen")]
    generation: u64,
    /// When the password was given, in seconds; the other tokens of this login have the same.
    auth_time: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Invite {
    role: Role,
}

/// Whom an access token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) user: UserName,
    /// Of the account when the token was made.
    pub(super) generation: u64,
    /// When the password was given, in seconds since 1970.
    pub(super) login: u64,
}

impl Tokens {
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut key_id =
            blake3::derive_key("CloudAI 2026 id of a signing key", secret).map(|byte| format!("{byte:02x}")).concat();
        key_id.truncate(KEY_ID);
        Self { signing: EncodingKey::from_secret(secret), verifying: DecodingKey::from_secret(secret), key_id }
    }

    /// Signs and verifies once, so that what cannot work says so at the start.
    pub(super) fn self_test(&self) -> Result<(), String> {
        let user: UserName = "self-test".parse().map_err(|error| format!("{error}"))?;
        let (token, _) = self.sign(&user, 0, Duration::from_secs(60), None).map_err(|error| error.to_string())?;
        self.verify(&token).map(|_| ()).map_err(|error| error.message)
    }

    /// A token that lets `user` in, and when it expires. `login` is when the password was given, if not now.
    pub(super) fn sign(
        &self,
        user: &UserName,
        generation: u64,
        ttl: Duration,
        login: Option<u64>,
    ) -> Result<(String, WallTime), jsonwebtoken::errors::Error> {
        let auth_time = Some(login.unwrap_or_else(get_current_timestamp));
        self.encode(ACCESS, user, ttl, Access { generation, auth_time })
    }

    /// A token that lets somebody make the account `user`, and when it expires.
    pub(super) fn sign_invite(
        &self,
        user: &UserName,
        role: Role,
        ttl: Duration,
    ) -> Result<(String, WallTime), jsonwebtoken::errors::Error> {
        self.encode(INVITE, user, ttl, Invite { role })
    }

    /// Whom an access token names, if it is good.
    pub(super) fn verify(&self, token: &str) -> Result<Bearer, ApiError> {
        let claims = self.decode::<Access>(ACCESS, token).map_err(|error| {
            let message = match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                _ => "the token is not valid here",
            };
            ApiError::new(ErrorCode::Unauthenticated, message, "log in again: `cloudctl login`")
        })?;
        let Access { generation, auth_time } = claims.of_kind;
        Ok(Bearer { user: claims.sub, generation, login: auth_time.unwrap_or(claims.iat) })
    }

    /// Which account an invitation is for, and with which role.
    pub(super) fn verify_invite(&self, token: &str) -> Result<(UserName, Role), ApiError> {
        let claims = self.decode::<Invite>(INVITE, token).map_err(|error| {
            let message = match error.kind() {
                ErrorKind::ExpiredSignature => "the invitation has expired",
                _ => "the invitation is not valid here",
            };
            ApiError::new(ErrorCode::PermissionDenied, message, "ask an admin for another one")
        })?;
        Ok((claims.sub, claims.of_kind.role))
    }

    fn encode<T: Serialize>(
        &self,
        audience: &str,
        user: &UserName,
        ttl: Duration,
        of_kind: T,
    ) -> Result<(String, WallTime), jsonwebtoken::errors::Error> {
        let now = get_current_timestamp();
        let exp = now.saturating_add(ttl.as_secs());
        let claims = Claims {
            sub: user.clone(),
            iat: now,
            nbf: now,
            exp,
            iss: ISSUER.to_owned(),
            aud: audience.to_owned(),
            jti: Ulid::generate().to_string(),
            of_kind,
        };
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.signing)?;
        Ok((token, WallTime(i64::try_from(exp.saturating_mul(1000)).unwrap_or(i64::MAX))))
    }

    fn decode<T: DeserializeOwned>(
        &self,
        audience: &str,
        token: &str,
    ) -> Result<Claims<T>, jsonwebtoken::errors::Error> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        jsonwebtoken::decode(token, &self.verifying, &validation).map(|data| data.claims)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn claims() -> Value {
        let now = get_current_timestamp();
        json!({"sub": "ann", "gen": 3, "iat": now, "nbf": now, "exp": now + 60, "iss": ISSUER, "aud": ACCESS, "jti": "1"})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[field] = value;
        claims
    }

    fn signed(claims: &Value, algorithm: Algorithm, secret: &[u8]) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).expect("token")
    }

    fn refused(token: &str) -> bool {
        Tokens::new(SECRET).verify(token).is_err_and(|error| error.code == ErrorCode::Unauthenticated)
    }

    #[test]
    fn what_was_signed_is_known_again() {
        let tokens = Tokens::new(SECRET);
        let user: UserName = "ann".parse().expect("a name");
        let (token, expires) = tokens.sign(&user, 3, Duration::from_secs(60), None).expect("signed");
        let bearer = tokens.verify(&token).expect("good");
        assert_eq!((bearer.user, bearer.generation), (user, 3));
        assert!(expires.0 / 1000 >= i64::try_from(get_current_timestamp()).expect("now") + 58);
        assert!(!refused(&signed(&claims(), Algorithm::HS256, SECRET)), "the sample of the other tests is good");
    }

    #[test]
    fn the_time_of_the_login_is_kept() {
        let tokens = Tokens::new(SECRET);
        let user: UserName = "ann".parse().expect("a name");
        let login = get_current_timestamp() - 1000;
        let (token, _) = tokens.sign(&user, 0, Duration::from_secs(60), Some(login)).expect("signed");
        assert_eq!(tokens.verify(&token).expect("good").login, login);
        let older = signed(&claims(), Algorithm::HS256, SECRET);
        assert!(tokens.verify(&older).expect("good").login > login, "one without it counts from its own start");
    }

    #[test]
    fn an_invitation_lets_nobody_in_and_a_login_invites_nobody() {
        let tokens = Tokens::new(SECRET);
        let user: UserName = "ann".parse().expect("a name");
        let minute = Duration::from_secs(60);
        let (invite, _) = tokens.sign_invite(&user, Role::ReadOnly, minute).expect("signed");
        assert_eq!(tokens.verify_invite(&invite), Ok((user.clone(), Role::ReadOnly)));
        assert!(refused(&invite));
        let (login, _) = tokens.sign(&user, 0, minute, None).expect("signed");
        assert!(tokens.verify_invite(&login).is_err_and(|error| error.code == ErrorCode::PermissionDenied));
    }

    #[test]
    fn a_key_is_named_without_being_told() {
        let kid = |secret: &[u8]| Tokens::new(secret).key_id;
        assert_eq!(kid(SECRET), kid(SECRET));
        assert_ne!(kid(SECRET), kid(b"another secret, just as long as it"));
        assert_eq!(kid(SECRET).len(), KEY_ID);
    }

    #[test]
    fn another_secret_or_algorithm_is_refused() {
        assert!(refused(&signed(&claims(), Algorithm::HS256, b"another secret, just as long as it")));
        assert!(refused(&signed(&claims(), Algorithm::HS512, SECRET)));
        assert!(refused("") && refused("a.b.c"));
    }

    #[test]
    fn a_token_that_says_it_needs_no_signature_is_refused() {
        let good = signed(&claims(), Algorithm::HS256, SECRET);
        let payload = good.split('.').nth(1).expect("three parts");
        // {"alg":"none","typ":"JWT"} in base64url.
        let header = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        assert!(refused(&format!("{header}.{payload}.")));
        assert!(refused(&format!("{header}.{payload}.{}", good.split('.').nth(2).expect("three parts"))));
    }

    #[test]
    fn expired_early_foreign_and_incomplete_tokens_are_refused() {
        let now = get_current_timestamp();
        let cases = [
            ("exp", json!(now - LEEWAY_SECONDS - 2)),
            ("nbf", json!(now + LEEWAY_SECONDS + 60)),
            ("aud", json!("another-api")),
            ("iss", json!("somebody")),
            ("sub", json!("../ann")),
        ];
        for (field, value) in cases {
            assert!(refused(&signed(&with(field, value), Algorithm::HS256, SECRET)), "{field}");
        }
        for field in ["sub", "nbf", "exp", "iss", "aud"] {
            let mut claims = claims();
            claims.as_object_mut().expect("an object").remove(field);
            assert!(refused(&signed(&claims, Algorithm::HS256, SECRET)), "without {field}");
        }
    }

    #[test]
    fn claims_of_the_wrong_type_are_not_taken_as_absent() {
        let far = (get_current_timestamp() + 3600).to_string();
        let cases = [
            ("exp", json!(far)),
            ("nbf", json!("0")),
            ("exp", json!(1e300)),
            ("exp", json!(null)),
            ("sub", json!(["ann"])),
            ("gen", json!("3")),
            ("auth_time", json!("0")),
            ("iss", json!({"cloudai": 1})),
        ];
        for (field, value) in cases {
            assert!(refused(&signed(&with(field, value.clone()), Algorithm::HS256, SECRET)), "{field}: {value}");
        }
    }
}
