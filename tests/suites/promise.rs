//! `docs/SEMANTICS.md` by quotation: a test names the sentence that it shows, and fails when that sentence is gone. No
//! sentence in bold is without such a test.

use std::fs;
use std::path::{Path, PathBuf};

/// Panics unless `docs/SEMANTICS.md` says this, however its lines are broken.
#[track_caller]
pub(crate) fn promise(quote: &str) {
    assert!(
        promises().iter().any(|promise| promise == quote),
        "docs/SEMANTICS.md no longer promises: {quote}"
    );
}

#[test]
fn every_promise_is_quoted_by_a_test() {
    let suites = here("suites");
    let sources = fs::read_dir(&suites)
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let sources: String = sources.collect();
    let promises = promises();
    assert!(!promises.is_empty());
    for promise in promises {
        assert!(sources.contains(&format!("\"{promise}\"")), "no test quotes: {promise}");
    }
}

/// What stands in bold in `docs/SEMANTICS.md`, each on one line, but for the words about the bold itself.
fn promises() -> Vec<String> {
    let file = here("../docs/SEMANTICS.md");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let bold = text.split("**").skip(1).step_by(2);
    bold.map(|promise| promise.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
