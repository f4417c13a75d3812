//! Figures: processor time and memory of a process of its own for each measurement, medians, and the lines of the table.
//! Processor time is what is compared, for the machine may be busy with other things.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// A mebibyte.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// Figures by name.
pub(crate) type Figures = BTreeMap<String, f64>;

/// Processor time of this process so far, in seconds.
pub(crate) fn processor() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds since this process began")]
    let seconds = time.tv_sec as f64;
    seconds + f64::from(u32::try_from(time.tv_nsec).unwrap_or_default()) / 1e9
}

/// A line of `/proc/self/status`, in bytes: `VmHWM` for the most memory so far, `VmRSS` for that of now.
pub(crate) fn memory(name: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kib.with_context(|| format!("no {name} in the process's status"))? * 1024.0)
}

/// Does something, and prints what it took and found.
pub(crate) fn report<T>(work: impl FnOnce() -> anyhow::Result<(Figures, T)>) -> anyhow::Result<()> {
    let (time, resident, peak) = (processor(), memory("VmRSS")?, memory("VmHWM")?);
    let (mut figures, kept) = work()?;
    figures.insert("processor".to_owned(), processor() - time);
    figures.insert("kept".to_owned(), memory("VmRSS")? - resident);
    figures.insert("peak".to_owned(), memory("VmHWM")? - peak);
    drop(kept);
    for (name, value) in figures {
        println!("{name}={value}");
    }
    Ok(())
}

/// Does something in `runs` processes of its own: the median of each figure.
pub(crate) fn apart(work: &str, file: &Path, runs: usize) -> anyhow::Result<Figures> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..runs {
        let output = Command::new(std::env::current_exe()?)
            .args(["child", work])
            .arg(file)
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "{work}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        for line in String::from_utf8(output.stdout)?.lines() {
            let (name, value) = line.split_once('=').context("a figure")?;
            all.entry(name.to_owned()).or_default().push(value.parse()?);
        }
    }
    Ok(all.into_iter().map(|(name, values)| (name, median(values))).collect())
}

/// The middle one of some values; not a number when there is none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A figure by its name; not a number when it is not there.
pub(crate) fn of(figures: &Figures, name: &str) -> f64 {
    figures.get(name).copied().unwrap_or(f64::NAN)
}

/// Prints a line of the table: what, how much, how many times as much as its peer, and what was promised.
pub(crate) fn line(what: &str, value: f64, unit: &str, peer: Option<(&str, f64)>, promised: &str) {
    let ratio = peer.map_or_else(String::new, |(name, peer)| format!("{:.2} x {name}", value / peer));
    println!("{what:<54} {value:>10.3} {unit:<5} {ratio:<34} {promised}");
}
