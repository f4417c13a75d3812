//! Packets out of files that are binary or armored (RFC 9580, section 6). Takes every block of the kind asked for, and nothing
//! of what stands around them. The decoder of `pgp` is not used: it reads long headers in quadratic time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgp::packet::{Packet, PacketParser};

/// The kinds of armor, as they stand between `BEGIN PGP` and the dashes.
pub(super) const SIGNATURE: &str = "SIGNATURE";
pub(super) const PUBLIC_KEY: &str = "PUBLIC KEY BLOCK";

/// Packets of one block; each that is broken costs microseconds.
const MAX_PACKETS: usize = 100_000;

/// The blocks of a file: itself if it is binary, or those of one kind of armor. Blocks that cannot be decoded are left out.
pub(super) fn blocks(file: &[u8], kind: &str) -> Vec<Vec<u8>> {
    // The first bit of a packet is always set (RFC 9580, section 4.2), that of text is not.
    if file.first().is_some_and(|byte| byte & 0x80 != 0) {
        return vec![file.to_vec()];
    }
    decode(file, kind)
}

/// The armored blocks of one kind.
pub(super) fn decode(file: &[u8], kind: &str) -> Vec<Vec<u8>> {
    let (begin, end) = (
        format!("-----BEGIN PGP {kind}-----"),
        format!("-----END PGP {kind}-----"),
    );
    let (mut decoded, mut at, mut digits) = (Vec::new(), Place::Outside, Vec::new());
    for line in file.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
        if line == begin.as_bytes() {
            digits.clear();
            at = Place::Headers;
        } else if line == end.as_bytes() && at != Place::Outside {
            decoded.extend(STANDARD.decode(&digits));
            at = Place::Outside;
        } else if at == Place::Headers && line.is_empty() {
            at = Place::Body;
        } else if at == Place::Body && !is_checksum(line) {
            digits.extend_from_slice(line);
        }
    }
    decoded
}

#[derive(PartialEq, Eq)]
enum Place {
    Outside,
    Headers,
    Body,
}

/// Of no use, for the signature tells more (RFC 9580, section 6.1).
fn is_checksum(line: &[u8]) -> bool {
    line.len() == 5 && line.starts_with(b"=")
}

/// The packets of a block, up to a limit; an error for each that cannot be read.
pub(super) fn packets(block: &[u8]) -> impl Iterator<Item = Result<Packet, pgp::errors::Error>> {
    PacketParser::new(block).take(MAX_PACKETS)
}
