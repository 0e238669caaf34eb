//! Who is who, and what was documented: rosters and contracts from files.

use std::path::PathBuf;
use std::sync::Arc;

use portolan_identity::Roster;
use portolan_policy::Contract;
use portolan_policy::baseline::Baseline;

use crate::cli::KnowledgeArgs;
use crate::error::Failure;
use crate::journal::ContractText;

/// What was documented, and the texts that say so.
#[derive(Clone, Debug, Default)]
pub struct Contracts {
    /// All of them as one.
    pub contract: Arc<Contract>,
    /// File and text of each.
    texts: Arc<[(String, String)]>,
}

impl Contracts {
    /// Reads contracts from files.
    ///
    /// # Errors
    ///
    /// Returns every place that is wrong, as `file:line:column: ...`.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut texts = Vec::new();
        for path in paths {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::cannot_read(path, &error))?;
            texts.push((path.display().to_string(), text));
        }
        Self::parse(texts)
    }

    /// Reads contracts that were read before, as (file, text).
    ///
    /// # Errors
    ///
    /// Returns every place that is wrong, as `file:line:column: ...`.
    pub fn parse(texts: Vec<(String, String)>) -> Result<Self, Failure> {
        let contract = Contract::parse_all(texts.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let contract = contract.map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::error(lines.join("\nportolan: "))
        })?;
        Ok(Self { contract: Arc::new(contract), texts: texts.into() })
    }

    /// Returns the texts, as a journal holds them.
    pub(crate) fn texts(&self) -> Vec<ContractText> {
        let text = |(name, text): &(String, String)| ContractText { name: name.clone(), text: text.clone() };
        self.texts.iter().map(text).collect()
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
        let contract = Contracts::read(&args.contract)?.contract;
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
