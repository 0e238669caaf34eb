//! Compose files: what a project says its services serve, and whom they need.
//!
//! Plain files are read with line numbers. What has to be resolved first, by variables, files beside it or the tool's
//! own tags, is not guessed: it makes the intent of that service incomplete, and the remedy is the output of
//! `docker compose config`, which is a plain file too.

mod port;
mod project;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use port::{ComposePort, Published};
pub use project::UnreadCompose;
pub(crate) use project::{ComposeProjects, Word};

use crate::contract::ContractError;
use yaml::{Node, Value};

/// Most services of one file.
const SERVICES_MAX: usize = 10_000;
/// Most ports of one service, before ranges are unfolded.
const PORTS_MAX: usize = 4_096;
/// Most texts kept of one list.
const NAMES_MAX: usize = 1_024;
/// The network of services that name none.
const DEFAULT_NETWORK: &str = "default";

/// What a compose file says about ports and peers. Nothing else of it is kept: environments hold secrets.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ComposeFile {
    /// The file, as it was given.
    pub file: String,
    /// The project it says it is of (`name:`), or whoever gave it said.
    pub project: Option<String>,
    /// Whether a container's label named it, and no person.
    #[serde(default)]
    pub is_of_a_label: bool,
    /// Services by name.
    pub services: BTreeMap<String, ComposeService>,
    /// Networks it defines, by the name it uses for them.
    pub networks: BTreeMap<String, ComposeNetwork>,
    /// What has to be resolved before it can be read, for all services.
    pub unresolved: Vec<Unresolved>,
}

/// One service of a compose file.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ComposeService {
    /// Line it begins in.
    pub line: usize,
    /// Ports it publishes and exposes.
    pub ports: Vec<ComposePort>,
    /// Networks it is on; empty where it has none of its own (`network_mode`).
    pub networks: BTreeSet<String>,
    /// Line of each service it depends on or links to.
    pub needs: BTreeMap<String, usize>,
    /// What has to be resolved before it can be read.
    pub unresolved: Vec<Unresolved>,
}

/// A network of a compose file.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct ComposeNetwork {
    /// Docker's name for it, where the file says one.
    pub name: Option<String>,
    /// Whether it belongs to no project.
    pub is_external: bool,
    /// Whether it has no way out.
    pub is_internal: bool,
}

/// Something a plain reading cannot know.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Unresolved {
    /// Line it stands in.
    pub line: usize,
    /// What it is: `a variable in ports`.
    pub what: String,
}

