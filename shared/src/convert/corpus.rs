//! The golden corpus: what was written to the wire once is written the same way today, and read as the same.
//!
//! Workers and masters of two versions talk to each other, and workers of the first generation are never updated.
//! `corpus/wire.txt` has the bytes, which another implementation of protobuf has made; below are the messages.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

use crate::proto;

mod calls;
mod control;
mod seed;

const LINES: &str = include_str!("corpus/wire.txt");

const HELP: &str = "Lines of shared/src/convert/corpus/wire.txt never change, as programs in the field write and read \
                    them: give what is new a number of its own, and a line. The file's first lines say how.";

/// Whether bytes are read as a certain value.
type ReadsBack = Box<dyn Fn(&[u8]) -> bool>;

/// A message as it stands in the corpus.
struct Sample {
    /// The message's full name; behind an `@` what distinguishes it from others of the kind.
    name: &'static str,
    bytes: Vec<u8>,
    reads_back: ReadsBack,
}

/// Of a message that is used as it is generated.
fn plain<W: Message + Default + PartialEq + 'static>(name: &'static str, value: W) -> Sample {
    let bytes = value.encode_to_vec();
    Sample { name, bytes, reads_back: Box::new(move |bytes: &[u8]| W::decode(bytes).is_ok_and(|read| read == value)) }
}

/// Of a message that both cores see in another form.
fn converted<W, T>(name: &'static str, value: T) -> Sample
where
    W: Message + Default + From<T> + 'static,
    T: Clone + PartialEq + TryFrom<W> + 'static,
{
    let bytes = W::from(value.clone()).encode_to_vec();
    let reads_back = move |bytes: &[u8]| {
        let read = W::decode(bytes).ok().and_then(|wire| T::try_from(wire).ok());
        read.is_some_and(|read| read == value)
    };
    Sample { name, bytes, reads_back: Box::new(reads_back) }
}

fn lines() -> BTreeMap<&'static str, Vec<u8>> {
    let mut lines = BTreeMap::new();
    for line in LINES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, hex) = line.split_once(' ').expect("a name and bytes");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits");
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        assert!(lines.insert(name, bytes).is_none(), "{name} is there twice");
    }
    lines
}

fn line(name: &str, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {}", hex.concat())
}

#[test]
fn every_message_is_written_and_read_as_it_always_was() {
    let mut stored = lines();
    let mut wrong = Vec::new();
    let samples = [control::samples(), calls::samples(), seed::samples()];
    for Sample { name, bytes, reads_back } in samples.into_iter().flatten() {
        let Some(old) = stored.remove(name) else {
            wrong.push(format!("{name} has no line, or two samples. As it is written now:\n{}", line(name, &bytes)));
            continue;
        };
        if !reads_back(&old) {
            wrong.push(format!("{name} is not read as what it was"));
        }
        if old != bytes {
            wrong.push(format!("{name} is not written as it was, but:\n{}", line(name, &bytes)));
        }
    }
    wrong.extend(stored.into_keys().map(|name| format!("{name} has no sample")));
    assert!(wrong.is_empty(), "{}\n\n{HELP}", wrong.join("\n"));
}

/// Fields of messages and values of enums, each by the full name of its type and its number.
type Numbers = BTreeSet<(String, i32)>;

/// Fields that stand in `bytes`, down to the innermost message.
fn numbers_in(messages: &BTreeMap<String, DescriptorProto>, name: &str, mut bytes: &[u8], found: &mut Numbers) {
    let message = messages.get(name).unwrap_or_else(|| panic!("no message is called {name}"));
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).expect("a key");
        let number = i32::try_from(number).expect("29 bits");
        found.insert((name.to_owned(), number));
        let field = message.field.iter().find(|field| field.number() == number);
        let is_a = |kind: Type| field.filter(|field| field.r#type() == kind);
        match wire_type {
            WireType::Varint => {
                let value = decode_varint(&mut bytes).expect("a number");
                if let Some(field) = is_a(Type::Enum) {
                    found.insert((field.type_name().to_owned(), i32::try_from(value).expect("a small number")));
                }
            }
            WireType::LengthDelimited => {
                let len = decode_varint(&mut bytes).expect("a length");
                let (inside, rest) = bytes.split_at(usize::try_from(len).expect("a short length"));
                bytes = rest;
                if let Some(field) = is_a(Type::Message) {
                    numbers_in(messages, field.type_name(), inside, found);
                }
            }
            WireType::SixtyFourBit => bytes = &bytes[8..],
            other => panic!("{name} has a field of the type {other:?}"),
        }
    }
}

#[test]
fn every_field_and_every_value_of_an_enum_is_in_the_corpus() {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("descriptors").file;
    let mut messages = BTreeMap::new();
    let mut wanted = BTreeMap::new();
    for file in files {
        let package = format!(".{}", file.package());
        for message in file.message_type {
            let name = format!("{package}.{}", message.name());
            // Entries of maps.
            let nested = message.nested_type.iter().map(|nested| (format!("{name}.{}", nested.name()), nested.clone()));
            messages.extend(nested);
            messages.insert(name, message);
        }
        for kind in file.enum_type {
            let name = format!("{package}.{}", kind.name());
            // 0 is what a field has that is absent.
            let values = kind.value.iter().filter(|value| value.number() != 0);
            wanted.extend(values.map(|value| ((name.clone(), value.number()), value.name().to_owned())));
        }
    }
    for (name, message) in &messages {
        let fields = message.field.iter();
        wanted.extend(fields.map(|field| ((name.clone(), field.number()), field.name().to_owned())));
    }

    let mut found = Numbers::new();
    for (name, bytes) in lines() {
        let (message, _) = name.split_once('@').unwrap_or((name, ""));
        numbers_in(&messages, &format!(".{message}"), &bytes, &mut found);
    }
    let absent = wanted.iter().filter(|(number, _)| !found.contains(*number));
    let absent: Vec<String> = absent.map(|((kind, number), name)| format!("{kind}: {name} = {number}")).collect();
    assert!(absent.is_empty(), "No line of the corpus has:\n{}\n\n{HELP}", absent.join("\n"));
}

#[test]
fn numbers_that_are_gone_are_reserved() {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("descriptors").file;
    let mut free = Vec::new();
    for message in files.iter().flat_map(|file| &file.message_type) {
        let used: BTreeSet<i32> = message.field.iter().map(|field| field.number()).collect();
        // The end of such a range is not in it.
        let is_reserved =
            |number: i32| message.reserved_range.iter().any(|range| (range.start()..range.end()).contains(&number));
        let gaps =
            (1..used.last().copied().unwrap_or(0)).filter(|number| !used.contains(number) && !is_reserved(*number));
        free.extend(gaps.map(|number| format!("{} = {number}", message.name())));
    }
    assert!(free.is_empty(), "Somebody could use again, as they are not `reserved`: {free:?}");
}
