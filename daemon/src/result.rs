//! Results: a whole publication in a file, for `--from`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use portolan_exporter::Publication;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Version of the form. Fields are only ever added within one.
const SCHEMA: u32 = 1;

/// What stands in a result file.
#[derive(Debug, Serialize, Deserialize)]
struct ResultFile<P> {
    /// Says what the file is, and in which form.
    portolan_result: u32,
    #[serde(flatten)]
    publication: P,
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

/// Writes a result as JSON to `out`.
///
/// # Errors
///
/// Returns the writer's error.
pub fn print(out: &mut impl Write, publication: &Publication) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, &ResultFile { portolan_result: SCHEMA, publication })?;
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
    let whole = std::io::Cursor::new(first).chain(reader);
    let parsed: ResultFile<Publication> = serde_json::from_reader(whole).map_err(|error| {
        Failure::error(format!(
            "{}: damaged result, or one of another version of portolan: {error}\n  make it anew:  portolan replay CAPTURE -o {}",
            path.display(),
            path.display()
        ))
    })?;
    if parsed.portolan_result != SCHEMA {
        return Err(Failure::error(format!(
            "{}: a result of form {}, this portolan reads form {SCHEMA}",
            path.display(),
            parsed.portolan_result
        )));
    }
    Ok(Some(parsed.publication))
}
