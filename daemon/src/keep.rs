//! What is kept on disk over restarts: files that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portolan_flowtable::Timestamp;
use portolan_policy::baseline::{Baseline, DamagedBaseline, Enough};
use portolan_policy::findings::{DOCKET_FORM, Docket, DocketRecord};
use portolan_policy::rhythm::{RHYTHM_FORM, Rhythm, RhythmRecord};

use crate::error::Failure;

/// Largest file that is read: what is written is far smaller.
const BYTES_MAX: u64 = 256 << 20;

/// Writes a file beside its place and moves it there, so that no half of one is ever found; then makes the folder last
/// too. Readable by this user alone.
///
/// # Errors
///
/// Returns why it could not be written; what stood there before is untouched.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::cannot_write(path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name =
        path.file_name().ok_or_else(|| Failure::usage(format!("{}: names no file", path.display())))?;
    let beside = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        // A leftover of one that was killed.
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // Nothing can be done about a leftover that cannot be removed.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// Reads a file; `None` where there is none.
fn read(path: &Path) -> Result<Option<String>, Failure> {
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::cannot_read(path, &error)),
    };
    if length > BYTES_MAX {
        return Err(Failure::error(format!("{}: {length} bytes are too many to be one", path.display())));
    }
    match fs::read(path) {
        // What is no text is damaged, and named so by whoever parses it.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) => Err(Failure::cannot_read(path, &error)),
    }
}

/// Moves a damaged file aside and says so.
fn quarantine(path: &Path, why: &str, now: Timestamp) -> Result<PathBuf, Failure> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{}", now.0.div_euclid(Timestamp::SECOND)));
    let aside = PathBuf::from(name);
    fs::rename(path, &aside).map_err(|error| Failure::cannot_write(&aside, &error))?;
    crate::say(&format!(
        "portolan: {why}\n  it was moved to {} and is begun anew; what it forbade or promised is no longer in force",
        aside.display()
    ));
    Ok(aside)
}

/// Reads a baseline; one that knows nothing where there is none.
///
/// # Errors
///
/// Returns where it is wrong.
pub(crate) fn baseline(path: &Path, enough: Enough) -> Result<Baseline, Failure> {
    match read(path)? {
        Some(text) => Baseline::parse(&text, &path.display().to_string(), enough)
            .map_err(|error| Failure::error(error.to_string())),
        None => Ok(Baseline::new(enough)),
    }
}

/// Reads a baseline that has to be there.
///
/// # Errors
///
/// Returns that there is none, or where it is wrong.
pub(crate) fn existing_baseline(path: &Path) -> Result<Baseline, Failure> {
    if !path.exists() {
        return Err(Failure::error(format!("{}: there is no such file", path.display())));
    }
    baseline(path, Enough::default())
}

/// Checks that a file can be written where it is to be: in its folder, beside its place.
///
/// # Errors
///
/// Returns why it cannot, and what would help.
pub(crate) fn must_be_writable(path: &Path) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let why = if !folder.is_dir() {
        format!("there is no folder {}", folder.display())
    } else if path.is_dir() {
        "it is a folder".to_owned()
    } else {
        // The kernel knows of rights, read-only mounts and capabilities what nobody else does.
        match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
            Ok(()) => return Ok(()),
            Err(error) => format!("in {}: {error}", folder.display()),
        }
    };
    Err(Failure::error(format!("{}: cannot be written: {why}", path.display())))
}

/// Reads a baseline at the start of a daemon: what is damaged is moved aside, what somebody wrote wrongly is theirs to
/// mend.
///
/// # Errors
///
/// Returns where it is wrong.
pub(crate) fn baseline_or_quarantine(
    path: &Path,
    enough: Enough,
    now: Timestamp,
) -> Result<Baseline, Failure> {
    let Some(text) = read(path)? else { return Ok(Baseline::new(enough)) };
    match Baseline::parse(&text, &path.display().to_string(), enough) {
        Ok(baseline) => Ok(baseline),
        Err(error @ DamagedBaseline::Checksum { .. }) => {
            quarantine(path, &error.to_string(), now)?;
            Ok(Baseline::new(enough))
        }
        Err(error @ (DamagedBaseline::Version { .. } | DamagedBaseline::Place { .. })) => {
            Err(Failure::error(error.to_string()))
        }
    }
}

/// Reads the findings of the run before; an empty docket where there are none. What is damaged is moved aside.
///
/// # Errors
///
/// Returns that the file cannot be read, or is of a later form.
pub(crate) fn docket(path: &Path, hold: i64, now: Timestamp) -> Result<Docket, Failure> {
    let Some(text) = read(path)? else { return Ok(Docket::new(hold)) };
    // A later form may say things in other words: that is no damage.
    if let Some(form) = form_of(&text, "portolan_findings").filter(|form| *form != u64::from(DOCKET_FORM)) {
        return Err(later_form(path, "findings", form, DOCKET_FORM));
    }
    match serde_json::from_str::<DocketRecord>(&text) {
        Ok(record) => Ok(Docket::resume(record, hold, now)),
        Err(error) => {
            quarantine(path, &format!("{}: damaged: {error}", path.display()), now)?;
            Ok(Docket::new(hold))
        }
    }
}

/// Writes the findings down.
///
/// # Errors
///
/// Returns why it could not be written; what stood there before is untouched.
pub(crate) fn write_docket(path: &Path, docket: &Docket, now: Timestamp) -> Result<(), Failure> {
    let text = serde_json::to_string(&docket.record(now))
        .map_err(|error| Failure::error(format!("cannot write findings as JSON: {error}")))?;
    write(path, &format!("{text}\n"))
}

