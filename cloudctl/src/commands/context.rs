//! `cloudctl context`

use shared::context::file::{load, update};
use shared::context::{Context, ContextFile};
use shared::error::exit;
use shared::text::printable;

use crate::args::{ContextArgs, ContextVerb, GlobalArgs};
use crate::context::{find, path, select};
use crate::exit::CtlError;
use crate::render::{ContextListView, ContextView, Done, View};

/// Lists, chooses and changes contexts.
pub(super) fn run(args: &ContextArgs, global: &GlobalArgs) -> Result<Done, CtlError> {
    let path = path()?;
    match args.verb.as_ref().unwrap_or(&ContextVerb::List) {
        ContextVerb::List => {
            let file = load(&path)?;
            let contexts = file.contexts.iter().map(|(name, context)| view(name, context, &file)).collect();
            Ok(View::Contexts(ContextListView { contexts }).into())
        }
        ContextVerb::Show { name } => {
            let file = load(&path)?;
            let selected = match name {
                Some(name) => Some(find(&file, name)?),
                None => select(global, &file)?,
            };
            let (name, context) = selected.ok_or_else(none_current)?;
            Ok(View::Context(view(name, context, &file)).into())
        }
        ContextVerb::Use { name } => update(&path, |file| {
            let shown = find(file, name).map(|(name, context)| (name.to_owned(), context.clone()))?;
            file.current = Some(shown.0.clone());
            Ok(View::Context(view(&shown.0, &shown.1, file)).into())
        }),
        ContextVerb::Rename { name, new } => update(&path, |file| {
            find(file, name)?;
            if file.contexts.contains_key(new) {
                let message = format!("there is a context `{}` already", printable(new));
                return Err(CtlError::refused(exit::CONFLICT, message, "delete it first, or choose another name"));
            }
            let context = file.contexts.remove(name).unwrap_or_default();
            if file.current.as_ref() == Some(name) {
                file.current = Some(new.clone());
            }
            let shown = context.clone();
            file.contexts.insert(new.clone(), context);
            Ok(View::Context(view(new, &shown, file)).into())
        }),
        ContextVerb::Delete { name } => update(&path, |file| {
            find(file, name)?;
            let context = file.contexts.remove(name).unwrap_or_default();
            if file.current.as_ref() == Some(name) {
                file.current = None;
            }
            let shown = view(name, &Context { token: None, expires_at: None, ..context }, file);
            Ok(View::Context(shown).into())
        }),
    }
}

fn none_current() -> CtlError {
    CtlError::refused(
        exit::NOT_FOUND,
        "no context is in use",
        "`cloudctl context list`, then `cloudctl context use NAME`",
    )
}

fn trust(context: &Context) -> &'static str {
    match (&context.fingerprint, &context.ca) {
        (Some(_), _) => "fingerprint",
        (None, Some(_)) => "ca",
        (None, None) if context.server.starts_with("http://") => "none",
        (None, None) => "system",
    }
}

fn view(name: &str, context: &Context, file: &ContextFile) -> ContextView {
    ContextView {
        name: name.to_owned(),
        current: file.current.as_deref() == Some(name),
        server: context.server.clone(),
        username: context.username.clone(),
        trust: trust(context),
        fingerprint: context.fingerprint.clone(),
        logged_in: context.token.is_some(),
        expires_at: context.expires_at,
    }
}
