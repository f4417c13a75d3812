//! The files of a layer as bytes, for whoever keeps them under the layer's digest: a version, then zstd over lengths and texts.
//! What is read back is what was written, or an error; bytes from elsewhere take no more memory than the limits allow.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use crate::layer::files::Node;
use crate::layer::{Error, LayerFiles, Limits, Wanted, path};

/// What the bytes begin with; the last byte is the version of the form.
const MAGIC: [u8; 4] = *b"PPL\x01";

/// zstd's level: the texts of packages are packed well and quickly by a low one.
const LEVEL: i32 = 3;

/// Why bytes are not the files of a layer.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// Not written by this version: read the layer again.
    #[error("the kept files of a layer are not of this version")]
    Version,
    /// Written when other files were wanted: read the layer again.
    #[error("the kept files of a layer were read for something else")]
    OtherWanted,
    /// Damaged.
    #[error("the kept files of a layer are damaged: {0}")]
    Damaged(&'static str),
    /// Damaged in their compression, or too short.
    #[error("the kept files of a layer cannot be unpacked")]
    Unpack(#[source] io::Error),
    /// More than the limits allow.
    #[error("the kept files of a layer are larger than allowed")]
    TooLarge(#[source] Error),
}

// The kinds of nodes.
const FILE: u8 = 0;
const SHARED: u8 = 1;
const SYMLINK: u8 = 2;
const HARD_LINK: u8 = 3;
const DIRECTORY: u8 = 4;
const OTHER: u8 = 5;
const TOO_LARGE: u8 = 6;
const GO: u8 = 7;

impl LayerFiles {
    /// All of it as bytes, the same for the same files.
    ///
    /// # Errors
    /// The compression's, which has no reason to fail.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let packer = zstd::stream::write::Encoder::new(MAGIC.to_vec(), LEVEL)?;
        let mut output = Output {
            inner: packer,
            contents: HashMap::new(),
        };
        output.text(self.wanted.spelling().as_bytes())?;
        output.number(u64::from(self.truncated))?;
        output.number(self.nodes.len() as u64)?;
        for (path, node) in &self.nodes {
            output.text(path.as_bytes())?;
            output.node(node)?;
        }
        for paths in [&self.whiteouts, &self.opaque] {
            output.number(paths.len() as u64)?;
            for path in paths {
                output.text(path.as_bytes())?;
            }
        }
        output.inner.finish()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made. `wanted` must be what the layer was searched for, and `limits` no
    /// smaller than those of then.
    ///
    /// # Errors
    /// [`StoredError`]; whatever it is, reading the layer again helps.
    pub fn from_bytes(bytes: &[u8], wanted: &Wanted, limits: &Limits) -> Result<Self, StoredError> {
        let packed = bytes.strip_prefix(&MAGIC).ok_or(StoredError::Version)?;
        let unpacked = zstd::stream::read::Decoder::with_buffer(packed).map_err(StoredError::Unpack)?;
        let mut input = Input {
            inner: BufReader::with_capacity(BUFFER, unpacked).take(most_unpacked(limits)),
            limits,
            contents: Vec::new(),
        };
        if input.text(MOST_SPELLING)? != wanted.spelling().as_bytes() {
            return Err(StoredError::OtherWanted);
        }
        let mut files = Self::new(wanted);
        files.truncated = input.number()? != 0;
        for _ in 0..input.number()? {
            input.node(&mut files)?;
        }
        for _ in 0..input.number()? {
            let (path, firm) = input.path(wanted)?;
            files.put_whiteout(path, firm, limits).map_err(StoredError::TooLarge)?;
        }
        for _ in 0..input.number()? {
            let (path, firm) = input.path(wanted)?;
            files.put_opaque(path, firm, limits).map_err(StoredError::TooLarge)?;
        }
        match input.inner.read(&mut [0]) {
            Ok(0) => Ok(files),
            Ok(_) => Err(StoredError::Damaged("something follows")),
            Err(error) => Err(StoredError::Unpack(error)),
        }
    }
}

/// The longest list of what is wanted.
const MOST_SPELLING: u64 = 1024 * 1024;

const BUFFER: usize = 64 * 1024;

/// What limits allow, unpacked: each path counts for more there than its lengths take here.
fn most_unpacked(limits: &Limits) -> u64 {
    let files = limits.kept_bytes.saturating_add(limits.loose_bytes);
    files.saturating_add(MOST_SPELLING)
}

struct Output<'a> {
    inner: zstd::stream::write::Encoder<'a, Vec<u8>>,
    /// Contents of files that were written, by where they are: hard links share them.
    contents: HashMap<*const u8, u64>,
}

impl Output<'_> {
    fn node(&mut self, node: &Node) -> io::Result<()> {
        match node {
            Node::File(bytes) => self.content(FILE, bytes),
            Node::GoBuild(bytes) => self.content(GO, bytes),
            Node::Symlink(target) => self.kind(SYMLINK).and_then(|()| self.text(target.as_bytes())),
            Node::HardLink(target) => self.kind(HARD_LINK).and_then(|()| self.text(target.as_bytes())),
            Node::Directory => self.kind(DIRECTORY),
            Node::Other => self.kind(OTHER),
            Node::TooLarge(limit) => self.kind(TOO_LARGE).and_then(|()| self.number(*limit)),
        }
    }

    fn content(&mut self, kind: u8, bytes: &Arc<[u8]>) -> io::Result<()> {
        let next = self.contents.len() as u64;
        // Where nothing is, everything may be: empty contents are never shared.
        let first = match bytes.is_empty() {
            true => None,
            false => self.contents.get(&bytes.as_ptr()).copied(),
        };
        if let Some(first) = first {
            self.kind(SHARED)?;
            self.kind(kind)?;
            return self.number(first);
        }
        if !bytes.is_empty() {
            self.contents.insert(bytes.as_ptr(), next);
        }
        self.kind(kind)?;
        self.text(bytes)
    }

    fn kind(&mut self, kind: u8) -> io::Result<()> {
        self.inner.write_all(&[kind])
    }

    fn text(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.number(bytes.len() as u64)?;
        self.inner.write_all(bytes)
    }

    /// A number, seven bits in a byte, the lowest first.
    fn number(&mut self, mut number: u64) -> io::Result<()> {
        while number > 0x7f {
            let low = u8::try_from(number & 0x7f).unwrap_or_default();
            self.inner.write_all(&[low | 0x80])?;
            number >>= 7;
        }
        self.inner.write_all(&[u8::try_from(number).unwrap_or_default()])
    }
}

