//! What things cost: each benchmark prints figures, and beside them what a peer takes for the same in the same run.
//! Nothing here passes or fails; what was promised stands in the table, and people judge. Run by `tests/bench/run`.
#![expect(clippy::print_stdout, reason = "the table is what this is for")]

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod decide;
mod index;
mod layer;
mod measure;
mod patch;
mod pull;
mod real;

/// Measures what things cost.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The inventory of a layer, beyond inflating it.
    Layer(Real),
    /// Parsing a distribution's main index.
    Index(Real),
    /// A decision from what is known.
    Decide(Real),
    /// Ten thousand decisions, after an index has changed.
    Many(Real),
    /// A first pull when there is nothing to patch, and the answer for a tag that is decided.
    Pull(pull::Upstream),
    /// The same images patched by Copacetic and by Patchport, through the same BuildKit.
    Patch(patch::Parts),
    /// One measurement, in this process.
    #[command(hide = true)]
    Child { work: String, file: PathBuf },
}

/// What is real in a benchmark.
#[derive(clap::Args)]
pub(crate) struct Real {
    /// An OCI layout with a Debian image in it.
    #[arg(long)]
    layout: PathBuf,
    /// A folder with `SUITE_COMPONENT.xz` and `SUITE.InRelease` of that Debian.
    #[arg(long)]
    lists: PathBuf,
    /// A folder for what is made on the way.
    #[arg(long)]
    scratch: PathBuf,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Layer(real) => layer::run(&real),
        What::Index(real) => index::run(&real),
        What::Decide(real) => decide::run(&real),
        What::Many(real) => decide::run_many(&real),
        What::Pull(upstream) => pull::run(&upstream),
        What::Patch(parts) => patch::run(&parts),
        What::Child { work, file } => child(&work, &file),
    }
}

fn child(work: &str, file: &Path) -> anyhow::Result<()> {
    match work {
        "inflate" => measure::report(|| layer::inflate(file)),
        "inventory" => measure::report(|| layer::inventory(file)),
        "unpack" => measure::report(|| index::unpack(file)),
        "decide" => measure::report(|| decide::many(file)),
        "parse" => measure::report(|| index::parse(file)),
        "parse-again" => measure::report(|| index::parse_again(file)),
        _ => Err(anyhow::anyhow!("there is no {work}")),
    }
    .with_context(|| format!("{work} {}", file.display()))
}
