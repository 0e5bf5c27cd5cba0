//! Names for what differs from run to run.
//!
//! Ids of tasks and inputs become `task-<ID1>`, `input-<ID2>`, ... in the order in which they appear, addresses and paths `<HTTP>`,
//! `<DIR>` and so on; these also stand in the lines to run. Times, durations, percentages and tokens become `<TIME>`,
//! `<DURATION>`, `<PERCENT>` and `<TOKEN>`. Since such a word has another length than what it stands for, longer runs of blanks and
//! of rules in tables are cut to two.

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Name and value.
    known: Vec<(String, String)>,
    ids: usize,
}

const ID_PREFIXES: [&str; 2] = ["task-", "input-"];
const ID_LENGTH: usize = 26;

impl Names {
    /// Gives a value a name.
    pub fn add(&mut self, name: &str, value: &str) {
        self.known.push((format!("<{name}>"), value.to_owned()));
    }

    /// `text` with values in the place of names.
    ///
    /// # Panics
    /// When it has the name of an id that has not appeared yet.
    #[must_use]
    pub fn restore(&self, text: &str) -> String {
        let text = self.known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        assert!(
            !ID_PREFIXES.iter().any(|prefix| text.contains(&format!("{prefix}<ID"))),
            "no such id has appeared so far: {text}"
        );
        text
    }

    /// `text` with names in the place of values.
    #[must_use]
    pub fn hide(&mut self, text: &str) -> String {
        self.learn_ids(text);
        let text = self.known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name));
        text.lines().map(|line| hide_moments(&squeeze(&hide_measures(line))) + "\n").collect()
    }

    fn learn_ids(&mut self, text: &str) {
        let found = ID_PREFIXES.iter().flat_map(|prefix| text.match_indices(prefix));
        // In the order in which they appear, whatever they are.
        let ends: std::collections::BTreeSet<_> = found.map(|(at, prefix)| at + prefix.len()).collect();
        for end in ends {
            let id: String = text[end..].chars().take_while(|c| c.is_ascii_digit() || c.is_ascii_lowercase()).collect();
            if id.len() == ID_LENGTH && self.known.iter().all(|(_, value)| *value != id) {
                self.ids += 1;
                self.add(&format!("ID{}", self.ids), &id);
            }
        }
    }
}

/// Ages, which are `now` or `3s ago`, what a machine uses at the moment, numbers of processes, and which were killed.
fn hide_moments(line: &str) -> String {
    let mut line =
        line.replace("<DURATION> ago", "<AGE>").replace("(now)", "(<AGE>)").replace("started now)", "started <AGE>)");
    line = line.replace("  now  ", "  <AGE>  ");
    if let Some(head) = line.strip_suffix("  now") {
        line = format!("{head}  <AGE>");
    }
    if let Some(head) = line.strip_suffix(": now") {
        line = format!("{head}: <AGE>");
    }
    for end in ["% used", "GB used"] {
        if let Some(head) = line.strip_suffix(end).and_then(|line| line.rsplit_once(", ")) {
            line = format!("{}, <USED>", head.0);
        }
    }
    line = line.replace("<PERCENT> used", "<USED>");
    // Said where the kernel's log can be read.
    if let Some((head, _)) = line.split_once(": the kernel killed ") {
        line = head.to_owned();
    }
    // Where the machine is busy.
    line = line.replace("; its log and outputs were there <DURATION> later)", ")");
    if let Some((head, _)) = line.split_once("Usage: ") {
        line = format!("{head}Usage: <USAGE>");
    }
    match line.split_once("tini (") {
        Some((head, tail)) => format!("{head}tini (<PID>{}", tail.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line,
    }
}

/// Times, durations and percentages by name.
fn hide_measures(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let starts_word = !out.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-');
        let found = if starts_word { measure(rest) } else { None };
        let (text, length) = found.unwrap_or_else(|| (&rest[..first.len_utf8()], first.len_utf8()));
        out.push_str(text);
        rest = &rest[length..];
    }
    out
}

/// The name of what `text` begins with, and its length.
fn measure(text: &str) -> Option<(&'static str, usize)> {
    let found = [
        ("<TOKEN>", token(text)),
        ("<TIME>", time(text)),
        ("<DURATION>", duration(text)),
        ("run_ms: <DURATION>", count(text, "run_ms")),
        ("cpu_ms: <DURATION>", count(text, "cpu_ms")),
        ("memory_peak_bytes: <SIZE>", count(text, "memory_peak_bytes")),
        ("peak_bytes: <SIZE>", count(text, "peak_bytes")),
        ("peak <SIZE>", peak(text)),
        ("<PERCENT>", percent(text)),
    ];
    let (name, length) = found.into_iter().find_map(|(name, length)| Some((name, length?)))?;
    let ends_word = !text[length..].starts_with(|c: char| c.is_ascii_alphanumeric());
    ends_word.then_some((name, length))
}

/// `peak 15.99 MiB`.
fn peak(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("peak ")?;
    let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').strip_prefix(' ')?;
    Some(text.len() - unit.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len())
}

/// `2026-11-23T18:02:03.5Z`, also with a blank for the `T` and without fraction and `Z`.
fn time(text: &str) -> Option<usize> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes().get(..FORM.len())?;
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b' '),
        other => byte == other,
    };
    if !bytes.iter().zip(FORM).all(fits) {
        return None;
    }
    let mut length = FORM.len();
    if text[length..].starts_with('.') {
        length += 1 + digits(&text[length + 1..]);
    }
    Some(length + usize::from(text[length..].starts_with('Z')))
}