struct Input<'a, R> {
    inner: R,
    limits: &'a Limits,
    /// Contents of files, in the order they came.
    contents: Vec<Arc<[u8]>>,
}

impl<R: Read> Input<'_, R> {
    /// One path and what is there.
    fn node(&mut self, files: &mut LayerFiles) -> Result<(), StoredError> {
        let wanted = Arc::clone(&files.wanted);
        let (path, firm) = self.path(&wanted)?;
        let most = if firm {
            files.room(self.limits)
        } else {
            self.limits.loose_bytes
        };
        let mut new = None;
        let node = match self.byte()? {
            SHARED => {
                let kind = self.byte()?;
                let index = usize::try_from(self.number()?).ok();
                let content = index.and_then(|index| self.contents.get(index));
                let content = content.ok_or(StoredError::Damaged("a shared content that was not there"))?;
                new = Some(0);
                with_content(kind, Arc::clone(content))?
            }
            kind @ (FILE | GO) => {
                let content: Arc<[u8]> = self.text(most)?.into();
                if !content.is_empty() {
                    self.contents.push(Arc::clone(&content));
                }
                with_content(kind, content)?
            }
            SYMLINK => Node::Symlink(self.string(self.limits.path_bytes)?),
            HARD_LINK => Node::HardLink(self.string(self.limits.path_bytes)?),
            DIRECTORY => Node::Directory,
            OTHER => Node::Other,
            TOO_LARGE => Node::TooLarge(self.number()?),
            _ => return Err(StoredError::Damaged("a kind of node that is not known")),
        };
        let put = match new {
            Some(new) => files.put_shared(path, node, new, firm, self.limits),
            None => files.put(path, node, firm, self.limits),
        };
        put.map_err(StoredError::TooLarge)
    }

    /// A clean path, and whether it is firmly wanted.
    fn path(&mut self, wanted: &Wanted) -> Result<(String, bool), StoredError> {
        let path = self.string(self.limits.path_bytes)?;
        if path::clean(&path) != path {
            return Err(StoredError::Damaged("a path that is not clean"));
        }
        let firm = wanted.interest(&path).is_firm();
        Ok((path, firm))
    }

    fn string(&mut self, most: u64) -> Result<String, StoredError> {
        String::from_utf8(self.text(most)?).map_err(|_| StoredError::Damaged("a path that is not text"))
    }

    fn text(&mut self, most: u64) -> Result<Vec<u8>, StoredError> {
        let length = self.number()?;
        if length > most {
            return Err(StoredError::Damaged("a text that is too long"));
        }
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(length).read_to_end(&mut bytes);
        match read.map_err(StoredError::Unpack)? as u64 {
            read if read == length => Ok(bytes),
            _ => Err(StoredError::Unpack(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn byte(&mut self) -> Result<u8, StoredError> {
        let mut byte = [0];
        self.inner.read_exact(&mut byte).map_err(StoredError::Unpack)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64, StoredError> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(StoredError::Damaged("a number that is too large"))
    }
}

fn with_content(kind: u8, content: Arc<[u8]>) -> Result<Node, StoredError> {
    match kind {
        FILE => Ok(Node::File(content)),
        GO => Ok(Node::GoBuild(content)),
        _ => Err(StoredError::Damaged("a kind of content that is not known")),
    }
}
