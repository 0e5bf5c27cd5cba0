//! Signed tokens: JWTs with HS256 and nothing else, whatever their header says.
//!
//! Each kind has an audience of its own, so that one can never pass for the other. A token that lets in names its user and
//! its login; whether that goes on, and what the user may do, is looked up, so that it is never older than the account.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, get_current_timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::error::{ApiError, ErrorCode};
use shared::id::{LoginId, UserName};
use shared::role::Role;
use shared::time::WallTime;
use ulid::Ulid;

use super::keys::Keys;

const ISSUER: &str = "cloudai";
/// Lets its bearer in.
const ACCESS: &str = "cloudai-api";
/// Lets its bearer make the account that it names.
const INVITE: &str = "cloudai-invite";
/// For clocks that differ.
const LEEWAY_SECONDS: u64 = 5;

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
    /// The login that the token is of.
    sid: LoginId,
}

#[derive(Serialize, Deserialize)]
struct Invite {
    role: Role,
}

impl Keys {
    /// Signs and verifies once, so that what cannot work says so at the start.
    pub(super) fn self_test(&self) -> Result<(), String> {
        let user: UserName = "self-test".parse().map_err(|error| format!("{error}"))?;
        let login = LoginId(Ulid::nil());
        let (token, _) = self.sign(&user, login, Duration::from_secs(60)).map_err(|error| error.to_string())?;
        self.verify(&token).map(|_| ()).map_err(|error| error.message)
    }

    /// A token that lets `user` in while `login` lasts, and when it expires.
    pub(super) fn sign(
        &self,
        user: &UserName,
        login: LoginId,
        ttl: Duration,
    ) -> Result<(String, WallTime), jsonwebtoken::errors::Error> {
        self.encode(ACCESS, user, ttl, Access { sid: login })
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

    /// Whom an access token names, if it is good, and its login.
    pub(super) fn verify(&self, token: &str) -> Result<(UserName, LoginId), ApiError> {
        let claims = self.decode::<Access>(ACCESS, token).map_err(|error| {
            ApiError::new(ErrorCode::Unauthenticated, why("token", &error), "log in again: `cloudctl login`")
        })?;
        Ok((claims.sub, claims.of_kind.sid))
    }

    /// Which account an invitation is for, and with which role.
    pub(super) fn verify_invite(&self, token: &str) -> Result<(UserName, Role), ApiError> {
        let claims = self.decode::<Invite>(INVITE, token).map_err(|error| {
            ApiError::new(ErrorCode::PermissionDenied, why("invitation", &error), "ask an admin for another one")
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
        let ring = self.ring();
        let header = Header { kid: Some(ring.newest.id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &ring.newest.signing)?;
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
        // The header is only asked which key of ours it was.
        let header = jsonwebtoken::decode_header(token)?;
        let ring = self.ring();
        let key = header.kid.and_then(|kid| ring.find(&kid)).ok_or(ErrorKind::InvalidSignature)?;
        jsonwebtoken::decode(token, &key.verifying, &validation).map(|data| data.claims)
    }
}

/// What is wrong with a `thing`.
fn why(thing: &str, error: &jsonwebtoken::errors::Error) -> String {
    match error.kind() {
        ErrorKind::ExpiredSignature => format!("the {thing} has expired"),
        _ => format!("the {thing} is not valid here"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    use jsonwebtoken::EncodingKey;

    use crate::config::Secret;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const ANOTHER: &str = "another secret, just as long as it";
    const LOGIN: &str = "01arz3ndektsv4rrffq69g5fav";

    fn keys(newest: &str, previous: Option<&str>) -> Keys {
        let secret = |text: &str| Secret::new(text);
        let (newest, previous) = (secret(newest), previous.map(secret));
        Keys::load(Some((&newest, previous.as_ref())), std::path::Path::new("/nowhere")).expect("keys")
    }

    fn login() -> LoginId {
        LOGIN.parse().expect("a login")
    }

    fn claims() -> Value {
        let now = get_current_timestamp();
        json!({"sub": "ann", "sid": LOGIN, "iat": now, "nbf": now, "exp": now + 60, "iss": ISSUER, "aud": ACCESS, "jti": "1"})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[field] = value;
        claims
    }

    /// Signed with `secret`, and says that it was our key.
    fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
        let header = Header { kid: Some(keys(SECRET, None).ring().newest.id.clone()), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).expect("token")
    }

    fn refused(token: &str) -> bool {
        keys(SECRET, None).verify(token).is_err_and(|error| error.code == ErrorCode::Unauthenticated)
    }

    #[test]
    fn what_was_signed_is_known_again() {
        let keys = keys(SECRET, None);
        let user: UserName = "ann".parse().expect("a name");
        let (token, expires) = keys.sign(&user, login(), Duration::from_secs(60)).expect("signed");
        assert_eq!(keys.verify(&token).expect("good"), (user, login()));
        assert!(expires.0 / 1000 >= i64::try_from(get_current_timestamp()).expect("now") + 58);
        assert!(!refused(&signed(&claims(), Algorithm::HS256, SECRET)), "the sample of the other tests is good");
    }

    #[test]
    fn the_key_before_the_newest_is_good_for_what_it_has_signed() {
        let user: UserName = "ann".parse().expect("a name");
        let (token, _) = keys(SECRET, None).sign(&user, login(), Duration::from_secs(60)).expect("signed");
        assert!(keys(ANOTHER, Some(SECRET)).verify(&token).is_ok());
        assert!(keys(ANOTHER, None).verify(&token).is_err());
    }

    #[test]
    fn a_token_of_no_key_or_another_is_refused() {
        let secret = EncodingKey::from_secret(SECRET.as_bytes());
        for kid in [None, Some("0123456789abcdef"), Some("../jwt.secret"), Some("")] {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
            assert!(refused(&jsonwebtoken::encode(&header, &claims(), &secret).expect("token")), "{kid:?}");
        }
    }

    #[test]
    fn an_invitation_lets_nobody_in_and_a_login_invites_nobody() {
        let tokens = keys(SECRET, None);
        let user: UserName = "ann".parse().expect("a name");
        let minute = Duration::from_secs(60);
        let (invite, _) = tokens.sign_invite(&user, Role::ReadOnly, minute).expect("signed");
        assert_eq!(tokens.verify_invite(&invite), Ok((user.clone(), Role::ReadOnly)));
        assert!(refused(&invite));
        let (login, _) = tokens.sign(&user, login(), minute).expect("signed");
        assert!(tokens.verify_invite(&login).is_err_and(|error| error.code == ErrorCode::PermissionDenied));
    }

    #[test]
    fn another_secret_or_algorithm_is_refused() {
        assert!(refused(&signed(&claims(), Algorithm::HS256, ANOTHER)));
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
        for field in ["sub", "sid", "nbf", "exp", "iss", "aud"] {
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
            ("sid", json!(3)),
            ("sid", json!("3")),
            ("iss", json!({"cloudai": 1})),
        ];
        for (field, value) in cases {
            assert!(refused(&signed(&with(field, value.clone()), Algorithm::HS256, SECRET)), "{field}: {value}");
        }
    }
}
