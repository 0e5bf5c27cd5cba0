//! The text of a golden script.

use std::fmt;

/// A script, as it stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// In their order.
    pub items: Vec<Item>,
}

/// A part of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A line for the reader.
    Text(String),
    /// A line to run.
    Step {
        /// Without the `$ `.
        line: String,
        /// What it must answer, marks included.
        answer: Vec<String>,
    },
}

impl Script {
    /// Reads a script.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut items = Vec::new();
        for line in text.lines() {
            let is_answer = line.starts_with(['>', '!', '?']);
            match items.last_mut() {
                Some(Item::Step { answer, .. }) if is_answer => answer.push(line.to_owned()),
                _ => items.push(match line.strip_prefix("$ ") {
                    Some(line) => Item::Step { line: line.to_owned(), answer: Vec::new() },
                    None => Item::Text(line.to_owned()),
                }),
            }
        }
        Self { items }
    }

    /// How many workers it wants: the line `workers: N`, else 1.
    #[must_use]
    pub fn workers(&self) -> usize {
        let number = |item: &Item| match item {
            Item::Text(text) => text.strip_prefix("workers: ")?.parse().ok(),
            Item::Step { .. } => None,
        };
        self.items.iter().find_map(number).unwrap_or(1)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            match item {
                Item::Text(text) => writeln!(f, "{text}")?,
                Item::Step { line, answer } => {
                    writeln!(f, "$ {line}")?;
                    for line in answer {
                        writeln!(f, "{line}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// An answer, with its marks.
#[must_use]
pub fn answer(stdout: &str, stderr: &str, code: i32) -> Vec<String> {
    let marked = |mark: char, text: &str| -> Vec<String> {
        text.lines().map(|line| format!("{mark} {line}").trim_end().to_owned()).collect()
    };
    let mut answer = marked('>', stdout);
    answer.extend(marked('!', stderr));
    if code != 0 {
        answer.push(format!("? {code}"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "A word about it.\nworkers: 2\n\n$ cloudctl x\n> out\n>\n> more\n! oh\n? 3\n\n$ cloudctl y\n";

    #[test]
    fn a_script_is_written_as_it_was_read() {
        let script = Script::parse(TEXT);
        assert_eq!(script.to_string(), TEXT);
        assert_eq!(script.workers(), 2);
        assert_eq!(script.items.iter().filter(|item| matches!(item, Item::Step { .. })).count(), 2);
    }

    #[test]
    fn an_answer_reads_back_as_itself() {
        let Item::Step { answer: parsed, .. } = &Script::parse(TEXT).items[3] else { panic!("a step") };
        assert_eq!(*parsed, answer("out\n\nmore\n", "oh\n", 3));
        assert_eq!(answer("", "", 0), Vec::<String>::new());
    }
}
