//! The lines of one build: what BuildKit tells of it, whole lines, with the time since the beginning.
//!
//! The beginning is dropped when there is too much: what failed stands at the end.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchport_buildkit::{LogLine, Progress};
use tokio::time::Instant;

/// What is kept of a build, in bytes.
const MAX_TEXT: usize = 128 * 1024;
/// The longest line, in bytes; the rest of it is dropped.
const MAX_LINE: usize = 4 * 1024;
/// Commands that may be in the middle of a line at the same time.
const MAX_OPEN: usize = 64;

/// The log of a build while it runs. Clones share it.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Lines>>);

struct Lines {
    begun: Instant,
    lines: VecDeque<String>,
    size: usize,
    dropped: usize,
    /// Lines whose end has not come yet, by what writes them.
    open: HashMap<(String, i64), String>,
}

impl Default for Log {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Lines {
            begun: Instant::now(),
            lines: VecDeque::new(),
            size: 0,
            dropped: 0,
            open: HashMap::new(),
        })))
    }
}

impl Log {
    /// Writes a line of our own.
    pub fn note(&self, line: &str) {
        self.lock().push(&format!("# {}", one_line(line)));
    }

    /// Writes down what BuildKit tells.
    pub fn progress(&self, progress: &Progress) {
        let mut lines = self.lock();
        match progress {
            Progress::Started { name, .. } => lines.push(&format!("> {}", one_line(name))),
            Progress::Completed { name, cached, took, .. } => {
                let cached = if *cached { ", from the cache" } else { "" };
                lines.push(&format!(
                    "> {} done in {:.1} s{cached}",
                    one_line(name),
                    took.as_secs_f64()
                ));
            }
            Progress::Failed { name, error, .. } => {
                lines.flush();
                lines.push(&format!("> {} failed: {}", one_line(name), one_line(error)));
            }
            Progress::Log(line) => lines.piece(line),
        }
    }

