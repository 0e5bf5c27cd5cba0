//! `cluster.Task`, read from both generations of senders.
//!
//! They disagree on what stands in some fields, down to the wire type. The generated reader would refuse such a message; this
//! one ignores the fields that are of another generation, as the readers of other languages do.

use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, skip_field};
use prost::{DecodeError, Message};

/// A task on the wire, as `proto/master_worker.proto` has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Task(pub TaskFields);

/// The fields of [`Task`].
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "they are described in the .proto file")]
pub struct TaskFields {
    #[prost(string, tag = "1")]
    pub task_id: String,
    #[prost(string, tag = "2")]
    pub docker_image: String,
    #[prost(string, tag = "3")]
    pub command: String,
    #[prost(double, tag = "4")]
    pub req_cpu: f64,
    #[prost(double, tag = "5")]
    pub req_memory: f64,
    #[prost(double, tag = "6")]
    pub req_storage: f64,
    #[prost(double, tag = "7")]
    pub req_gpu: f64,
    #[prost(string, tag = "8")]
    pub target_worker_id: String,
    #[prost(string, tag = "9")]
    pub user_id: String,
    #[prost(string, tag = "10")]
    pub task_name: String,
    #[prost(int64, tag = "11")]
    pub submitted_at: i64,
    #[prost(string, tag = "12")]
    pub newer_task_name: String,
    #[prost(int64, tag = "13")]
    pub newer_submitted_at: i64,
}

/// The wire type of a field on which the generations disagree.
fn expected(tag: u32) -> Option<WireType> {
    match tag {
        10 | 12 => Some(WireType::LengthDelimited),
        11 | 13 => Some(WireType::Varint),
        _ => None,
    }
}

impl Message for Task {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.0.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match expected(tag) {
            Some(expected) if expected != wire_type => skip_field(wire_type, tag, buf, context),
            Some(_) | None => self.0.merge_field(tag, wire_type, buf, context),
        }
    }

    fn encoded_len(&self) -> usize {
        self.0.encoded_len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the newer generation writes it: doubles and texts where the older has a name and a time.
    #[derive(Clone, PartialEq, Message)]
    struct Newer {
        #[prost(string, tag = "1")]
        task_id: String,
        #[prost(double, tag = "10")]
        other: f64,
        #[prost(string, tag = "11")]
        text: String,
        #[prost(string, tag = "12")]
        task_name: String,
        #[prost(int64, tag = "13")]
        submitted_at: i64,
    }

    #[test]
    fn each_generation_finds_the_name_and_the_time_where_it_looks() {
        let sent = Task(TaskFields {
            task_id: "t".into(),
            task_name: "n".into(),
            submitted_at: 7,
            newer_task_name: "n".into(),
            newer_submitted_at: 7,
            ..TaskFields::default()
        });
        assert_eq!(Task::decode(&sent.encode_to_vec()[..]), Ok(sent.clone()));
        assert_eq!(sent.encoded_len(), sent.encode_to_vec().len());
    }

    #[test]
    fn what_a_newer_sender_writes_is_read_without_what_it_has_elsewhere() {
        let newer = Newer { task_id: "t".into(), other: 1.5, text: "x".into(), task_name: "n".into(), submitted_at: 9 };
        let Task(read) = Task::decode(&newer.encode_to_vec()[..]).expect("readable");
        assert_eq!((read.task_id.as_str(), read.newer_task_name.as_str(), read.newer_submitted_at), ("t", "n", 9));
        assert_eq!((read.task_name.as_str(), read.submitted_at), ("", 0));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(Task::decode(&b"\x0a\xff"[..]).is_err());
        assert!(Task::decode(&b"\x09\x00\x00\x00\x00\x00\x00\x00\x00"[..]).is_err(), "a number for an id");
    }
}
