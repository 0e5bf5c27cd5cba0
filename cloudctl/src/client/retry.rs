//! Asking again: for requests that may be repeated without harm.

use std::time::Duration;

use crate::exit::CtlError;

/// How long to wait before each further try. Together long enough for a master to be started again.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// Calls until it works, until it fails for good, or until it was tried often enough. `notice` is told of the first
/// failure that is not the last word.
pub(crate) async fn with_retries<T, F: Future<Output = Result<T, CtlError>>>(
    notice: impl Fn(&CtlError),
    call: impl Fn() -> F,
) -> Result<T, CtlError> {
    for (tries, pause) in PAUSES.into_iter().enumerate() {
        match call().await {
            Err(error) if error.is_transient() => {
                if tries == 0 {
                    notice(&error);
                }
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    call().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use shared::error::{ApiError, ErrorCode};

    use super::*;

    async fn run(failures: u32, code: ErrorCode) -> (Result<u32, CtlError>, u32, u32) {
        let (calls, notices) = (Cell::new(0), Cell::new(0));
        let result = with_retries(
            |_| notices.set(notices.get() + 1),
            || async {
                calls.set(calls.get() + 1);
                if calls.get() <= failures { Err(ApiError::new(code, "", "").into()) } else { Ok(calls.get()) }
            },
        )
        .await;
        (result, calls.get(), notices.get())
    }

    #[tokio::test]
    async fn an_unknown_outcome_is_asked_again() {
        let (result, calls, notices) = run(2, ErrorCode::OutcomeUnknown).await;
        assert_eq!((result.ok(), calls, notices), (Some(3), 3, 1));
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let (result, calls, notices) = run(9, ErrorCode::InvalidArgument).await;
        assert!(result.is_err());
        assert_eq!((calls, notices), (1, 0));
    }
}