    /// All that is kept.
    pub(super) fn text(&self) -> String {
        let mut lines = self.lock();
        lines.flush();
        let mut text = String::with_capacity(lines.size + 64);
        if lines.dropped > 0 {
            let _ = writeln!(text, "({} lines before this are left out)", lines.dropped);
        }
        for line in &lines.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Takes in a piece of a command's output, which may end in the middle of a line.
    fn piece(&mut self, piece: &LogLine) {
        let key = (piece.vertex.clone(), piece.stream);
        let mut line = self.open.remove(&key).unwrap_or_default();
        let mut parts = piece.text.split('\n');
        append(&mut line, parts.next().unwrap_or_default());
        for part in parts {
            self.push(&line);
            line.clear();
            append(&mut line, part);
        }
        if self.open.len() < MAX_OPEN && !line.is_empty() {
            self.open.insert(key, line);
        }
    }

    /// Ends the lines whose end has not come.
    fn flush(&mut self) {
        let open: Vec<String> = self.open.drain().map(|(_, line)| line).collect();
        for line in open {
            self.push(&line);
        }
    }

    fn push(&mut self, line: &str) {
        // What a terminal would overwrite is not worth a line.
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or(line);
        let line = format!("{:7.1} {}", self.begun.elapsed().as_secs_f64(), clean(line));
        self.size += line.len() + 1;
        self.lines.push_back(line);
        while self.size > MAX_TEXT {
            let Some(first) = self.lines.pop_front() else { break };
            self.size -= first.len() + 1;
            self.dropped += 1;
        }
    }
}

/// Adds to a line as much as it may still grow.
fn append(line: &mut String, text: &str) {
    // One byte more than is kept, so that it shows that something is missing.
    let room = (MAX_LINE + 1).saturating_sub(line.len());
    line.push_str(&text[..text.floor_char_boundary(room)]);
}

/// A line as it may be kept: without secrets and control characters, and not too long.
fn clean(line: &str) -> String {
    let is_long = line.len() > MAX_LINE;
    let line = if is_long {
        let cut = &line[..line.floor_char_boundary(MAX_LINE)];
        // A URL that was cut may have lost the sign that ends a password.
        let last = cut.rfind(char::is_whitespace).unwrap_or_default();
        cut.get(..last).unwrap_or_default()
    } else {
        line
    };
    let mut text: String = without_users(line)
        .chars()
        .filter(|letter| !letter.is_control() || *letter == '\t')
        .collect();
    if is_long {
        text.push_str(" ...");
    }
    text
}

/// Text as one line.
pub(crate) fn one_line(text: &str) -> String {
    without_users(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Text with the users and passwords of its URLs replaced.
fn without_users(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let is_end = |letter: char| letter.is_whitespace() || "/?#\"'<>|`".contains(letter);
        let end = after.find(is_end).unwrap_or(after.len());
        let (authority, further) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("<hidden>@");
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = further;
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(vertex: &str, text: &str) -> Progress {
        Progress::Log(LogLine {
            vertex: vertex.into(),
            stream: 1,
            text: text.into(),
        })
    }

    /// The lines without their times.
    fn lines(log: &Log) -> Vec<String> {
        log.text()
            .lines()
            .map(|line| line.get(8..).unwrap_or_default().to_owned())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_become_lines_each_with_its_time() {
        let log = Log::default();
        log.note("on worker\nw");
        tokio::time::advance(std::time::Duration::from_millis(1500)).await;
        for (vertex, text) in [("a", "one\ntw"), ("b", "other\n"), ("a", "o\n10%\r20%\r\nend")] {
            log.progress(&output(vertex, text));
        }
        assert_eq!(lines(&log), ["# on worker w", "one", "other", "two", "20%", "end"]);
        assert!(
            log.text().lines().nth(1).unwrap().starts_with("    1.5 one"),
            "{}",
            log.text()
        );
    }

    #[test]
    fn users_and_passwords_of_urls_are_not_written() {
        for (text, expected) in [
            (
                "GET https://robot:hunter2@deb.example.org/x OK",
                "GET https://<hidden>@deb.example.org/x OK",
            ),
            (
                "'http://hunter2@a:80' ftp://u:hunter2@b",
                "'http://<hidden>@a:80' ftp://<hidden>@b",
            ),
            ("https://u:hunter2@x@host/p@1", "https://<hidden>@host/p@1"),
            ("oci-layout://h/a@sha256:00", "oci-layout://h/a@sha256:00"),
            ("mail me@example.org", "mail me@example.org"),
            ("://", "://"),
        ] {
            assert_eq!(without_users(text), expected);
        }
        let log = Log::default();
        log.note("https://u:hunter2@h");
        log.progress(&output("a", "see https://u:hun"));
        log.progress(&output("a", "ter2@h/\n"));
        // The password would be in what is kept of the line, the sign after it not.
        let long = format!("{} https://u:hunter2{}@h\n", "x".repeat(MAX_LINE - 25), "y".repeat(100));
        log.progress(&output("a", &long));
        log.progress(&Progress::Failed {
            vertex: "a".into(),
            name: "n".into(),
            error: "https://u:hunter2@h\nno".into(),
        });
        assert!(!log.text().contains("hunter2"), "{}", log.text());
    }

    #[test]
    fn a_log_is_bounded_and_keeps_its_end() {
        let log = Log::default();
        for number in 0..100_000 {
            log.progress(&output("a", &format!("line {number}\n")));
        }
        log.progress(&output("a", &"é".repeat(1 << 20)));
        log.progress(&output("a", "rest of the long line\nlast\n"));
        let text = log.text();
        assert!(text.len() < MAX_TEXT + MAX_LINE, "{}", text.len());
        assert!(
            text.ends_with(" last\n") && text.contains("line 99999") && !text.contains("rest of"),
            "{}",
            text.len()
        );
        assert!(text.starts_with('(') && text.contains("lines before this are left out"));
        for number in 0..1000 {
            log.progress(&output(&number.to_string(), "unfinished"));
        }
        assert!(log.lock().open.len() <= MAX_OPEN);
    }
}
