//! Replays every input that is kept for a target. Promises: a target without inputs, and inputs without a target, fail.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use patchport_fuzz_targets::{TARGETS, run};

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(kind)
}

fn inputs(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap()
}

#[test]
fn every_target_has_a_fuzzer_and_inputs() {
    let targets: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let corpus = inputs(&folder("corpus")).unwrap();
    assert_eq!(corpus.iter().map(|path| name(path)).collect::<BTreeSet<_>>(), targets);
    let fuzzers = inputs(&folder("src/bin")).unwrap();
    let fuzzers = fuzzers.iter().filter_map(|path| name(path).strip_suffix(".rs"));
    assert_eq!(fuzzers.collect::<BTreeSet<_>>(), targets);
    for kept in inputs(&folder("regressions")).unwrap() {
        assert!(targets.contains(name(&kept)), "{}", kept.display());
    }
}

#[test]
fn kept_inputs_find_nothing() {
    for (target, _) in TARGETS {
        let corpus = inputs(&folder("corpus").join(target)).unwrap();
        assert!(!corpus.is_empty(), "{target}");
        // Most targets have never found anything.
        let regressions = inputs(&folder("regressions").join(target)).unwrap_or_default();
        for input in corpus.iter().chain(&regressions) {
            let bytes = fs::read(input).unwrap();
            let found = std::panic::catch_unwind(|| run(target, &bytes));
            assert!(found.is_ok(), "{}", input.display());
        }
    }
}
