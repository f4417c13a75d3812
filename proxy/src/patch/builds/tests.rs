//! Logs in their folder: what is kept of a build, what is found again, and how many there are at most.

use super::*;

fn head(number: usize, result: &str) -> Head {
    Head {
        plan: format!("{number:064x}"),
        image: format!(
            "registry.example/team/app@{}",
            Digest::of(number.to_string().as_bytes())
        ),
        platform: "linux/amd64".into(),
        started: "2026-01-02T03:04:05Z".into(),
        result: result.into(),
    }
}

fn open(builds: &Builds, number: usize) -> Open {
    let building = Building {
        head: head(number, "running"),
        log: Log::default(),
    };
    let key = building.head.plan.clone();
    builds.running().insert(key.clone(), building.clone());
    Open {
        builds: builds.clone(),
        key,
        upgrades: "libc6 1 -> 2".into(),
        building,
    }
}

#[tokio::test]
async fn a_log_can_be_read_while_it_grows_and_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let builds = Builds::new(folder.path().join("builds"));
    let build = open(&builds, 7);
    build.log().note("first");
    let key = format!("{:064x}", 7);
    assert!(builds.read(&key).unwrap().contains("# first"));
    assert_eq!(builds.list(), [head(7, "running")]);
    let path = build
        .end(Some("it says\nno to https://u:hunter2@h".into()))
        .await
        .unwrap();
    let expected = head(7, "failed: it says no to https://<hidden>@h");
    assert!(path.exists() && expected.failed());
    assert_eq!(builds.list(), std::slice::from_ref(&expected));
    assert_eq!(builds.of_image(&Digest::of(b"7")), Some(expected));
    assert_eq!(builds.of_image(&Digest::of(b"8")), None);
    let text = builds.read(&key).unwrap();
    assert!(
        text.contains("# first") && text.contains("upgrades  libc6 1 -> 2"),
        "{text}"
    );
    assert_eq!(
        Builds::new(folder.path().join("builds")).read(&key),
        Some(text),
        "another process"
    );
    for name in [
        "",
        "0",
        "../../etc/passwd",
        "00000000/",
        &format!("{key}0"),
        "ffffffffff",
    ] {
        assert_eq!(builds.read(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_build_that_is_cut_off_leaves_the_log_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let builds = Builds::new(folder.path().to_owned());
    open(&builds, 1).end(None).await;
    drop(open(&builds, 1));
    assert_eq!(builds.list(), [head(1, "done")]);
}

#[tokio::test]
async fn the_oldest_logs_go_and_a_beginning_names_only_one() {
    let folder = tempfile::tempdir().unwrap();
    let builds = Builds::new(folder.path().to_owned());
    for number in 0..MAX_LOGS + 5 {
        let path = open(&builds, number).end(None).await.unwrap();
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
    open(&builds, 500).end(None).await;
    assert_eq!(builds.list().len(), MAX_LOGS);
    assert_eq!(builds.read(&format!("{:064x}", 0)), None);
    assert!(builds.read(&format!("{:064x}", MAX_LOGS)).is_some());
    assert_eq!(builds.read("0000000000"), None, "many begin so");
}
