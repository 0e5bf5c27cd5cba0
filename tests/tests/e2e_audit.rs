//! The audit log of a real master: what was done is there, and nobody changes it unseen.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::master::ADMIN_PASSWORD;
use cloudai_tests::wait::{PATIENCE, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use shared::role::Role;
use shared::view::AuditListView;

async fn entries(admin: &Api) -> Vec<String> {
    let list: AuditListView = admin.get("/api/audit?after=0&limit=1000").await.expect("the log");
    let line = |entry: shared::audit::AuditEntry| {
        let user = entry.user.map_or_else(|| "-".to_owned(), |user| user.to_string());
        format!(
            "{user} {} {} {} {}",
            entry.via.split(':').next().unwrap_or_default(),
            entry.action,
            entry.object,
            entry.outcome
        )
    };
    list.entries.into_iter().map(line).collect()
}

#[tokio::test]
async fn what_was_done_and_what_was_refused_is_there_with_who_it_was() {
    let mut cluster = Cluster::start(1).await;
    let admin = cluster.api();
    let (ann, reader) = (admin.somebody("ann", Role::User).await, admin.somebody("reader", Role::ReadOnly).await);
    let task = ann.submit(&shell_task("echo secret > /output/file")).await.expect("accepted").task_id;
    ann.ended(PATIENCE, &task).await;
    assert!(reader.submit(&shell_task("true")).await.is_err());
    let lines = [r#"{"image":"a"}"#, "{", r#"{"image":"b"}"#].join("\n");
    let bulk = ann.request(Method::POST, "/api/tasks").header("content-type", "application/x-ndjson").body(lines);
    ann.send(bulk).await.expect("answers");
    // Looks are not noted, but for an admin's into what is not theirs.
    ann.get_bytes(&format!("/api/files/{task}/file")).await.expect("a file");
    admin.get_bytes(&format!("/api/files/{task}/file")).await.expect("a file");
    let made: Value = ann.post("/api/tokens", &json!({"name": "script"})).await.expect("a token");
    let script = ann.with_token(made["token"].as_str().expect("a token"));
    let cancel: Result<Value, Failure> = script.post(&format!("/api/tasks/{task}/cancel"), &json!({})).await;
    assert!(cancel.is_err(), "it has ended");
    // What is acknowledged is durable, and so is its entry.
    cluster.master.kill9();
    cluster.master.restart().await;
    let token = made["token_id"].as_str().expect("an id");
    let expected = [
        "- none POST /api/auth/setup admin done".to_owned(),
        "admin login POST /api/users ann done".to_owned(),
        "- none POST /api/auth/login ann done".to_owned(),
        format!("ann login POST /api/tasks {task} done"),
        format!("admin login GET /api/files/{{id}}/{{*path}} {task}/file done"),
        format!("ann login POST /api/tokens {token} done"),
        format!("ann token POST /api/tasks/{{id}}/cancel {task} task_not_found"),
    ];
    let found = entries(&admin).await;
    for line in expected {
        assert!(found.contains(&line), "{line}\n{found:#?}");
    }
    assert!(found.iter().any(
        |line| line.starts_with("ann login POST /api/tasks task-") && line.ends_with("and 1 more, 0 refused done")
    ));
    assert!(!found.iter().any(|line| line.starts_with("ann login GET")), "{found:#?}");
    // A refusal is noted a moment after it is told.
    eventually(PATIENCE, "the refusal", || async {
        entries(&admin).await.contains(&"reader login POST /api/tasks  permission_denied".to_owned()).then_some(())
    })
    .await;
    for api in [&ann, &reader, &script] {
        let refused: Result<AuditListView, _> = api.get("/api/audit").await;
        assert!(matches!(refused, Err(Failure::Refused { status: 403, .. })));
    }
}

#[tokio::test]
async fn what_somebody_may_not_do_is_noted_and_strangers_do_not_fill_the_log() {
    let cluster = Cluster::start(0).await;
    let admin = cluster.api();
    let (ann, nobody) = (admin.somebody("ann", Role::User).await, admin.with_token(""));
    let made: Value = ann.post("/api/tokens", &json!({"name": "script"})).await.expect("a token");
    let script = ann.with_token(made["token"].as_str().expect("a token"));
    let refused = |answer: Result<Value, Failure>| match answer {
        Err(Failure::Refused { status, .. }) => status,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!(refused(ann.get("/api/audit").await), 403);
    assert_eq!(refused(nobody.post("/api/shutdown", &json!({})).await), 401);
    // What a script has might be stolen: it takes no account over.
    let passwords = json!({"old_password": ADMIN_PASSWORD, "new_password": "another good one"});
    assert_eq!(refused(script.post("/api/auth/password", &passwords).await), 403);
    assert_eq!(refused(script.post("/api/tokens", &json!({"name": "more"})).await), 403);
    assert_eq!(refused(script.post("/api/auth/logout", &json!({"everywhere": true})).await), 409);
    for _ in 0..200 {
        assert_eq!(refused(nobody.post("/api/auth/refresh", &json!({"refresh_token": "x"})).await), 401);
    }
    let large = json!({"refresh_token": "x".repeat(17_000)});
    assert_eq!(refused(nobody.post("/api/auth/refresh", &large).await), 413);
    let expected = [
        "ann login GET /api/audit  permission_denied",
        "- none POST /api/shutdown  unauthenticated",
        "ann token POST /api/auth/password  permission_denied",
        "ann token POST /api/tokens  permission_denied",
    ];
    let found = eventually(PATIENCE, "all of it", || async {
        let found = entries(&admin).await;
        expected.iter().all(|line| found.iter().any(|entry| entry == line)).then_some(found)
    })
    .await;
    let of_strangers = found.iter().filter(|line| line.contains("/api/auth/refresh")).count();
    assert!((1..=40).contains(&of_strangers), "{of_strangers}");
    let _still_in: Value = ann.get("/api/auth/me").await.expect("the login is as it was");
}

#[tokio::test]
async fn whoever_changes_the_log_is_found_out() {
    let mut cluster = Cluster::start(0).await;
    let admin = cluster.api();
    for name in ["ann", "bob", "cas"] {
        admin.somebody(name, Role::User).await;
    }
    let ctl = cluster.ctl();
    let good = ctl.run(&["audit", "--verify", "--format", "{{.entries}}:{{.seal}}"]).await.ok();
    let good = good.trim();
    ctl.run(&["audit", "--verify", "--contains", good]).await.ok();
    let database = cluster.master.data_dir().join("cloudai.db");
    // With the log of what is not yet in the file itself.
    let files = ["cloudai.db", "cloudai.db-wal", "cloudai.db-shm"].map(|name| database.with_file_name(name));
    let attacks = [
        ("UPDATE audit SET object = 'eve' WHERE object = 'bob'", "was changed"),
        ("DELETE FROM audit WHERE sequence = 3", "some are missing"),
        ("DELETE FROM audit WHERE sequence > 3", "end was cut off"),
    ];
    for (sql, told) in attacks {
        cluster.master.kill9();
        let before = files.clone().map(|file| std::fs::read(file).ok());
        let script = format!("import sqlite3; c = sqlite3.connect({database:?}); c.execute({sql:?}); c.commit()");
        let done = Command::new("python3").args(["-c", &script]).status().expect("python3");
        assert!(done.success());
        cluster.master.restart().await;
        let output = ctl.run(&["audit", "--verify", "--contains", good]).await;
        assert!(output.code == 65 && output.stderr.contains(told), "{sql}: {output:?}");
        cluster.master.kill9();
        for (file, before) in files.iter().zip(before) {
            match before {
                Some(bytes) => std::fs::write(file, bytes).expect("as it was"),
                None => drop(std::fs::remove_file(file)),
            }
        }
        cluster.master.restart().await;
        ctl.run(&["audit", "--verify", "--contains", good]).await.ok();
    }
}
