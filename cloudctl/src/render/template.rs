//! `--format`: a line of one's own for each item.

use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::View;
use super::rows::RowSink;
use crate::exit::CtlError;
use crate::help::fields;

/// The only template of an environment.
const NAME: &str = "--format";

/// A template that can be read.
#[derive(Debug)]
pub(crate) struct Template {
    environment: Environment<'static>,
    /// Fields that it asks for: `task_id`, `verdict.kind`.
    wanted: Vec<String>,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, CtlError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_formatter(write_value);
        environment.add_filter("json", |value: Value| to_json(&value));
        let wrong = |error: &minijinja::Error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            CtlError::usage(format!("--format: {detail}"), "`cloudctl help output` says how templates are written")
        };
        environment.add_template_owned(NAME, to_jinja(text)).map_err(|error| wrong(&error))?;
        let template = environment.get_template(NAME).map_err(|error| wrong(&error))?;
        let mut wanted: Vec<_> = template.undeclared_variables(true).into_iter().collect();
        wanted.retain(|name| name != "this");
        wanted.sort();
        Ok(Self { environment, wanted })
    }

    /// The lines of all items.
    pub(super) fn render(&self, view: &View) -> Result<Vec<u8>, CtlError> {
        self.check(view.kind())?;
        let mut lines = Lines { template: self, text: String::new() };
        view.rows(&mut lines)?;
        Ok(lines.text.into_bytes())
    }

    /// The line of one item of this kind.
    pub(super) fn line<T: Serialize>(&self, kind: &str, row: &T) -> Result<Vec<u8>, CtlError> {
        self.check(kind)?;
        let mut lines = Lines { template: self, text: String::new() };
        lines.row(row)?;
        Ok(lines.text.into_bytes())
    }

    /// A field that no item of this kind can have is a mistake, and should not look like one that is empty.
    fn check(&self, kind: &str) -> Result<(), CtlError> {
        let known = fields(kind);
        let unknown = self.wanted.iter().find(|wanted| !known.iter().any(|field| covers(field, wanted)));
        let Some(unknown) = unknown else { return Ok(()) };
        let top: Vec<_> = known.iter().filter(|field| !field.contains('.')).map(String::as_str).collect();
        Err(CtlError::usage(
            format!("--format: there is no field `{}` here", unknown.escape_debug()),
            format!("there are: {}; `cloudctl help json` says what they mean", top.join(", ")),
        ))
    }
}

/// Whether a known field (`labels.*`, `verdict.kind`) is, or is around or below, the one that is wanted.
fn covers(field: &str, wanted: &str) -> bool {
    if let Some(open) = field.strip_suffix(".*") {
        return wanted == open || wanted.strip_prefix(open).is_some_and(|rest| rest.starts_with('.'));
    }
    field == wanted
}

struct Lines<'a> {
    template: &'a Template,
    text: String,
}

impl RowSink for Lines<'_> {
    type Error = CtlError;

    fn row<T: Serialize>(&mut self, row: &T) -> Result<(), CtlError> {
        let row = Value::from(Serde(row));
        // `{{.}}` is the item itself.
        let context = minijinja::context! { this => row.clone(), ..row };
        let line = self.template.environment.get_template(NAME).and_then(|template| template.render(context));
        let line = line.map_err(|error| {
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            CtlError::usage(format!("--format: {detail}"), "`cloudctl help output` says how templates are written")
        })?;
        self.text.push_str(&line);
        if !line.ends_with('\n') {
            self.text.push('\n');
        }
        Ok(())
    }
}

/// Nothing is nothing, and not the word `none`; objects and lists are JSON.
fn write_value(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), minijinja::Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(()),
        // As in JSON, and not as in Python.
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "true" } else { "false" })?),
        ValueKind::Map | ValueKind::Seq | ValueKind::Iterable => Ok(out.write_str(&to_json(value)?)?),
        _ => Ok(write!(out, "{value}")?),
    }
}

/// In one line, with the fields in their order.
fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    let failed =
        |error: serde_json::Error| minijinja::Error::new(minijinja::ErrorKind::WriteFailure, error.to_string());
    serde_json::to_string(value).map_err(failed)
}

