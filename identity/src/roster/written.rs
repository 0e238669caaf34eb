//! Roster files a person wrote: TOML, every mistake with its place.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use portolan_flowtable::{InterfaceId, MacAddr, Role, Timestamp};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{RosterError, line_and_column};
use crate::inventory::{PortRange, mac};
use crate::subnet::Subnet;

/// The rows of one TOML roster.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Written {
    pub(crate) networks: Vec<NetworkRow>,
    pub(crate) interfaces: Vec<InterfaceRow>,
    pub(crate) addresses: Vec<AddressRow>,
    pub(crate) host_addresses: Vec<IpAddr>,
}

/// One `[[network]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NetworkRow {
    pub(crate) name: String,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) bridge: Option<String>,
}

/// One `[[interface]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InterfaceRow {
    pub(crate) index: Option<InterfaceId>,
    pub(crate) name: Option<String>,
    pub(crate) role: Role,
    pub(crate) network: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) mac: Option<MacAddr>,
}

/// One `[[address]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AddressRow {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) network: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) service: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Each port with its `file:line`.
    pub(crate) ports: Vec<(PortRange, String)>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

/// Reads one TOML roster; the notes say what is odd but not wrong.
pub(super) fn read(name: &str, text: &str) -> Result<(Written, Vec<String>), RosterError> {
    let source = Source { name, text };
    let root = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        source.wrong(&span, format!("no TOML: {}", error.message()))
    })?;
    let root = Table { source, entries: root.get_ref(), span: root.span() };
    root.knows(&["network", "interface", "address", "host"], "table")?;
    let mut written = Written::default();
    for row in root.rows("network")? {
        row.knows(&["name", "subnet", "subnets", "gateway", "gateways", "bridge"], "key")?;
        written.networks.push(NetworkRow {
            name: row.required("name")?,
            subnets: row.several(&["subnet", "subnets"], |text| {
                text.parse().map_err(|error: crate::subnet::NotASubnet| error.to_string())
            })?,
            gateways: row.several(&["gateway", "gateways"], read_address)?,
            bridge: row.text("bridge")?,
        });
    }
    for row in root.rows("interface")? {
        row.knows(&["index", "name", "role", "network", "container", "mac"], "key")?;
        written.interfaces.push(read_interface(&row)?);
    }
    for row in root.rows("address")? {
        written.addresses.push(read_address_row(&row)?);
    }
    for row in root.rows("host")? {
        row.knows(&["address", "addresses"], "key")?;
        written.host_addresses.extend(row.several(&["address", "addresses"], read_address)?);
    }
    let is_empty = written == Written::default();
    let notes =
        if is_empty { vec![format!("{name}: no network, interface, address or host in it")] } else { vec![] };
    Ok((written, notes))
}

fn read_interface(row: &Table<'_>) -> Result<InterfaceRow, RosterError> {
    let index = match row.entries.get("index") {
        Some(value) => Some(row.source.index(value)?),
        None => None,
    };
    let name = row.text("name")?;
    if index.is_none() && name.is_none() {
        return Err(row.wrong("an interface needs an index or a name"));
    }
    let role = match row.required("role")?.as_str() {
        "container" => Role::Container,
        "bridge" => Role::Bridge,
        "other" => Role::Foreign,
        other => {
            let hint = did_you_mean(other, &["container", "bridge", "other"]);
            return Err(row.wrong_at("role", &format!("unknown role {other:?}{hint}")));
        }
    };
    let mac = row.one("mac", read_mac)?;
    if role == Role::Bridge && mac.is_none() {
        return Err(row.wrong("a bridge needs its mac: it tells what the host sent from what it forwarded"));
    }
    Ok(InterfaceRow {
        index,
        name,
        role,
        network: row.text("network")?,
        container: row.text("container")?,
        mac,
    })
}

fn read_address_row(row: &Table<'_>) -> Result<AddressRow, RosterError> {
    row.knows(
        &[
            "address",
            "addresses",
            "network",
            "container",
            "id",
            "service",
            "project",
            "image",
            "mac",
            "labels",
            "ports",
            "from",
            "until",
        ],
        "key",
    )?;
    let read = AddressRow {
        addresses: row.several(&["address", "addresses"], read_address)?,
        network: row.text("network")?,
        container: row.text("container")?,
        id: row.text("id")?,
        service: row.text("service")?,
        project: row.text("project")?,
        image: row.text("image")?,
        mac: row.one("mac", read_mac)?,
        labels: row.labels()?,
        ports: row.places(&["ports"], |text| {
            PortRange::parse(text)
                .ok_or_else(|| format!("{text:?} is no port: expected \"8080/tcp\" or \"7000-7010/udp\""))
        })?,
        from: row.instant("from")?,
        until: row.instant("until")?,
    };
    if read.addresses.is_empty() {
        return Err(row.wrong("an address row needs its address"));
    }
    if read.container.is_none() && read.id.is_none() && read.service.is_none() {
        return Err(row.wrong("an address row needs a container, an id or a service: who holds it?"));
    }
    if read.from.zip(read.until).is_some_and(|(from, until)| until <= from) {
        return Err(row.wrong_at("until", "until is not after from"));
    }
    Ok(read)
}

fn read_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is no IP address"))
}

fn read_mac(text: &str) -> Result<MacAddr, String> {
    mac(text).ok_or_else(|| format!("{text:?} is no MAC address: expected \"02:42:ac:12:00:03\""))
}

