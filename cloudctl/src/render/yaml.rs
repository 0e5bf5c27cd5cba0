//! Results in YAML.

use serde::Serialize;
use serde_saphyr::ser_error::Error;

use super::View;

/// One document.
pub(super) fn render(view: &View) -> Result<Vec<u8>, Error> {
    document(view)
}

/// Anything, with a line end.
pub(super) fn document<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text.into_bytes())
}
