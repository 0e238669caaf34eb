//! `portolan policy suggest` and `export`: what was seen, as a policy.

use std::io::Write;

use portolan_exporter::Publication;
use portolan_policy::Form;

use super::cli::{ExportArgs, ExportForm, SuggestArgs};
use crate::ask::{print, publication_of};
use crate::cli::AskedArgs;
use crate::error::Failure;

/// Writes a contract that expects all that was answered.
pub(super) fn suggest(args: &SuggestArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let (publication, title) = named(&args.asked)?;
    print(out, publication.assessment.suggest(&title)).map(|()| 0)
}

/// Writes what was answered and is no finding in another's words.
pub(super) fn export(args: &ExportArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let (publication, title) = named(&args.asked)?;
    let form = match args.to {
        ExportForm::Kubernetes => Form::Kubernetes,
        ExportForm::Nftables => Form::Nftables,
        ExportForm::Compose => Form::Compose,
    };
    print(out, publication.assessment.export(form, &title)).map(|()| 0)
}

/// Returns an answer in which services have names, and where it is from.
fn named(asked: &AskedArgs) -> Result<(Publication, String), Failure> {
    let publication = publication_of(asked)?;
    let title = match &asked.from {
        Some(path) => path.display().to_string(),
        None => format!("the daemon on {}", publication.vitals.host),
    };
    if !publication.assessment.snapshot.has_roster {
        return Err(Failure::error(format!(
            "{title}: nobody says which address belongs to which service, and policies speak of services\n  \
             give a roster:  --roster inspect.json"
        )));
    }
    Ok((publication, title))
}
