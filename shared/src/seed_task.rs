//! `cluster.Task`, read from both generations of senders.
//!
//! They disagree on what stands in some fields, down to the wire type. The generated reader would refuse such a message; this
//! one ignores fields of another type than it expects, as the readers of other languages do.

use prost::bytes::{Buf, BufMut};
use prost::encoding::WireType::{LengthDelimited, SixtyFourBit, Varint};
use prost::encoding::{DecodeContext, WireType, double, int64, skip_field, string};
use prost::{DecodeError, Message};

macro_rules! message {
    ($name:ident { $($tag:literal, $codec:ident, $wire:ident, $field:ident: $type:ty;)* }) => {
        /// A task on the wire, as `proto/master_worker.proto` has it.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[allow(missing_docs, reason = "the fields are described in the .proto file")]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                $(if self.$field != <$type>::default() {
                    $codec::encode($tag, &self.$field, buf);
                })*
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                context: DecodeContext,
            ) -> Result<(), DecodeError> {
                match (tag, wire_type) {
                    $(($tag, $wire) => $codec::merge(wire_type, &mut self.$field, buf, context),)*
                    _ => skip_field(wire_type, tag, buf, context),
                }
            }

            fn encoded_len(&self) -> usize {
                let mut len = 0;
                $(if self.$field != <$type>::default() {
                    len += $codec::encoded_len($tag, &self.$field);
                })*
                len
            }

            fn clear(&mut self) {
                *self = Self::default();
            }
        }
    };
}

message!(Task {
    1, string, LengthDelimited, task_id: String;
    2, string, LengthDelimited, docker_image: String;
    3, string, LengthDelimited, command: String;
    4, double, SixtyFourBit, req_cpu: f64;
    5, double, SixtyFourBit, req_memory: f64;
    6, double, SixtyFourBit, req_storage: f64;
    7, double, SixtyFourBit, req_gpu: f64;
    8, string, LengthDelimited, target_worker_id: String;
    9, string, LengthDelimited, user_id: String;
    10, string, LengthDelimited, task_name: String;
    11, int64, Varint, submitted_at: i64;
    12, string, LengthDelimited, newer_task_name: String;
    13, int64, Varint, newer_submitted_at: i64;
});

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
        let sent = Task {
            task_id: "t".into(),
            task_name: "n".into(),
            submitted_at: 7,
            newer_task_name: "n".into(),
            newer_submitted_at: 7,
            ..Task::default()
        };
        assert_eq!(Task::decode(&sent.encode_to_vec()[..]), Ok(sent.clone()));
        assert_eq!(sent.encoded_len(), sent.encode_to_vec().len());
    }

    #[test]
    fn what_a_newer_sender_writes_is_read_without_what_it_has_elsewhere() {
        let newer = Newer { task_id: "t".into(), other: 1.5, text: "x".into(), task_name: "n".into(), submitted_at: 9 };
        let read = Task::decode(&newer.encode_to_vec()[..]).expect("readable");
        assert_eq!((read.task_id.as_str(), read.newer_task_name.as_str(), read.newer_submitted_at), ("t", "n", 9));
        assert_eq!((read.task_name.as_str(), read.submitted_at), ("", 0));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(Task::decode(&b"\x0a\xff"[..]).is_err());
        assert!(Task::decode(&b"\x0a\x02\xff\xff"[..]).is_err(), "no text");
        assert!(Task::decode(&b"\x51\x00"[..]).is_err(), "half a number in a field that is passed over");
    }
}
