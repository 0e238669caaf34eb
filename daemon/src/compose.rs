//! Compose files from paths and from the labels that name them.
//!
//! What a person names has to be readable. What a container's label names is read where it can be: it is untrusted, so
//! only plain files of a bounded size are, and their text goes nowhere but into the reader of compose files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_flowtable::{Provenance, Workload};
use portolan_policy::{ComposeFile, Contract, UnreadCompose};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Most bytes of one file.
const BYTES_MAX: u64 = 1 << 20;
/// Most files that labels name.
const FILES_MAX: usize = 256;
const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
const WORKING_DIR: &str = "com.docker.compose.project.working_dir";

/// What was read of a compose file, or why nothing was.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComposeText {
    /// What it says.
    Read {
        /// The project it is of.
        project: String,
        /// What it says about ports and peers.
        file: Box<ComposeFile>,
    },
    /// It cannot be read.
    Unread(UnreadCompose),
}

impl ComposeText {
    pub(crate) fn project(&self) -> &str {
        match self {
            Self::Read { project, .. } => project,
            Self::Unread(unread) => &unread.project,
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Read { file, .. } => &file.file,
            Self::Unread(unread) => &unread.file,
        }
    }

    pub(crate) fn add_to(&self, contract: &mut Contract) {
        match self {
            Self::Read { project, file } => contract.add_compose(project, ComposeFile::clone(file)),
            Self::Unread(unread) => contract.add_unread_compose(unread.clone()),
        }
    }
}

/// Splits `[PROJECT=]FILE`.
fn split(given: &str) -> (Option<&str>, &Path) {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"-_".contains(&it))
    };
    match given.split_once('=') {
        Some((project, path)) if is_name(project) => (Some(project), Path::new(path)),
        Some(_) | None => (None, Path::new(given)),
    }
}

/// Returns the path of `[PROJECT=]FILE`.
pub(crate) fn path_of(given: &str) -> PathBuf {
    split(given).1.to_owned()
}

/// Reads the compose files a person names.
///
/// # Errors
///
/// Returns which cannot be read, or every place in one that is wrong.
pub fn given(all: &[String]) -> Result<Vec<ComposeText>, Failure> {
    let mut texts = Vec::new();
    for given in all {
        let (project, path) = split(given);
        let text = read(path).map_err(|error| Failure::cannot_read(path, &error))?;
        let file = ComposeFile::parse(&text, &path.display().to_string()).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::error(lines.join("\nportolan: "))
        })?;
        let folder = || {
            path.canonicalize()
                .ok()
                .and_then(|path| Some(path.parent()?.file_name()?.to_string_lossy().into_owned()))
        };
        let project = project
            .map(str::to_owned)
            .or_else(|| file.project.clone())
            .or_else(|| folder().map(|name| ComposeFile::project_of_folder(&name)))
            .unwrap_or_default();
        texts.push(ComposeText::Read { project, file: Box::new(file) });
    }
    Ok(texts)
}

/// Reads a plain file of a bounded size; never waits for a pipe.
fn read(path: &Path) -> std::io::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    let mut text = String::new();
    file.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(std::io::Error::other("it is larger than a MiB"));
    }
    Ok(text)
}

/// Compose files that containers' labels name, each read once until it is asked again.
#[derive(Debug, Default)]
pub struct Labelled {
    known: BTreeMap<(String, PathBuf), ComposeText>,
    texts: Vec<ComposeText>,
}

impl Labelled {
    /// Returns what was read.
    pub fn texts(&self) -> &[ComposeText] {
        &self.texts
    }

    /// Lets every file be read again at the next look.
    pub fn read_again(&mut self) {
        self.known.clear();
    }

    /// Reads what these containers name and was not read yet, but for projects whose files were given. Returns
    /// whether anything changed.
    pub fn look(&mut self, workloads: &[Arc<Workload>], given: &BTreeSet<String>) -> bool {
        let mut named: BTreeSet<(String, PathBuf)> = BTreeSet::new();
        // A label that stands in the image itself is no compose label of the container.
        let composed = workloads
            .iter()
            .filter(|it| it.provenance == Provenance::Compose && !given.contains(&it.project));
        for workload in composed {
            let files = workload.labels.get(CONFIG_FILES).map(String::as_str).unwrap_or_default();
            let folder = workload.labels.get(WORKING_DIR).map(String::as_str).unwrap_or_default();
            for file in files.split(',').map(str::trim).filter(|file| is_called_like_one(file)) {
                if named.len() < FILES_MAX {
                    named.insert((workload.project.clone(), Path::new(folder).join(file)));
                }
            }
        }
        self.known.retain(|key, _| named.contains(key));
        for (project, path) in named {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.known.entry((project, path)) {
                let (project, path) = entry.key();
                let text = labelled(project, path);
                entry.insert(text);
            }
        }
        let texts: Vec<ComposeText> = self.known.values().cloned().collect();
        let has_changed = texts != self.texts;
        self.texts = texts;
        has_changed
    }
}