impl ComposeFile {
    /// Reads one file; `name` is what `documented by` calls it.
    ///
    /// # Errors
    ///
    /// Returns what is no YAML or no compose file, each with its place.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<ContractError>> {
        let mut reader = Reader { file: name, errors: Vec::new() };
        let read = reader.file(text);
        if reader.errors.is_empty() { Ok(read) } else { Err(reader.errors) }
    }

    /// Returns what `docker-compose` calls the project of a file in this folder.
    pub fn project_of_folder(folder: &str) -> String {
        let kept = folder.to_lowercase();
        kept.chars()
            .filter(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || "-_".contains(*it))
            .collect()
    }

    /// Returns Docker's name for one of its networks, in a project of this name.
    pub fn network_name(&self, network: &str, project: &str) -> String {
        let defined = self.networks.get(network);
        match defined.and_then(|it| it.name.clone()) {
            Some(name) => name,
            None if defined.is_some_and(|it| it.is_external) => network.to_owned(),
            None => format!("{project}_{network}"),
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    errors: Vec<ContractError>,
}

impl Reader<'_> {
    fn file(&mut self, text: &str) -> ComposeFile {
        let mut file = ComposeFile { file: self.file.to_owned(), ..ComposeFile::default() };
        let root = match yaml::read(text) {
            Ok(Some(root)) => root,
            Ok(None) => {
                self.report_at(1, 1, "an empty file is no compose file");
                return file;
            }
            Err(misread) => {
                self.report_at(misread.line, misread.column, &misread.message);
                return file;
            }
        };
        let Value::Map(_) = &root.value else {
            self.report(&root, &format!("a compose file is a map, not {}", root.kind()));
            return file;
        };
        let entries = root.entries();
        if let Some((_, name)) = entries.get("name") {
            match name.text() {
                Some(text) if is_variable(text) => {}
                Some(text) => file.project = Some(text.to_owned()),
                None => self.report(name, "\"name\" takes a text"),
            }
        }
        for key in ["include", "extends"] {
            if let Some((at, _)) = entries.get(key) {
                file.unresolved
                    .push(Unresolved { line: at.line, what: format!("{key:?}, which other files say") });
            }
        }
        let Some((_, services)) = entries.get("services") else {
            // The first form, services at the top, went with Compose 2.
            self.report(&root, "no \"services\": this is no compose file of version 2 or later");
            return file;
        };
        match &services.value {
            Value::Map(all) if all.len() > SERVICES_MAX => self.report(services, "too many services"),
            Value::Map(_) => {
                for (name, (at, service)) in services.entries() {
                    let read = self.service(at, service);
                    file.services.insert(name.to_owned(), read);
                }
            }
            Value::Scalar(..) if services.is_null() => {}
            Value::Scalar(..) | Value::List(_) => {
                self.report(services, &format!("\"services\" takes a map, not {}", services.kind()));
            }
        }
        if let Some((_, networks)) = entries.get("networks") {
            file.networks = self.networks(networks, &mut file.unresolved);
        }
        file
    }

    fn networks(
        &mut self,
        networks: &Node,
        unresolved: &mut Vec<Unresolved>,
    ) -> BTreeMap<String, ComposeNetwork> {
        if let Value::List(_) = networks.value {
            self.report(networks, "\"networks\" takes a map, not a list");
        }
        let mut all = BTreeMap::new();
        for (name, (_, network)) in networks.entries() {
            let entries = network.entries();
            let mut read = ComposeNetwork::default();
            let mut of = |key: &str| -> Option<&str> {
                let (_, value) = entries.get(key)?;
                let text = value.text()?;
                if is_variable(text) {
                    unresolved.push(Unresolved { line: value.line, what: format!("a variable in {key:?}") });
                    return None;
                }
                Some(text)
            };
            read.name = of("name").map(str::to_owned);
            read.is_internal = of("internal").is_some_and(is_true);
            read.is_external = of("external").is_some_and(is_true);
            // external: { name: NAME }, as version 3.4 and before have it.
            if let Some((_, external)) = entries.get("external")
                && let Value::Map(_) = external.value
            {
                read.is_external = true;
                let named =
                    external.entries().get("name").and_then(|(_, name)| name.text().map(str::to_owned));
                read.name = named.or(read.name);
            }
            all.insert(name.to_owned(), read);
        }
        all
    }

    fn service(&mut self, at: &Node, node: &Node) -> ComposeService {
        let mut service = ComposeService { line: at.line, ..ComposeService::default() };
        if node.is_null() {
            service.networks.insert(DEFAULT_NETWORK.to_owned());
            return service;
        }
        let Value::Map(_) = &node.value else {
            self.report(node, &format!("a service is a map, not {}", node.kind()));
            return service;
        };
        let entries = node.entries();
        if let Some((at, _)) = entries.get("extends") {
            let what = "\"extends\", which another service says".to_owned();
            service.unresolved.push(Unresolved { line: at.line, what });
        }
        for key in ["ports", "expose", "networks", "links", "depends_on", "network_mode"] {
            let Some((_, value)) = entries.get(key) else { continue };
            if let Some(tag) = tagged(value) {
                let what = format!("{tag} in {key:?}, which depends on other files");
                service.unresolved.push(Unresolved { line: value.line, what });
            }
            if let Some(line) = variable_in(value) {
                service.unresolved.push(Unresolved { line, what: format!("a variable in {key:?}") });
                continue;
            }
            match key {
                "ports" | "expose" => self.ports(key, value, &mut service),
                "networks" => self.names(key, value, &mut |name, _| {
                    service.networks.insert(name.to_owned());
                }),
                "network_mode" => {}
                // A link may be written with an alias: `db:database`.
                _ => self.names(key, value, &mut |name, line| {
                    let name = if key == "links" { name.split(':').next().unwrap_or(name) } else { name };
                    service.needs.entry(name.to_owned()).or_insert(line);
                }),
            }
        }
        if service.networks.is_empty() && !entries.contains_key("network_mode") {
            service.networks.insert(DEFAULT_NETWORK.to_owned());
        }
        service
    }

    /// Reads a list of names, or a map whose keys they are.
    fn names(&mut self, key: &str, value: &Node, each: &mut dyn FnMut(&str, usize)) {
        match &value.value {
            Value::Scalar(..) if value.is_null() => {}
            Value::List(elements) => {
                for element in elements.iter().take(NAMES_MAX) {
                    match element.text() {
                        Some(name) => each(name, element.line),
                        None => self.report(element, &format!("{key:?} takes names, not {}", element.kind())),
                    }
                }
            }
            Value::Map(_) => {
                for (name, (at, _)) in value.entries().into_iter().take(NAMES_MAX) {
                    each(name, at.line);
                }
            }
            Value::Scalar(..) => self.report(value, &format!("{key:?} takes a list or a map, not a text")),
        }
    }

    fn ports(&mut self, key: &str, value: &Node, service: &mut ComposeService) {
        if value.is_null() {
            return;
        }
        let Value::List(elements) = &value.value else {
            self.report(value, &format!("{key:?} takes a list, not {}", value.kind()));
            return;
        };
        for element in elements.iter().take(PORTS_MAX) {
            let read = match (&element.value, key) {
                (Value::Scalar(text, _), "expose") => port::exposed(text, element.line),
                (Value::Scalar(text, _), _) => port::short(text, element.line),
                (Value::Map(_), "ports") => long_port(element),
                (Value::Map(_) | Value::List(_), _) => {
                    Err(format!("{key:?} takes ports, not {}", element.kind()))
                }
            };
            match read {
                Ok(port) => service.ports.push(port),
                Err(message) => self.report(element, &message),
            }
        }
    }

    fn report(&mut self, node: &Node, message: &str) {
        self.report_at(node.line, node.column, message);
    }

    fn report_at(&mut self, line: usize, column: usize, message: &str) {
        if self.errors.len() < 100 {
            let message = message.to_owned();
            self.errors.push(ContractError { file: self.file.to_owned(), line, column, message, hint: None });
        }
    }
}

