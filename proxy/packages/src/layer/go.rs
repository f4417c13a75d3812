//! What the Go linker writes into an executable about its modules, found while the file passes.
//! Only the form of Go 1.18 and later is read (Go's `debug/buildinfo`): texts in line after the header, no pointers.

use std::io::{self, Write};
use std::mem;

use memchr::memmem;

const ELF: &[u8] = b"\x7fELF";

/// What the header begins with. It stands at a multiple of `ALIGNMENT`; elsewhere it is a text of a program that looks for it.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGNMENT: u64 = 16;

/// The header: magic, size of a pointer, flags, nothing up to this many bytes; then the texts.
const HEADER: usize = 32;
const FLAGS: usize = 15;

/// The flag that says that the texts follow the header.
const IN_LINE: u8 = 2;

/// Sentinels around the text of the modules.
const SENTINEL: usize = 16;

/// The most that is taken from the header to the end of the texts; Kubernetes' are a tenth of it.
const LARGEST: usize = 1024 * 1024;

/// How many bytes tell a header from a text that looks like it: the version of Go is in them.
const PROBE: usize = 512;

/// Looks for the build information in the content that is written to it. Holds no more than that.
#[derive(Default)]
pub(crate) struct Scan {
    state: State,
    /// Where the next byte stands in the file.
    offset: u64,
    /// What was taken and still matters: the first bytes, the end of what was searched, what follows a header, the result.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// It is not known whether the file is an ELF executable.
    #[default]
    Begin,
    /// The magic may come.
    Search,
    /// What is held begins with a header.
    Collect,
    /// Found.
    Found,
    /// Not an executable.
    Nothing,
}

impl Scan {
    /// The version of Go as `go VERSION` and the modules as the linker wrote them, line by line; nothing when there are none.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (self.state == State::Found).then_some(self.held)
    }

    /// Takes some of the bytes, at least one; how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self.state {
            State::Found | State::Nothing => bytes.len(),
            State::Begin => self.begin(bytes),
            State::Search => self.search(bytes),
            State::Collect => self.collect(bytes),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(ELF.len() - self.held.len());
        self.held.extend_from_slice(&bytes[..taken]);
        if self.held.len() == ELF.len() {
            let found = self.held == ELF;
            self.state = if found { State::Search } else { State::Nothing };
            self.held.clear();
        }
        taken
    }

    /// Searches the seam of the bytes before and these, then these.
    fn search(&mut self, bytes: &[u8]) -> usize {
        let mut seam = mem::take(&mut self.held);
        let before = seam.len();
        seam.extend_from_slice(&bytes[..bytes.len().min(MAGIC.len())]);
        let start = self.offset.saturating_sub(before as u64);
        let in_seam = aligned(&seam, start).filter(|at| *at < before);
        let end = match in_seam {
            Some(at) => Some(at + MAGIC.len() - before),
            None => aligned(bytes, self.offset).map(|at| at + MAGIC.len()),
        };
        if let Some(end) = end {
            self.state = State::Collect;
            self.held = MAGIC.to_vec();
            return end;
        }
        let last = bytes.len().saturating_sub(MAGIC.len() - 1);
        if last == 0 {
            self.held = seam.split_off(seam.len().saturating_sub(MAGIC.len() - 1));
        } else {
            self.held = bytes[last..].to_vec();
        }
        bytes.len()
    }

    /// Takes what follows a header until the texts are there: first enough to see that it is one.
    fn collect(&mut self, bytes: &[u8]) -> usize {
        let most = if self.held.len() < PROBE { PROBE } else { LARGEST };
        let taken = bytes.len().min(most.saturating_sub(self.held.len()));
        self.held.extend_from_slice(&bytes[..taken]);
        match texts(&self.held) {
            Ok(Some(found)) => (self.held, self.state) = (found, State::Found),
            Ok(None) if self.held.len() < LARGEST => {}
            Ok(None) | Err(NotBuild) => {
                self.held.clear();
                self.state = State::Search;
            }
        }
        taken
    }
}

