//! The other calls of workers: logs, files, registries, and what proves who they are.

use prost::bytes::Bytes;

use super::{Sample, plain};
use crate::proto::{
    Attempt, Credentials, DescribeReply, FileBegin, FileEnd, FileFrame, FileReceipt, JoinRequest, LogAck, LogChunk,
    LogCut, LogFrame, LogOpen, LogStream, RegistryLogin, RenewRequest, UploadEnd, UploadOpen, UploadResume, UploadRoom,
    UploadState, file_frame, log_frame,
};

pub(super) fn samples() -> Vec<Sample> {
    let mut samples = vec![
        plain("cloudai.v1.RegistryLogin", login()),
        plain("cloudai.v1.DescribeReply", describe_reply()),
        plain("cloudai.v1.Attempt", attempt()),
        plain("cloudai.v1.JoinRequest", join_request()),
        plain("cloudai.v1.RenewRequest", RenewRequest { csr: bytes(b"\x30\x01") }),
        plain("cloudai.v1.Credentials", credentials()),
    ];
    samples.extend(logs());
    samples.extend(files());
    samples
}

fn bytes(bytes: &'static [u8]) -> Bytes {
    Bytes::from_static(bytes)
}

fn attempt() -> Attempt {
    Attempt { task_id: "task-01arz3ndektsv4rrffq69g5fav".to_owned(), index: 3, attempt: 2, fence: 4_294_967_305 }
}

fn login() -> RegistryLogin {
    RegistryLogin { username: "ann".to_owned(), password: "secret".to_owned() }
}

fn describe_reply() -> DescribeReply {
    let cluster_id = "01arz3ndektsv4rrffq69g5fav".to_owned();
    DescribeReply { cluster_id, protocol: 2, version: "0.1.0".to_owned() }
}

fn join_request() -> JoinRequest {
    JoinRequest { token: "token".to_owned(), worker_id: "w1".to_owned(), csr: bytes(b"\x30\x00") }
}

fn credentials() -> Credentials {
    Credentials {
        cluster_id: "01arz3ndektsv4rrffq69g5fav".to_owned(),
        worker_id: "w1".to_owned(),
        certificate: bytes(b"\x30\x02"),
        authorities: vec![bytes(b"\x30\x03"), bytes(b"\x30\x04")],
        renew_at_unix_ms: 1_700_000_000_123,
    }
}

fn logs() -> Vec<Sample> {
    let frame = |content| LogFrame { attempt: Some(attempt()), content: Some(content) };
    let chunk = |stream: LogStream| {
        frame(log_frame::Content::Chunk(LogChunk { stream: stream.into(), offset: 300, data: bytes(b"a\n\xff\0") }))
    };
    let ack = LogAck {
        attempt: Some(attempt()),
        stdout_offset: 300,
        stderr_offset: 4,
        refused: "no such attempt".to_owned(),
        later: true,
        takes_cuts: false,
    };
    let able = LogAck { refused: String::new(), later: false, takes_cuts: true, ..ack.clone() };
    vec![
        plain("cloudai.v1.LogFrame@open", frame(log_frame::Content::Open(LogOpen {}))),
        plain("cloudai.v1.LogFrame@stdout", chunk(LogStream::Stdout)),
        plain("cloudai.v1.LogFrame@stderr", chunk(LogStream::Stderr)),
        plain(
            "cloudai.v1.LogFrame@cut",
            frame(log_frame::Content::Cut(LogCut { stdout_offset: 300, stderr_offset: 4 })),
        ),
        plain("cloudai.v1.LogAck", ack),
        plain("cloudai.v1.LogAck@takes_cuts", able),
    ]
}

fn files() -> Vec<Sample> {
    use file_frame::Content;
    let frame = |content| FileFrame { content: Some(content) };
    let begin = FileBegin { path: bytes(b"a/\xff"), size: 300, executable: true };
    let receipt = FileReceipt { files: 2, bytes: 1 << 33 };
    let state = UploadState {
        ended: Some(receipt),
        files: 2,
        chain: bytes(b"\x01\x02"),
        open: Some(UploadOpen { path: bytes(b"a/\xff"), size: 300, offset: 150 }),
        room: Some(UploadRoom { bytes: 1 << 40, files: 1000 }),
        path_limit: 0,
        may_leave_open: false,
    };
    let long_paths = UploadState { path_limit: 65_536, ..state.clone() };
    let without_open = UploadState { may_leave_open: true, ..state.clone() };
    let resume = UploadResume { files: 2, chain: bytes(b"\x01\x02"), offset: 150, leaves_open: false };
    let leaving = UploadResume { leaves_open: true, ..resume.clone() };
    vec![
        plain("cloudai.v1.FileFrame@attempt", frame(Content::Attempt(attempt()))),
        plain("cloudai.v1.FileFrame@begin", frame(Content::Begin(begin))),
        plain("cloudai.v1.FileFrame@data", frame(Content::Data(bytes(b"\0data")))),
        plain("cloudai.v1.FileFrame@end", frame(Content::End(FileEnd { blake3: bytes(b"\x0a\x0b") }))),
        plain("cloudai.v1.FileFrame@resume", frame(Content::Resume(resume))),
        plain("cloudai.v1.FileFrame@leaves_open", frame(Content::Resume(leaving))),
        plain("cloudai.v1.FileFrame@last", frame(Content::Last(UploadEnd { files: 3, chain: bytes(b"\x03\x04") }))),
        plain("cloudai.v1.FileReceipt", receipt),
        plain("cloudai.v1.UploadState", state),
        plain("cloudai.v1.UploadState@path_limit", long_paths),
        plain("cloudai.v1.UploadState@may_leave_open", without_open),
    ]
}
