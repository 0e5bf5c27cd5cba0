//! What is said to a master, by what it is.

use super::*;
use crate::worker::tests::key;

#[tokio::test]
async fn a_master_that_does_not_say_that_it_takes_a_cut_is_told_of_none() {
    let (lane, mut sent) = Lane::loose();
    let mut route = lane.register(key(0)).expect("it is open");
    let ack = |takes_cuts| proto::LogAck { attempt: Some(key(0).into()), takes_cuts, ..proto::LogAck::default() };
    let [durable, to] = [3, 7].map(|stdout| Offsets { stdout, stderr: 0 });
    lane.answer(ack(false));
    taken(route.next().await).expect("taken");
    let told = send_cut(key(0), &lane, &route, durable, to).await;
    assert!(matches!(told, Err(Broken::Later(_))), "{told:?}");
    assert!(sent.try_recv().is_err(), "it would end the lane of all runs");
    lane.answer(ack(true));
    taken(route.next().await).expect("taken");
    send_cut(key(0), &lane, &route, durable, to).await.expect("told");
    let cut = proto::LogCut { stdout_offset: 7, stderr_offset: 0 };
    assert_eq!(sent.try_recv().expect("a frame").content, Some(Content::Cut(cut)));
}