/// Reads the long form: a map of `target`, `published`, `protocol`, `host_ip`.
fn long_port(node: &Node) -> Result<ComposePort, String> {
    let entries = node.entries();
    let text = |key: &str| {
        entries.get(key).filter(|(_, value)| !value.is_null()).and_then(|(_, value)| value.text())
    };
    let target = text("target").ok_or_else(|| "this port has no \"target\"".to_owned())?;
    let (first, last) = port::range(target, target)?;
    let host = text("published").map(|published| port::range(published, published)).transpose()?;
    let name = text("protocol").unwrap_or("tcp");
    let protocol = port::protocol(name).ok_or_else(|| format!("unknown protocol {name:?}"))?;
    let host_ip = text("host_ip")
        .map(|ip| ip.parse().map_err(|_| format!("host_ip {ip:?} is no address")))
        .transpose()?;
    Ok(ComposePort { first, last, protocol, published: Some(Published { host_ip, host }), line: node.line })
}

/// Whether compose would put something else there: `$NAME` or `${NAME}`, and not `$$`.
fn is_variable(text: &str) -> bool {
    text.replace("$$", "").contains('$')
}

/// Returns the line of the first variable below a node.
fn variable_in(node: &Node) -> Option<usize> {
    match &node.value {
        Value::Scalar(text, _) => is_variable(text).then_some(node.line),
        Value::List(elements) => elements.iter().find_map(variable_in),
        Value::Map(entries) => {
            entries.iter().find_map(|(key, value)| variable_in(key).or_else(|| variable_in(value)))
        }
    }
}

/// Returns a tag that is the tool's own, on the node or its elements.
fn tagged(node: &Node) -> Option<String> {
    node.tag.clone().or_else(|| node.elements().iter().find_map(|element| element.tag.clone()))
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_resolved_is_said_and_not_guessed() {
        #[rustfmt::skip]
        let cases = [
            ("services:\n  a:\n    ports: [\"${PORT}:80\"]\n",           vec![(3, "a variable in \"ports\"")]),
            ("services:\n  a:\n    ports:\n      - \"80\"\n      - $P\n", vec![(5, "a variable in \"ports\"")]),
            ("services:\n  a:\n    extends: b\n",                          vec![(3, "\"extends\", which another service says")]),
            ("services:\n  a:\n    ports: !reset []\n",                   vec![(3, "!reset in \"ports\", which depends on other files")]),
            ("services:\n  a:\n    environment: {X: \"$Y\"}\n",           vec![]),
            ("services:\n  a:\n    labels: [\"a=$$b\"]\n    depends_on: [\"b$$\"]\n", vec![]),
        ];
        for (text, expected) in cases {
            let read = ComposeFile::parse(text, "compose.yaml").unwrap();
            let found: Vec<_> =
                read.services["a"].unresolved.iter().map(|it| (it.line, it.what.as_str())).collect();
            assert_eq!(found, expected, "{text}");
        }
        let read = ComposeFile::parse("include: [other.yaml]\nservices: {}\n", "compose.yaml").unwrap();
        assert_eq!(read.unresolved.len(), 1);
    }

    #[test]
    fn what_is_no_compose_file_has_a_place_and_a_reason() {
        #[rustfmt::skip]
        let cases = [
            ("",                                            "compose.yaml:1:1: an empty file is no compose file"),
            ("- a\n",                                       "compose.yaml:1:1: a compose file is a map, not a list"),
            ("web:\n  image: a\n",                          "compose.yaml:1:1: no \"services\": this is no compose file of version 2 or later"),
            ("services:\n  a: [x]\n",                       "compose.yaml:2:6: a service is a map, not a list"),
            ("services:\n  a:\n    ports: 80\n",            "compose.yaml:3:12: \"ports\" takes a list, not a text"),
            ("services:\n  a:\n    ports:\n      - 99999\n", "compose.yaml:4:9: \"99999\" is no port: expected as in \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"80\""),
            ("services:\n  a:\n    ports:\n      - published: 80\n", "compose.yaml:4:9: this port has no \"target\""),
            ("services:\n  a:\n    depends_on: b\n",        "compose.yaml:3:17: \"depends_on\" takes a list or a map, not a text"),
        ];
        for (text, expected) in cases {
            let errors = ComposeFile::parse(text, "compose.yaml").unwrap_err();
            assert_eq!(errors[0].to_string(), expected, "{text}");
        }
    }
}