#[derive(Clone, Copy)]
struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn wrong(&self, span: &Range<usize>, message: String) -> RosterError {
        let (line, column) = line_and_column(self.text, span.start);
        RosterError::Wrong { place: format!("{}:{line}:{column}", self.name), message }
    }

    fn string<'v>(&self, value: &'v Spanned<DeValue<'a>>, key: &str) -> Result<&'v str, RosterError> {
        let written = value.get_ref();
        written.as_str().ok_or_else(|| {
            self.wrong(&value.span(), format!("{key} must be a string, not {}", article(written.type_str())))
        })
    }

    fn index(&self, value: &Spanned<DeValue<'a>>) -> Result<InterfaceId, RosterError> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok());
        // Beyond this the interface table has no row.
        number
            .filter(|number| *number < 1 << 24)
            .map(InterfaceId)
            .ok_or_else(|| self.wrong(&value.span(), "index must be a number from 0 to 16777215".to_owned()))
    }
}

struct Table<'a> {
    source: Source<'a>,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    fn wrong(&self, message: &str) -> RosterError {
        self.source.wrong(&self.span, message.to_owned())
    }

    fn wrong_at(&self, key: &str, message: &str) -> RosterError {
        let span = self.entries.get(key).map_or_else(|| self.span.clone(), Spanned::span);
        self.source.wrong(&span, message.to_owned())
    }

    fn knows(&self, known: &[&str], what: &str) -> Result<(), RosterError> {
        // Keys are held sorted; the first mistake of the file is the one to report.
        let unknown = self.entries.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        match unknown.min_by_key(|key| key.span().start) {
            None => Ok(()),
            Some(key) => {
                let hint = did_you_mean(key.get_ref(), known);
                Err(self.source.wrong(&key.span(), format!("unknown {what} {:?}{hint}", key.get_ref())))
            }
        }
    }

    fn rows(&self, key: &str) -> Result<Vec<Table<'a>>, RosterError> {
        let Some(value) = self.entries.get(key) else { return Ok(Vec::new()) };
        let not_rows =
            |span: &Range<usize>| self.source.wrong(span, format!("{key} must be written as [[{key}]]"));
        let rows = value.get_ref().as_array().ok_or_else(|| not_rows(&value.span()))?;
        let mut tables = Vec::new();
        for row in rows.iter() {
            let entries = row.get_ref().as_table().ok_or_else(|| not_rows(&row.span()))?;
            tables.push(Table { source: self.source, entries, span: row.span() });
        }
        Ok(tables)
    }

    fn text(&self, key: &str) -> Result<Option<String>, RosterError> {
        self.one(key, |text| match text {
            "" => Err(format!("{key} is empty")),
            text => Ok(text.to_owned()),
        })
    }

    fn required(&self, key: &str) -> Result<String, RosterError> {
        self.text(key)?.ok_or_else(|| self.wrong(&format!("{key} is missing")))
    }

    fn one<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, RosterError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        let text = self.source.string(value, key)?;
        read(text).map(Some).map_err(|message| self.source.wrong(&value.span(), message))
    }

    fn several<T>(
        &self,
        keys: &[&str],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, RosterError> {
        Ok(self.places(keys, read)?.into_iter().map(|(value, _)| value).collect())
    }

    /// Reads one string or an array of strings under any of `keys`, each with its `file:line`.
    fn places<T>(
        &self,
        keys: &[&str],
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<(T, String)>, RosterError> {
        let mut found = Vec::new();
        for key in keys {
            let Some(value) = self.entries.get(*key) else { continue };
            let values = match value.get_ref().as_array() {
                Some(array) => array.iter().collect(),
                None => vec![value],
            };
            for value in values {
                let text = self.source.string(value, key)?;
                let read = read(text).map_err(|message| self.source.wrong(&value.span(), message))?;
                let (line, _) = line_and_column(self.source.text, value.span().start);
                found.push((read, format!("{}:{line}", self.source.name)));
            }
        }
        Ok(found)
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, RosterError> {
        let Some(value) = self.entries.get("labels") else { return Ok(BTreeMap::new()) };
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.wrong_at("labels", "labels must be a table: labels = { key = \"value\" }"));
        };
        let read = |(key, value): (&Spanned<_>, &Spanned<DeValue<'a>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            Ok((key.to_string(), self.source.string(value, key)?.to_owned()))
        };
        table.iter().map(read).collect()
    }

    /// Reads an instant, as a string or as TOML's own date and time.
    fn instant(&self, key: &str) -> Result<Option<Timestamp>, RosterError> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        let text = match value.get_ref().as_datetime() {
            Some(instant) => instant.to_string(),
            None => self.source.string(value, key)?.to_owned(),
        };
        text.parse().map(Some).map_err(|_| {
            let message = format!("{text:?} is no RFC 3339 time: expected \"2026-11-20T13:58:00Z\"");
            self.source.wrong(&value.span(), message)
        })
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

/// Returns `; did you mean "..."?` for the nearest known word at most two edits away, else the list of them.
fn did_you_mean(word: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|candidate| (edits(word, candidate), candidate)).min();
    match nearest {
        Some((distance, candidate)) if distance <= 2 => format!("; did you mean {candidate:?}?"),
        Some(_) | None => format!("; known are {}", known.join(", ")),
    }
}

/// Levenshtein distance, for words of at most 32 characters; longer ones are near to nothing.
fn edits(left: &str, right: &str) -> usize {
    if left.len() > 32 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (from_left, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = from_left + 1;
        for (at, b) in right.chars().enumerate() {
            let kept = diagonal + usize::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = kept.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
