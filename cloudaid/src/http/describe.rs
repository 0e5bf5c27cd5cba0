//! What a path does, in words and types: each entry of the list carries it, and all together are the specification.
//!
//! What is the same everywhere is added here: how one proves who one is, the parameters of the path, and the refusals that
//! any call may meet.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use shared::error::{ErrorBody, ErrorCode};
use utoipa::ToSchema;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem,
    Paths, Ref, RefOr, Required, Response, ResponseBuilder,
};

use super::routes::{Listed, Right};

const JSON: &str = "application/json";
/// The same where a personal token is not enough. One or the other: the order of two would be left to chance.
const LEAST_ROLE_BY_LOGIN: &str = "x-least-role-by-login";
/// The least role that may call; without it anybody may.
const LEAST_ROLE: &str = "x-least-role";
/// Bytes of no known kind.
pub(super) const BYTES: &str = "application/octet-stream";
/// What any call may be refused with, whoever calls and whatever the path.
const ANY: [ErrorCode; 6] = [
    ErrorCode::InvalidArgument,
    ErrorCode::PermissionDenied,
    ErrorCode::ResourceExhausted,
    ErrorCode::Internal,
    ErrorCode::Unavailable,
    ErrorCode::OutcomeUnknown,
];

/// The schemas that something refers to, by name.
type Schemas = BTreeMap<String, RefOr<Schema>>;

/// What is said of a path.
#[derive(Clone, Default)]
pub(super) struct Doc {
    summary: &'static str,
    about: Option<&'static str>,
    parameters: Vec<Parameter>,
    body: Option<RequestBody>,
    answers: Vec<(StatusCode, Response)>,
    errors: Vec<ErrorCode>,
    schemas: Schemas,
}

/// Begins with what it does, in a few words.
pub(super) fn doc(summary: &'static str) -> Doc {
    Doc { summary, ..Doc::default() }
}

impl Doc {
    /// More of it.
    pub(super) fn about(mut self, text: &'static str) -> Self {
        self.about = Some(text);
        self
    }

    /// A parameter of the query that may be left out.
    pub(super) fn query(self, name: &str, schema: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.parameter(ParameterIn::Query, Required::False, name, schema.into(), text)
    }

    /// One that may not.
    pub(super) fn needs(self, name: &str, schema: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.parameter(ParameterIn::Query, Required::True, name, schema.into(), text)
    }

    /// A parameter of the query of a type of ours.
    pub(super) fn query_of<T: ToSchema>(mut self, name: &str, text: &str) -> Self {
        let schema = self.refer::<T>();
        self.query(name, schema, text)
    }

    /// A header that may be left out.
    pub(super) fn header(self, name: &str, schema: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.parameter(ParameterIn::Header, Required::False, name, schema.into(), text)
    }

    /// What stands in the path. What is not said of it is a text.
    pub(super) fn path_of<T: ToSchema>(mut self, name: &str, text: &str) -> Self {
        let schema = self.refer::<T>();
        self.parameter(ParameterIn::Path, Required::True, name, schema, text)
    }

    /// The same, of no type of ours.
    pub(super) fn path(self, name: &str, schema: impl Into<RefOr<Schema>>, text: &str) -> Self {
        self.parameter(ParameterIn::Path, Required::True, name, schema.into(), text)
    }

    /// What has to be sent, as JSON.
    pub(super) fn body<T: ToSchema>(self) -> Self {
        self.json_body::<T>(Required::True)
    }

    /// What may be sent, as JSON.
    pub(super) fn maybe_body<T: ToSchema>(self) -> Self {
        self.json_body::<T>(Required::False)
    }

    /// Another form of what may be sent.
    pub(super) fn or_body(mut self, kind: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        self.body.get_or_insert_default().content.insert(kind.to_owned(), content.into());
        self
    }

