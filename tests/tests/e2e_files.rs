//! The output files of a whole task in one download, as Python's own readers of tar and zip find them.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::process::Command;

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::wait::PATIENCE;

type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// Each prints the bytes of every name and content; the checks of the format are the reader's own.
const TAR: &str = "
import json, os, sys, tarfile
with tarfile.open(sys.argv[1], 'r:', errors='surrogateescape') as archive:
    read = lambda member: list(archive.extractfile(member).read())
    print(json.dumps([[list(os.fsencode(member.name)), read(member)] for member in archive]))
";
const ZIP: &str = "
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    print(json.dumps([[list(name.encode()), list(archive.read(name))] for name in archive.namelist()]))
";

fn unpacked(script: &str, archive: &[u8]) -> Files {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), archive).expect("written");
    let output = Command::new("python3").args(["-c", script]).arg(file.path()).output().expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let members: Vec<(Vec<u8>, Vec<u8>)> = serde_json::from_slice(&output.stdout).expect("its list");
    let count = members.len();
    let files: Files = members.into_iter().collect();
    assert_eq!(files.len(), count, "no name twice");
    files
}

#[tokio::test]
async fn a_whole_task_is_downloaded_as_tar_or_zip() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let long = "n".repeat(200);
    let deep = vec!["d".repeat(40); 6].join("/");
    // One name that is no text, and one that looks like what zip makes of it.
    let line = format!(
        r#"cd /output; mkdir -p '{deep}'; printf a > '{long}'; printf b > '{deep}/{long}'; : > empty
          printf c > grün; printf d > "$(printf 'x\377')"; printf e > x%FF; head -c 700000 /dev/zero > large"#
    );
    let task = api.submit(&shell_task(&line)).await.expect("accepted").task_id;
    api.ended(PATIENCE, &task).await;
    let large = vec![0; 700_000];
    let mut expected: Files = [
        (long.clone(), b"a".as_slice()),
        (format!("{deep}/{long}"), b"b"),
        ("empty".to_owned(), b""),
        ("grün".to_owned(), b"c"),
        ("x%FF".to_owned(), b"e"),
        ("large".to_owned(), &large),
    ]
    .map(|(name, content)| (name.into_bytes(), content.to_vec()))
    .into();
    expected.insert(b"x\xff".to_vec(), b"d".to_vec());
    let tar = api.get_bytes(&format!("/api/files/{task}?archive=tar")).await.expect("an archive");
    assert!(unpacked(TAR, &tar) == expected, "{:?}", unpacked(TAR, &tar).keys());
    let zip = api.get_bytes(&format!("/api/files/{task}?archive=zip")).await.expect("an archive");
    let zip = unpacked(ZIP, &zip);
    // Both stay, under names that zip can hold.
    let of_odd: Vec<_> = zip.iter().filter(|(name, _)| name.starts_with(b"x")).collect();
    assert_eq!(of_odd.iter().map(|(_, content)| content.len()).collect::<Vec<_>>(), [1, 1], "{of_odd:?}");
    assert_eq!(zip.len(), expected.len());
    assert!(expected.iter().filter(|(name, _)| name[0] != b'x').all(|(name, content)| zip.get(name) == Some(content)));
}

#[tokio::test]
async fn the_elements_of_an_array_have_a_folder_each() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let mut array = shell_task("printf $CLOUDAI_ARRAY_INDEX > /output/index");
    array.count = Some(3);
    let task = api.submit(&array).await.expect("accepted").task_id;
    api.ended(PATIENCE, &task).await;
    let expected: Files =
        (0..3_u8).map(|index| (format!("{index}/index").into_bytes(), index.to_string().into())).collect();
    for (form, script) in [("tar", TAR), ("zip", ZIP)] {
        let archive = api.get_bytes(&format!("/api/files/{task}?archive={form}")).await.expect("an archive");
        assert_eq!(unpacked(script, &archive), expected, "{form}");
    }
    let one = api.get_bytes(&format!("/api/files/{task}.1?archive=tar")).await.expect("an archive");
    println!("{:?}", unpacked(TAR, &one).keys());
    assert!(api.get_bytes(&format!("/api/files/{task}?archive=rar")).await.is_err());
}
