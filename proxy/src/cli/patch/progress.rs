//! What goes on while images are patched, on standard error: live on a terminal, lines elsewhere, or JSON.
//!
//! What a build writes is shown, and its end is kept for when it fails. It comes from inside an image, so nothing in it can
//! steer a terminal.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use patchport_buildkit::{LogLine, Progress as Event};
use patchport_oci::Digest;
use serde_json::json;

use crate::patch::buildkit::Watch;
use crate::plan::Plan;

/// Lines of a build's log that are kept for when it fails.
const KEPT: usize = 20;
/// Lines of a build's log below its step on a terminal.
const SHOWN: usize = 4;
/// A line is broken after so many bytes.
const LINE: usize = 4096;
/// Steps that take less are not worth a line when they end.
const WORTH_SAYING: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// tty on a terminal, else plain
    #[default]
    Auto,
    /// One line for each step, and every line of a build's log
    Plain,
    /// Live: the running steps, and the last lines of their logs
    Tty,
    /// Nothing
    Quiet,
    /// One JSON object for each event
    Rawjson,
}

/// The display. Clones show to the same one.
#[derive(Clone)]
pub(super) struct Display(Arc<Inner>);

struct Inner {
    mode: Mode,
    bars: MultiProgress,
    builds: Mutex<HashMap<Digest, Build>>,
}

/// The build of one image.
struct Build {
    label: String,
    bar: Option<ProgressBar>,
    step: String,
    /// Steps that have begun: a source begins several times.
    begun: HashSet<String>,
    /// What is unfinished of the last line of each stream.
    open: HashMap<(String, i64), String>,
    log: VecDeque<String>,
}

impl Display {
    /// A display on standard error.
    pub(super) fn new(mode: Mode) -> Self {
        let mode = match mode {
            Mode::Auto if std::io::stderr().is_terminal() => Mode::Tty,
            Mode::Auto => Mode::Plain,
            chosen => chosen,
        };
        Self(Arc::new(Inner {
            mode,
            bars: MultiProgress::new(),
            builds: Mutex::default(),
        }))
    }

    /// Says what begins or has ended.
    pub(super) fn say(&self, text: &str) {
        let text = clean(text);
        match self.0.mode {
            Mode::Tty => {
                let _ = self.0.bars.println(&text);
            }
            Mode::Rawjson => self.json(json!({ "event": "stage", "text": text })),
            Mode::Plain | Mode::Auto => line(&text),
            Mode::Quiet => {}
        }
    }

    /// Says for whom the builds of an image are.
    pub(super) fn expect(&self, image: &Digest, label: &str) {
        let label = label.to_owned();
        self.lock().entry(image.clone()).or_insert_with(|| Build {
            label,
            bar: None,
            step: String::new(),
            begun: HashSet::new(),
            open: HashMap::new(),
            log: VecDeque::new(),
        });
    }

    /// The last lines that the build of an image wrote.
    pub(super) fn last_lines(&self, image: &Digest) -> Vec<String> {
        let mut builds = self.lock();
        let Some(build) = builds.get_mut(image) else {
            return Vec::new();
        };
        build.flush();
        build.log.iter().cloned().collect()
    }

    /// Takes the build of an image off the terminal.
    pub(super) fn ended(&self, image: &Digest) {
        if let Some(bar) = self.lock().get_mut(image).and_then(|build| build.bar.take()) {
            bar.finish_and_clear();
        }
    }

    /// Shows what the engine tells.
    pub(super) fn watch(&self) -> Watch {
        let display = self.clone();
        Arc::new(move |plan: &Plan, event: &Event| display.event(&plan.image, event))
    }

    fn event(&self, image: &Digest, event: &Event) {
        let mut builds = self.lock();
        let Some(build) = builds.get_mut(image) else { return };
        match event {
            Event::Log(log) => {
                let lines = build.write(log);
                for text in lines {
                    self.log(build, &text);
                }
            }
            Event::Started { name, vertex } => {
                let is_new = build.begun.insert(vertex.clone());
                self.step(build, "started", &clean(name), json!({}), is_new);
            }
            Event::Completed { name, cached, took, .. } => {
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let more = json!({ "cached": cached, "took_ms": took_ms });
                self.step(build, "completed", &clean(name), more, *took >= WORTH_SAYING);
            }
            Event::Failed { name, error, .. } => {
                self.step(build, "failed", &clean(name), json!({ "error": clean(error) }), true);
            }
        }
    }

