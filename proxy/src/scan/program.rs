//! A scanner that is a program: arguments as a vector, an environment of its own, output up to a limit, killed when nobody waits.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use patchport_packages::report::command::{Invocation, reason};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

/// The largest report that is read, in bytes.
const MAX_OUTPUT: u64 = 64 << 20;
/// How much of what a program complains is kept.
const MAX_COMPLAINT: u64 = 64 << 10;

/// A program.
pub(super) struct Program(PathBuf);

impl Program {
    /// The program at a path; a plain name is looked for in the folders of `path` now, for it will run with an environment of its
    /// own.
    pub(super) fn new(program: &Path, path: Option<&OsStr>) -> Self {
        let is_plain = program.components().count() == 1;
        let mut folders = path.into_iter().flat_map(std::env::split_paths).filter(|_| is_plain);
        let found = folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()));
        Self(found.unwrap_or_else(|| program.to_owned()))
    }

    /// Runs it to its end and gives what it wrote; `Err` says in words what went wrong.
    pub(super) async fn run(&self, invocation: &Invocation) -> Result<Vec<u8>, String> {
        run(&self.0, invocation).await
    }
}

async fn run(program: &Path, invocation: &Invocation) -> Result<Vec<u8>, String> {
    let name = program.display();
    // Settings of a scanner that lie around in a folder would be taken, too.
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let mut child = Command::new(program)
        .args(&invocation.arguments)
        .env_clear()
        .envs(invocation.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{name} cannot be started: {error}"))?;
    let (output, complaint) = tokio::join!(
        read(child.stdout.take(), MAX_OUTPUT + 1),
        read(child.stderr.take(), MAX_COMPLAINT)
    );
    if output.len() as u64 > MAX_OUTPUT {
        return Err(format!("{name} wrote more than {MAX_OUTPUT} bytes"));
    }
    let status = child
        .wait()
        .await
        .map_err(|error| format!("{name} cannot be waited for: {error}"))?;
    if status.success() {
        return Ok(output);
    }
    Err(format!("{name} ended with {status}: {}", reason(&complaint)))
}

/// Reads at most `limit` bytes, then closes the pipe: a program that writes more ends by it.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(limit).read_to_end(&mut bytes).await;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_program_says_and_how_it_ends() {
        let shell = Path::new("/bin/sh");
        let script = |text: &str| Invocation {
            arguments: vec!["-c".into(), text.into()],
            environment: vec![("WORD", "hello".into())],
        };
        assert_eq!(run(shell, &script("echo $WORD$HOME")).await.unwrap(), b"hello\n");
        let failed = run(shell, &script("echo one >&2; echo two >&2; exit 3"))
            .await
            .unwrap_err();
        assert!(
            failed.contains("exit status: 3") && failed.ends_with(": two"),
            "{failed}"
        );
        let missing = run(Path::new("/nonexistent/scanner"), &script("")).await.unwrap_err();
        assert!(missing.contains("cannot be started"), "{missing}");
        let endless = run(shell, &script("exec cat /dev/zero")).await.unwrap_err();
        assert!(endless.contains("more than"), "{endless}");
    }
}
