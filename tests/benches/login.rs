//! Whether the time of a refused login tells who there is: known names, unknown names, and names that take no passwords for
//! a while. Prints for each pair the AUC, which is 0.5 where nothing can be told and 1 where everything can.
//!
//! A real master as a process, on loopback; each round comes from an address of its own, so that none is slowed down.
//!
//! ```text
//! cargo build --release --workspace --bins && cargo bench --bench login
//! CLOUDAI_BENCH_ROUNDS=500 cargo bench --bench login
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use cloudai_tests::api::Api;
use cloudai_tests::bench::percentile;
use cloudai_tests::master::{ADMIN_PASSWORD, Master};
use serde_json::{Value, json};

/// Logins of each kind in a round: fewer than block a name.
const EACH: usize = 4;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let rounds = std::env::var("CLOUDAI_BENCH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
        let directory = tempfile::tempdir().expect("a directory");
        let master = Master::start(directory.path(), &Default::default()).await;
        let admin = master.api();
        let mut times: [Vec<Duration>; 3] = Default::default();
        for round in 0..rounds {
            one(&admin, &master.url(), round, &mut times).await;
        }
        report(times);
    });
}

/// The kinds take turns, so that whatever else the machine does hits all alike.
async fn one(admin: &Api, url: &str, round: usize, times: &mut [Vec<Duration>; 3]) {
    let address = [127, 1, u8::try_from(round / 250).expect("few"), u8::try_from(1 + round % 250).expect("few")];
    let client = reqwest::Client::builder().no_proxy().local_address(Some(address.into())).build().expect("a client");
    let names = [format!("known-{round}"), format!("unknown-{round}"), format!("locked-{round}")];
    for name in [&names[0], &names[2]] {
        let made = json!({"username": name, "password": ADMIN_PASSWORD});
        let _view: Value = admin.post("/api/users", &made).await.expect("made");
    }
    for _ in 0..6 {
        login(&client, url, &names[2]).await;
    }
    for turn in 0..EACH {
        for kind in 0..names.len() {
            // Each kind is the first as often.
            let kind = (kind + turn) % names.len();
            times[kind].push(login(&client, url, &names[kind]).await);
        }
    }
}

async fn login(client: &reqwest::Client, url: &str, name: &str) -> Duration {
    let request = client.post(format!("{url}/api/auth/login"));
    let request = request.json(&json!({"username": name, "password": "wrong horse battery"}));
    let begin = Instant::now();
    let answer = request.send().await.expect("an answer");
    let status = answer.status();
    answer.bytes().await.expect("a body");
    assert_eq!(status.as_u16(), 401, "{name}");
    begin.elapsed()
}

fn report(mut times: [Vec<Duration>; 3]) {
    let kinds = ["known", "unknown", "locked"];
    for (kind, times) in kinds.iter().zip(&mut times) {
        times.sort_unstable();
        let at = |share| percentile(times, share).as_secs_f64() * 1e3;
        println!("{kind:8} {} logins, ms: p10 {:.2}, median {:.2}, p90 {:.2}", times.len(), at(0.1), at(0.5), at(0.9));
    }
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        println!("{} and {}: AUC {:.3}", kinds[a], kinds[b], auc(&times[a], &times[b]));
    }
}

/// How often one of `a` is longer than one of `b`, or the reverse, whichever is more.
fn auc(a: &[Duration], b: &[Duration]) -> f64 {
    let mut longer = 0.0;
    for one in a {
        for other in b {
            longer += match one.cmp(other) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    let share = longer / (a.len() * b.len()) as f64;
    share.max(1.0 - share)
}