fn is_called_like_one(file: &str) -> bool {
    [".yml", ".yaml"].iter().any(|ending| file.ends_with(ending))
}

fn labelled(project: &str, path: &Path) -> ComposeText {
    let name = path.display().to_string();
    let unread = |reason: String| {
        ComposeText::Unread(UnreadCompose { project: project.to_owned(), file: name.clone(), reason })
    };
    if !path.is_absolute() {
        return unread("no folder is known for it".to_owned());
    }
    match read(path) {
        Err(error) => unread(error.to_string()),
        Ok(text) => match ComposeFile::parse(&text, &name) {
            Err(errors) => unread(
                errors
                    .first()
                    .map_or(String::new(), |error| format!("line {}: {}", error.line, error.message)),
            ),
            Ok(file) => ComposeText::Read {
                project: project.to_owned(),
                file: Box::new(ComposeFile { is_of_a_label: true, ..file }),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(project: &str, files: &str, folder: &Path) -> Arc<Workload> {
        Arc::new(Workload {
            project: project.to_owned(),
            service: "web".to_owned(),
            provenance: Provenance::Compose,
            labels: BTreeMap::from([
                (CONFIG_FILES.to_owned(), files.to_owned()),
                (WORKING_DIR.to_owned(), folder.display().to_string()),
            ]),
            ..Workload::default()
        })
    }

    #[test]
    fn a_project_is_named_by_whoever_says_so_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("My-Shop.1");
        std::fs::create_dir(&path).unwrap();
        let (plain, named) = (path.join("compose.yaml"), path.join("named.yaml"));
        std::fs::write(&plain, "services: {web: {ports: [80]}}\n").unwrap();
        std::fs::write(&named, "name: own\nservices: {}\n").unwrap();
        let (plain, named) = (plain.display().to_string(), named.display().to_string());
        let given = given(&[plain.clone(), named.clone(), format!("asked={named}")]).unwrap();
        let projects: Vec<_> = given.iter().map(ComposeText::project).collect();
        assert_eq!(projects, ["my-shop1", "own", "asked"]);
        assert_eq!(path_of(&format!("asked={named}")), PathBuf::from(named));
    }

    #[test]
    fn what_is_wrong_with_a_given_file_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("compose.yaml");
        std::fs::write(&path, "services:\n  web:\n    ports: [none]\n").unwrap();
        let name = path.display().to_string();
        let message = super::given(std::slice::from_ref(&name)).unwrap_err().message;
        assert!(message.starts_with(&format!("{name}:3:13: \"none\" is no port")), "{message}");
        let message = super::given(&[format!("{name}.absent")]).unwrap_err().message;
        assert!(message.contains("compose.yaml.absent"), "{message}");
        let message = super::given(&[folder.path().display().to_string()]).unwrap_err().message;
        assert!(message.contains("no plain file"), "{message}");
    }

    #[test]
    fn files_that_labels_name_are_read_once_and_what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("compose.yaml"), "services: {web: {ports: [80]}}\n").unwrap();
        let containers = [
            container("shop", "compose.yaml", folder.path()),
            container("gone", "gone.yml", folder.path()),
            container("given", "compose.yaml", folder.path()),
            // Not called like a compose file: whoever starts a container must not have others' files read.
            container("evil", "/etc/hostname", folder.path()),
        ];
        let given = BTreeSet::from(["given".to_owned()]);
        let mut labelled = Labelled::default();
        assert!(labelled.look(&containers, &given));
        let told: Vec<_> = labelled
            .texts()
            .iter()
            .map(|text| {
                (text.project(), matches!(text, ComposeText::Read { file, .. } if file.is_of_a_label))
            })
            .collect();
        assert_eq!(told, [("gone", false), ("shop", true)]);
        assert!(!labelled.look(&containers, &given), "nothing is read twice");
        std::fs::remove_file(folder.path().join("compose.yaml")).unwrap();
        assert!(!labelled.look(&containers, &given));
        labelled.read_again();
        assert!(labelled.look(&containers, &given));
        assert!(labelled.look(&containers[..1], &given), "what nobody names is forgotten");
        assert_eq!(labelled.texts().len(), 1);
    }
}
