//! Extended records of tar (POSIX.1-2024, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`.
//! Values are bytes: file capabilities hold newlines, which the `tar` crate's own reader splits at.

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// The records of an extended header, or nothing when it is malformed.
pub(crate) fn parse(mut bytes: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let digits = std::str::from_utf8(&bytes[..space]).ok()?;
        // `parse` takes a sign, the format does not.
        let length: usize = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
        let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = body
            .iter()
            .position(|byte| *byte == b'=')
            .filter(|equals| *equals > 0)?;
        records.push(Record {
            key: body[..equals].to_owned(),
            value: body[equals + 1..].to_owned(),
        });
        bytes = &bytes[length..];
    }
    Some(records)
}

/// The records as the content of an extended header.
pub(crate) fn render(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Record { key, value } in records {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        bytes.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", key.as_slice(), b"=", value, b"\n"] {
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Record, parse, render};

    #[test]
    fn what_is_rendered_is_parsed() {
        for size in [0, 1, 80, 85, 86, 87, 88, 89, 90, 95, 980, 985, 990, 995, 9990] {
            let value: Vec<u8> = (0..size).map(|index| [b'\n', b'=', 0, 0xff][index % 4]).collect();
            let records = vec![
                Record {
                    key: b"SCHILY.xattr.x".to_vec(),
                    value,
                },
                Record {
                    key: b"k".to_vec(),
                    value: b"v".to_vec(),
                },
            ];
            let bytes = render(&records);
            assert_eq!(parse(&bytes), Some(records), "{size}");
        }
        assert_eq!(
            render(&[Record {
                key: b"path".to_vec(),
                value: b"foo".to_vec()
            }]),
            b"12 path=foo\n"
        );
    }

    #[test]
    fn malformed() {
        let table: [&[u8]; 10] = [
            b"x",
            b"12 path=foo",
            b"11 path=foo\n",
            b"13 path=foo\n",
            b"+12 path=foo\n",
            b"0 \n",
            b"4 =\n",
            b"5 ab\n",
            b"99999999999999999999 a=b\n",
            b" a=b\n",
        ];
        for bytes in table {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
