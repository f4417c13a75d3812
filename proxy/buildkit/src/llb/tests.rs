//! The definition's promises: deterministic, inputs first, every operation once.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;

fn image(number: u8) -> State {
    let digest = format!("sha256:{}", hex::encode([number; 32]));
    State::oci_layout(
        "base",
        &format!("example.org/image{number}"),
        &digest,
        &Platform::new("linux", "amd64"),
    )
}

fn decode(bytes: &[u8]) -> pb::Op {
    pb::Op::decode(bytes).unwrap()
}

fn source(op: pb::Op) -> Option<pb::SourceOp> {
    if let Some(pb::op::Op::Source(source)) = op.op {
        Some(source)
    } else {
        None
    }
}

fn exec(op: pb::Op) -> Option<pb::ExecOp> {
    if let Some(pb::op::Op::Exec(exec)) = op.op {
        Some(exec)
    } else {
        None
    }
}

#[test]
fn a_source_is_as_buildkit_wants_it() {
    let table = [
        (
            "docker.io/library/debian",
            "oci-layout://docker.io/library/debian@sha256:x",
        ),
        ("debian", "oci-layout://patchport.invalid/debian@sha256:x"),
    ];
    for (name, identifier) in table {
        let platform = Platform::new("linux", "arm64").with_variant("v8");
        let definition = State::oci_layout("base", name, "sha256:x", &platform).definition();
        let op = decode(&definition.0.def[0]);
        assert_eq!(Platform::from(op.platform.clone().unwrap()), platform);
        let source = source(op).unwrap();
        assert_eq!(source.identifier, identifier);
        assert_eq!(
            source.attrs,
            BTreeMap::from([("oci.store".to_owned(), "base".to_owned())])
        );
    }
}

#[test]
fn an_exec_is_as_buildkit_wants_it() {
    let state = image(1)
        .exec(["/bin/sh", "-c", "true"])
        .env("B", "2")
        .env("A", "1")
        .cwd("/tmp")
        .user("1000:1000")
        .network(Network::None)
        .name("do nothing")
        .cache("/cache", "id", Sharing::Locked)
        .tmpfs("/logs", Some(1 << 20))
        .bind("/files", &image(2))
        .run();
    let definition = state.definition();
    let op = decode(&definition.0.def[2]);
    let exec = exec(op).unwrap();
    let meta = exec.meta.clone().unwrap();
    assert_eq!(meta.args, ["/bin/sh", "-c", "true"]);
    assert_eq!(meta.env, ["A=1", "B=2"]);
    assert_eq!((meta.cwd.as_str(), meta.user.as_str()), ("/tmp", "1000:1000"));
    assert_eq!(exec.network(), pb::NetMode::None);
    let mounts: Vec<_> = exec
        .mounts
        .iter()
        .map(|m| (m.dest.as_str(), m.input, m.output, m.readonly, m.mount_type()))
        .collect();
    let expected = [
        ("/", 0, 0, false, pb::MountType::Bind),
        ("/cache", -1, -1, false, pb::MountType::Cache),
        ("/files", 1, -1, true, pb::MountType::Bind),
        ("/logs", -1, -1, false, pb::MountType::Tmpfs),
    ];
    assert_eq!(mounts, expected);
    let metadata = &definition.0.metadata[state.digest()];
    assert_eq!(metadata.description["llb.customname"], "do nothing");
    assert!(!metadata.ignore_cache, "it would wipe the cache mounts");
    for cap in [
        "exec.mount.cache.sharing",
        "exec.mount.tmpfs.size",
        "exec.meta.network",
        "meta.description",
    ] {
        assert!(metadata.caps.contains_key(cap), "{cap}");
    }
}

