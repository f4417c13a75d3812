//! Who may read what, by which route, and how blobs are served.
//!
//! A closed gate is closed for tags, manifests and blobs; a repository reads only what upstream shows there.

use super::*;

const METHODS: [&str; 2] = ["GET", "HEAD"];

#[tokio::test]
async fn a_denial_holds_on_every_route() {
    let rules = [
        ("shut", "registry.example/team/app", Action::Deny),
        ("all", "**", Action::Pass),
    ];
    let bench = Bench::new(&rules, Outcome::Nothing).await;
    let image = debian().build();
    let manifest = bench.memory.push("team/app", Some("v1"), &image);
    bench.memory.push("team/open", Some("v1"), &image);
    assert_eq!(bench.pull("team/open", "v1").await, Vec::<String>::new());
    let blob = Digest::of(&image.config);
    for path in [
        "team/app/manifests/v1".to_owned(),
        format!("team/app/manifests/{}", manifest.digest),
        format!("team/app/blobs/{blob}"),
        format!("team/app/blobs/{}", Digest::of(b"nothing")),
    ] {
        for method in METHODS {
            let reply = bench
                .send(Request::builder().method(method).uri(format!("/v2/{path}")))
                .await;
            assert_eq!(reply.status, 403, "{method} {path}");
            let body = String::from_utf8(reply.body.unwrap().to_vec()).unwrap();
            assert!(
                body.contains("DENIED") && body.contains("rule `shut`"),
                "{method} {path}: {body}"
            );
        }
    }
}

#[tokio::test]
async fn where_some_tags_are_denied_a_digest_is_served_after_an_allowed_tag_led_to_it() {
    let rules = [("beta", "**:beta", Action::Deny), ("all", "**", Action::Pass)];
    let bench = Bench::new(&rules, Outcome::Nothing).await;
    let (good, bad) = (Image::tiny("good"), Image::tiny("bad"));
    let stable = bench.memory.push("team/app", Some("v1"), &good);
    let beta = bench.memory.push("team/app", Some("beta"), &bad);
    let by_digest = format!("team/app/manifests/{}", stable.digest);
    assert_eq!(bench.get(&by_digest).await.status, 403, "nothing has led to it yet");
    assert_eq!(bench.get("team/app/manifests/beta").await.status, 403);
    assert_eq!(bench.pull("team/app", "v1").await, Vec::<String>::new());
    assert_eq!(bench.get(&by_digest).await.status, 200);
    assert_eq!(
        bench.get(&format!("team/app/manifests/{}", beta.digest)).await.status,
        403
    );
    for image in [&bad.config, &bad.layers[0].bytes] {
        assert_eq!(
            bench.get(&format!("team/app/blobs/{}", Digest::of(image))).await.status,
            403
        );
    }
}

#[tokio::test]
async fn a_repository_gives_from_the_cache_only_what_upstream_shows_there() {
    let bench = Bench::patching(Outcome::Tar(upgrade())).await;
    bench.memory.push("team/secret", Some("v1"), &debian().build());
    assert_eq!(bench.pull("team/secret", "v1").await, Vec::<String>::new());
    let patched = bench.get("team/secret/manifests/v1").await;
    let manifest = Manifest::parse(patched.body.clone().unwrap(), patched.header("content-type")).unwrap();
    // A manifest of the thief's own that names what it wants.
    let thief = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":1}}]}}"#,
        manifest.digest
    );
    let thief = Manifest::parse(thief, patchport_oci::media_type::OCI_INDEX).unwrap();
    bench.memory.put_manifest("thief/index", Some("v1"), &thief);
    bench.memory.put_manifest("thief/image", Some("v1"), &manifest);
    for repository in ["team/other", "thief/index", "thief/image"] {
        bench.get(&format!("{repository}/manifests/v1")).await;
        for child in manifest.references() {
            for method in METHODS {
                let path = format!("/v2/{repository}/blobs/{}", child.digest);
                let reply = bench.send(Request::builder().method(method).uri(&path)).await;
                assert_eq!(reply.status, 404, "{method} {path}");
            }
        }
    }
    let elsewhere = bench.get(&format!("team/other/manifests/{}", manifest.digest)).await;
    assert_eq!(elsewhere.status, 404);
}