    /// A success with JSON.
    pub(super) fn answers<T: ToSchema>(mut self, status: StatusCode, text: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(self.refer::<T>())).build();
        self.answers.push((status, ResponseBuilder::new().description(text).content(JSON, content).build()));
        self
    }

    /// Another form of the last answer.
    pub(super) fn or_answers(mut self, kind: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        if let Some((_, answer)) = self.answers.last_mut() {
            let content = ContentBuilder::new().schema(Some(schema)).build();
            answer.content.insert(kind.to_owned(), content.into());
        }
        self
    }

    /// A success with something else.
    pub(super) fn answers_as(mut self, status: StatusCode, kind: &str, schema: Schema, text: &str) -> Self {
        let content = ContentBuilder::new().schema(Some(schema)).build();
        self.answers.push((status, ResponseBuilder::new().description(text).content(kind, content).build()));
        self
    }

    /// A header of the last answer, which is not always there.
    pub(super) fn says(mut self, name: &str, about: &str) -> Self {
        if let Some((_, answer)) = self.answers.last_mut() {
            let header = HeaderBuilder::new().schema(Some(text())).description(Some(about)).build();
            answer.headers.insert(name.to_owned(), header.into());
        }
        self
    }

    /// A success without a body.
    pub(super) fn done(mut self, status: StatusCode, text: &str) -> Self {
        self.answers.push((status, ResponseBuilder::new().description(text).build()));
        self
    }

    /// What it may be refused with, besides what everything may.
    pub(super) fn refused(mut self, codes: &[ErrorCode]) -> Self {
        self.errors.extend(codes);
        self
    }

    fn json_body<T: ToSchema>(mut self, required: Required) -> Self {
        let content = ContentBuilder::new().schema(Some(self.refer::<T>())).build();
        self.errors.extend([ErrorCode::TooLarge, ErrorCode::Timeout]);
        self.body = Some(RequestBodyBuilder::new().content(JSON, content).required(Some(required)).build());
        self
    }

    fn parameter(
        mut self,
        place: ParameterIn,
        required: Required,
        name: &str,
        schema: RefOr<Schema>,
        text: &str,
    ) -> Self {
        let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        self.parameters.push(parameter.schema(Some(schema)).description(Some(text)).build());
        self
    }

    /// Refers to a type, and keeps what it is made of.
    pub(super) fn refer<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        self.schemas.extend(found);
        Ref::from_schema_name(T::name()).into()
    }

    fn operation(&self, listed: &Listed) -> Operation {
        let mut operation = OperationBuilder::new()
            .tag(tag(listed.path))
            .summary(Some(self.summary))
            .operation_id(Some(operation_id(&listed.method, listed.path)))
            .request_body(self.body.clone());
        let role = match listed.right.least_role() {
            None => "Anybody may call it.".to_owned(),
            Some(role) => {
                let by_login = listed.right == Right::Own;
                let extensions = ExtensionsBuilder::new()
                    .add(if by_login { LEAST_ROLE_BY_LOGIN } else { LEAST_ROLE }, role.as_str());
                operation = operation.extensions(Some(extensions.build()));
                let but = if by_login { ", and a login: a personal token does not do" } else { "" };
                format!("Needs the role `{role}`{but}.")
            }
        };
        let about = self.about.map_or_else(|| role.clone(), |about| format!("{about}\n\n{role}"));
        operation = operation.description(Some(about));
        for parameter in &self.parameters {
            operation = operation.parameter(parameter.clone());
        }
        for (status, answer) in &self.answers {
            operation = operation.response(status.as_str(), answer.clone());
        }
        for (status, codes) in self.refusals(listed.right) {
            operation = operation.response(status.to_string(), refusal(status, &codes).build());
        }
        if listed.right != Right::Public {
            operation = operation
                .security(SecurityRequirement::new("bearer", Vec::<String>::new()))
                .security(SecurityRequirement::new("cookie", Vec::<String>::new()));
        }
        operation.build()
    }

    /// By status.
    fn refusals(&self, right: Right) -> BTreeMap<u16, Vec<ErrorCode>> {
        let known = (right != Right::Public).then_some(ErrorCode::Unauthenticated);
        let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
        for code in ANY.into_iter().chain(known).chain(self.errors.iter().copied()) {
            let codes = by_status.entry(code.http()).or_default();
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        by_status
    }
}

