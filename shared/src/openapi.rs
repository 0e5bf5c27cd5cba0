//! How types that are texts in JSON are described in the specification of the HTTP API.

use std::borrow::Cow;

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{ArrayBuilder, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::audit::Seal;
use crate::id::{ClusterId, ElementId, InputId, TaskId, TaskRef, TokenId, UserName, WorkerId};
use crate::policy::Backoff;
use crate::resources::Quantity;
use crate::span::Span;
use crate::task::Command;
use crate::time::WallTime;

/// 26 characters of Crockford's base 32, in lower case.
const ULID: &str = "[0-7][0-9a-hjkmnp-tv-z]{25}";

macro_rules! text {
    ($($type:ident: $description:literal, $pattern:expr, $example:literal;)*) => {
        $(
            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    let text = ObjectBuilder::new().schema_type(Type::String).description(Some($description));
                    text.pattern(Some($pattern)).examples([$example]).into()
                }
            }

            impl ToSchema for $type {
                fn name() -> Cow<'static, str> {
                    stringify!($type).into()
                }
            }
        )*
    };
}

text! {
    ClusterId: "Names the cluster", format!("^{ULID}$"), "01arz3ndektsv4rrffq69g5fav";
    TokenId: "A personal token; no secret", format!("^{ULID}$"), "01arz3ndektsv4rrffq69g5fav";
    InputId: "Uploaded files", format!("^input-{ULID}$"), "input-01arz3ndektsv4rrffq69g5fav";
    TaskId: "A task", format!("^task-{ULID}$"), "task-01arz3ndektsv4rrffq69g5fav";
    ElementId: "One element of a task", format!(r"^task-{ULID}\.[0-9]+$"), "task-01arz3ndektsv4rrffq69g5fav.7";
    TaskRef: "A task, one element of an array (`.7`), or several (`.0-9`)", format!(r"^task-{ULID}(\.[0-9]{{1,9}}(-[0-9]{{1,9}})?)?$"),
        "task-01arz3ndektsv4rrffq69g5fav";
    UserName: "The name of a user", "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$".to_owned(), "ann";
    WorkerId: "The name of a worker", "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$".to_owned(), "worker-1";
    Backoff: "A pause that doubles up to the longest", r"^[0-9a-z.]+?(\.\.[0-9a-z.]+)?$".to_owned(), "10s..5m";
    Seal: "SHA-256, as hex", "^[0-9a-f]{64}$".to_owned(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
}

impl PartialSchema for WallTime {
    fn schema() -> RefOr<Schema> {
        let time = ObjectBuilder::new().schema_type(Type::String).description(Some("A point in time, in UTC"));
        let format = Some(SchemaFormat::KnownFormat(KnownFormat::DateTime));
        time.format(format).examples(["2026-11-23T17:42:39.120Z"]).into()
    }
}

impl ToSchema for WallTime {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.0));
        let text = ObjectBuilder::new().schema_type(Type::String).examples(["1h30m"]);
        let both = OneOfBuilder::new().item(number).item(text);
        both.description(Some("A time: a text such as `90s`, `10m`, `1h30m`, `7d`, or a number of seconds")).into()
    }
}

impl ToSchema for Span {
    fn name() -> Cow<'static, str> {
        "Span".into()
    }
}

impl PartialSchema for Quantity {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0.0));
        let text = ObjectBuilder::new().schema_type(Type::String).examples(["512MiB"]);
        let both = OneOfBuilder::new().item(number).item(text);
        both.description(Some("A number of cores, GPUs or GiB, or a text with a unit: `500m`, `512MiB`")).into()
    }
}

impl ToSchema for Quantity {
    fn name() -> Cow<'static, str> {
        "Quantity".into()
    }
}

impl PartialSchema for Command {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let line = text().description(Some("A line for `/bin/sh -c`"));
        let list = ArrayBuilder::new().items(text()).description(Some("Program and arguments, no shell"));
        let nothing = ObjectBuilder::new().schema_type(Type::Null).description(Some("What the image says"));
        OneOfBuilder::new().item(line).item(list).item(nothing).into()
    }
}

impl ToSchema for Command {
    fn name() -> Cow<'static, str> {
        "Command".into()
    }
}
