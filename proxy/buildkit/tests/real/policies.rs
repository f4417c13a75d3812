//! Source policies: BuildKit's own engine, asked by its own client, says of the same file what ours says; and a policy that denies
//! everything denies nothing that our content serves.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::pb;
use patchport_buildkit::SourcePolicy;
use patchport_buildkit::source_policy::Source;
use prost::Message as _;
use serde_json::json;
use sha2::Digest as _;

use crate::Bench;
use crate::daemon::program;

/// Serves any file, and notes what was asked for.
fn server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            noted.lock().unwrap().push(path);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    (url, asked)
}

/// A graph that is one file, as `buildctl` takes it.
fn definition(url: &str) -> Vec<u8> {
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)));
    let source = pb::SourceOp {
        identifier: url.to_owned(),
        attrs: Default::default(),
    };
    let source = pb::Op {
        op: Some(pb::op::Op::Source(source)),
        ..pb::Op::default()
    };
    let source = source.encode_to_vec();
    let last = pb::Op {
        inputs: vec![pb::Input {
            digest: digest(&source),
            index: 0,
        }],
        ..pb::Op::default()
    };
    let definition = pb::Definition {
        def: vec![source, last.encode_to_vec()],
        ..pb::Definition::default()
    };
    definition.encode_to_vec()
}

/// What BuildKit makes of a file under a policy: whether it was denied, and otherwise which path it asked for.
fn by_buildkit(address: &str, policy: &Path, url: &str, asked: &Mutex<Vec<String>>) -> Result<String, String> {
    asked.lock().unwrap().clear();
    let mut child = Command::new(program().with_file_name("buildctl"))
        .args(["--addr", address, "build", "--no-cache", "--source-policy-file"])
        .arg(policy)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("buildctl does not start");
    child.stdin.take().unwrap().write_all(&definition(url)).unwrap();
    let said = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&said.stderr).into_owned();
    match (said.status.success(), asked.lock().unwrap().last()) {
        (true, Some(path)) => Ok(path.clone()),
        _ => Err(stderr),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn buildkits_own_engine_judges_as_we_do() {
    let bench = Bench::new().await;
    let (base, asked) = server();
    let rule = |action: &str, kind: &str, identifier: &str, to: &str| {
        json!({
            "action": action,
            "selector": { "identifier": identifier.replace("BASE", &base), "match_type": kind },
            "updates": { "identifier": to.replace("BASE", &base) },
        })
    };
    let checked = |condition: &str, value: &str| {
        let constraint = json!({ "key": "http.filename", "value": value, "condition": condition });
        let selector = json!({ "identifier": "*", "constraints": [constraint] });
        json!({ "action": "DENY", "selector": selector })
    };
    let cases = [
        vec![],
        vec![rule("DENY", "WILDCARD", "*", "")],
        vec![
            rule("DENY", "WILDCARD", "*", ""),
            rule("ALLOW", "WILDCARD", "BASE/*", ""),
        ],
        vec![
            rule("ALLOW", "EXACT", "BASE/a", ""),
            rule("DENY", "WILDCARD", "http://*", ""),
        ],
        vec![rule("DENY", "EXACT", "BASE", "")],
        vec![rule("DENY", "WILDCARD", "BASE", "")],
        vec![rule("DENY", "REGEX", "127[.]0", "")],
        vec![rule("DENY", "REGEX", "^127", "")],
        vec![
            rule("CONVERT", "WILDCARD", "BASE/*", "BASE/b/${1}"),
            rule("DENY", "EXACT", "BASE/b/b/a", ""),
        ],
        vec![rule("CONVERT", "EXACT", "BASE/a", "BASE/b")],
        vec![
            rule("CONVERT", "EXACT", "BASE/a", "BASE/b"),
            rule("DENY", "EXACT", "BASE/b", ""),
        ],
        vec![
            rule("DENY", "EXACT", "BASE/a", ""),
            rule("CONVERT", "EXACT", "BASE/a", "BASE/b"),
        ],
        vec![rule("CONVERT", "REGEX", "^(.*)/a$", "${1}/c")],
        vec![
            rule("CONVERT", "REGEX", "/a$", "/d$1"),
            rule("CONVERT", "EXACT", "BASE/d", "BASE/e"),
        ],
        vec![checked("EQUAL", "")],
        vec![checked("NOTEQUAL", "x")],
        vec![checked("MATCHES", "^x")],
        vec![checked("EQUAL", "x")],
    ];
    let address = format!("unix://{}", bench.daemon.socket().display());
    let url = format!("{base}/a");
    for rules in cases {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({ "version": 1, "rules": rules }).to_string()).unwrap();
        let policy = SourcePolicy::read(file.path()).unwrap();
        let ours = policy.judge(&Source::named(&url)).map(|converted| {
            let name = converted.map_or_else(|| url.clone(), |converted| converted.source.name().to_owned());
            name.replace(&base, "")
        });
        let theirs = by_buildkit(&address, file.path(), &url, &asked);
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{rules:?}"),
            (Err(_), Err(text)) => assert!(
                text.contains("denied by policy") || text.contains("too many"),
                "{rules:?}: {text}"
            ),
            _ => panic!("{rules:?}: {ours:?}, and BuildKit says {theirs:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_denies_everything_denies_nothing_that_we_serve() {
    let bench = Bench::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        r#"{"rules": [{"action": "DENY", "selector": {"identifier": "*"}}]}"#,
    )
    .unwrap();
    let state = bench.sh("echo patched > /patched").run();
    let mut plan = bench.plan(&state);
    plan.source_policy = Some(SourcePolicy::read(file.path()).unwrap());
    bench.client.solve(&plan, |_| ()).await.unwrap();
}