impl Write for Scan {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut rest = buffer;
        while !rest.is_empty() {
            let taken = self.take(rest);
            self.offset = self.offset.saturating_add(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What looked like build information is something else.
struct NotBuild;

/// Where the magic stands at a multiple of the alignment, in bytes that begin at `start` of the file.
fn aligned(bytes: &[u8], start: u64) -> Option<usize> {
    memmem::find_iter(bytes, MAGIC).find(|at| start.saturating_add(*at as u64).is_multiple_of(ALIGNMENT))
}

/// The texts after a header, or nothing when they go on. The modules have sentinels around them; a program that was built
/// without modules has none.
fn texts(bytes: &[u8]) -> Result<Option<Vec<u8>>, NotBuild> {
    let Some(flags) = bytes.get(FLAGS) else { return Ok(None) };
    if flags & IN_LINE == 0 {
        return Err(NotBuild);
    }
    let Some(rest) = bytes.get(HEADER..) else {
        return Ok(None);
    };
    let (length, rest) = match varint(rest) {
        None if rest.len() < VARINT => return Ok(None),
        Some((length, rest)) if (1..=PROBE / 2).contains(&length) => (length, rest),
        _ => return Err(NotBuild),
    };
    let Some((version, rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    if !version.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return Err(NotBuild);
    }
    let (length, rest) = match varint(rest) {
        None if rest.len() < VARINT => return Ok(None),
        Some((length, rest)) if length < LARGEST => (length, rest),
        _ => return Err(NotBuild),
    };
    let Some(modules) = rest.get(..length) else {
        return Ok(None);
    };
    let modules = modules
        .get(SENTINEL..length.saturating_sub(SENTINEL))
        .unwrap_or_default();
    Ok(Some([b"go\t", version, b"\n", modules].concat()))
}

/// The longest length in bytes.
const VARINT: usize = 4;

/// A length (a varint of Go's `encoding/binary`), and what follows it.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0;
    for (index, byte) in bytes.iter().take(VARINT).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{ALIGNMENT, MAGIC, Scan};

    fn scan(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Option<String> {
        let mut scan = Scan::default();
        for chunk in chunks {
            scan.write_all(chunk.as_ref()).unwrap();
        }
        scan.finish().map(|found| String::from_utf8(found).unwrap())
    }

    /// A header and its texts.
    fn build(version: &str, modules: &str) -> Vec<u8> {
        let mut bytes = [MAGIC, &[8, 2], &[0; 16], &[u8::try_from(version.len()).unwrap()]].concat();
        bytes.extend_from_slice(version.as_bytes());
        let length = modules.len() + if modules.is_empty() { 0 } else { 32 };
        bytes.extend([
            u8::try_from(length & 0x7f).unwrap() | 0x80,
            u8::try_from(length >> 7).unwrap(),
        ]);
        if !modules.is_empty() {
            bytes.extend([&[1; 16], modules.as_bytes(), &[2; 16]].concat());
        }
        bytes
    }

    fn executable(at: usize, build: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        // A text of a program that looks for the magic: not aligned, and aligned but without what follows.
        bytes.extend_from_slice(&[b"..", MAGIC].concat());
        bytes.resize(64, 0);
        bytes.extend_from_slice(MAGIC);
        bytes.resize(at, 0xff);
        bytes.extend_from_slice(build);
        bytes.extend_from_slice(&[7; 40]);
        bytes
    }

    #[test]
    fn found_however_it_comes_in_pieces() {
        let modules = "path\tx\nmod\tx\tv1\n".repeat(40);
        let bytes = executable(4096, &build("go1.24", &modules));
        let expected = Some(format!("go\tgo1.24\n{modules}"));
        for size in [1, 2, 3, 13, 14, 15, 16, 17, 500, 4095, 4100, 4103, 4110, 9999] {
            assert_eq!(scan(bytes.chunks(size)), expected, "{size}");
        }
    }

    #[test]
    fn not_found() {
        let good = build("go1.24", "path\tx\n");
        let table: [(&str, Vec<u8>); 7] = [
            ("not aligned", executable(4096 + ALIGNMENT as usize / 2, &good)),
            (
                "no executable",
                [b"#!/bin/sh\n".to_vec(), executable(4096, &good)].concat(),
            ),
            ("pointers", executable(4096, &[MAGIC, &[8, 0], &[0; 100]].concat())),
            ("cut off", executable(4096, &good)[..4096 + 45].to_vec()),
            (
                "too long",
                executable(4096, &[MAGIC, &[8, 2], &[0; 16], b"\x02go\xff\xff\xff\x01"].concat()),
            ),
            (
                "endless length",
                executable(4096, &[MAGIC, &[8, 2], &[0; 16], &[0xff; 40]].concat()),
            ),
            ("empty", Vec::new()),
        ];
        for (name, bytes) in table {
            assert_eq!(scan([&bytes]), None, "{name}");
        }
        assert_eq!(
            scan([executable(4096, &build("go1.24", ""))]).as_deref(),
            Some("go\tgo1.24\n")
        );
    }

    #[test]
    fn a_file_full_of_headers_takes_no_longer() {
        let bytes = [
            b"\x7fELF".as_slice(),
            &[0; 12],
            &MAGIC.iter().copied().chain([8, 2]).collect::<Vec<_>>().repeat(1 << 20),
        ]
        .concat();
        assert_eq!(scan(bytes.chunks(100_000)), None);
    }
}
