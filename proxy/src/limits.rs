//! The limit of open files, raised as far as the system lets us.
//!
//! The usual soft limit, 1,024, is for programs that call `select`; a mirror with a few hundred clients is above it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one and logs both; warns when `max_connections` do not fit in.
pub fn raise_open_files(max_connections: u32) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let limit = getrlimit(Resource::Nofile).current;
    tracing::info!(
        open_files.before = before.current,
        open_files.limit = limit,
        "limit of open files"
    );
    if limit.is_some_and(|limit| limit < needed(max_connections)) {
        tracing::warn!(
            open_files.limit = limit,
            open_files.needed = needed(max_connections),
            server.max_connections = max_connections,
            "the limit of open files is too low for so many connections: raise it, or lower server.max_connections"
        );
    }
}

/// A connection that is answered takes two files: its socket, and a file of the store or a connection to upstream.
fn needed(max_connections: u32) -> u64 {
    2 * u64::from(max_connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let low = Rlimit {
            current: Some(512),
            maximum: hard,
        };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_open_files(1);
        assert_eq!(getrlimit(Resource::Nofile).current, hard);
    }

    #[test]
    fn two_files_per_connection() {
        assert_eq!(needed(16_384), 32_768);
        assert_eq!(needed(u32::MAX), 8_589_934_590);
    }
}
