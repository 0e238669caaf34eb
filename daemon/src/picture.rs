//! Pictures of a host that files hold: results, snapshots, publications as a daemon answers them.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use portolan_exporter::{Publication, snapshots};

use crate::error::Failure;
use crate::result;

/// What zstd begins with (RFC 8878, section 3.1.1).
const PACKED: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes of a picture that are read at most; of a packed one, [`snapshots::UNPACKED_MAX`] unpacked.
const BYTES_MAX: u64 = 4 << 30;
/// How to ask a daemon for one.
const ASK: &str = "curl --unix-socket /run/portolan/portolan.sock http://localhost/api/v1/publication";

/// Reads the picture a file holds; `None` where its first bytes say that it is something else, a capture for example.
///
/// # Errors
///
/// Returns why a file that looks like a picture is none, or cannot be read.
pub fn read(path: &Path) -> Result<Option<Publication>, Failure> {
    let file = File::open(path).map_err(|error| Failure::cannot_read(path, &error))?;
    read_from(file, path)
}

/// Reads a picture once, from front to end: of a pipe too. `path` is how errors name it.
///
/// # Errors
///
/// Returns why what looks like a picture is none, or cannot be read.
pub fn read_from(from: impl Read, path: &Path) -> Result<Option<Publication>, Failure> {
    bounded(from, path, BYTES_MAX)
}

fn bounded(mut from: impl Read, path: &Path, bytes_max: u64) -> Result<Option<Publication>, Failure> {
    let failed = |error: io::Error| Failure::cannot_read(path, &error);
    let first = begin(&mut from).map_err(failed)?;
    let is_packed = first == PACKED;
    let whole = Cursor::new(first.clone()).chain(from);
    if !is_packed {
        return if is_object(&first) { parse(whole, path, bytes_max).map(Some) } else { Ok(None) };
    }
    let mut unpacked = snapshots::unpack(whole).map_err(failed)?;
    match begin(&mut unpacked) {
        Ok(first) if is_object(&first) => {
            let bytes_max = bytes_max.min(snapshots::UNPACKED_MAX);
            parse(Cursor::new(first).chain(unpacked), path, bytes_max).map(Some)
        }
        Err(error) if snapshots::is_snapshot(path) => Err(failed(error)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Takes the first bytes, as many as there are.
fn begin(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(PACKED.len());
    from.take(PACKED.len() as u64).read_to_end(&mut first)?;
    Ok(first)
}

fn is_object(first: &[u8]) -> bool {
    first.first() == Some(&b'{')
}

fn parse(from: impl Read, path: &Path, bytes_max: u64) -> Result<Publication, Failure> {
    let mut text = Vec::new();
    let read = from.take(bytes_max).read_to_end(&mut text);
    let bytes = read.map_err(|error| Failure::cannot_read(path, &error))? as u64;
    if bytes == bytes_max {
        return Err(Failure::error(format!(
            "{}: larger than {bytes_max} bytes, the most that is read of one picture; make it of a shorter time",
            path.display()
        )));
    }
    if let Some(publication) = result::parse(path, &text)? {
        return Ok(publication);
    }
    serde_json::from_slice(&text).map_err(|error| strange(path, &text, &error))
}

/// Says that a file is no picture of a host at all.
pub fn none(path: &Path) -> Failure {
    neither(path, "")
}

fn neither(path: &Path, why: &str) -> Failure {
    Failure::error(format!(
        "{}: neither a result, nor a snapshot, nor a publication of a daemon{why}\n  of a capture make one:  \
         portolan replay CAPTURE -o NAME.result;  of a daemon:  {ASK}",
        path.display()
    ))
}

/// Says what a file of JSON is that is no picture of a host.
fn strange(path: &Path, text: &[u8], error: &serde_json::Error) -> Failure {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(text) else {
        return neither(path, &format!(": {error}"));
    };
    let path = path.display();
    if value.get("nodes").is_some() && value.get("schema").is_some() {
        return Failure::error(format!(
            "{path}: a graph, which says neither addresses nor published ports; give what it was drawn of\n  of a daemon:  {ASK}"
        ));
    }
    let version = value.pointer("/vitals/version").and_then(serde_json::Value::as_str);
    match version {
        Some(version) if version != env!("CARGO_PKG_VERSION") => Failure::error(format!(
            "{path}: written by portolan {version}, and this is {}, which cannot read it: {error}\n  make it anew, or read it \
             with that one",
            env!("CARGO_PKG_VERSION")
        )),
        Some(_) | None => {
            Failure::error(format!("{path}: no picture of a host: {error}\n  of a daemon:  {ASK}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::Timestamp;

    use super::*;

    #[test]
    fn a_picture_is_read_up_to_a_limit_and_known_by_its_first_bytes() {
        let publication = Publication::empty("web-03", "0.1.0", Timestamp(7));
        let text = serde_json::to_vec(&publication).unwrap();
        let path = Path::new("standard input");
        let length = text.len() as u64;
        assert_eq!(bounded(text.as_slice(), path, length + 1).unwrap(), Some(publication));
        let failure = bounded(text.as_slice(), path, length).unwrap_err();
        let expected =
            format!("standard input: larger than {length} bytes, the most that is read of one picture");
        assert!(failure.message.starts_with(&expected), "{}", failure.message);
        // A capture, a compressed one, nothing, and a damaged packing under a name that is nobody's snapshot.
        for other in [&b"\n\r\r\n1234"[..], &[0xd4, 0xc3, 0xb2, 0xa1, 2], b"", b"(\xb5/\xfdxyz"] {
            assert_eq!(read_from(other, path).unwrap(), None);
        }
    }

    #[test]
    fn a_result_is_known_by_its_form() {
        let failure = read_from(&b"{\"portolan_result\":9}"[..], Path::new("nine.result")).unwrap_err();
        assert_eq!(failure.message, "nine.result: a result of form 9, this portolan reads form 1");
    }
}
