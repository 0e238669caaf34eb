//! Results: a whole publication in a file, for `--from`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use portolan_exporter::{Publication, escape};
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Version of the form. Fields are only ever added within one.
const SCHEMA: u32 = 1;

/// What stands in a result file.
#[derive(Debug, Serialize)]
struct ResultFile<'a> {
    /// Says what the file is, and in which form.
    portolan_result: u32,
    #[serde(flatten)]
    publication: &'a Publication,
}

/// Its form alone. Read apart from the publication: serde cannot read 128-bit numbers of a flattened part.
#[derive(Debug, Deserialize)]
struct Form {
    portolan_result: u32,
}

/// Writes a result beside its place and moves it there, so that no half of one is ever found.
///
/// # Errors
///
/// Returns why it could not be written; what stood there before is untouched.
pub fn write(path: &Path, publication: &Publication) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::cannot_write(path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name =
        path.file_name().ok_or_else(|| Failure::usage(format!("{}: names no file", path.display())))?;
    let beside = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        let mut out = BufWriter::new(File::create(&beside)?);
        serde_json::to_writer(&mut out, &ResultFile { portolan_result: SCHEMA, publication })?;
        out.write_all(b"\n")?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // Nothing can be done about a leftover that cannot be removed.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// Writes a result as JSON to `out`, which may be a terminal: what would steer it is escaped.
///
/// # Errors
///
/// Returns the writer's error.
pub fn print(out: &mut impl Write, publication: &Publication) -> std::io::Result<()> {
    let mut escaping = Escaping { out, waiting: Vec::with_capacity(2 * ESCAPED_TOGETHER) };
    serde_json::to_writer(&mut escaping, &ResultFile { portolan_result: SCHEMA, publication })?;
    escaping.pass(escaping.waiting.len())?;
    out.write_all(b"\n")
}

/// Bytes escaped together. A result may be large, and is not held twice.
const ESCAPED_TOGETHER: usize = 64 * 1024;

/// Escapes JSON on its way.
struct Escaping<'o, W> {
    out: &'o mut W,
    waiting: Vec<u8>,
}

impl<W: Write> Escaping<'_, W> {
    /// Hands on what is waiting, up to a place between two characters.
    fn pass(&mut self, until: usize) -> std::io::Result<()> {
        let whole = self.waiting.get(..until).unwrap_or_default();
        let text = std::str::from_utf8(whole).map_err(std::io::Error::other)?;
        self.out.write_all(escape::json(text).as_bytes())?;
        self.waiting.drain(..until);
        Ok(())
    }

    /// Hands on what is waiting but the character it ends with, which may go on.
    #[inline(never)]
    fn pass_whole(&mut self) -> std::io::Result<()> {
        // What is no beginning of a character continues one.
        let is_within = |byte: &u8| byte & 0xc0 == 0x80;
        let last = self.waiting.iter().rposition(|byte| !is_within(byte)).unwrap_or(0);
        self.pass(last)
    }
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    /// What a serializer calls for every bracket and every word.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= ESCAPED_TOGETHER { self.pass_whole() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Reads a result; `None` where the file is something else, a capture for example.
///
/// # Errors
///
/// Returns why a file that is a result cannot be read: another version, or damage.
pub fn read(path: &Path) -> Result<Option<Publication>, Failure> {
    let file = File::open(path).map_err(|error| Failure::cannot_read(path, &error))?;
    let mut reader = BufReader::new(file);
    let mut first = [0; 18];
    let mut filled = 0;
    while filled < first.len() {
        match reader.read(&mut first[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) => return Err(Failure::cannot_read(path, &error)),
        }
    }
    if &first[..filled] != b"{\"portolan_result\"" {
        return Ok(None);
    }
    let mut text = first.to_vec();
    reader.read_to_end(&mut text).map_err(|error| Failure::cannot_read(path, &error))?;
    let damaged = |error: serde_json::Error| {
        Failure::error(format!(
            "{}: damaged result, or one of another version of portolan: {error}\n  make it anew:  portolan replay CAPTURE -o {}",
            path.display(),
            path.display()
        ))
    };
    let Form { portolan_result } = serde_json::from_slice(&text).map_err(damaged)?;
    if portolan_result != SCHEMA {
        return Err(Failure::error(format!(
            "{}: a result of form {portolan_result}, this portolan reads form {SCHEMA}",
            path.display(),
        )));
    }
    serde_json::from_slice(&text).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::Timestamp;

    use super::*;

    #[test]
    fn a_result_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.result");
        let mut publication = Publication::empty("web-03", "0.1.0", Timestamp(7));
        publication.vitals.residual_frames = -1;
        write(&path, &publication).unwrap();
        assert_eq!(read(&path).unwrap(), Some(publication));
    }

    #[test]
    fn a_printed_result_is_escaped_wherever_a_character_falls() {
        for length in ESCAPED_TOGETHER - 700..ESCAPED_TOGETHER - 300 {
            let name = format!("{}\u{202e}\u{1f980}é\u{7f}|", "x".repeat(length));
            let publication = Publication::empty(&name, "0.1.0", Timestamp(7));
            let whole =
                serde_json::to_string(&ResultFile { portolan_result: SCHEMA, publication: &publication })
                    .unwrap();
            let mut printed = Vec::new();
            print(&mut printed, &publication).unwrap();
            let printed = String::from_utf8(printed).unwrap();
            assert!(printed == format!("{}\n", escape::json(&whole)), "{length}");
            assert!(printed.contains("\\u202e\u{1f980}é\\u007f|"), "{length}");
        }
    }

    #[test]
    fn a_result_of_another_form_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.result");
        std::fs::write(&path, "{\"portolan_result\":9}").unwrap();
        let failure = read(&path).unwrap_err();
        assert!(
            failure.message.contains("a result of form 9, this portolan reads form 1"),
            "{}",
            failure.message
        );
    }
}
