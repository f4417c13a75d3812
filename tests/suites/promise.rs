//! `docs/SEMANTICS.md` by quotation: a test names the sentence that it shows, and fails when that sentence is gone.

use std::fs;
use std::path::Path;

/// Panics unless `docs/SEMANTICS.md` says this, however its lines are broken.
#[track_caller]
pub(crate) fn promise(quote: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SEMANTICS.md");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(
        flat(&text).contains(&flat(quote)),
        "docs/SEMANTICS.md no longer says: {quote}"
    );
}

fn flat(text: &str) -> String {
    text.replace("**", "").split_whitespace().collect::<Vec<_>>().join(" ")
}
