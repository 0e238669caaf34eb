//! Finding the journal of a recording, and which captures are its parts.

use std::path::{Path, PathBuf};

use super::Request;
use crate::cli::{ReadArgs, Vantage};
use crate::error::Failure;
use crate::journal::{Journal, beside};

/// A recording: its journal and its captures in the order they were written.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) journal: Journal,
    pub(super) files: Vec<PathBuf>,
}

impl Found {
    /// Says what was found: whose recording, since when, and what of it.
    pub(super) fn in_words(&self, has_own_contract: bool) -> String {
        let begin = self.journal.begin();
        let only = if begin.only.is_empty() { String::new() } else { format!(", {} only", begin.only) };
        let contract = if has_own_contract && !begin.contracts.is_empty() {
            "; judged by the contract given here, not by its own"
        } else {
            ""
        };
        format!(
            "who was who and when: {}, recorded on {} from {:.19}Z{only}{contract}",
            self.journal.path().display(),
            begin.host,
            begin.started_at.to_string()
        )
    }
}

/// Looks for the journal of the captures asked for.
///
/// # Errors
///
/// Returns that it cannot be read, that it does not fit the captures, or that something else was asked for that goes
/// without it alone.
pub(super) fn find(request: &Request<'_>) -> Result<Option<Found>, Failure> {
    let read = request.read;
    let Some(path) = journal_of(request.files, read)? else { return Ok(None) };
    let name = path.display();
    if request.knowledge.roster.is_some() {
        return Err(Failure::usage(format!(
            "{name} already says who is who; leave --roster out, or go by it alone with --no-journal"
        )));
    }
    if read.vantage != Vantage::Auto {
        return Err(Failure::usage(format!(
            "{name} already says which sightings count; leave --vantage out, or add --no-journal"
        )));
    }
    let default = ReadArgs::unasked();
    if read.flows_max != default.flows_max || read.flows_kept != default.flows_kept {
        return Err(Failure::usage(format!(
            "{name} already says how many flows are held and kept; leave --flows-max and --flows-kept out, or add --no-journal"
        )));
    }
    let journal = Journal::open(&path)?;
    let files = in_order(request.files, &Journal::parts(&path)?, &path)?;
    Ok(Some(Found { journal, files }))
}

/// Returns the journal that a replay of these captures goes by: the one asked for, else the one beside them.
///
/// # Errors
///
/// Returns that they have different ones.
pub(crate) fn journal_of(files: &[PathBuf], read: &ReadArgs) -> Result<Option<PathBuf>, Failure> {
    if let Some(path) = &read.journal {
        return Ok(Some(path.clone()));
    }
    if read.no_journal || files.iter().any(|file| file.as_os_str() == "-") {
        return Ok(None);
    }
    let mut found: Option<PathBuf> = None;
    for file in files {
        let own = beside(file).into_iter().find(|path| path.exists());
        match (&found, own) {
            (None, None) => {}
            (None, Some(own)) if Some(file) == files.first() => found = Some(own),
            (Some(known), Some(own)) if *known == own => {}
            (None | Some(_), _) => {
                return Err(Failure::usage(
                    "these captures are not parts of one recording: replay each by itself, or all without their \
                     journals with --no-journal",
                ));
            }
        }
    }
    Ok(found)
}

/// Puts the captures into the order of the parts; the first ones must be there without a gap.
fn in_order(files: &[PathBuf], parts: &[String], journal: &Path) -> Result<Vec<PathBuf>, Failure> {
    if let ([one], [_]) = (files, parts) {
        // Both may have been renamed.
        return Ok(vec![one.clone()]);
    }
    let name = |path: &Path| {
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let plain = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned);
        plain.unwrap_or(name)
    };
    let mut ordered = Vec::new();
    for part in parts {
        match files.iter().find(|file| name(file) == *part) {
            Some(file) => ordered.push(file.clone()),
            None if ordered.len() == files.len() => break,
            None => {
                return Err(Failure::error(format!(
                    "{}: the recording's {part} is missing; give all of its parts, or replay without the journal:  --no-journal",
                    journal.display()
                )));
            }
        }
    }
    match files.iter().find(|file| !ordered.contains(file)) {
        Some(stranger) => Err(Failure::error(format!(
            "{}: is no part of the recording that {} speaks of; replay without it:  --no-journal",
            stranger.display(),
            journal.display()
        ))),
        None => Ok(ordered),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_in_order_and_what_is_missing_or_strange_is_named() {
        let parts = ["a-00001.pcapng", "a-00002.pcapng", "a-00003.pcapng"].map(str::to_owned);
        #[rustfmt::skip]
        let cases = [
            // given                                                 in order, or what is said
            (vec!["a-00002.pcapng.gz", "x/a-00001.pcapng"],          Ok(vec!["x/a-00001.pcapng", "a-00002.pcapng.gz"])),
            (vec!["a-00001.pcapng"],                                 Ok(vec!["a-00001.pcapng"])),
            (vec!["a-00001.pcapng", "a-00003.pcapng"],               Err("a-00002.pcapng is missing")),
            (vec!["a-00002.pcapng"],                                 Err("a-00001.pcapng is missing")),
            (vec!["a-00001.pcapng", "b.pcapng"],                     Err("a-00002.pcapng is missing")),
            (vec!["a-00001.pcapng", "a-00001.pcapng"],               Err("a-00002.pcapng is missing")),
        ];
        for (given, expected) in cases {
            let files: Vec<PathBuf> = given.iter().map(PathBuf::from).collect();
            let ordered = in_order(&files, &parts, Path::new("a.journal.ndjson"));
            match expected {
                Ok(expected) => {
                    assert_eq!(ordered.unwrap(), expected.into_iter().map(PathBuf::from).collect::<Vec<_>>());
                }
                Err(said) => assert!(ordered.unwrap_err().message.contains(said), "{given:?}"),
            }
        }
    }
}
