//! What tasks read at /input.

use shared::id::InputId;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn many_inputs_leave_the_connection_to_others() {
    let scratch = tempfile::tempdir().expect("a directory");
    let runtime = Arc::new(FakeRuntime::with(|_| Behaviour::endless()));
    let mut master = Master::start().await;
    let worker = Running::start(&master, scratch.path(), &runtime);
    let (mut talk, _) = master.welcome(|_| Decision::Keep).await;
    let reading = |index: u32| Assignment { input: Some(InputId(u128::from(index + 1).into())), ..assignment(index) };
    talk.say(ToWorker::Assign((0..12).map(reading).collect()));
    for _ in 0..12 {
        talk.started().await;
    }
    let (asked, open, most) = master.stored.lock().fetches;
    assert_eq!((asked, open), (12, 0));
    assert!((1..=4).contains(&most), "{most} at a time");
    worker.stop().await;
}
