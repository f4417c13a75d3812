//! Makes a patch layer deterministic: the same changed content gives the same bytes, whenever it was built.
//! Leaves out what differs from run to run, clamps the times of what the build wrote, and drops what tar
//! records about the builder; everything else (order, modes, owners, capabilities, links) stays.

mod plan;

use std::io::{BufRead, BufReader, Read, Seek, Write};

use tar::{EntryType, Header};

use crate::layer::archive::{Archive, Member};
use crate::layer::collect::Collector;
use crate::layer::omit::DEFAULTS;
use crate::layer::pax::{self, Record};
use crate::layer::{Error, LayerFiles, Limits, Omit, Wanted};
use plan::Plan;

/// What to make of a patch layer.
#[derive(Clone, Debug)]
pub struct Normalise {
    /// When the build began, in seconds since 1970: what is as new was written by it.
    pub build_start: u64,
    /// The time of what the build wrote when no file in the layer is older than the build.
    pub fallback_epoch: u64,
    /// What is left out.
    pub omit: Vec<Omit>,
    /// Files to hand back.
    pub wanted: Wanted,
    /// How much is taken.
    pub limits: Limits,
}

impl Normalise {
    /// The usual omissions and wanted files. `fallback_epoch` is best the original image's creation time.
    #[must_use]
    pub fn new(build_start: u64, fallback_epoch: u64) -> Self {
        let (omit, wanted) = (DEFAULTS.to_vec(), Wanted::packages());
        // Every entry is remembered between the two passes. A release upgrade of a whole desktop stays below.
        let limits = Limits {
            entries: 300_000,
            ..Limits::default()
        };
        Self {
            build_start,
            fallback_epoch,
            omit,
            wanted,
            limits,
        }
    }
}

/// What a normalised layer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// The wanted files of the layer as it was written.
    pub files: LayerFiles,
    /// Whether nothing but directories is left.
    pub is_empty: bool,
    /// The time that entries written by the build have now, in seconds since 1970.
    pub epoch: u64,
    /// Entries written.
    pub kept: u64,
    /// Entries left out.
    pub omitted: u64,
}

/// Rewrites an uncompressed layer. Reads the input twice from its start.
///
/// # Errors
/// [`Error`] when the input cannot be read, is no tar, exceeds the limits, has a path with `..`, or the
/// output fails.
pub fn normalise(mut input: impl Read + Seek, output: impl Write, rules: &Normalise) -> Result<Normalised, Error> {
    input.rewind().map_err(Error::Read)?;
    let plan = Plan::make(buffered(&mut input), rules)?;
    input.rewind().map_err(Error::Read)?;
    let (epoch, build_start) = (plan.epoch, rules.build_start);
    let mut writer = Writer {
        output,
        epoch,
        build_start,
    };
    let files = write(buffered(&mut input), &mut writer, &plan.keep, rules)?;
    let kept = plan.keep.iter().filter(|keep| **keep).count() as u64;
    let omitted = plan.keep.len() as u64 - kept;
    let is_empty = plan.is_empty;
    Ok(Normalised {
        files,
        is_empty,
        epoch,
        kept,
        omitted,
    })
}

/// The second pass: writes what the first decided to keep. What the input has grown by since is not written.
fn write<W: Write>(
    input: impl BufRead,
    writer: &mut Writer<W>,
    keep: &[bool],
    rules: &Normalise,
) -> Result<LayerFiles, Error> {
    let mut archive = Archive::new(input, rules.limits);
    let mut files = Collector::new(&rules.wanted, &rules.limits);
    let mut keep = keep.iter();
    while let Some(member) = archive.next()? {
        if keep.next() != Some(&true) {
            continue;
        }
        writer.header(&member)?;
        let mut content = None;
        files.add(&member, |most| {
            content = archive.read_content(most)?;
            Ok(content.clone())
        })?;
        match content {
            Some(bytes) => writer.bytes(&bytes)?,
            None => archive.copy_content(&mut writer.output)?,
        }
        writer.pad(member.size)?;
    }
    writer.finish()?;
    Ok(files.finish())
}

fn buffered(input: impl Read) -> impl BufRead {
    BufReader::with_capacity(128 * 1024, input)
}

