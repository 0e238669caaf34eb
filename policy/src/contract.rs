//! Contracts: what the operator documented, as TOML.
//!
//! ```toml
//! [[service]]
//! service = "shop/db"                # or image, label, network, project; all given must match
//! ports = ["5432/tcp", "9187/tcp"]   # documented; left out: says nothing about ports
//! initiators = ["shop/cart", "host"] # expected; left out: says nothing about initiators
//!
//! [[service.rule]]                   # expected on these ports besides
//! from = ["reports"]
//! ports = ["5432/tcp"]
//! ```
//!
//! - `ports` holds `PORT/PROTOCOL` or `FIRST-LAST/PROTOCOL`; without a protocol, tcp. An empty list documents that
//!   there is none. A rule's ports are documented too.
//! - `initiators` and `from` hold `project/service`, `service` (of any project), `host`, `external`, `network:NAME`,
//!   `project:NAME`, `label:KEY[=VALUE]`, `image:GLOB`, an address or a range of addresses. An empty list expects
//!   nobody.
//! - An entry's initiators are expected on its ports; on ports no entry names, the initiators of all entries for
//!   the service are.
//! - A list of one may be written without brackets.
//!
//! `[[rule]]`, `[defaults]`, `[groups]` and `[standard]` are of `docs/policy.md`.

mod rules;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use portolan_flowtable::confinement::{
    ALL_CAPABILITIES, DEFAULT_CAPABILITIES, FURTHER_CAPABILITIES, capability, user,
};
use portolan_flowtable::{DocumentSource, DocumentedPort, Port, Protocol, ServicePort, Workload};
use toml_edit::{Document, Item, TableLike, Value};

use crate::compose::{ComposeFile, ComposeProjects, UnreadCompose};
use crate::rules::{Mode, Rules};
use crate::selector::{Glob, Initiator, Trait};
use crate::stable::StableHash;
use rules::Groups;

/// Most services in one contract file.
const SERVICES_MAX: usize = 10_000;
/// Most errors reported of one contract file.
const ERRORS_MAX: usize = 100;
/// Names further apart than this (Jaro-Winkler, 1 is equal) are no slip of the finger.
const LIKENESS_MIN: f64 = 0.8;
/// Longer names are not compared: it takes time, and nobody mistypes them.
const LIKENESS_BYTES_MAX: usize = 128;

/// What the operator documented: ports, and initiators expected on each. Several files make one contract.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contract {
    pub(crate) entries: Vec<Entry>,
    pub(crate) compose: ComposeProjects,
    pub(crate) rules: Rules,
    /// Named groups of addresses.
    pub(crate) groups: Groups,
    files: Vec<ContractFile>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct ContractFile {
    name: String,
    services: usize,
    rules: usize,
    hash: String,
}

impl Contract {
    /// Returns file and line of the place that a verdict's `decided_by` begins with, where it is one of this contract.
    pub fn place_of(&self, decided_by: &str) -> Option<(String, usize)> {
        self.files.iter().find_map(|file| {
            let rest = decided_by.strip_prefix(&file.name)?.strip_prefix(':')?;
            let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            Some((file.name.clone(), rest.get(..digits)?.parse().ok()?))
        })
    }
}

/// One `[[service]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) selectors: Vec<Trait>,
    pub(crate) ports: Option<Vec<DocumentedPort>>,
    pub(crate) initiators: Option<Expected>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) mode: Option<(Mode, Place)>,
}

/// One `[[service.rule]]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    pub(crate) from: Expected,
    pub(crate) ports: Vec<DocumentedPort>,
}

/// A list of expected initiators.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) place: Place,
    pub(crate) initiators: Vec<Written>,
}

/// An initiator, as read and as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) initiator: Initiator,
    pub(crate) text: String,
    pub(crate) place: Place,
}

/// Where something stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    /// Returns `file:line`.
    pub(crate) fn line(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something in a contract cannot be understood.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}{}", hinted(hint.as_deref()))]
pub struct ContractError {
    /// Name of the file, as it was given.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, on which thing.
    pub message: String,
    /// What was probably meant.
    pub hint: Option<String>,
}

/// Writes the end of a message: `; did you mean "orders"?`.
pub(crate) fn hinted(hint: Option<&str>) -> String {
    hint.map(|hint| format!("; did you mean {hint:?}?")).unwrap_or_default()
}

