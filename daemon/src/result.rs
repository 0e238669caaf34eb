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
    let text = serde_json::to_string(&ResultFile { portolan_result: SCHEMA, publication })?;
    out.write_all(escape::json(&text).as_bytes())?;
    out.write_all(b"\n")
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
