//! What the compose files of a project say together, asked by service.

use std::collections::{BTreeMap, BTreeSet};

use portolan_flowtable::{DocumentSource, DocumentedPort, ServicePort};

use super::{ComposeFile, ComposeService};

/// The compose files given, by project.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ComposeProjects {
    projects: BTreeMap<String, Vec<ComposeFile>>,
    /// Files that should be there and cannot be read: project, file, why.
    unread: Vec<UnreadCompose>,
}

/// A compose file that a project has and that could not be read.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
pub struct UnreadCompose {
    /// The project.
    pub project: String,
    /// The file.
    pub file: String,
    /// Why: `permission denied`, `compose.yaml:3:5: ...`.
    pub reason: String,
}

/// What a project's files say about one end calling another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Word {
    /// Somebody documented it: the place that says so.
    Expected(String),
    /// Both ends are described and nothing joins them: what was looked at.
    Unexpected(String),
    /// The files do not speak of it.
    Silent,
}

impl ComposeProjects {
    pub(crate) fn add(&mut self, project: &str, file: ComposeFile) {
        self.projects.entry(project.to_owned()).or_default().push(file);
    }

    pub(crate) fn add_unread(&mut self, unread: UnreadCompose) {
        self.unread.push(unread);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (project, files) in other.projects {
            self.projects.entry(project).or_default().extend(files);
        }
        self.unread.extend(other.unread);
    }

    /// Returns every file with its project.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &ComposeFile)> {
        self.projects
            .iter()
            .flat_map(|(project, files)| files.iter().map(move |file| (project.as_str(), file)))
    }

    fn services<'c>(
        &'c self,
        project: &str,
        service: &'c str,
    ) -> impl Iterator<Item = (&'c ComposeFile, &'c ComposeService)> {
        let files = self.projects.get(project).into_iter().flatten();
        files.filter_map(move |file| Some((file, file.services.get(service)?)))
    }

    /// Returns the ports it publishes and exposes, each with its line.
    pub(crate) fn documented(&self, project: &str, service: &str) -> Vec<DocumentedPort> {
        let ports = self.services(project, service).flat_map(|(file, service)| {
            service.ports.iter().map(move |port| DocumentedPort {
                first: port.first,
                last: port.last,
                protocol: port.protocol,
                source: DocumentSource::Compose { place: place(file, port.line) },
            })
        });
        ports.collect()
    }

    /// Returns what has to be resolved before it is known what the service serves and whom it may talk to.
    pub(crate) fn unresolved(&self, project: &str, service: &str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for file in self.projects.get(project).into_iter().flatten() {
            // Of a running container Docker says which ports the file came to in the end.
            if file.is_of_a_label {
                continue;
            }
            let own = file.services.get(service).into_iter().flat_map(|service| &service.unresolved);
            all.extend(
                file.unresolved.iter().chain(own).map(|it| format!("{}: {}", place(file, it.line), it.what)),
            );
        }
        all
    }

    /// Returns what has to be resolved before it is known who is expected to call: of files that labels name, whose
    /// ports Docker tells.
    pub(crate) fn unresolved_peers(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (project, file) in self.files().filter(|(_, file)| file.is_of_a_label) {
            let own = file.services.values().flat_map(|service| &service.unresolved);
            if let Some(first) = file.unresolved.iter().chain(own).next() {
                all.push(format!("{project}: {}: {}", place(file, first.line), first.what));
            }
        }
        all.extend(self.unread.iter().map(|it| format!("{}: {}: {}", it.project, it.file, it.reason)));
        all
    }

    /// Returns whether the project's files are known and one of them could not be read or has to be resolved.
    pub(crate) fn is_incomplete(&self, project: &str, service: &str) -> bool {
        let files = || self.projects.get(project).into_iter().flatten();
        self.unread.iter().any(|it| it.project == project)
            || files().any(|file| {
                !file.unresolved.is_empty()
                    || file.services.get(service).is_some_and(|service| !service.unresolved.is_empty())
            })
    }

    /// Says whether `initiator` may be expected to call `responder`, both as (project, service).
    pub(crate) fn joins(&self, initiator: (&str, &str), responder: (&str, &str)) -> Word {
        let [from, to] = [initiator, responder]
            .map(|(project, service)| self.services(project, service).collect::<Vec<_>>());
        let Some((file, described)) = to.first() else { return Word::Silent };
        if from.is_empty() {
            return Word::Silent;
        }
        if initiator.0 == responder.0
            && let Some((file, line)) =
                from.iter().find_map(|(file, service)| Some((file, service.needs.get(responder.1)?)))
        {
            return Word::Expected(place(file, *line));
        }
        let networks = |project: &str, services: &[(&ComposeFile, &ComposeService)]| -> BTreeSet<String> {
            let named = |(file, service): &(&ComposeFile, &ComposeService)| {
                service.networks.iter().map(|name| file.network_name(name, project)).collect::<Vec<_>>()
            };
            services.iter().flat_map(named).collect()
        };
        let (theirs, own) = (networks(initiator.0, &from), networks(responder.0, &to));
        if theirs.intersection(&own).next().is_some() {
            return Word::Expected(place(file, described.line));
        }
        let is_incomplete = |(project, service)| self.is_incomplete(project, service);
        if is_incomplete(initiator) || is_incomplete(responder) {
            return Word::Silent;
        }
        let name = |(project, service): (&str, &str)| format!("{project}/{service}");
        Word::Unexpected(format!(
            "{} puts {} on no network of {}, which does not depend on it",
            place(file, described.line),
            name(responder),
            name(initiator)
        ))
    }

    /// Returns the place that puts a service on internal networks alone, if its files do.
    pub(crate) fn is_internal(&self, project: &str, service: &str) -> Option<String> {
        if self.is_incomplete(project, service) {
            return None;
        }
        let described: Vec<_> = self.services(project, service).collect();
        let is_internal = |file: &ComposeFile, network: &String| {
            file.networks.get(network).is_some_and(|network| network.is_internal && !network.is_external)
        };
        let mut all =
            described.iter().flat_map(|(file, service)| service.networks.iter().map(move |it| (file, it)));
        let has_networks = described.iter().any(|(_, service)| !service.networks.is_empty());
        let (file, service) = described.first()?;
        (has_networks && all.all(|(file, network)| is_internal(file, network)))
            .then(|| place(file, service.line))
    }

    /// Says whether somebody outside may be expected on a port: whoever publishes it, expects anybody.
    pub(crate) fn publishes(&self, project: &str, service: &str, port: ServicePort) -> Word {
        let mut ports = self.services(project, service).flat_map(|(file, service)| {
            service.ports.iter().filter(|it| it.published.is_some()).map(move |it| (file, it))
        });
        let is_it = |(_, it): &(&ComposeFile, &super::ComposePort)| {
            it.protocol == port.protocol
                && port.port.is_some_and(|number| it.first <= number && number <= it.last)
        };
        ports.find(is_it).map_or(Word::Silent, |(file, it)| Word::Expected(place(file, it.line)))
    }
}

fn place(file: &ComposeFile, line: usize) -> String {
    format!("{}:{line}", file.file)
}
