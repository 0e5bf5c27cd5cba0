//! Forms with files (`multipart/form-data`, RFC 7578), taken apart while they come: a file of any size passes through a
//! buffer that never holds more than a chunk. The libraries for it hold whatever has arrived.

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use shared::error::ApiError;

use super::error::invalid;
use super::steady::Steady;

/// The longest boundary (RFC 2046, 5.1.1), and the most bytes before a part's content.
const BOUNDARY_LIMIT: usize = 70;
const HEAD_LIMIT: usize = 16 * 1024;
const HINT: &str = "send it as a browser or `curl -F` does";

/// A form as it comes.
#[derive(Debug)]
pub(super) struct Form<'a> {
    body: &'a mut Steady,
    buffer: BytesMut,
    /// What stands before and after each part: a line break, two dashes and the boundary.
    delimiter: Vec<u8>,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a part, or before the first.
    Content,
    /// Behind a delimiter.
    Delimiter,
    End,
}

/// What is said of a part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Part {
    /// Of the field.
    pub(super) name: Option<Vec<u8>>,
    /// Of the file, if it is one: its exact bytes.
    pub(super) file_name: Option<Vec<u8>>,
}

impl<'a> Form<'a> {
    /// What `headers` say that it is.
    pub(super) fn new(headers: &HeaderMap, body: &'a mut Steady) -> Result<Self, ApiError> {
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = parameters(kind.as_bytes()).into_iter().find(|(name, _)| name == "boundary");
        let boundary = boundary.map(|(_, value)| value).filter(|value| (1..=BOUNDARY_LIMIT).contains(&value.len()));
        let boundary = boundary.ok_or_else(|| invalid("the Content-Type has no boundary, or a bad one", HINT))?;
        let delimiter = [b"\r\n--", &boundary[..]].concat();
        // So that the first delimiter is like all others.
        Ok(Self { body, buffer: BytesMut::from(&b"\r\n"[..]), delimiter, place: Place::Content })
    }

    /// The next part; none: there are no more. What was not read of the one before is skipped.
    pub(super) async fn next_part(&mut self) -> Result<Option<Part>, ApiError> {
        while self.data().await?.is_some() {}
        if self.place == Place::End {
            return Ok(None);
        }
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            self.place = Place::End;
            return Ok(None);
        }
        loop {
            // A part without headers has one line break only, which is that of the delimiter.
            if let Some(at) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(at + 4);
                self.place = Place::Content;
                // The line break before a delimiter that follows at once belongs to it.
                return Ok(Some(part(&head)?));
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(invalid("the headers of a part of the form are too long", HINT));
            }
            self.fill().await?;
        }
    }

    /// The next bytes of the part; none at its end.
    pub(super) async fn data(&mut self) -> Result<Option<Bytes>, ApiError> {
        if self.place != Place::Content {
            return Ok(None);
        }
        loop {
            match memmem::find(&self.buffer, &self.delimiter) {
                Some(0) => {
                    let _delimiter = self.buffer.split_to(self.delimiter.len());
                    self.place = Place::Delimiter;
                    return Ok(None);
                }
                Some(at) => return Ok(Some(self.buffer.split_to(at).freeze())),
                None => {
                    // The end may be the begin of a delimiter.
                    let safe = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
                    if safe > 0 {
                        return Ok(Some(self.buffer.split_to(safe).freeze()));
                    }
                    self.fill().await?;
                }
            }
        }
    }

    async fn fill(&mut self) -> Result<(), ApiError> {
        let data = self.body.next().await?.ok_or_else(|| invalid("the form ends within a part", HINT))?;
        self.buffer.extend_from_slice(&data);
        Ok(())
    }
}

fn part(head: &[u8]) -> Result<Part, ApiError> {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut part = Part::default();
    for line in lines.filter(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err(invalid("a part of the form has a header without a colon", HINT));
        };
        if !line[..colon].eq_ignore_ascii_case(b"content-disposition") {
            continue;
        }
        let mut exact = None;
        for (name, value) in parameters(&line[colon + 1..]) {
            match &*name {
                "name" => part.name = Some(unescaped(&value).into_owned()),
                "filename" => part.file_name = Some(unescaped(&value).into_owned()),
                "filename*" => exact = extended(&value),
                _ => {}
            }
        }
        part.file_name = exact.or(part.file_name);
    }
    Ok(part)
}

/// What follows the first word of a header, by name in lower case. In quotes only a quote can be escaped: browsers write
/// a backslash as it is.
fn parameters(header: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = header;
    while let Some(at) = rest.iter().position(|byte| *byte == b';') {
        rest = rest[at + 1..].trim_ascii_start();
        let Some(equals) = rest.iter().position(|byte| *byte == b'=' || *byte == b';') else { break };
        if rest[equals] == b';' {
            continue;
        }
        let name = String::from_utf8_lossy(rest[..equals].trim_ascii()).to_ascii_lowercase();
        rest = rest[equals + 1..].trim_ascii_start();
        let mut value = Vec::new();
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            rest = quoted;
            while let Some((byte, after)) = rest.split_first() {
                rest = after;
                match byte {
                    b'"' => break,
                    b'\\' if rest.first() == Some(&b'"') => {
                        value.push(b'"');
                        rest = &rest[1..];
                    }
                    byte => value.push(*byte),
                }
            }
        } else {
            let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
            value.extend_from_slice(rest[..end].trim_ascii_end());
            rest = &rest[end..];
        }
        found.push((name, value));
    }
    found
}

