//! What a solve is doing, from `Control.Status`, as types. What is kept of it is bounded, however much BuildKit sends.

use std::collections::HashMap;
use std::time::Duration;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};

/// Vertices that are told apart; a patch has a handful.
const VERTICES: usize = 1024;
/// What is kept of a vertex's log for an error, in bytes.
const LOG_TAIL: usize = 8 << 10;
/// The longest text in one event, in bytes.
const TEXT_LIMIT: usize = 64 << 10;

/// One thing that happened. Vertices are known by the digest of their operation; a source may start and complete
/// several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A vertex began.
    Started {
        /// Its digest.
        vertex: String,
        /// Its name.
        name: String,
    },
    /// A vertex ended well.
    Completed {
        /// Its digest.
        vertex: String,
        /// Its name.
        name: String,
        /// Whether its result was there before.
        cached: bool,
        /// How long it took, by BuildKit's clock.
        took: Duration,
    },
    /// A vertex failed or was cancelled.
    Failed {
        /// Its digest.
        vertex: String,
        /// Its name.
        name: String,
        /// BuildKit's words.
        error: String,
    },
    /// A command wrote something.
    Log(LogLine),
}

/// A piece of a command's output as BuildKit passes it on: often a line, not always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The vertex that wrote it.
    pub vertex: String,
    /// 1 for standard output, 2 for standard error.
    pub stream: i64,
    /// The text; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Follows the vertices of one solve.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    vertices: HashMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    name: String,
    started: Option<Duration>,
    running: bool,
    log: String,
}

impl Tracker {
    /// Takes in a status message and tells what is new in it.
    pub(crate) fn update(&mut self, status: StatusResponse, mut tell: impl FnMut(Progress)) {
        for vertex in status.vertexes {
            self.vertex(vertex, &mut tell);
        }
        for log in status.logs {
            self.log(&log, &mut tell);
        }
    }

    /// The name of a vertex, or its digest if it has never been heard of.
    pub(crate) fn name(&self, vertex: &str) -> String {
        let known = self.vertices.get(vertex).filter(|seen| !seen.name.is_empty());
        known.map_or(vertex, |seen| &seen.name).to_owned()
    }

    /// The end of what a vertex wrote.
    pub(crate) fn log_tail(&self, vertex: &str) -> &str {
        self.vertices.get(vertex).map_or("", |seen| seen.log.trim_end())
    }

    /// The names of the vertices that have started and not ended.
    pub(crate) fn running(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .vertices
            .values()
            .filter(|seen| seen.running)
            .map(|seen| seen.name.clone())
            .collect();
        names.sort();
        names
    }

    fn seen(&mut self, digest: &str) -> Option<&mut Seen> {
        if self.vertices.len() >= VERTICES && !self.vertices.contains_key(digest) {
            return None;
        }
        Some(self.vertices.entry(digest.to_owned()).or_default())
    }

    /// BuildKit repeats a vertex whenever something about it changed: only the changes are told.
    fn vertex(&mut self, vertex: Vertex, tell: &mut impl FnMut(Progress)) {
        let Some(seen) = self.seen(&vertex.digest) else {
            return;
        };
        let (digest, name) = (vertex.digest, cut(vertex.name));
        seen.name.clone_from(&name);
        let started = vertex.started.as_ref().map(since_epoch);
        if started.is_some() && started != seen.started {
            seen.started = started;
            seen.running = true;
            tell(Progress::Started {
                vertex: digest.clone(),
                name: name.clone(),
            });
        }
        if !vertex.error.is_empty() {
            if std::mem::take(&mut seen.running) {
                tell(Progress::Failed {
                    vertex: digest,
                    name,
                    error: cut(vertex.error),
                });
            }
        } else if let Some(completed) = vertex.completed.as_ref().map(since_epoch)
            && std::mem::take(&mut seen.running)
        {
            let took = completed.saturating_sub(started.unwrap_or(completed));
            tell(Progress::Completed {
                vertex: digest,
                name,
                cached: vertex.cached,
                took,
            });
        }
    }