/// A JWT, a personal token, or a token with which workers join.
fn token(text: &str) -> Option<usize> {
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ["eyJ", "cloudai_0", "cloudai-join_"]
        .iter()
        .any(|start| text.starts_with(start))
        .then(|| text.find(|c| !is_of_token(c)).unwrap_or(text.len()))
}

/// `350ms`, `1.5s`, `2m 30s`, `1h05m`.
fn duration(text: &str) -> Option<usize> {
    let mut end = None;
    let mut at = 0;
    while let Some(length) = number(&text[at..]) {
        let unit = ["ms", "s", "m", "h", "d"].into_iter().find(|unit| text[at + length..].starts_with(unit))?;
        at += length + unit.len();
        end = Some(at);
        at += usize::from(text[at..].starts_with(' ') && text[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    }
    end
}

/// `run_ms": 12` and its like: plain numbers that are measured.
fn count(text: &str, name: &str) -> Option<usize> {
    let rest = text.strip_prefix(name)?;
    let gap = rest.find(|c: char| c.is_ascii_digit()).filter(|gap| *gap <= 3)?;
    Some(name.len() + gap + digits(&rest[gap..]))
}

fn percent(text: &str) -> Option<usize> {
    let length = number(text)?;
    let blank = usize::from(text[length..].starts_with(' '));
    text[length + blank..].starts_with('%').then_some(length + blank + 1)
}

/// The length of `12` or `12.5`.
fn number(text: &str) -> Option<usize> {
    let length = digits(text);
    if length == 0 {
        return None;
    }
    let fraction = text[length..].strip_prefix('.').map_or(0, digits);
    Some(if fraction == 0 { length } else { length + 1 + fraction })
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// At most two blanks, and at most two of each rule, in a row.
fn squeeze(line: &str) -> String {
    let mut out: Vec<char> = Vec::new();
    for c in line.chars() {
        let is_third = out.len() >= 2 && out[out.len() - 2..].iter().all(|last| *last == c);
        if !(is_third && matches!(c, ' ' | '-' | '=' | '─' | '═' | '━')) {
            out.push(c);
        }
    }
    out.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01arz3ndektsv4rrffq69g5fav";
    const OTHER: &str = "01arz3ndektsv4rrffq69g5fbw";

    #[test]
    fn ids_are_numbered_as_they_appear_and_can_be_named_afterwards() {
        let mut names = Names::default();
        assert_eq!(names.hide(&format!("task-{OTHER} task-{ID}.3\n")), "task-<ID1> task-<ID2>.3\n");
        assert_eq!(names.hide(&format!("task-{ID}")), "task-<ID2>\n");
        assert_eq!(names.restore("cloudctl show task-<ID2>"), format!("cloudctl show task-{ID}"));
        assert_eq!(names.hide("task-short task-files"), "task-short task-files\n");
    }

    #[test]
    fn known_values_have_their_name() {
        let mut names = Names::default();
        names.add("HTTP", "127.0.0.1:1234");
        assert_eq!(names.hide("at http://127.0.0.1:1234/x"), "at http://<HTTP>/x\n");
        assert_eq!(names.restore("cloudctl --server http://<HTTP>"), "cloudctl --server http://127.0.0.1:1234");
    }

    #[test]
    fn measures_are_hidden_and_only_they() {
        for (line, hidden) in [
            ("at 2026-11-23T18:02:03.123456Z.", "at <TIME>."),
            ("\"2026-11-23 18:02:03\"", "\"<TIME>\""),
            ("3s ago, 1m 30s, 1h05m, 250ms, 0.5s", "<DURATION> ago, <DURATION>, <DURATION>, <DURATION>, <DURATION>"),
            ("cpu 12.5% mem 3 %", "cpu <PERCENT> mem <PERCENT>"),
            ("exit code 3, 2.0 cores, 512 MiB, 10 s, 1.2.3", "exit code 3, 2.0 cores, 512 MiB, 10 s, 1.2.3"),
            ("worker-1s 5sec 2026-11-23", "worker-1s 5sec 2026-11-23"),
            ("--join cloudai-join_01arz_s3cret_00ff --name x", "--join <TOKEN> --name x"),
        ] {
            assert_eq!(hide_measures(line), hidden);
        }
    }

    #[test]
    fn what_is_only_of_the_moment_is_hidden() {
        for (line, hidden) in [
            ("> a  now  b", "> a  <AGE>  b"),
            ("(now), (started <DURATION> ago)", "(<AGE>), (started <AGE>)"),
            ("> ║  Last Heartbeat: now", "> ║  Last Heartbeat: <AGE>"),
            ("> ║  Usage: CPU=<PERCENT>, Memory=0.67GB", "> ║  Usage: <USAGE>"),
            ("[FATAL tini (8)] exec x", "[FATAL tini (<PID>)] exec x"),
            ("it cannot be reached now", "it cannot be reached now"),
            ("(limit 16 MiB): the kernel killed tail (15.1 MiB)", "(limit 16 MiB)"),
        ] {
            assert_eq!(hide_moments(line), hidden);
        }
    }

    #[test]
    fn tables_do_not_depend_on_their_widths() {
        assert_eq!(squeeze("a     b ─────┼──── c"), "a  b ──┼── c");
        assert_eq!(squeeze("aaa ... b"), "aaa ... b");
    }
}
