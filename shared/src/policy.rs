//! How long a task may wait and run, and whether it runs again.

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::span::Span;
use crate::submit::invalid;
use crate::task::Verdict;

pub use backoff::{Backoff, InvalidBackoff};
pub use retry_on::{InvalidRetryOn, RetryOn};

mod backoff;
mod retry_on;

/// The environment variable that tells a task with retries which run of it this is: 1 is the first.
pub const ATTEMPT_VARIABLE: &str = "CLOUDAI_ATTEMPT";
/// The least and the most time that a task may be given to run or to wait.
pub const LIMIT_RANGE: (Span, Span) = (Span::seconds(1), Span::seconds(366 * 86_400));
/// The longest time between TERM and KILL.
pub const GRACE_MAX: Span = Span::seconds(3600);
/// The most retries.
pub const RETRIES_MAX: u32 = 100;
/// The longest pause before a retry.
pub const BACKOFF_MAX: Span = Span::seconds(86_400);
/// The most kinds of failure that a task may name.
pub const RETRY_ON_LIMIT: usize = 64;

/// What a submission says about time and retries, validated. What infrastructure does to a run is apart from that: see the
/// setting `limits.infrastructure_attempts`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct RunPolicy {
    /// How long its container may run, image pull not counted. Then it is stopped, with the verdict `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_limit: Option<Span>,
    /// How long it may wait for a worker at a time. Then it fails, with the verdict `queue_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_time_limit: Option<Span>,
    /// Between TERM and KILL, where it is cancelled or has run too long; none: the setting `limits.stop_grace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_grace: Option<Span>,
    /// How often it runs again after a failure of its own.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// After which failures; none are named: `exit`, `signal`, `oom`, `timeout` and `disk`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub retry_on: Vec<RetryOn>,
    /// The pause before a retry; none: [`Backoff::DEFAULT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// After it was out of memory it runs again with twice as much, up to so many bytes; none: always with what it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_max_bytes: Option<u64>,
    /// Once its container may have been started it is never started again, whatever becomes of its worker.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_most_once: bool,
    /// It stands still while its log cannot be brought to the master as fast as it is written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocking_log: bool,
    /// Whether it did not say how much it stores: the default is only reserved for it, and it may store more while its worker's
    /// disk has room. A strict task is held to it all the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub storage_reserved: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl RunPolicy {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a task runs again that has ended in this way, so many failures of its own being this one and those before.
    #[must_use]
    pub fn wants_retry(&self, verdict: &Verdict, failures: u32) -> bool {
        let on: &[RetryOn] = if self.retry_on.is_empty() { &RetryOn::DEFAULT } else { &self.retry_on };
        failures <= self.retries && on.iter().any(|on| on.matches(verdict))
    }

    /// Checks ranges, and that what is said goes together.
    ///
    /// # Errors
    /// [`crate::error::ErrorCode::InvalidArgument`], with the field's name in the message.
    pub fn check(&self) -> Result<(), ApiError> {
        let range = |field: &str, span: Option<Span>, (least, most): (Span, Span)| match span {
            Some(span) if !(least..=most).contains(&span) => {
                Err(invalid(format!("{field}: {span} is out of range"), format!("give {least} to {most}")))
            }
            Some(_) | None => Ok(()),
        };
        range("time_limit", self.time_limit, LIMIT_RANGE)?;
        range("queue_time_limit", self.queue_time_limit, LIMIT_RANGE)?;
        range("stop_grace", self.stop_grace, (Span::default(), GRACE_MAX))?;
        if self.retries > RETRIES_MAX {
            let message = format!("retries: {} is out of range", self.retries);
            return Err(invalid(message, format!("give 0 to {RETRIES_MAX}")));
        }
        if self.retries == 0 && !(self.retry_on.is_empty() && self.backoff.is_none()) {
            let field = if self.retry_on.is_empty() { "backoff" } else { "retry_on" };
            return Err(invalid(format!("{field}: says nothing without retries"), "give retries too: 1 or more"));
        }
        if self.memory_max_bytes.is_some() && !self.wants_retry(&Verdict::oom(0), 1) {
            let hint = "give retries too, and let retry_on name oom if it names anything";
            return Err(invalid("mem_max: says nothing without retries after an oom", hint));
        }
        if self.retry_on.len() > RETRY_ON_LIMIT {
            let message = format!("retry_on: {} are too many", self.retry_on.len());
            return Err(invalid(message, format!("give at most {RETRY_ON_LIMIT}")));
        }
        if let Some(Backoff { first, most }) = self.backoff {
            range("backoff", Some(first), (Span::default(), BACKOFF_MAX))?;
            range("backoff", Some(most), (first, BACKOFF_MAX))?;
        }
        if self.at_most_once && self.retries > 0 {
            let hint = "leave one of them out: what may run once at most is not run again";
            return Err(invalid("at_most_once: does not go with retries", hint));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(), String> {
        let policy: RunPolicy = serde_json::from_str(json).map_err(|error| error.to_string())?;
        policy.check().map_err(|error| error.message)
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        assert_eq!(check("{}"), Ok(()));
        let good = r#"{"time_limit":"10m","queue_time_limit":60,"stop_grace":0,"retries":2,"retry_on":["oom","exit:3"],
            "backoff":"10s..5m"}"#;
        assert_eq!(check(good), Ok(()));
        for (bad, field) in [
            (r#"{"time_limit":"0s"}"#, "time_limit"),
            (r#"{"time_limit":"10000h"}"#, "time_limit"),
            (r#"{"queue_time_limit":"1ms"}"#, "queue_time_limit"),
            (r#"{"stop_grace":"2h"}"#, "stop_grace"),
            (r#"{"retries":101}"#, "retries"),
            (r#"{"retry_on":["oom"]}"#, "retry_on"),
            (r#"{"backoff":"1s"}"#, "backoff"),
            (r#"{"retries":1,"backoff":"48h"}"#, "backoff"),
            (r#"{"retries":1,"at_most_once":true}"#, "at_most_once"),
            (r#"{"memory_max_bytes":1}"#, "mem_max"),
            (r#"{"retries":1,"retry_on":["exit:1"],"memory_max_bytes":1}"#, "mem_max"),
        ] {
            assert!(check(bad).expect_err(bad).starts_with(field), "{bad}");
        }
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        assert_eq!(serde_json::to_string(&RunPolicy::default()).expect("json"), "{}");
        let policy = RunPolicy { retries: 1, backoff: Some(Backoff::DEFAULT), ..RunPolicy::default() };
        assert_eq!(serde_json::to_string(&policy).expect("json"), r#"{"retries":1,"backoff":"10s..5m"}"#);
    }
}
