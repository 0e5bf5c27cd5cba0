//! Users of MongoDB that the master cannot be, on a server with real passwords and rights.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::cluster::shell_task;
use cloudai_tests::master::{Master, MasterOptions};
use cloudai_tests::mongo::Mongo;
use cloudai_tests::postgres::{PASSWORD, Postgres};

const DATABASE: &str = "cloudai";

fn uri(mongo: &Mongo, user: &str, password: &str) -> String {
    format!("mongodb://{user}:{password}@{}/{DATABASE}?authMechanism=PLAIN", mongo.address())
}

async fn refused(master: &mut Master, uri: &str) -> String {
    for (name, value) in &mut master.process.recipe_mut().env {
        if name == "MONGODB_URI" {
            uri.clone_into(value);
        }
    }
    let before = master.process.log().len();
    master.process.start_again();
    let status = master.process.ended().await;
    let log = master.process.log()[before..].to_owned();
    assert_eq!(status.code(), Some(70), "{log}");
    assert!(log.contains("hint:") && log.contains("MONGODB_URI") && !log.contains("panicked at cloudaid"), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains("wrong-horse"), "no password is logged: {log}");
    log
}

#[tokio::test]
async fn users_who_may_not_are_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let postgres = Postgres::start(dir.path()).await;
    postgres.sql(&format!("CREATE ROLE writer LOGIN PASSWORD '{PASSWORD}'"));
    postgres.sql(&format!("CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'"));
    postgres.sql("GRANT CREATE, CONNECT ON DATABASE postgres TO writer");
    let mongo = Mongo::on_postgres(dir.path(), &postgres.url()).await;
    let good = uri(&mongo, "writer", PASSWORD);
    let mut master = Master::start(&dir.path().join("master"), &MasterOptions::on_mongo(&good)).await;
    let id = master.api().submit(&shell_task("true")).await.expect("accepted").task_id;
    assert!(master.term().await.success());
    assert!(!master.process.log().contains(PASSWORD), "no password is logged");

    let wrong = refused(&mut master, &uri(&mongo, "writer", "wrong-horse")).await;
    println!("{wrong}");
    postgres.sql(&format!("GRANT USAGE ON SCHEMA {DATABASE} TO reader"));
    postgres.sql(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA {DATABASE} TO reader"));
    let reader = refused(&mut master, &uri(&mongo, "reader", PASSWORD)).await;
    println!("{reader}");

    for (name, value) in &mut master.process.recipe_mut().env {
        if name == "MONGODB_URI" {
            good.clone_into(value);
        }
    }
    master.restart().await;
    assert_eq!(master.api().task(&id).await.expect("it is there").task_id, id);
}