fn refusal(status: u16, codes: &[ErrorCode]) -> ResponseBuilder {
    let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    let response = ResponseBuilder::new().description(names.join(", ")).content(JSON, content);
    if matches!(status, 429 | 503) {
        let seconds = HeaderBuilder::new().schema(Some(whole(1, None))).description(Some("Seconds until it may work"));
        return response.header("Retry-After", seconds.build());
    }
    response
}

/// `getTasksId` for `GET /api/tasks/{id}`.
fn operation_id(method: &Method, path: &str) -> String {
    let mut id = method.as_str().to_ascii_lowercase();
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty() && *word != "api");
    for word in words {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    id
}

/// The noun that a path is about.
fn tag(path: &'static str) -> &'static str {
    path.trim_start_matches("/api").split('/').find(|part| !part.is_empty()).unwrap_or("api")
}

/// A text.
pub(super) fn text() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).into()
}

/// One of these texts.
pub(super) fn one_of(values: &[&str]) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(values.iter().copied())).into()
}

/// A text that a pattern describes.
pub(super) fn pattern(pattern: &str) -> Schema {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).into()
}

/// `true` or `false`.
pub(super) fn switch() -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).into()
}

/// A whole number.
pub(super) fn whole(least: u64, most: Option<u64>) -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least as f64));
    number.maximum(most.map(|most| most as f64)).into()
}

/// Bytes.
pub(super) fn bytes() -> Schema {
    let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
}

/// The specification of all paths, OpenAPI 3.1. What is no HTTP, the WebSockets, is not in it.
pub(super) fn specification(listed: &[Listed], cookie: &str) -> OpenApi {
    let mut base = Doc::default();
    base.refer::<ErrorBody>();
    let mut schemas = base.schemas;
    let mut paths = Paths::new();
    for listed in listed {
        let Some(doc) = &listed.doc else { continue };
        let method = match listed.method {
            Method::POST => HttpMethod::Post,
            Method::PATCH => HttpMethod::Patch,
            Method::PUT => HttpMethod::Put,
            Method::DELETE => HttpMethod::Delete,
            _ => HttpMethod::Get,
        };
        let path = listed.path.replace("{*", "{");
        let item = PathItem::new(method, doc.operation(listed));
        match paths.paths.get_mut(&path) {
            Some(known) => known.merge_operations(item),
            None => drop(paths.paths.insert(path, item)),
        }
        schemas.extend(doc.schemas.clone());
    }
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The token of a login (`POST /api/auth/login`), or a personal token")).build();
    let cookie = ApiKeyValue::with_description(cookie, "For browsers: `POST /api/auth/cookie` sets it");
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let info = InfoBuilder::new()
        .title("CloudAI")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(introduction()))
        .license(Some(LicenseBuilder::new().name(env!("CARGO_PKG_LICENSE")).build()));
    OpenApiBuilder::new().info(info.build()).paths(paths).components(Some(components.build())).build()
}

/// What is true of everything, and what each error means.
fn introduction() -> String {
    let mut text = "The admin API of a CloudAI master.\n\n\
        Every refusal has the same shape, `{\"error\": {\"code\", \"message\", \"hint\"}}`: `code` is for programs and \
        never changes its meaning, `message` and `hint` are for people. Unknown fields and parameters are refused. \
        Lists come in pages: give `next_cursor` as `cursor` to get the next one. A task is submitted once, however often \
        the request is sent, if it has an `Idempotency-Key`.\n\n\
        | code | status | meaning |\n|---|---|---|\n"
        .to_owned();
    for code in ErrorCode::ALL {
        text.push_str(&format!("| `{}` | {} | {} |\n", code.as_str(), code.http(), code.meaning()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_after_method_and_path() {
        assert_eq!(operation_id(&Method::GET, "/api/tasks/{id}/logs/search"), "getTasksIdLogsSearch");
        assert_eq!(operation_id(&Method::POST, "/api/auth/rotate-keys"), "postAuthRotateKeys");
        assert_eq!(tag("/api/tasks/{id}"), "tasks");
        assert_eq!(tag("/health/live"), "health");
    }
}