/// Returns the candidate most like `name`, if any is like it: alike by Jaro-Winkler, or one slip away.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if name.len() > LIKENESS_BYTES_MAX {
        return None;
    }
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates.into_iter().filter(|candidate| candidate.len() <= LIKENESS_BYTES_MAX) {
        let (own, other) = without_common_project(name, candidate);
        let likeness = strsim::jaro_winkler(own, other);
        // Two swapped letters in a short word are unlike by Jaro-Winkler.
        let slips = strsim::osa_distance(own, other);
        let is_slip = own.len() >= 3 && slips <= 1;
        // Long words with a beginning in common are alike by Jaro-Winkler, whatever they end in.
        let is_near = slips <= (own.chars().count() / 3).max(1);
        if ((likeness >= LIKENESS_MIN && is_near) || is_slip) && best.is_none_or(|(most, _)| likeness > most)
        {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

/// Returns both names without the project they share, which would make any two services alike.
fn without_common_project<'n>(one: &'n str, other: &'n str) -> (&'n str, &'n str) {
    match (one.split_once('/'), other.split_once('/')) {
        (Some((project, own)), Some((same, rest))) if project == same => (own, rest),
        (Some(_) | None, Some(_) | None) => (one, other),
    }
}

impl Contract {
    /// Reads one contract.
    ///
    /// `file_name` is what errors and `documented by` call it.
    ///
    /// # Errors
    ///
    /// Returns everything that cannot be understood, in the order of the text, at most 100 errors: a syntax error,
    /// an unknown key, a value of the wrong type, a port, range or prefix that does not exist, a service that
    /// selects nothing.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, Vec<ContractError>> {
        Self::parse_with(text, file_name, &Groups::new())
    }

    /// Reads one contract that may name groups of addresses that another one of the same set defines.
    fn parse_with(text: &str, file_name: &str, groups: &Groups) -> Result<Self, Vec<ContractError>> {
        let mut reader = Reader { text, file_name, errors: Vec::new(), groups: groups.clone() };
        let (entries, rules) = reader.read();
        if reader.errors.is_empty() {
            let hash = StableHash::new().field(text).digits();
            let file = ContractFile {
                name: file_name.to_owned(),
                services: entries.len(),
                rules: rules.list.len(),
                hash,
            };
            let groups = reader.groups;
            Ok(Self { entries, rules, groups, files: vec![file], compose: ComposeProjects::default() })
        } else {
            reader.errors.sort_by_key(|error| (error.line, error.column));
            Err(reader.errors)
        }
    }

    /// Reads several contracts, given as (name, text), and merges them.
    ///
    /// # Errors
    ///
    /// Returns the errors of all of them.
    pub fn parse_all<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<ContractError>> {
        let files: Vec<(&str, &str)> = files.into_iter().collect();
        let mut merged = Self::default();
        let mut errors = Vec::new();
        let mut groups = Groups::new();
        for (name, text) in &files {
            let mut reader = Reader { text, file_name: name, errors: Vec::new(), groups: Groups::new() };
            // What is wrong with them is said below.
            let own = Document::parse(*text).map(|document| reader.groups(document.as_table()));
            groups.extend(own.unwrap_or_default());
        }
        for (name, text) in files {
            match Self::parse_with(text, name, &groups) {
                Ok(contract) => merged.merge(contract),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() { Ok(merged) } else { Err(errors) }
    }

    /// Adds another contract's word to this one's.
    pub fn merge(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.rules.merge(other.rules);
        self.groups.extend(other.groups);
        self.compose.merge(other.compose);
        self.files.extend(other.files);
    }

    /// Adds what a compose file of this project says.
    pub fn add_compose(&mut self, project: &str, file: ComposeFile) {
        self.compose.add(project, file);
    }

    /// Notes that a compose file of a project could not be read: what it would say is not judged.
    pub fn add_unread_compose(&mut self, unread: UnreadCompose) {
        self.compose.add_unread(unread);
    }

    /// Returns whether nothing was documented by contract; compose files are none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns 16 hexadecimal digits that change with the text, of compose files with what is read of it; empty
    /// without either.
    pub fn hash(&self) -> String {
        let compose: Vec<String> =
            self.compose.files().map(|(project, file)| format!("{project} {file:?}")).collect();
        let files = self.files.iter().map(|file| file.hash.as_str());
        let mut parts = files.chain(compose.iter().map(String::as_str)).peekable();
        if parts.peek().is_none() {
            return String::new();
        }
        parts.fold(StableHash::new(), StableHash::field).digits()
    }

    /// Returns `contract.toml, 2 services`, compose files among them; `None` without either.
    pub fn title(&self) -> Option<String> {
        let titles: Vec<String> = self
            .files
            .iter()
            .map(|file| {
                let services = crate::words::count(file.services.try_into().unwrap_or(u64::MAX), "service");
                let rules = file.rules.try_into().unwrap_or(u64::MAX);
                let rules = if rules == 0 {
                    String::new()
                } else {
                    format!(", {}", crate::words::count(rules, "rule"))
                };
                format!("{}, {services}{rules}", file.name)
            })
            .chain(self.compose.files().map(|(_, file)| {
                let count = file.services.len().try_into().unwrap_or(u64::MAX);
                format!("{}, {}", file.file, crate::words::count(count, "service"))
            }))
            .collect();
        (!titles.is_empty()).then(|| titles.join("; "))
    }

    /// Returns names of services the contract describes, as written.
    pub(crate) fn service_names(&self) -> BTreeSet<&str> {
        self.entries.iter().flat_map(|entry| &entry.selectors).filter_map(service_name).collect()
    }
}

fn service_name(selector: &Trait) -> Option<&str> {
    match selector {
        Trait::Service(name) => Some(name),
        Trait::Image(_)
        | Trait::Label(..)
        | Trait::Network(_)
        | Trait::Project(_)
        | Trait::Container(_)
        | Trait::Digest(_)
        | Trait::User(_)
        | Trait::Privileged
        | Trait::Capability(_) => None,
    }
}

impl Entry {
    /// Returns whether the entry speaks of this workload.
    pub(crate) fn names(&self, workload: &Workload) -> bool {
        self.selectors.iter().all(|selector| selector.is_of(workload))
    }

    /// Returns the name of the service it selects, if it selects by name.
    pub(crate) fn service(&self) -> Option<&str> {
        self.selectors.iter().find_map(service_name)
    }

    /// Returns every port it documents, its rules' included.
    pub(crate) fn documented(&self) -> impl Iterator<Item = &DocumentedPort> {
        self.ports.iter().flatten().chain(self.rules.iter().flat_map(|rule| &rule.ports))
    }

    /// Returns every list of initiators in it.
    pub(crate) fn expectations(&self) -> impl Iterator<Item = &Expected> {
        self.initiators.iter().chain(self.rules.iter().map(|rule| &rule.from))
    }

    /// Returns the lists that speak of `port` itself.
    pub(crate) fn expected_on(&self, port: ServicePort) -> impl Iterator<Item = &Expected> {
        let is_own = self.ports.iter().flatten().any(|documented| documented.covers(port));
        let by_rule = self
            .rules
            .iter()
            .filter(move |rule| rule.ports.iter().any(|documented| documented.covers(port)))
            .map(|rule| &rule.from);
        // Without ports of its own, the entry's initiators are expected on every port.
        self.initiators.iter().filter(move |_| is_own || self.ports.is_none()).chain(by_rule)
    }
}

/// Reads one text and remembers what was wrong with it.
struct Reader<'a> {
    text: &'a str,
    file_name: &'a str,
    errors: Vec<ContractError>,
    groups: Groups,
}

const ROOT_KEYS: [&str; 5] = ["service", "rule", "defaults", "groups", "standard"];
const SERVICE_KEYS: [&str; 9] =
    ["service", "image", "label", "network", "project", "ports", "initiators", "rule", "mode"];
const RULE_KEYS: [&str; 2] = ["from", "ports"];
const PREFIXES: [&str; 10] = [
    "network:",
    "project:",
    "label:",
    "image:",
    "digest:",
    "container:",
    "user:",
    "capability:",
    "group:",
    "dns:",
];
/// Digits of a SHA-256 digest.
const DIGEST_DIGITS: usize = 64;
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

impl Reader<'_> {
    fn read(&mut self) -> (Vec<Entry>, Rules) {
        let document = match Document::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
                self.report(error.span(), message, None);
                return (Vec::new(), Rules::default());
            }
        };
        let root: &dyn TableLike = document.as_table();
        self.check_keys(root, &ROOT_KEYS, "a contract");
        let own = self.groups(root);
        self.groups.extend(own);
        let rules = self.rules(root);
        (self.services(root), rules)
    }

    fn services(&mut self, root: &dyn TableLike) -> Vec<Entry> {
        let Some(services) = root.get("service") else { return Vec::new() };
        let tables = self.tables(services, "service", "[[service]]");
        if tables.len() > SERVICES_MAX {
            let message = format!("{} services are more than {SERVICES_MAX}", tables.len());
            self.report(None, message, None);
            return Vec::new();
        }
        tables.into_iter().map(|(table, span)| self.service(table, span)).collect()
    }

    fn service(&mut self, table: &dyn TableLike, span: Option<Range<usize>>) -> Entry {
        self.check_keys(table, &SERVICE_KEYS, "a service");
        let mut selectors = Vec::new();
        for key in ["service", "image", "label", "network", "project"] {
            let Some(text) = table.get(key).and_then(|item| self.text_of(item, key)) else { continue };
            if text.is_empty() {
                let at = table.get(key).and_then(Item::span);
                self.report(at, format!("empty {key:?} selects nothing"), None);
                continue;
            }
            selectors.push(match key {
                "service" => Trait::Service(text),
                "image" => Trait::Image(Glob::new(&text)),
                "label" => label(&text),
                "network" => Trait::Network(text),
                _ => Trait::Project(text),
            });
        }
        let has_selector = SERVICE_KEYS.iter().take(5).any(|key| table.contains_key(key));
        if !has_selector {
            let message = "this service selects nothing: give service, image, label, network or project";
            self.report(span.clone(), message.to_owned(), None);
        }
        let ports = table.get("ports").map(|item| self.ports(item));
        let initiators = table.get("initiators").map(|item| self.expected(item, "initiators"));
        let rules = match table.get("rule") {
            Some(item) => {
                let tables = self.tables(item, "rule", "[[service.rule]]");
                tables.into_iter().map(|(rule, span)| self.rule(rule, span)).collect()
            }
            None => Vec::new(),
        };
        let mode = table.get("mode").and_then(|item| self.mode(item));
        Entry { place: self.place(span), selectors, ports, initiators, rules, mode }
    }

    fn mode(&mut self, item: &Item) -> Option<(Mode, Place)> {
        let text = self.text_of(item, "mode")?;
        let found = Mode::ALL.into_iter().find(|mode| mode.name() == text);
        if found.is_none() {
            let hint = nearest(&text, Mode::ALL.map(Mode::name));
            self.report(
                item.span(),
                format!("unknown mode {text:?}: expected off, learn, monitor, enforce"),
                hint,
            );
        }
        found.map(|mode| (mode, self.place(item.span())))
    }

    fn rule(&mut self, table: &dyn TableLike, span: Option<Range<usize>>) -> Rule {
        self.check_keys(table, &RULE_KEYS, "a rule");
        for key in RULE_KEYS {
            if !table.contains_key(key) {
                self.report(span.clone(), format!("this rule has no {key:?}"), None);
            }
        }
        Rule {
            from: match table.get("from") {
                Some(item) => self.expected(item, "from"),
                None => Expected { place: self.place(span), initiators: Vec::new() },
            },
            ports: table.get("ports").map(|item| self.ports(item)).unwrap_or_default(),
        }
    }

    fn expected(&mut self, item: &Item, key: &str) -> Expected {
        let mut initiators = Vec::new();
        for value in self.values(item, key) {
            let Some(text) = value.as_str() else {
                self.wrong_type(value.span(), key, "texts", value.type_name());
                continue;
            };
            if let Some(initiator) = self.initiator(text, value.span()) {
                let place = self.place(value.span());
                initiators.push(Written { initiator, text: text.to_owned(), place });
            }
        }
        Expected { place: self.place(item.span()), initiators }
    }

    fn initiator(&mut self, text: &str, span: Option<Range<usize>>) -> Option<Initiator> {
        if let Ok(range) = text.parse::<IpNet>() {
            return Some(Initiator::Addresses(range));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Initiator::Addresses(IpNet::from(address)));
        }
        match text {
            "host" => return Some(Initiator::Host),
            "external" => return Some(Initiator::External),
            "multicast" => return Some(Initiator::Multicast),
            "any" => return Some(Initiator::Any),
            "privileged" => return Some(Initiator::Workload(Trait::Privileged)),
            "" => {
                self.report(span, "an empty initiator means nobody: leave it out".to_owned(), None);
                return None;
            }
            _ => {}
        }
        if let Some((prefix, rest)) = text.split_once(':') {
            let property = match prefix {
                "network" => Trait::Network(rest.to_owned()),
                "project" => Trait::Project(rest.to_owned()),
                "label" => label(rest),
                "image" => Trait::Image(Glob::new(rest)),
                "container" => Trait::Container(Glob::new(rest)),
                "digest" => return self.digest(rest, span),
                "capability" => return self.capability(rest, span),
                "user" if !rest.is_empty() => Trait::User(user(rest)),
                "user" => Trait::User(String::new()),
                "group" => return self.group(rest, span),
                "dns" => return self.dns(rest, span),
                _ => {
                    let hint = nearest(prefix, PREFIXES.map(|known| known.trim_end_matches(':')))
                        .map(|known| format!("{known}:{rest}"));
                    let message =
                        format!("unknown kind of initiator {text:?}: expected {}", PREFIXES.join(", "));
                    self.report(span, message, hint);
                    return None;
                }
            };
            if rest.is_empty() {
                self.report(span, format!("initiator {text:?} names nothing after the colon"), None);
                return None;
            }
            return Some(Initiator::Workload(property));
        }
        let before_slash = text.split('/').next().unwrap_or_default();
        if text.contains('/') && before_slash.parse::<IpAddr>().is_ok() {
            self.report(
                span,
                format!("{text:?} is no range of addresses: expected as in \"10.0.0.0/8\""),
                None,
            );
            return None;
        }
        Some(Initiator::Workload(Trait::Service(text.to_owned())))
    }

    fn group(&mut self, name: &str, span: Option<Range<usize>>) -> Option<Initiator> {
        if let Some(ranges) = self.groups.get(name) {
            return Some(Initiator::Group(ranges.clone()));
        }
        let hint =
            nearest(name, self.groups.keys().map(String::as_str)).map(|known| format!("group:{known}"));
        self.report(span, format!("unknown group {name:?}: define it in [groups]"), hint);
        None
    }

    fn digest(&mut self, text: &str, span: Option<Range<usize>>) -> Option<Initiator> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        if digits.len() == DIGEST_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Some(Initiator::Workload(Trait::Digest(format!("sha256:{digits}"))));
        }
        // The beginning of a digest can be had by anybody who tries long enough.
        let message =
            format!("\"digest:{text}\" is no digest: expected \"digest:sha256:\" and all of its 64 digits");
        self.report(span, message, None);
        None
    }

    fn capability(&mut self, text: &str, span: Option<Range<usize>>) -> Option<Initiator> {
        let name = capability(text);
        let known =
            || DEFAULT_CAPABILITIES.iter().chain(&FURTHER_CAPABILITIES).chain([&ALL_CAPABILITIES]).copied();
        if known().any(|it| it == name) {
            return Some(Initiator::Workload(Trait::Capability(name)));
        }
        let hint = nearest(&name, known()).map(|known| format!("capability:{known}"));
        self.report(
            span,
            format!("unknown capability {text:?}: expected as in \"capability:NET_ADMIN\""),
            hint,
        );
        None
    }

    fn dns(&mut self, pattern: &str, span: Option<Range<usize>>) -> Option<Initiator> {
        let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
        let is_of_a_name = |letter: char| {
            letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '*' | '?' | '\\')
        };
        if !pattern.is_empty() && pattern.chars().all(is_of_a_name) {
            return Some(Initiator::Dns(Glob::new(&pattern)));
        }
        let message = format!("\"dns:{pattern}\" is no name: expected as in \"dns:*.example.org\"");
        // A whole address of a page is what people paste.
        let host = pattern.split_once("://").map(|(_, rest)| rest.split(['/', ':']).next().unwrap_or(rest));
        let hint = host.filter(|host| !host.is_empty()).map(|host| format!("dns:{host}"));
        self.report(span, message, hint);
        None
    }

    fn ports(&mut self, item: &Item) -> Vec<DocumentedPort> {
        let mut ports = Vec::new();
        for value in self.values(item, "ports") {
            let text = match value {
                Value::String(text) => text.value().clone(),
                Value::Integer(number) => number.value().to_string(),
                Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)
                | Value::InlineTable(_) => {
                    self.wrong_type(value.span(), "ports", "texts as in \"5432/tcp\"", value.type_name());
                    continue;
                }
            };
            match range(&text) {
                Ok((first, last, protocol)) => {
                    let place = self.place(value.span()).line();
                    let source = DocumentSource::Contract { place };
                    ports.push(DocumentedPort { first, last, protocol, source });
                }
                Err((message, hint)) => self.report(value.span(), message, hint),
            }
        }
        ports
    }

    /// Returns the elements of a list, or the one value that stands for a list of one.
    fn values<'i>(&mut self, item: &'i Item, key: &str) -> Vec<&'i Value> {
        match item {
            Item::Value(Value::Array(array)) => array.iter().collect(),
            Item::Value(Value::InlineTable(_)) | Item::Table(_) | Item::ArrayOfTables(_) | Item::None => {
                self.wrong_type(item.span(), key, "a list of texts", item.type_name());
                Vec::new()
            }
            Item::Value(
                value @ (Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)),
            ) => vec![value],
        }
    }

    fn text_of(&mut self, item: &Item, key: &str) -> Option<String> {
        let text = item.as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(item.span(), key, "a text", item.type_name());
        }
        text
    }

    /// Returns the tables of `[[key]]`, or of `key = [{ ... }]`.
    fn tables<'i>(
        &mut self,
        item: &'i Item,
        key: &str,
        header: &str,
    ) -> Vec<(&'i dyn TableLike, Option<Range<usize>>)> {
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|table| (table as &dyn TableLike, table.span())).collect();
        }
        let Some(array) = item.as_array() else {
            let message =
                format!("{key:?} must be a list of tables, not {}: write {header}", item.type_name());
            self.report(item.span(), message, None);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in array {
            match value.as_inline_table() {
                Some(table) => tables.push((table as &dyn TableLike, value.span())),
                None => self.wrong_type(value.span(), key, "tables", value.type_name()),
            }
        }
        tables
    }

    fn check_keys(&mut self, table: &dyn TableLike, known: &[&str], of: &str) {
        for (key, item) in table.iter() {
            if !known.contains(&key) {
                let span = table.key(key).and_then(toml_edit::Key::span).or_else(|| item.span());
                let hint = nearest(key, known.iter().copied());
                self.report(
                    span,
                    format!("unknown key {key:?} in {of}: expected {}", known.join(", ")),
                    hint,
                );
            }
        }
    }

    fn wrong_type(&mut self, span: Option<Range<usize>>, key: &str, expected: &str, found: &str) {
        self.report(span, format!("{key:?} takes {expected}, not {found}"), None);
    }

    fn report(&mut self, span: Option<Range<usize>>, message: String, hint: Option<String>) {
        if self.errors.len() < ERRORS_MAX {
            let Place { file, line, column } = self.place(span);
            self.errors.push(ContractError { file, line, column, message, hint });
        }
    }

    /// Turns a span in bytes into line and column. Without a span, the start of the text.
    fn place(&self, span: Option<Range<usize>>) -> Place {
        let end = span.map_or(0, |span| span.start).min(self.text.len());
        let before = self.text.get(..end).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
        Place { file: self.file_name.to_owned(), line, column }
    }
}