/// Whole seconds since 1970; times before that count as 1970.
pub(crate) fn mtime(member: &Member) -> u64 {
    let record = member.records.iter().rev().find(|record| record.key == b"mtime");
    let whole = record.map(|record| record.value.split(|byte| *byte == b'.').next().unwrap_or_default());
    match whole.map(|digits| std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok())) {
        Some(seconds) => seconds.unwrap_or(0),
        None => member.header.mtime().unwrap_or(0),
    }
}

/// Writes entries in their one form.
pub(crate) struct Writer<W> {
    output: W,
    epoch: u64,
    build_start: u64,
}

impl<W: Write> Writer<W> {
    /// A writer that leaves times as they are.
    pub(crate) fn plain(output: W) -> Self {
        Self {
            output,
            epoch: u64::MAX,
            build_start: u64::MAX,
        }
    }

    /// Where the content of an entry goes.
    pub(crate) fn output(&mut self) -> &mut W {
        &mut self.output
    }

    pub(crate) fn header(&mut self, member: &Member) -> Result<(), Error> {
        let mut header = member.header.clone();
        let written = mtime(member);
        // A directory that no layer of the image mentions has the time when the builder unpacked the image.
        let is_of_unpacking = member.header.entry_type().is_dir() && written > self.epoch;
        header.set_mtime(if written >= self.build_start || is_of_unpacking {
            self.epoch
        } else {
            written
        });
        clear_builder(&mut header);
        if member.size == 0 {
            // Links and directories may say a size that readers do not believe.
            header.set_size(0);
        }
        let mut records: Vec<Record> = member
            .records
            .iter()
            .filter(|record| is_kept(&record.key))
            .cloned()
            .collect();
        if header.path_bytes().as_ref() != member.path {
            records.push(Record {
                key: b"path".to_vec(),
                value: member.path.clone(),
            });
        }
        if header.link_name_bytes().as_deref().unwrap_or_default() != member.link {
            records.push(Record {
                key: b"linkpath".to_vec(),
                value: member.link.clone(),
            });
        }
        header.set_cksum();
        if !records.is_empty() {
            records.sort_by(|one, other| one.key.cmp(&other.key));
            self.records(&records)?;
        }
        self.bytes(header.as_bytes())
    }

    fn records(&mut self, records: &[Record]) -> Result<(), Error> {
        let content = pax::render(records);
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..NAME_OF_RECORDS.len()].copy_from_slice(NAME_OF_RECORDS);
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.bytes(header.as_bytes())?;
        self.bytes(&content)?;
        self.pad(content.len() as u64)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output.write_all(bytes).map_err(Error::Write)
    }

    pub(crate) fn pad(&mut self, size: u64) -> Result<(), Error> {
        let zeros = [0; 512];
        let used = usize::try_from(size % 512).unwrap_or(0);
        self.bytes(if used == 0 { &[] } else { &zeros[used..] })
    }

    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.bytes(&[0; 1024])?;
        self.output.flush().map_err(Error::Write)
    }
}

/// The name of entries that hold records; clients that know them do not look at it.
const NAME_OF_RECORDS: &[u8] = b"PaxHeaders.0/entry";

/// Records that are written again. The path records come from the entry itself; times, names of users and
/// comments differ from run to run or say something about the builder.
fn is_kept(key: &[u8]) -> bool {
    let gone: [&[u8]; 9] = [
        b"path",
        b"linkpath",
        b"mtime",
        b"atime",
        b"ctime",
        b"uname",
        b"gname",
        b"comment",
        b"LIBARCHIVE.creationtime",
    ];
    !gone.contains(&key)
}

/// Takes user and group names out of a header, and the times that GNU headers have besides the modification's.
fn clear_builder(header: &mut Header) {
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.uname.fill(0);
        ustar.gname.fill(0);
    }
    if let Some(gnu) = header.as_gnu_mut() {
        for field in [&mut gnu.uname, &mut gnu.gname] {
            field.fill(0);
        }
        for field in [&mut gnu.atime, &mut gnu.ctime] {
            field.fill(0);
        }
    }
}