/// Returns where the levels that belong to findings are kept: beside them.
pub(crate) fn rhythm_beside(findings: &Path) -> PathBuf {
    let mut name = findings.as_os_str().to_owned();
    name.push(".rhythm");
    PathBuf::from(name)
}

/// Reads what was usual in the runs before; nothing where there is none. What is damaged is moved aside.
///
/// # Errors
///
/// Returns that the file cannot be read, or is of a later form.
pub(crate) fn rhythm(path: &Path, now: Timestamp) -> Result<Rhythm, Failure> {
    let Some(text) = read(path)? else { return Ok(Rhythm::default()) };
    if let Some(form) = form_of(&text, "portolan_rhythm").filter(|form| *form != u64::from(RHYTHM_FORM)) {
        return Err(later_form(path, "levels", form, RHYTHM_FORM));
    }
    match serde_json::from_str::<RhythmRecord>(&text) {
        Ok(record) => Ok(Rhythm::resume(record)),
        Err(error) => {
            quarantine(path, &format!("{}: damaged: {error}", path.display()), now)?;
            Ok(Rhythm::default())
        }
    }
}

/// Writes what is usual down.
///
/// # Errors
///
/// Returns why it could not be written; what stood there before is untouched.
pub(crate) fn write_rhythm(path: &Path, rhythm: &Rhythm) -> Result<(), Failure> {
    let text = serde_json::to_string(&rhythm.record())
        .map_err(|error| Failure::error(format!("cannot write levels as JSON: {error}")))?;
    write(path, &format!("{text}\n"))
}

/// Returns the form a record says it has, whatever else stands in it.
fn form_of(text: &str, key: &str) -> Option<u64> {
    let record: serde_json::Value = serde_json::from_str(text).ok()?;
    record.get(key)?.as_u64()
}

fn later_form(path: &Path, what: &str, form: u64, own: u32) -> Failure {
    Failure::error(format!(
        "{}: {what} of form {form}, this portolan reads form {own}; run the portolan that wrote it, or move the file away",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_132_800 * Timestamp::SECOND);

    #[test]
    fn a_damaged_file_is_moved_aside_and_one_with_a_slip_is_left_to_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.toml");
        let enough = Enough::default();
        assert!(baseline_or_quarantine(&path, enough, NOW).unwrap().profiles().is_empty());
        let good = "version = 1\n[[service]]\nname = \"a\"\n";
        let text = Baseline::parse(good, "", enough).unwrap().to_text();
        write(&path, &text).unwrap();
        assert_eq!(baseline_or_quarantine(&path, enough, NOW).unwrap().to_text(), text);
        write(&path, &text.replace("\"a\"", "\"b\"")).unwrap();
        assert!(baseline(&path, enough).unwrap_err().message.contains("the checksum does not fit"));
        assert!(baseline_or_quarantine(&path, enough, NOW).unwrap().profiles().is_empty());
        let aside = folder.path().join("baseline.toml.damaged-1795132800");
        assert!(aside.exists() && !path.exists());
        write(&path, "version = 1\n[[service]]\nnam = \"a\"\n").unwrap();
        let said = baseline_or_quarantine(&path, enough, NOW).unwrap_err().message;
        assert!(said.contains("baseline.toml:3: unknown key \"nam\""), "{said}");
        assert!(path.exists());
    }

    #[test]
    fn damaged_findings_are_moved_aside_and_those_of_another_form_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.json");
        write_docket(&path, &Docket::new(1), NOW).unwrap();
        assert_eq!(docket(&path, 1, NOW).unwrap().gap().unwrap().from, NOW);
        write(&path, "{\"portolan_findings\":9,\"saved_at\":\"2026-11-20T00:00:00Z\",\"entries\":[]}")
            .unwrap();
        assert!(docket(&path, 1, NOW).unwrap_err().message.contains("findings of form 9"));
        // Whatever else a later form holds.
        write(&path, "{\"portolan_findings\":2,\"entries\":{\"a\":[1]}}").unwrap();
        assert!(docket(&path, 1, NOW).unwrap_err().message.contains("findings of form 2"));
        assert!(path.exists());
        write(&path, "{\"portolan_findings\":1,\"sav").unwrap();
        assert_eq!(docket(&path, 1, NOW).unwrap().entries().count(), 0);
        assert!(folder.path().join("findings.json.damaged-1795132800").exists());
    }

    #[test]
    fn levels_are_read_as_they_were_written_and_kept_beside_the_findings() {
        let folder = tempfile::tempdir().unwrap();
        let path = rhythm_beside(&folder.path().join("findings.json"));
        assert!(path.ends_with("findings.json.rhythm"));
        assert_eq!(rhythm(&path, NOW).unwrap().record().services.len(), 0);
        let limits = portolan_policy::rhythm::RhythmLimits::default();
        let mut levels = Rhythm::default();
        for minute in 0..90 {
            let at = NOW.plus(minute * 60 * Timestamp::SECOND);
            levels.sent("shop/web", 5_000, at, &limits);
            levels.close(at, &limits);
        }
        write_rhythm(&path, &levels).unwrap();
        let read = rhythm(&path, NOW).unwrap();
        assert_eq!(read.record(), levels.record());
        let days = &read.record().services["shop/web"].levels[&portolan_policy::rhythm::Measure::SentBytes];
        assert_eq!(days.iter().flatten().collect::<Vec<_>>(), [&5_000, &5_000]);
        write(&path, "{\"portolan_rhythm\":2}").unwrap();
        assert!(rhythm(&path, NOW).unwrap_err().message.contains("levels of form 2"));
        write(&path, "{\"portolan_rh").unwrap();
        assert_eq!(rhythm(&path, NOW).unwrap().record().services.len(), 0);
        assert!(folder.path().join("findings.json.rhythm.damaged-1795132800").exists());
    }
}
