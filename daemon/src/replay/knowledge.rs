//! Who is who, and what was documented: rosters and contracts from files.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use portolan_identity::Roster;
use portolan_policy::Contract;
use portolan_policy::baseline::Baseline;

use crate::cli::KnowledgeArgs;
use crate::compose::{self, ComposeText};
use crate::error::Failure;
use crate::journal::ContractText;

/// What was documented, and the texts that say so.
#[derive(Clone, Debug, Default)]
pub struct Contracts {
    /// All of them as one.
    pub contract: Arc<Contract>,
    /// File and text of each.
    texts: Arc<[(String, String)]>,
    /// What compose files say.
    compose: Vec<ComposeText>,
}

impl Contracts {
    /// Reads contracts from files and folders.
    ///
    /// # Errors
    ///
    /// Returns every place that is wrong, as `file:line:column: ...`.
    pub fn read(paths: &[PathBuf], compose: &[String]) -> Result<Self, Failure> {
        Self::parse(Self::texts_of(paths)?, compose::given(compose)?)
    }

    /// Reads files as (name, text); of a folder every `*.toml`, in the order of their names by byte.
    ///
    /// # Errors
    ///
    /// Returns what cannot be read.
    pub(crate) fn texts_of(paths: &[PathBuf]) -> Result<Vec<(String, String)>, Failure> {
        let mut texts = Vec::new();
        for path in paths {
            let mut files = vec![path.clone()];
            if path.is_dir() {
                let failed = |error: std::io::Error| Failure::cannot_read(path, &error);
                let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(failed)?.collect();
                let names = entries.map_err(failed)?.into_iter().map(|entry| entry.path());
                files =
                    names.filter(|file| file.extension().is_some_and(|ending| ending == "toml")).collect();
                files.sort();
                if files.is_empty() {
                    return Err(Failure::error(format!("{}: no *.toml in this folder", path.display())));
                }
            }
            for file in files {
                let text =
                    std::fs::read_to_string(&file).map_err(|error| Failure::cannot_read(&file, &error))?;
                texts.push((file.display().to_string(), text));
            }
        }
        Ok(texts)
    }

    /// Reads contracts that were read before, as (file, text).
    ///
    /// # Errors
    ///
    /// Returns every place that is wrong, as `file:line:column: ...`.
    pub fn parse(texts: Vec<(String, String)>, compose: Vec<ComposeText>) -> Result<Self, Failure> {
        let contract = Contract::parse_all(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let mut contract = contract.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::error(lines.join("\nportolan: "))
        })?;
        for text in &compose {
            text.add_to(&mut contract);
        }
        Ok(Self { contract: Arc::new(contract), texts: texts.into(), compose })
    }

    /// Returns the same with further compose files.
    pub(crate) fn with_compose(&self, more: &[ComposeText]) -> Self {
        let mut contract = Contract::clone(&self.contract);
        for text in more {
            text.add_to(&mut contract);
        }
        let compose = self.compose.iter().chain(more).cloned().collect();
        Self { contract: Arc::new(contract), texts: Arc::clone(&self.texts), compose }
    }

    /// Returns the projects compose files were given for.
    pub(crate) fn compose_projects(&self) -> BTreeSet<String> {
        self.compose.iter().map(|text| text.project().to_owned()).collect()
    }

    /// Returns the texts, as a journal holds them.
    pub(crate) fn texts(&self) -> Vec<ContractText> {
        let text = |(name, text): &(String, String)| ContractText {
            name: name.clone(),
            text: text.clone(),
            compose: None,
        };
        let compose = |text: &ComposeText| ContractText {
            name: text.name().to_owned(),
            text: String::new(),
            compose: Some(text.clone()),
        };
        self.texts.iter().map(text).chain(self.compose.iter().map(compose)).collect()
    }
}

/// Rosters and contracts, read.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Who is who, where somebody said.
    pub roster: Option<Arc<Roster>>,
    /// What was documented; empty where nobody said.
    pub contract: Arc<Contract>,
    /// What was learned, where that is to be held against the traffic.
    pub baseline: Option<Baseline>,
    /// Whether it learns from the traffic.
    pub learns: bool,
    /// A contract that is tried, where one is.
    pub pending: Option<Arc<Contract>>,
    /// What was passed over while reading.
    pub notes: Vec<String>,
}

impl Knowledge {
    /// Reads rosters and contracts.
    ///
    /// # Errors
    ///
    /// Returns every place that is wrong, as `file:line:column: ...`.
    pub fn read(args: &KnowledgeArgs) -> Result<Self, Failure> {
        let contract = Contracts::read(&args.contract, &args.compose)?.contract;
        if args.roster.is_empty() {
            return Ok(Self { contract, ..Self::default() });
        }
        let mut files = Vec::new();
        for path in &args.roster {
            files.push(Roster::read(path).map_err(|error| Failure::error(error.to_string()))?);
        }
        let roster = Roster::merge(files);
        let notes = roster.notes().to_vec();
        Ok(Self { roster: Some(Arc::new(roster)), contract, notes, ..Self::default() })
    }
}
