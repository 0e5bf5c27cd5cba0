//! What is to be brought, and what may be replaced: settled before anything is written.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use shared::error::exit;
use shared::view::FileView;

use super::path::{check, exact_path};
use super::sandbox::{Existing, Sandbox};
use crate::commands::Session;
use crate::exit::CtlError;
use crate::render::FailedFile;

/// Names in a message.
const NAMES_SHOWN: usize = 5;

/// A file to bring.
#[derive(Debug)]
pub(super) struct Step {
    /// As the server listed it.
    pub(super) file: FileView,
    /// Below the directory. It may be longer than the kernel takes at once.
    pub(super) path: Vec<u8>,
    /// Whether it is there already, byte for byte.
    pub(super) is_whole: bool,
}

impl Step {
    /// Where it comes to stand, for people.
    pub(super) fn place(&self, directory: &Path) -> String {
        directory.join(OsStr::from_bytes(&self.path)).display().to_string()
    }
}

/// All files.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// To bring.
    pub(super) steps: Vec<Step>,
    /// Not to bring.
    pub(super) failed: Vec<FailedFile>,
    /// Steps that would replace what is there.
    conflicts: Vec<Step>,
}

impl Plan {
    /// Looks at what is there. `apart`: each element has a directory of its own.
    pub(super) fn make(files: Vec<FileView>, apart: bool, sandbox: &Sandbox) -> Self {
        let mut plan = Self::default();
        for file in files {
            match look(&file, apart, sandbox) {
                Ok((path, existing)) => {
                    let is_whole = matches!(existing, Existing::Same);
                    let step = Step { file, path, is_whole };
                    let conflicts = matches!(existing, Existing::Other);
                    if conflicts { plan.conflicts.push(step) } else { plan.steps.push(step) }
                }
                Err(error) => plan.failed.push(FailedFile { path: file.path, error: error.to_string() }),
            }
        }
        plan
    }

    /// Finds out what to do about files that are there and are not the same: replaces them, asks, or refuses it all.
    pub(super) fn settle(mut self, force: bool, directory: &Path, session: &Session<'_>) -> Result<Self, CtlError> {
        let conflicts = std::mem::take(&mut self.conflicts);
        if conflicts.is_empty() {
            return Ok(self);
        }
        if force {
            self.steps.extend(conflicts);
            return Ok(self);
        }
        if !session.terminal.can_ask() {
            return Err(refuse(&conflicts, directory));
        }
        let mut all = None;
        for step in conflicts {
            let path = step.place(directory);
            let replace = match all {
                Some(all) => all,
                None => match session
                    .terminal
                    .ask(&format!("{path} is there, and is not the same. Replace it? [y/N/all/quit] "))?
                    .trim()
                    .to_ascii_lowercase()
                    .as_str()
                {
                    "y" | "yes" => true,
                    "a" | "all" => *all.insert(true),
                    "q" | "quit" => return Err(CtlError::Declined),
                    _ => false,
                },
            };
            if replace {
                self.steps.push(step);
            } else {
                let error = "what is there was kept".to_owned();
                self.failed.push(FailedFile { path: step.file.path, error });
            }
        }
        Ok(self)
    }
}

fn look(file: &FileView, apart: bool, sandbox: &Sandbox) -> Result<(Vec<u8>, Existing), CtlError> {
    let mut path = exact_path(file)?;
    check(&path)?;
    if apart {
        path.splice(..0, format!("{}/", file.index).into_bytes());
    }
    let existing = sandbox.look(&path, file)?;
    Ok((path, existing))
}

fn refuse(conflicts: &[Step], directory: &Path) -> CtlError {
    let mut names: Vec<_> = conflicts.iter().take(NAMES_SHOWN).map(|step| step.place(directory)).collect();
    if conflicts.len() > NAMES_SHOWN {
        names.push(format!("{} more", conflicts.len() - NAMES_SHOWN));
    }
    let message = format!("there already, and not the same: {}; nothing was written", names.join(", "));
    CtlError::refused(exit::CANNOT_CREATE, message, "--force replaces them; or name another directory")
}