    fn log(&self, build: &mut Build, text: &str) {
        match self.0.mode {
            Mode::Plain | Mode::Auto => line(&format!("{} | {text}", build.label)),
            Mode::Rawjson => self.json(json!({ "event": "log", "image": build.label, "text": text })),
            Mode::Tty => self.draw(build),
            Mode::Quiet => {}
        }
    }

    /// A step of a build; those that are of no interest are not told in lines.
    fn step(&self, build: &mut Build, what: &str, name: &str, mut more: serde_json::Value, is_told: bool) {
        if what == "started" {
            name.clone_into(&mut build.step);
        }
        match self.0.mode {
            Mode::Plain | Mode::Auto if !is_told => {}
            Mode::Plain | Mode::Auto => {
                let took = more.get("took_ms").and_then(serde_json::Value::as_u64);
                let took = took.map_or_else(String::new, |took| {
                    format!(" in {}.{} s", took / 1000, took % 1000 / 100)
                });
                line(&format!("{}: {name}: {what}{took}", build.label));
            }
            Mode::Rawjson => {
                more["event"] = json!(what);
                more["image"] = json!(build.label);
                more["step"] = json!(name);
                self.json(more);
            }
            Mode::Tty => self.draw(build),
            Mode::Quiet => {}
        }
    }

    /// The running step of a build with the last lines of its log below.
    fn draw(&self, build: &mut Build) {
        let width = usize::from(console::Term::stderr().size().1).saturating_sub(4).max(20);
        let bar = build.bar.get_or_insert_with(|| {
            let bar = self.0.bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let seconds = bar.elapsed().as_secs();
        let mut text =
            console::truncate_str(&format!("{}: {} ({seconds} s)", build.label, build.step), width, "…").into_owned();
        for log in build.log.iter().skip(build.log.len().saturating_sub(SHOWN)) {
            text.push_str("\n    ");
            text.push_str(&console::truncate_str(log, width, "…"));
        }
        bar.set_message(text);
    }

    fn json(&self, mut event: serde_json::Value) {
        event["time"] = json!(jiff::Timestamp::now().to_string());
        line(&event.to_string());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Build>> {
        self.0.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Build {
    /// Takes in a piece of a log; the lines that it ends.
    fn write(&mut self, piece: &LogLine) -> Vec<String> {
        let open = self.open.entry((piece.vertex.clone(), piece.stream)).or_default();
        let mut lines = Vec::new();
        for char in piece.text.chars() {
            if matches!(char, '\n' | '\r') || open.len() >= LINE {
                lines.push(clean(&std::mem::take(open)));
            }
            if !matches!(char, '\n' | '\r') {
                open.push(char);
            }
        }
        lines.retain(|line| !line.is_empty());
        for line in &lines {
            self.keep(line.clone());
        }
        lines
    }

    /// Ends the lines that are open.
    fn flush(&mut self) {
        let open: Vec<String> = self.open.drain().map(|(_, text)| clean(&text)).collect();
        for line in open.into_iter().filter(|line| !line.is_empty()) {
            self.keep(line);
        }
    }

    fn keep(&mut self, line: String) {
        if self.log.len() >= KEPT {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }
}

/// Text that cannot steer a terminal: without its sequences, other control characters, and those that turn the direction of
/// writing.
pub(super) fn clean(text: &str) -> String {
    let steers = |char: &char| {
        char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let text = console::strip_ansi_codes(text);
    text.chars()
        .filter(|char| !steers(char))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Event {
        Event::Log(LogLine {
            vertex: "v".into(),
            stream: 1,
            text: text.into(),
        })
    }

    #[test]
    fn the_end_of_a_log_is_kept_in_whole_lines_that_steer_nothing() {
        let display = Display::new(Mode::Quiet);
        let image = Digest::of(b"image");
        display.expect(&image, "app:1 linux/amd64");
        for number in 0..30 {
            display.event(&image, &piece(&format!("line {number}\nha")));
            display.event(&image, &piece("lf\r"));
        }
        display.event(&image, &piece("\u{1b}[31mred\u{1b}[0m\u{202e} and\u{7} open"));
        let lines = display.last_lines(&image);
        assert_eq!(lines.len(), KEPT);
        assert_eq!(lines[KEPT - 3..], ["line 29", "half", "red and open"]);
        assert!(display.last_lines(&Digest::of(b"other")).is_empty());
    }

    #[test]
    fn an_endless_line_is_broken() {
        let display = Display::new(Mode::Quiet);
        let image = Digest::of(b"image");
        display.expect(&image, "app");
        display.event(&image, &piece(&"x".repeat(3 * LINE)));
        assert!(display.last_lines(&image).iter().all(|line| line.len() <= LINE));
    }
}
