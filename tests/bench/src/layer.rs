//! What the inventory of a layer costs beyond inflating it, and that a layer of ten times the size takes no more memory.

use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use patchport_packages::Inventory;

use crate::measure::{Figures, MIB, apart, line, of};
use crate::{Real, real};

/// How often each is measured.
const RUNS: usize = 5;
/// How many times the real layer the large one is.
const TIMES: usize = 10;

pub(crate) fn run(real: &Real) -> anyhow::Result<()> {
    let small = real::layer(real)?;
    let large = large(&small, &real.scratch)?;
    for (file, runs) in [(small, RUNS), (large, 1)] {
        #[expect(clippy::cast_precision_loss, reason = "a size for people")]
        let size = std::fs::metadata(&file)?.len() as f64 / 1e6;
        let (plain, ours) = (apart("inflate", &file, runs)?, apart("inventory", &file, runs)?);
        let (inflating, all) = (of(&plain, "processor"), of(&ours, "processor"));
        let name = |what: &str| format!("layer of {size:.0} MB: {what}");
        line(&name("inflate (zlib-rs)"), inflating, "s", None, "");
        line(&name("inventory"), all, "s", Some(("inflate", inflating)), "");
        line(
            &name("inventory beyond inflating"),
            all - inflating,
            "s",
            None,
            "<= 1 s",
        );
        let (peak, peer) = (of(&ours, "peak") / MIB, of(&plain, "peak") / MIB);
        line(&name("peak memory"), peak, "MiB", Some(("inflate", peer)), "<= 64 MiB");
        println!("{:<54} {:>10}", name("packages found"), of(&ours, "packages"));
    }
    Ok(())
}

/// Inflates a layer, and does nothing with it.
pub(crate) fn inflate(file: &Path) -> anyhow::Result<(Figures, ())> {
    let mut reader = MultiGzDecoder::new(real::open(file)?);
    let mut buffer = vec![0; 128 * 1024];
    while reader.read(&mut buffer)? > 0 {}
    Ok((Figures::new(), ()))
}

/// Reads a layer as the product does.
pub(crate) fn inventory(file: &Path) -> anyhow::Result<(Figures, Inventory)> {
    let inventory = real::inventory(file)?;
    let packages = u32::try_from(inventory.packages.len())?;
    Ok((Figures::from([("packages".to_owned(), f64::from(packages))]), inventory))
}

/// A layer with the content of another under several folders, and once at its place.
fn large(small: &Path, scratch: &Path) -> anyhow::Result<PathBuf> {
    let file = scratch.join("large.tar.gz");
    if file.exists() {
        return Ok(file);
    }
    let partial = scratch.join("large.part");
    let encoder = GzEncoder::new(BufWriter::new(File::create(&partial)?), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    for time in 0..TIMES {
        let mut archive = tar::Archive::new(MultiGzDecoder::new(real::open(small)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut header = entry.header().clone();
            let path = if time == 0 {
                entry.path()?.into_owned()
            } else {
                Path::new(&format!("srv/{time}")).join(entry.path()?)
            };
            match entry.link_name()? {
                Some(link) => builder.append_link(&mut header, path, link)?,
                None => builder.append_data(&mut header, path, &mut entry)?,
            }
        }
    }
    builder.into_inner()?.finish()?.flush()?;
    std::fs::rename(partial, &file)?;
    Ok(file)
}
