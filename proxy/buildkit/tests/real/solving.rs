//! What a solve promises when nothing goes wrong.

use patchport_buildkit::llb::{Network, Sharing};
use patchport_buildkit::{Compression, Exporter, Progress};

use crate::Bench;
use crate::image::{Image, paths, platform};

fn log_of(events: &[Progress]) -> String {
    let text = |event: &Progress| {
        if let Progress::Log(line) = event {
            Some(line.text.clone())
        } else {
            None
        }
    };
    events.iter().filter_map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_new_layer_comes_back_and_the_base_stays_as_it_was() {
    let bench = Bench::new().await;
    let state = bench.sh("echo patched > /patched; echo said").name("the patch").run();
    let (result, events) = bench.solve(&state).await;
    let solved = result.unwrap();

    let manifest = bench.store.json(&solved.digest);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    assert_eq!(manifest["layers"][0]["digest"], bench.base.layer.as_str());
    let layer = manifest["layers"][1]["digest"].as_str().unwrap();
    assert!(paths(&bench.store.blob(layer)).contains(&"patched".to_owned()));
    let config = manifest["config"]["digest"].as_str().unwrap();
    let written = bench.store.take_written();
    for needed in [solved.digest.as_str(), config, layer] {
        assert!(
            written.iter().any(|digest| digest == needed),
            "{needed} not in {written:?}"
        );
    }
    assert!(!written.contains(&bench.base.layer), "the base layer was sent back");
    assert_eq!(written.len(), 3, "{written:?}");
    assert_eq!(solved.media_type, "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(solved.size, bench.store.blob(&solved.digest).len() as u64);

    let config = bench.store.json(config);
    assert_eq!(config["config"]["Entrypoint"][0], "/bin/cat");
    assert_eq!(config["config"]["Labels"]["kept"], "yes");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);

    let started = |event: &Progress| matches!(event, Progress::Started { name, .. } if name == "the patch");
    let completed =
        |event: &Progress| matches!(event, Progress::Completed { name, cached: false, .. } if name == "the patch");
    assert!(events.iter().any(started) && events.iter().any(completed), "{events:?}");
    assert_eq!(log_of(&events), "said\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_solve_again_reads_and_writes_no_layer() {
    let bench = Bench::new().await;
    let state = bench.sh("echo patched > /patched").name("the patch").run();
    let first = bench.solve(&state).await.0.unwrap();
    let read = bench.store.read_of(&bench.base.layer);
    bench.store.take_written();

    let (second, events) = bench.solve(&state).await;
    assert_eq!(second.unwrap().digest, first.digest);
    assert_eq!(bench.store.read_of(&bench.base.layer), read);
    assert_eq!(bench.store.take_written(), Vec::<String>::new());
    let cached =
        |event: &Progress| matches!(event, Progress::Completed { name, cached: true, .. } if name == "the patch");
    assert!(events.iter().any(cached), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_there_for_the_command_and_leave_nothing() {
    let bench = Bench::new().await;
    let files = Image::new(&bench.store, &[("data/x".to_owned(), b"from the files".to_vec())]);
    let script = "cat /files/data/x; cat /one/x; echo -n kept >> /cache/y; cat /cache/y; echo z > /tmpfs/z; \
                  if (echo no > /files/no) 2>/dev/null; then exit 3; fi; echo end > /end";
    let exec = |epoch: &str| {
        let files = files.state("example.org/files");
        bench
            .sh(script)
            .env("EPOCH", epoch)
            .bind("/files", &files)
            .bind_path("/one", &files, "/data")
            .cache("/cache", "test-cache", Sharing::Locked)
            .tmpfs("/tmpfs", Some(1 << 20))
            .network(Network::None)
            .platform(&platform())
            .run()
    };
    let (result, events) = bench.solve(&exec("1")).await;
    let manifest = bench.store.json(&result.unwrap().digest);
    assert_eq!(log_of(&events), "from the filesfrom the fileskept");
    let layer = bench.store.blob(manifest["layers"][1]["digest"].as_str().unwrap());
    let left: Vec<_> = paths(&layer).into_iter().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(left, ["end"]);

    let (result, events) = bench.solve(&exec("2")).await;
    result.unwrap();
    assert_eq!(
        log_of(&events),
        "from the filesfrom the fileskeptkept",
        "the cache mount lasts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_compressed_as_told() {
    let bench = Bench::new().await;
    let state = bench.sh("echo patched > /patched").run();
    let table = [
        (Compression::Gzip, "application/vnd.oci.image.layer.v1.tar+gzip"),
        (Compression::Zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
        (Compression::Uncompressed, "application/vnd.oci.image.layer.v1.tar"),
    ];
    for (compression, media_type) in table {
        let mut plan = bench.plan(&state);
        plan.exporter = Exporter::new(compression)
            .config(&bench.base.config)
            .source_date_epoch(1_700_000_000);
        let solved = bench.client.solve(&plan, |_| ()).await.unwrap();
        let manifest = bench.store.json(&solved.digest);
        assert_eq!(manifest["layers"][1]["mediaType"], media_type);
        assert_eq!(manifest["layers"][0]["digest"], bench.base.layer.as_str());
        let config = bench.store.json(manifest["config"]["digest"].as_str().unwrap());
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_list_the_native_platform_first() {
    let bench = Bench::new().await;
    let workers = bench.client.workers().await.unwrap();
    assert_eq!(workers[0].native_platform(), Some(&platform()));
    assert_eq!(workers[0].labels["org.mobyproject.buildkit.worker.executor"], "oci");
    assert!(!bench.client.info().await.unwrap().version.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_there_for_the_command_alone_and_nothing_of_it_is_left() {
    let bench = Bench::new().await;
    let exec = |id: &str| {
        let script = "cat /dev/kit/login > /dev/null; [ -s /dev/kit/login ] && echo it is there; echo end > /end";
        bench.sh(script).secret("/dev/kit/login", id).run()
    };
    let mut plan = bench.plan(&exec("login"));
    let secret = bytes::Bytes::from_static(b"kit-secret-canary");
    plan.secrets = [("login".to_owned(), secret)].into_iter().collect();
    assert!(!String::from_utf8_lossy(&plan.definition.to_bytes()).contains("canary"));
    let mut said = String::new();
    let heard = |event: Progress| said.push_str(&format!("{event:?}"));
    let solved = bench.client.solve(&plan, heard).await.unwrap();
    assert!(said.contains("it is there") && !said.contains("canary"), "{said}");
    let manifest = bench.store.json(&solved.digest);
    let layer = bench.store.blob(manifest["layers"][1]["digest"].as_str().unwrap());
    let left: Vec<_> = paths(&layer).into_iter().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(left, ["end"]);

    plan.definition = exec("another").definition();
    let error = bench.client.solve(&plan, |_| ()).await.unwrap_err();
    assert!(format!("{error:?}").contains("not found"), "{error:?}");
}
