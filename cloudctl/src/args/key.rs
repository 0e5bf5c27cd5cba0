//! Idempotency keys.

/// The longest key that the server takes, in bytes.
const LONGEST: usize = 255;

/// Takes what the server will take.
pub(super) fn idempotency_key(text: &str) -> Result<String, String> {
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_printable && (1..=LONGEST).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(format!("a key is 1 to {LONGEST} printable ASCII characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printable() {
        for good in ["a", "run 7~", &"x".repeat(LONGEST)] {
            assert_eq!(idempotency_key(good).as_deref(), Ok(good));
        }
        for bad in ["", "a\nb", "\u{e4}", &"x".repeat(LONGEST + 1)] {
            assert!(idempotency_key(bad).is_err(), "{bad:?}");
        }
    }
}