#[tokio::test]
async fn what_both_repositories_have_is_fetched_once_and_asked_for_in_both() {
    let bench = Bench::new(&[("all", "**", Action::Pass)], Outcome::Nothing).await;
    let image = Image::tiny("shared");
    bench.memory.push("team/one", Some("v1"), &image);
    bench.memory.push("team/two", Some("v1"), &image);
    for repository in ["team/one", "team/two", "team/one"] {
        assert_eq!(bench.pull(repository, "v1").await, Vec::<String>::new());
    }
    assert_eq!(bench.memory.calls.of(Call::Blob), 2, "a configuration and a layer");
    assert!(
        bench.memory.calls.of(Call::BlobSize) >= 2,
        "the other repository was not asked"
    );
}

#[tokio::test]
async fn a_blob_is_served_whole_or_in_part_cold_or_warm() {
    let text = "hello world!";
    let path = format!("team/app/blobs/{}", Digest::of(text.as_bytes()));
    // Range and If-Range; status, body, Content-Range.
    for (range, if_range, status, body, part) in [
        ("", "", 200, text, ""),
        ("bytes=0-4", "", 206, "hello", "bytes 0-4/12"),
        ("bytes=6-", "", 206, "world!", "bytes 6-11/12"),
        ("bytes=-1", "", 206, "!", "bytes 11-11/12"),
        ("bytes=0-4", "\"x\"", 200, text, ""),
        ("bytes=0-1,3-4", "", 200, text, ""),
        ("pages=1", "", 200, text, ""),
    ] {
        let bench = Bench::new(&[("all", "**", Action::Pass)], Outcome::Nothing).await;
        bench.memory.put_blob("team/app", text);
        for heat in ["cold", "warm"] {
            let mut request = Request::get(format!("/v2/{path}"));
            for (name, value) in [("range", range), ("if-range", if_range)] {
                if !value.is_empty() {
                    request = request.header(name, value);
                }
            }
            let reply = bench.send(request).await;
            assert_eq!(reply.status, status, "{heat} {range}");
            assert_eq!(reply.body.as_ref().unwrap(), body, "{heat} {range}");
            assert_eq!(reply.header("content-range"), part, "{heat} {range}");
            assert_eq!(reply.header("content-length"), body.len().to_string(), "{heat} {range}");
            assert_eq!(reply.header("accept-ranges"), "bytes", "{heat} {range}");
        }
        let head = bench.head(&path).await;
        assert_eq!(
            (head.header("content-length"), head.body.as_ref().unwrap().len()),
            ("12", 0)
        );
        assert_eq!(bench.memory.calls.of(Call::Blob), 1, "{range}");
    }
}

#[tokio::test]
async fn a_range_past_the_end_is_refused() {
    let bench = Bench::new(&[("all", "**", Action::Pass)], Outcome::Nothing).await;
    let digest = bench.memory.put_blob("team/app", "hello world!");
    let path = format!("/v2/team/app/blobs/{digest}");
    let reply = bench.send(Request::get(path).header("range", "bytes=12-")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-range")),
        (416, "bytes */12")
    );
}

#[tokio::test]
async fn a_blob_that_is_wrong_breaks_off_and_one_that_does_not_begin_is_late() {
    let bench = Bench::new(&[("all", "**", Action::Pass)], Outcome::Nothing).await;
    let digest = bench.memory.put_blob("team/app", "hello world!");
    let path = format!("team/app/blobs/{digest}");
    bench.upstream.always(Call::Blob, Fault::Bytes(b"hello world?"));
    let reply = bench.get(&path).await;
    assert!(reply.body.is_none() || reply.status == 502, "{}", reply.status);
    bench.upstream.heal();
    let _clock = freeze();
    let gate = Gate::new();
    bench.upstream.always(Call::Blob, Fault::Hang(gate.clone()));
    let late = async {
        gate.reached().await;
        advance(BLOB_PATIENCE + SECOND).await;
    };
    let (reply, ()) = tokio::join!(bench.get(&path), late);
    assert_eq!(reply.status, 504);
}

#[tokio::test]
async fn nothing_but_reading_is_served() {
    let bench = Bench::patching(Outcome::Nothing).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for path in ["/v2/", "/v2/team/app/manifests/v1", "/v2/team/app/blobs/uploads/"] {
            let reply = bench.send(Request::builder().method(method).uri(path)).await;
            assert_eq!(
                (reply.status.as_u16(), reply.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
        }
    }
    let base = bench.get("").await;
    assert_eq!(
        (base.status.as_u16(), base.header("docker-distribution-api-version")),
        (200, "registry/2.0")
    );
}