fn label(text: &str) -> Trait {
    match text.split_once('=') {
        Some((key, value)) => Trait::Label(key.to_owned(), Some(value.to_owned())),
        None => Trait::Label(text.to_owned(), None),
    }
}

type Misread = (String, Option<String>);

/// Reads `5432/tcp`, `7000-7010/udp`, `5432`.
fn range(text: &str) -> Result<(Port, Port, Protocol), Misread> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = PROTOCOLS.iter().find(|known| **known == protocol);
    let Some(protocol) = known.and_then(|known| known.parse::<Protocol>().ok()) else {
        let hint = nearest(protocol, PROTOCOLS).map(|known| format!("{numbers}/{known}"));
        return Err((
            format!("unknown protocol {protocol:?} in port {text:?}: expected tcp, udp or sctp"),
            hint,
        ));
    };
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last) = (port(first, text)?, port(last, text)?);
    if first > last {
        let hint = format!("{last}-{first}/{protocol}");
        return Err((format!("port range {text:?} ends before it begins"), Some(hint)));
    }
    Ok((first, last, protocol))
}

fn port(number: &str, text: &str) -> Result<Port, Misread> {
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse::<u16>() {
        Ok(port) if is_plain && port > 0 => Ok(Port(port)),
        Ok(_) | Err(_) if is_plain => {
            Err((format!("port {number} in {text:?} is not between 1 and 65535"), None))
        }
        Ok(_) | Err(_) => {
            Err((format!("bad port {text:?}: expected as in \"5432/tcp\" or \"7000-7010/udp\""), None))
        }
    }
}
