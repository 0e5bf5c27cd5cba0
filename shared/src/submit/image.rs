//! Image references.

use super::invalid;
use crate::error::ApiError;
use crate::reference::ImageReference;

/// The shape of an image reference; whether it exists is for the engine to find out.
pub(super) fn check(image: &str) -> Result<(), ApiError> {
    const HINT: &str = "give a reference such as docker.io/library/alpine:3.20 or ubuntu@sha256:<64 hex digits>";
    match image.parse::<ImageReference>() {
        Ok(_) => Ok(()),
        Err(why) => {
            let shown: String = image.chars().take(80).collect::<String>().escape_debug().to_string();
            Err(invalid(format!("image: `{shown}` {why}"), HINT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_reference_is_refused_and_shown_on_one_short_line() {
        assert_eq!(check("docker.io/u/sample-task:latest"), Ok(()));
        let refused = |image: &str| check(image).expect_err("no reference").message;
        assert_eq!(refused("x\ny"), "image: `x\\ny` is not an image reference (names are lower case)");
        assert_eq!(refused(&"X".repeat(9000)).len(), refused("X").len() + 79);
    }
}
