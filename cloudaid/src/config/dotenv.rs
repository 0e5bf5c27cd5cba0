//! The `.env` file of the working directory.

use std::collections::BTreeMap;

/// What a `.env` file says, and which of its lines say nothing that can be understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DotEnv {
    /// The variables; of two with one name the later counts, as in a shell.
    pub variables: BTreeMap<String, String>,
    /// One sentence per bad line. Never with its content, which may be a secret.
    pub warnings: Vec<String>,
}

impl DotEnv {
    /// Reads `KEY=VALUE` lines: comments, `export`, single quotes (as they are) and double quotes (with `\n`, `\"`, `\\`).
    /// A quoted value ends on its own line. Nothing is substituted.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            match parse_line(line.trim()) {
                Ok(None) => {}
                Ok(Some((key, value))) => {
                    file.variables.insert(key.to_owned(), value);
                }
                Err(why) => file.warnings.push(format!(".env, line {}: {why}; the line is ignored", number + 1)),
            }
        }
        file
    }
}

fn parse_line(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(line);
    let (key, value) = line.split_once('=').ok_or("it has no `=`; write KEY=VALUE")?;
    let key = key.trim();
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("its name is not made of letters, digits and `_`");
    }
    Ok(Some((key, parse_value(value.trim())?)))
}

fn parse_value(text: &str) -> Result<String, &'static str> {
    let mut chars = text.chars();
    let (value, rest) = match chars.next() {
        Some('\'') => {
            let (value, rest) = chars.as_str().split_once('\'').ok_or("its quote is not closed")?;
            (value.to_owned(), rest)
        }
        Some('"') => unquote(chars.as_str()).ok_or("its quote is not closed")?,
        _ => {
            // A `#` begins a comment only after a blank: it may be a part of the value.
            let comment = if text.starts_with('#') { Some(0) } else { text.find(" #").or_else(|| text.find("\t#")) };
            return Ok(comment.map_or(text, |at| &text[..at]).trim_end().to_owned());
        }
    };
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') { Ok(value) } else { Err("there is text behind its closing quote") }
}

/// The text up to the closing quote, and what stands behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                c @ ('"' | '\\' | '$' | '`') => value.push(c),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_ways_to_write_a_line_are_understood() {
        let text = "\u{feff}# comment\r\n\nA=1\n B = two words  # why\nexport C='a#b $X'\nD=\"say \\\"hi\\\"\\n\" # note\n\
                    E=\nF=a#b\nexport=7\nG==x=\nA=2\nH=# nothing\n";
        let file = DotEnv::parse(text);
        let expected = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "a#b $X"),
            ("D", "say \"hi\"\n"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "=x="),
            ("H", ""),
            ("export", "7"),
        ];
        let found: Vec<_> = file.variables.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
        assert_eq!(file.warnings, Vec::<String>::new());
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_not_repeated() {
        let file = DotEnv::parse("hunter2\n1A=x\nA-B=x\nS=\"open\nT='open\nU=\"a\" b\nV=ok");
        assert_eq!(file.variables, BTreeMap::from([("V".to_owned(), "ok".to_owned())]));
        let lines: Vec<_> = file.warnings.iter().map(|warning| warning.split(':').next().unwrap_or_default()).collect();
        assert_eq!(
            lines,
            [".env, line 1", ".env, line 2", ".env, line 3", ".env, line 4", ".env, line 5", ".env, line 6"]
        );
        assert!(!file.warnings.concat().contains("hunter2"), "{:?}", file.warnings);
    }
}