/// Browsers write quotes and line breaks as `%22`, `%0D` and `%0A`, and every other percent sign as it is (HTML, 4.10.21.8).
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = [(&b"%22"[..], b'"'), (b"%0D", b'\r'), (b"%0A", b'\n')];
        match escaped.into_iter().find(|(written, _)| rest.starts_with(written)) {
            Some((written, byte)) => {
                plain.push(byte);
                rest = &rest[written.len()..];
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

/// `UTF-8''a%20b` (RFC 8187); any bytes are taken.
fn extended(text: &[u8]) -> Option<Vec<u8>> {
    let mut parts = text.splitn(3, |byte| *byte == b'\'');
    let (_charset, _language, value) = (parts.next()?, parts.next()?, parts.next()?);
    super::extract::percent_decode(std::str::from_utf8(value).ok()?)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    async fn read(body: &[u8], step: usize) -> Result<Vec<(Part, Vec<u8>)>, String> {
        let pieces: Vec<_> =
            body.chunks(step).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
        let headers =
            HeaderMap::from_iter([(CONTENT_TYPE, "multipart/form-data; boundary=\"b-1\"".parse().expect("a value"))]);
        let mut body = Steady::new(Body::from_stream(stream::iter(pieces)));
        let mut form = Form::new(&headers, &mut body).map_err(|error| error.message)?;
        let mut parts = Vec::new();
        while let Some(part) = form.next_part().await.map_err(|error| error.message)? {
            let mut content = Vec::new();
            while let Some(data) = form.data().await.map_err(|error| error.message)? {
                content.extend_from_slice(&data);
            }
            parts.push((part, content));
        }
        Ok(parts)
    }

    fn named(file_name: &[u8]) -> Part {
        Part { name: Some(b"f".to_vec()), file_name: Some(file_name.to_vec()) }
    }

    #[tokio::test]
    async fn parts_are_the_same_however_they_arrive() {
        let body = b"preamble\r\n--b-1\r\nContent-Disposition: form-data; name=\"f\"; filename=\"d/a.txt\"\r\n\r\n\
            one\r\n--b-2\r\n\r\n--b-\r\n--b-1 \r\ncontent-type: text/plain\r\ncontent-disposition: form-data; name=f; \
            filename=\"empty\"\r\n\r\n\r\n--b-1\r\n\r\nnameless\r\n--b-1--\r\nepilogue";
        for step in 1..body.len() {
            let parts = read(body, step).await.expect("a form");
            let expected = [
                (named(b"d/a.txt"), b"one\r\n--b-2\r\n\r\n--b-".to_vec()),
                (named(b"empty"), Vec::new()),
                (Part::default(), b"nameless".to_vec()),
            ];
            assert_eq!(parts, expected, "by {step}");
        }
    }

    #[tokio::test]
    async fn odd_names_arrive_as_they_are() {
        for (written, name) in [
            (&b"filename=\"a\\\"b\""[..], &b"a\"b"[..]),
            (b"filename=\"a%22b%0A%20\"", b"a\"b\n%20"),
            (b"filename=\"a\\b;c=d\"", b"a\\b;c=d"),
            (b"filename=\"\xc3\xa4\xff\"", b"\xc3\xa4\xff"),
            (b"filename=\"x\"; filename*=UTF-8''%e4%FF%25", b"\xe4\xff%"),
            (b"filename=plain", b"plain"),
        ] {
            let body =
                [b"--b-1\r\nContent-Disposition: form-data; name=\"f\"; ", written, b"\r\n\r\nx\r\n--b-1--"].concat();
            assert_eq!(read(&body, 7).await.expect("a form"), [(named(name), b"x".to_vec())]);
        }
    }

    #[tokio::test]
    async fn what_is_no_form_is_refused() {
        let long = [&b"--b-1\r\nA: "[..], &vec![b'x'; 2 * HEAD_LIMIT], b"\r\n\r\n\r\n--b-1--"].concat();
        for (body, why) in [
            (&b""[..], "ends within"),
            (b"nothing", "ends within"),
            (b"--b-1\r\nA: b\r\n\r\nno end", "ends within"),
            (b"--b-1\r\nno colon\r\n\r\nx\r\n--b-1--", "colon"),
            (&long, "too long"),
        ] {
            let error = read(body, 1000).await.expect_err(why);
            assert!(error.contains(why), "{error}");
        }
        for kind in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary"] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().expect("a value"))]);
            assert!(Form::new(&headers, &mut Steady::new(Body::empty())).is_err(), "{kind}");
        }
    }
}
