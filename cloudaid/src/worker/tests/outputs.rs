//! What a worker tells of the files in /output.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn output_files_that_an_earlier_worker_left_out_are_told() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::exit(0).writing("a", "1").writing("b", "2")));
    let mut master = Master::start().await;
    // One of them was given up, and who knew of it was killed when the upload had ended.
    master.stored.lock().ended = Some(shared::proto::FileReceipt { files: 1, bytes: 1 });
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    talk.say(ToWorker::Assign(vec![assignment(0)]));
    talk.started().await;
    let outcome = loop {
        if let Report { change: AttemptChange::Finished(outcome), .. } = talk.report().await {
            break outcome;
        }
    };
    assert_eq!((outcome.output_files, outcome.output_bytes), (1, Some(1)));
    assert_eq!(outcome.output_notes, ["1 file of /output is not among them; why is not known any more"]);
    worker.stop().await;
}