    fn log(&mut self, log: &VertexLog, tell: &mut impl FnMut(Progress)) {
        let text = String::from_utf8_lossy(&log.msg[..log.msg.len().min(TEXT_LIMIT)]).into_owned();
        if let Some(seen) = self.seen(&log.vertex) {
            seen.log.push_str(&text);
            let start = seen.log.ceil_char_boundary(seen.log.len().saturating_sub(LOG_TAIL));
            seen.log.drain(..start);
        }
        tell(Progress::Log(LogLine {
            vertex: log.vertex.clone(),
            stream: log.stream,
            text,
        }));
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_LIMIT));
    text
}

fn since_epoch(time: &Timestamp) -> Duration {
    Duration::new(
        u64::try_from(time.seconds).unwrap_or(0),
        u32::try_from(time.nanos).unwrap_or(0).min(999_999_999),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn vertex(started: Option<Timestamp>, completed: Option<Timestamp>, error: &str) -> StatusResponse {
        let vertex = Vertex {
            digest: "d".into(),
            name: "n".into(),
            started,
            completed,
            error: error.into(),
            ..Vertex::default()
        };
        StatusResponse {
            vertexes: vec![vertex],
            ..StatusResponse::default()
        }
    }

    fn events(messages: Vec<StatusResponse>) -> (Tracker, Vec<Progress>) {
        let (mut tracker, mut events) = (Tracker::default(), Vec::new());
        for message in messages {
            tracker.update(message, |event| events.push(event));
        }
        (tracker, events)
    }

    #[test]
    fn only_changes_are_told() {
        let started = || Progress::Started {
            vertex: "d".into(),
            name: "n".into(),
        };
        let completed = |seconds| Progress::Completed {
            vertex: "d".into(),
            name: "n".into(),
            cached: false,
            took: Duration::from_secs(seconds),
        };
        let failed = Progress::Failed {
            vertex: "d".into(),
            name: "n".into(),
            error: "e".into(),
        };
        let table = [
            ("announced", vec![vertex(None, None, "")], vec![]),
            (
                "repeated",
                vec![vertex(at(1), None, ""), vertex(at(1), None, "")],
                vec![started()],
            ),
            (
                "one message",
                vec![vertex(at(1), at(3), "")],
                vec![started(), completed(2)],
            ),
            (
                "twice",
                vec![
                    vertex(at(1), at(3), ""),
                    vertex(at(4), None, ""),
                    vertex(at(4), at(5), ""),
                ],
                vec![started(), completed(2), started(), completed(1)],
            ),
            (
                "failed",
                vec![vertex(at(1), None, ""), vertex(at(1), at(2), "e")],
                vec![started(), failed],
            ),
            (
                "clock runs backwards",
                vec![vertex(at(3), at(1), "")],
                vec![started(), completed(0)],
            ),
        ];
        for (name, messages, expected) in table {
            assert_eq!(events(messages).1, expected, "{name}");
        }
    }

    #[test]
    fn the_log_is_bounded_and_cut_between_characters() {
        let log = |msg: &[u8]| StatusResponse {
            logs: vec![VertexLog {
                vertex: "d".into(),
                stream: 1,
                msg: msg.to_vec(),
                timestamp: None,
            }],
            ..StatusResponse::default()
        };
        let (tracker, _) = events(vec![log("é".repeat(9000).as_bytes()), log(b"x\xff end\n")]);
        let tail = tracker.log_tail("d");
        assert!(
            tail.len() <= LOG_TAIL && tail.ends_with("éx\u{fffd} end"),
            "{}",
            tail.len()
        );
    }

    #[test]
    fn unknown_vertices_are_bounded() {
        let many = (0..2 * VERTICES).map(|number| Vertex {
            digest: number.to_string(),
            ..Vertex::default()
        });
        let (tracker, _) = events(vec![StatusResponse {
            vertexes: many.collect(),
            ..StatusResponse::default()
        }]);
        assert_eq!(tracker.vertices.len(), VERTICES);
        assert_eq!(tracker.name("never"), "never");
    }
}
