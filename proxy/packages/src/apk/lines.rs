//! The text in which apk 2 keeps packages, in its database as in its indexes: lines `letter:value`, an empty one after
//! each package. Never takes more than its limit of bytes.

use std::io::BufRead;

use super::Error;

/// The lines of a file.
pub(crate) struct Lines<'a, R> {
    file: &'a str,
    reader: std::io::Take<R>,
    limit: u64,
    read: u64,
    line: Vec<u8>,
    /// The line that was read last, from 1.
    pub(crate) number: u64,
}

/// A line: a field with its letter, or nothing for the end of a package.
type Line<'a> = Option<(u8, &'a [u8])>;

impl<'a, R: BufRead> Lines<'a, R> {
    /// The lines of a file that is at most `limit` bytes long. `file` names it in errors.
    pub(crate) fn new(file: &'a str, reader: R, limit: u64) -> Self {
        Self {
            file,
            reader: reader.take(limit.saturating_add(1)),
            limit,
            read: 0,
            line: Vec::new(),
            number: 0,
        }
    }

    /// The next line; nothing at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, Error> {
        self.line.clear();
        let read = self.reader.read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| Error::Read {
            file: self.file.to_owned(),
            source,
        })?;
        self.read = self.read.saturating_add(read as u64);
        self.number = self.number.saturating_add(1);
        if self.read > self.limit {
            return Err(Error::TooLarge {
                file: self.file.to_owned(),
                limit: self.limit,
            });
        }
        let Some(line) = self.line.strip_suffix(b"\n") else {
            let line = self.number;
            let file = self.file.to_owned();
            return if read == 0 {
                Ok(None)
            } else {
                Err(Error::Cut { file, line })
            };
        };
        match line {
            // apk takes any line of one byte for an empty one.
            [] | [_] => Ok(Some(None)),
            [letter, b':', value @ ..] => Ok(Some(Some((*letter, value)))),
            _ => Err(Error::Line {
                file: self.file.to_owned(),
                line: self.number,
            }),
        }
    }
}
