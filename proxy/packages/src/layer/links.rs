//! Symbolic links, followed inside the root that they cannot leave.

use crate::layer::path;

/// Links that are followed for one path, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Follows every symbolic link of a path; `target` gives that of a link. Nothing when they do not end. Counts the parts it looks up.
pub(crate) fn follow<'a>(path: &'a str, steps: &mut u64, target: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let mut left: Vec<&str> = parts(path).collect();
    let mut done = String::with_capacity(path.len());
    let mut links = 0;
    while let Some(part) = left.pop() {
        *steps = steps.saturating_add(1);
        let above = done.len();
        if part == ".." {
            done.truncate(path::split(&done).0.len());
            continue;
        }
        if above > 0 {
            done.push('/');
        }
        done.push_str(part);
        let Some(target) = target(&done) else { continue };
        links += 1;
        if links > MAX_LINKS {
            return None;
        }
        done.truncate(if target.starts_with('/') { 0 } else { above });
        left.extend(parts(target));
    }
    Some(done)
}

/// The parts of a path, last first. `..` stays: what it means depends on the links before it.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.rsplit('/').filter(|part| !part.is_empty() && *part != ".")
}
