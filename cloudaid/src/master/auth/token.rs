//! Bearer tokens: JWTs signed with HS256 and nothing else, whatever their header says.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, get_current_timestamp};
use serde::{Deserialize, Serialize};
use shared::error::{ApiError, ErrorCode};
use shared::id::UserName;
use shared::time::WallTime;
use shared::view::Role;
use ulid::Ulid;

use super::Principal;

const ISSUER: &str = "cloudai";
const AUDIENCE: &str = "cloudai-api";
/// For clocks that differ.
const LEEWAY_SECONDS: u64 = 5;

/// Makes and checks tokens.
pub(super) struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

/// What a token says. Each field is typed, so a claim of another type makes the token invalid and not the claim absent.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserName,
    role: Role,
    iat: u64,
    /// When the password was given, in seconds; the other tokens of this login have the same.
    auth_time: Option<u64>,
    nbf: u64,
    exp: u64,
    iss: String,
    aud: String,
    jti: String,
}

impl Tokens {
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        Self { signing: EncodingKey::from_secret(secret), verifying: DecodingKey::from_secret(secret), validation }
    }

    /// Signs and verifies once, so that what cannot work says so at the start.
    pub(super) fn self_test(&self) -> Result<(), String> {
        let user: UserName = "self-test".parse().map_err(|error| format!("{error}"))?;
        let (token, _) =
            self.sign(&user, Role::User, Duration::from_secs(60), None).map_err(|error| error.to_string())?;
        self.verify(&token).map(|_| ()).map_err(|error| error.message)
    }

    /// A token for `user`, and when it expires. `login` is when the password was given, if not now.
    pub(super) fn sign(
        &self,
        user: &UserName,
        role: Role,
        ttl: Duration,
        login: Option<u64>,
    ) -> Result<(String, WallTime), jsonwebtoken::errors::Error> {
        let now = get_current_timestamp();
        let exp = now.saturating_add(ttl.as_secs());
        let claims = Claims {
            sub: user.clone(),
            role,
            iat: now,
            auth_time: Some(login.unwrap_or(now)),
            nbf: now,
            exp,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            jti: Ulid::generate().to_string(),
        };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, WallTime(i64::try_from(exp.saturating_mul(1000)).unwrap_or(i64::MAX))))
    }

    pub(super) fn verify(&self, token: &str) -> Result<Principal, ApiError> {
        self.verify_with_login(token).map(|(principal, _)| principal)
    }

    /// Also when the password was given, in seconds.
    pub(super) fn verify_with_login(&self, token: &str) -> Result<(Principal, u64), ApiError> {
        let data = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation).map_err(|error| {
            let message = match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                _ => "the token is not valid here",
            };
            ApiError::new(ErrorCode::Unauthenticated, message, "log in again: `cloudctl login`")
        })?;
        let Claims { sub: user, role, iat, auth_time, .. } = data.claims;
        Ok((Principal { user, role }, auth_time.unwrap_or(iat)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn claims() -> Value {
        let now = get_current_timestamp();
        json!({"sub": "ann", "role": "user", "iat": now, "nbf": now, "exp": now + 60, "iss": ISSUER, "aud": AUDIENCE, "jti": "1"})
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
        let (token, expires) = tokens.sign(&user, Role::Admin, Duration::from_secs(60), None).expect("signed");
        assert_eq!(tokens.verify(&token), Ok(Principal { user, role: Role::Admin }));
        assert!(expires.0 / 1000 >= i64::try_from(get_current_timestamp()).expect("now") + 58);
        assert!(!refused(&signed(&claims(), Algorithm::HS256, SECRET)), "the sample of the other tests is good");
    }

    #[test]
    fn the_time_of_the_login_is_kept() {
        let tokens = Tokens::new(SECRET);
        let user: UserName = "ann".parse().expect("a name");
        let login = get_current_timestamp() - 1000;
        let (token, _) = tokens.sign(&user, Role::User, Duration::from_secs(60), Some(login)).expect("signed");
        assert_eq!(tokens.verify_with_login(&token).expect("good").1, login);
        let older = signed(&claims(), Algorithm::HS256, SECRET);
        assert!(tokens.verify_with_login(&older).expect("good").1 > login, "one without it counts from its own start");
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
            ("role", json!("root")),
            ("sub", json!("../ann")),
        ];
        for (field, value) in cases {
            assert!(refused(&signed(&with(field, value), Algorithm::HS256, SECRET)), "{field}");
        }
        for field in ["sub", "role", "nbf", "exp", "iss", "aud"] {
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
            ("role", json!(1)),
            ("auth_time", json!("0")),
            ("iss", json!({"cloudai": 1})),
        ];
        for (field, value) in cases {
            assert!(refused(&signed(&with(field, value.clone()), Algorithm::HS256, SECRET)), "{field}: {value}");
        }
    }
}