#[test]
fn what_a_definition_asks_for_is_what_buildkit_is_asked_for_beforehand() {
    let state = image(1)
        .exec(["true"])
        .platform(&Platform::new("linux", "amd64"))
        .network(Network::None)
        .limit("fsize", 1)
        .cache("/cache", "id", Sharing::Locked)
        .tmpfs("/logs", Some(1))
        .bind_path("/files", &image(2), "/part")
        .run();
    let definition = state.definition();
    let asked: std::collections::BTreeSet<_> = definition.0.metadata.values().flat_map(|op| op.caps.keys()).collect();
    assert!(asked.iter().map(|cap| cap.as_str()).eq(CAPABILITIES), "{asked:?}");
}

#[test]
fn what_is_changed_may_be_a_mount() {
    let state = image(1)
        .exec(["true"])
        .output("/elsewhere", &image(3))
        .bind("/files", &image(2))
        .output("/target", &image(2))
        .run();
    let definition = state.definition();
    let exec = exec(decode(&definition.0.def[2])).unwrap();
    let mounts: Vec<_> = exec
        .mounts
        .iter()
        .map(|m| (m.dest.as_str(), m.input, m.output, m.readonly))
        .collect();
    let expected = [("/", 0, -1, true), ("/files", 1, -1, true), ("/target", 1, 0, false)];
    assert_eq!(mounts, expected);
}

#[test]
fn a_name_is_no_part_of_the_operation() {
    let named = |name: &str| image(1).exec(["true"]).name(name).run();
    assert_eq!(named("a").digest(), named("b").digest());
    assert_ne!(named("a").definition().to_bytes(), named("b").definition().to_bytes());
}

/// What an exec of the property test may carry, by destination or variable name.
#[derive(Clone, Debug)]
enum Part {
    Env(u8),
    Bind(u8),
    Cache(u8),
    Tmpfs(u8),
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    proptest::collection::btree_set(0..32_u8, 0..12).prop_map(|numbers| {
        let part = |number: u8| match number % 4 {
            0 => Part::Env(number),
            1 => Part::Bind(number),
            2 => Part::Cache(number),
            _ => Part::Tmpfs(number),
        };
        numbers.into_iter().map(part).collect()
    })
}

fn build(parts: &[Part]) -> State {
    let apply = |exec: Exec, part: &Part| match part {
        Part::Env(number) => exec.env(format!("E{number}"), "x"),
        // Two in three share an image, so that inputs are shared too.
        Part::Bind(number) => exec.bind(format!("/b{number}"), &image(number % 3)),
        Part::Cache(number) => exec.cache(format!("/c{number}"), format!("id{number}"), Sharing::Shared),
        Part::Tmpfs(number) => exec.tmpfs(format!("/t{number}"), None),
    };
    parts.iter().fold(image(0).exec(["true"]), apply).run()
}

proptest! {
    #[test]
    fn the_order_of_construction_does_not_matter(parts in parts(), swaps in proptest::collection::vec(any::<(Index, Index)>(), 0..20)) {
        let mut shuffled = parts.clone();
        if !shuffled.is_empty() {
            for (a, b) in swaps {
                let (a, b) = (a.index(shuffled.len()), b.index(shuffled.len()));
                shuffled.swap(a, b);
            }
        }
        prop_assert_eq!(build(&parts).definition().to_bytes(), build(&shuffled).definition().to_bytes());
    }

    #[test]
    fn inputs_come_first_and_every_operation_once(first in parts(), second in parts()) {
        let state = build(&first).exec(["next"]).bind("/other", &build(&second)).run();
        let definition = state.definition();
        let mut seen = HashSet::new();
        for bytes in &definition.0.def {
            for input in decode(bytes).inputs {
                prop_assert!(seen.contains(&input.digest));
            }
            let digest = digest(bytes);
            prop_assert!(definition.0.metadata.contains_key(&digest));
            prop_assert!(seen.insert(digest));
        }
        let last = decode(definition.0.def.last().unwrap());
        prop_assert!(last.op.is_none());
        prop_assert_eq!(&last.inputs[0].digest, state.digest());
    }
}