/// `{{.x}}` as `{{x}}`, `{{json .x}}` as `{{x|json}}`, and `\n`, `\t` outside of `{{...}}` as what they stand for.
fn to_jinja(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    loop {
        let at = rest.find("{{").into_iter().chain(rest.find("{%")).min();
        let Some(at) = at else { break };
        out.push_str(&unescape(&rest[..at]));
        let close = if rest[at..].starts_with("{{") { "}}" } else { "%}" };
        let Some(length) = rest[at..].find(close) else {
            out.push_str(&rest[at..]);
            return out;
        };
        let (open, inner) = rest[at..at + length].split_at(2);
        out.push_str(open);
        out.push_str(&expression(inner));
        out.push_str(close);
        rest = &rest[at + length + close.len()..];
    }
    out + &unescape(rest)
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

/// What stands in `{{...}}`.
fn expression(inner: &str) -> String {
    if let Some(argument) = inner.trim().strip_prefix("json ") {
        return format!(" {}|json ", without_dots(argument.trim()));
    }
    without_dots(inner)
}

/// A dot that does not follow a name begins one.
fn without_dots(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '.' => {
                let after_name = out.ends_with(|c: char| c.is_alphanumeric() || "_)]".contains(c));
                let before_name = chars.peek().is_some_and(|c| c.is_alphanumeric() || *c == '_');
                match (after_name, before_name) {
                    (true, _) => {}
                    (false, true) => continue,
                    (false, false) => {
                        out.push_str("this");
                        continue;
                    }
                }
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::table::sample;

    fn task(template: &str) -> Result<String, CtlError> {
        let bytes = Template::parse(template)?.render(&View::Task(Box::new(sample::task())))?;
        Ok(String::from_utf8(bytes).expect("text"))
    }

    fn shown(template: &str) -> String {
        task(template).unwrap_or_else(|error| panic!("{template}: {error}"))
    }

    #[test]
    fn fields_are_named_with_and_without_a_dot() {
        assert_eq!(shown("{{.state}}"), "failed\n");
        assert_eq!(shown("{{ state }} {{.exit_code}}"), "failed 3\n");
        assert_eq!(shown("{{.verdict.kind}}\\t{{.resources.cpu_millis}}\\n"), "exit_code\t1000\n");
        assert_eq!(shown("a.b {{'.c'}} {{\"x.y\"}}"), "a.b .c x.y\n");
    }

    #[test]
    fn what_is_empty_gives_nothing_and_what_is_large_gives_json() {
        assert_eq!(shown("[{{.labels}}] [{{.retry_of}}] [{{.labels.run}}]"), "[] [] []\n");
        assert_eq!(
            shown("{{json .verdict}} {{.verdict}}"),
            r#"{"kind":"exit_code","exit_code":3} {"kind":"exit_code","exit_code":3}"#.to_owned() + "\n"
        );
        assert_eq!(shown("{{json .command}}"), "[\"sh\",\"-c\",\"exit 3\"]\n");
        assert!(shown("{{.}}").contains("\"task_id\""));
    }

    #[test]
    fn jinja_can_be_used() {
        assert_eq!(shown("{% for a in attempts %}{{a.worker_id}};{% endfor %}"), "worker-1;\n");
        assert_eq!(shown("{{.name|upper}} {{ attempts|length }} {{ retry_of|default('-') }}"), "SAMPLE 1 -\n");
        assert_eq!(shown("{% if .exit_code %}bad{% endif %}"), "bad\n");
    }

    #[test]
    fn every_row_of_a_list_gets_a_line() {
        let template = Template::parse("{{.worker_id}}").expect("a template");
        assert_eq!(template.render(&View::Workers(sample::workers())).expect("lines"), b"worker-1\nworker-2\n");
    }

    #[test]
    fn mistakes_are_errors() {
        for (bad, word) in [
            ("{{.stat}}", "stat"),
            ("{{.verdict.knd}}", "verdict.knd"),
            ("{{", "unexpected"),
            ("{{state|nofilter}}", "filter"),
        ] {
            let error = task(bad).expect_err(bad);
            assert_eq!(error.exit(), 2);
            assert!(error.to_string().contains(word), "{bad}: {error}");
        }
        assert!(task("{{.stat}}").expect_err("wrong").hint().contains("task_id, name, state"));
    }
}
