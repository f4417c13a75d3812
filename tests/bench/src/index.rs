//! What it costs to parse a distribution's main index, and to keep it.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use patchport_packages::apt::{self, Index};

use crate::measure::{Figures, MIB, apart, line, memory, of};
use crate::{Real, real};

const RUNS: usize = 5;

pub(crate) fn run(real: &Real) -> anyhow::Result<()> {
    let (_, file) = std::fs::read_dir(&real.lists)?
        .filter_map(|entry| Some((entry.as_ref().ok()?.metadata().ok()?.len(), entry.ok()?.path())))
        .filter(|(_, path)| path.extension().is_some_and(|extension| extension == "xz"))
        .max()
        .ok_or_else(|| anyhow::anyhow!("no index in {}", real.lists.display()))?;
    let (plain, ours) = (apart("unpack", &file, RUNS)?, apart("parse", &file, RUNS)?);
    let (unpacking, all) = (of(&plain, "processor"), of(&ours, "processor"));
    println!("{:<54} {:>10}", "index: packages", of(&ours, "packages"));
    line("index: unpack (xz)", unpacking, "s", Some(("xz -dc", xz(&file)?)), "");
    line(
        "index: unpack and parse",
        all,
        "s",
        Some(("unpack", unpacking)),
        "<= 1 s",
    );
    line("index: kept", of(&ours, "bytes") / MIB, "MiB", None, "<= 32 MiB");
    let again = of(&apart("parse-again", &file, 1)?, "second") / MIB;
    line(
        "index: kept, as the process grew with a second",
        again,
        "MiB",
        None,
        "<= 32 MiB",
    );
    let first = of(&ours, "kept") / MIB;
    line("index: the same with the first", first, "MiB", None, "");
    line("index: peak memory", of(&ours, "peak") / MIB, "MiB", None, "");
    Ok(())
}

/// Unpacks an index, and does nothing with it.
pub(crate) fn unpack(file: &Path) -> anyhow::Result<(Figures, ())> {
    let bytes = std::fs::read(file)?;
    let mut reader = apt::decompress(&file.to_string_lossy(), &bytes, 1 << 30)?;
    let mut buffer = vec![0; 128 * 1024];
    while reader.read(&mut buffer)? > 0 {}
    Ok((Figures::new(), ()))
}

/// Parses an index.
pub(crate) fn parse(file: &Path) -> anyhow::Result<(Figures, Index)> {
    let index = real::parse(file)?;
    let figure = |value: usize| u32::try_from(value).map(f64::from);
    let figures = Figures::from([
        ("packages".to_owned(), figure(index.len())?),
        ("bytes".to_owned(), figure(index.kept_bytes())?),
    ]);
    Ok((figures, index))
}

/// Parses an index a second time: what its process takes then is what an index takes, for what was needed to read the first
/// one is there to be used again.
pub(crate) fn parse_again(file: &Path) -> anyhow::Result<(Figures, [Index; 2])> {
    let first = real::parse(file)?;
    let before = memory("VmRSS")?;
    let second = real::parse(file)?;
    Ok((
        Figures::from([("second".to_owned(), memory("VmRSS")? - before)]),
        [first, second],
    ))
}

/// What the reference implementation takes to unpack it, in seconds.
fn xz(file: &Path) -> anyhow::Result<f64> {
    let start = std::time::Instant::now();
    let output = Command::new("xz").args(["-T1", "-dc"]).arg(file).output()?;
    anyhow::ensure!(output.status.success(), "xz failed");
    Ok(start.elapsed().as_secs_f64())
}
