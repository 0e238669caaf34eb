//! Reading the file back: every line is checked, and what is damaged is named by its place.

use portolan_flowtable::Timestamp;
use toml_edit::{Document, InlineTable, Item, Table, Value};

use super::edge::{Edge, read_port};
use super::hours::{Hours, NoHours};
use super::profile::{Evidence, Forbidden, Origin, Profile, ProfileKey, Stage, whole_seconds};
use super::text::{CHECKSUM, VERSION, checksum};
use super::{Baseline, Direction, EDGES_MAX, Enough, FORBIDDEN_MAX, PROFILES_MAX};

/// Why a text is no baseline.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DamagedBaseline {
    /// It is not what was written.
    #[error(
        "{name}: the checksum does not fit what follows: damaged, or edited; after an edit remove the line checksum"
    )]
    Checksum {
        /// The file.
        name: String,
    },
    /// It was written by a later portolan.
    #[error("{name}: a baseline of form {found}, this portolan reads form {VERSION}")]
    Version {
        /// The file.
        name: String,
        /// Its form.
        found: i64,
    },
    /// Something in it is wrong.
    #[error("{name}:{line}: {what}")]
    Place {
        /// The file.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
}

impl Baseline {
    /// Reads a file; `name` stands in messages.
    ///
    /// # Errors
    ///
    /// Returns the first thing that is wrong with it.
    pub fn parse(text: &str, name: &str, enough: Enough) -> Result<Self, DamagedBaseline> {
        let reader = Reader { text, name };
        if let Some((_, rest)) = text.split_once(&format!("\n{CHECKSUM}"))
            && let Some((said, body)) = rest.split_once('\n')
            && said.trim().trim_matches('"') != checksum(body)
        {
            return Err(DamagedBaseline::Checksum { name: name.to_owned() });
        }
        let document = Document::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            reader.wrong(at, error.message().trim().to_owned())
        })?;
        let root = document.as_table();
        match root.get("version").and_then(Item::as_integer) {
            Some(VERSION) => {}
            Some(found) => return Err(DamagedBaseline::Version { name: name.to_owned(), found }),
            None => return Err(reader.wrong(0, "it lacks version = 1: is it a baseline?".to_owned())),
        }
        reader
            .known(root.iter().map(|(key, item)| (key, item.span())), &["version", "checksum", "service"])?;
        let mut baseline = Self::new(enough);
        let services = match root.get("service") {
            None => None,
            Some(Item::ArrayOfTables(services)) => Some(services),
            Some(Item::None | Item::Value(_) | Item::Table(_)) => {
                let at = root.get("service").and_then(Item::span).map_or(0, |span| span.start);
                return Err(reader.wrong(at, "service is written as [[service]], once for each".to_owned()));
            }
        };
        for table in services.into_iter().flat_map(toml_edit::ArrayOfTables::iter) {
            let (key, profile) = reader.profile(table)?;
            let at = table.span().map_or(0, |span| span.start);
            if baseline.profiles.len() >= PROFILES_MAX {
                return Err(reader.wrong(at, format!("more than {PROFILES_MAX} services")));
            }
            if baseline.profiles.contains_key(&key) {
                return Err(
                    reader.wrong(at, format!("{:?} with the same image stands here twice", key.service))
                );
            }
            baseline.profiles.insert(key, profile);
        }
        Ok(baseline)
    }
}

/// The text being read, to say where something is wrong.
struct Reader<'a> {
    text: &'a str,
    name: &'a str,
}

/// A key's place in the text.
type Span = Option<std::ops::Range<usize>>;

/// Keys of a service.
const PROFILE_KEYS: [&str; 18] = [
    "name",
    "image",
    "reference",
    "parent",
    "stage",
    "frozen",
    "promoted_at",
    "watched_since",
    "watched_until",
    "windows",
    "hours",
    "starts",
    "started_at",
    "draws",
    "left_out",
    "learned",
    "candidates",
    "forbidden",
];

impl Reader<'_> {
    fn wrong(&self, at: usize, what: String) -> DamagedBaseline {
        let line = self.text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        DamagedBaseline::Place { name: self.name.to_owned(), line, what }
    }

    fn known<'k>(
        &self,
        keys: impl Iterator<Item = (&'k str, Span)>,
        allowed: &[&str],
    ) -> Result<(), DamagedBaseline> {
        for (key, span) in keys {
            if !allowed.contains(&key) {
                let at = span.map_or(0, |span| span.start);
                return Err(self.wrong(at, format!("unknown key {key:?}: one of {}", allowed.join(", "))));
            }
        }
        Ok(())
    }

    fn profile(&self, table: &Table) -> Result<(ProfileKey, Profile), DamagedBaseline> {
        let start = table.span().map_or(0, |span| span.start);
        self.known(table.iter().map(|(key, item)| (key, item.span())), &PROFILE_KEYS)?;
        let at = |key: &str| {
            table.get(key).and_then(Item::span).map_or(start, |span: std::ops::Range<usize>| span.start)
        };
        let text = |key: &str| match table.get(key) {
            None => Ok(None),
            Some(item) => match item.as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(self.wrong(at(key), format!("{key} has to be a string"))),
            },
        };
        let count = |key: &str| match table.get(key) {
            None => Ok(0),
            Some(item) => item
                .as_integer()
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| self.wrong(at(key), format!("{key} has to be a whole number from 0 on"))),
        };
        let instant = |key: &str| match text(key)? {
            None => Ok(None),
            Some(text) => self.instant(&text, at(key)).map(Some),
        };
        let Some(service) = text("name")?.filter(|name| !name.is_empty()) else {
            return Err(self.wrong(start, "a service without a name".to_owned()));
        };
        let stage = match text("stage")?.as_deref() {
            None | Some("learning") => Stage::Learning,
            Some("promoted") => Stage::Promoted,
            Some(other) => {
                return Err(self.wrong(at("stage"), format!("stage {other:?}: learning or promoted")));
            }
        };
        let is_frozen = match table.get("frozen") {
            None => false,
            Some(item) => item
                .as_bool()
                .ok_or_else(|| self.wrong(at("frozen"), "frozen has to be true or false".to_owned()))?,
        };
        let mut profile = Profile {
            stage,
            is_frozen,
            reference: text("reference")?.unwrap_or_default(),
            parent: text("parent")?.unwrap_or_default(),
            since: instant("watched_since")?.unwrap_or_default(),
            until: instant("watched_until")?.unwrap_or_default(),
            promoted_at: instant("promoted_at")?,
            draws: count("draws")?,
            windows: count("windows")?,
            hours: self.hours(&text("hours")?.unwrap_or_default(), at("hours"))?,
            starts: count("starts")?,
            started_at: instant("started_at")?.unwrap_or_default(),
            left_out: count("left_out")?,
            ..Profile::default()
        };
        for (key, is_learned) in [("learned", true), ("candidates", false)] {
            for row in self.rows(table, key)? {
                let (edge, evidence) = self.edge(row, is_learned)?;
                let row_at = row.span().map_or(start, |span| span.start);
                if profile.edges.len() >= EDGES_MAX {
                    return Err(self.wrong(row_at, format!("more than {EDGES_MAX} edges of one service")));
                }
                if profile.edges.contains_key(&edge) {
                    return Err(self.wrong(row_at, format!("{edge} stands here twice")));
                }
                profile.edges.insert(edge, evidence);
            }
        }
        for row in self.rows(table, "forbidden")? {
            let row_at = row.span().map_or(start, |span| span.start);
            self.known(
                row.iter().map(|(key, value)| (key, value.span())),
                &["from", "to", "port", "at", "by", "reason"],
            )?;
            let edge = self.ends(row)?;
            let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let forbidden = Forbidden {
                at: match row.get("at").and_then(Value::as_str) {
                    Some(text) => self.instant(text, row_at)?,
                    None => Timestamp::default(),
                },
                by: text("by"),
                reason: text("reason"),
            };
            if profile.forbidden.len() >= FORBIDDEN_MAX {
                return Err(self.wrong(row_at, format!("more than {FORBIDDEN_MAX} forbidden edges")));
            }
            if profile.edges.contains_key(&edge) {
                return Err(self.wrong(row_at, format!("{edge} is forbidden and known at once")));
            }
            profile.forbidden.insert(edge, forbidden);
        }
        Ok((ProfileKey { service, image: text("image")?.unwrap_or_default() }, profile))
    }

    fn rows<'t>(&self, table: &'t Table, key: &str) -> Result<Vec<&'t InlineTable>, DamagedBaseline> {
        let Some(item) = table.get(key) else { return Ok(Vec::new()) };
        let at = item.span().map_or(0, |span| span.start);
        let rows: Option<Vec<&InlineTable>> =
            item.as_array().and_then(|array| array.iter().map(Value::as_inline_table).collect());
        rows.ok_or_else(|| self.wrong(at, format!("{key} has to be a list of edges in braces")))
    }

    fn edge(&self, row: &InlineTable, is_learned: bool) -> Result<(Edge, Evidence), DamagedBaseline> {
        let at = row.span().map_or(0, |span| span.start);
        self.known(
            row.iter().map(|(key, value)| (key, value.span())),
            &["from", "to", "port", "origin", "draws", "runs", "first_at", "last_at", "first_draw"],
        )?;
        let count = |key: &str| match row.get(key) {
            None => Ok(0),
            Some(value) => value
                .as_integer()
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| self.wrong(at, format!("{key} has to be a whole number from 0 on"))),
        };
        let instant = |key: &str| match row.get(key).map(|value| value.as_str()) {
            None => Ok(Timestamp::default()),
            Some(Some(text)) => self.instant(text, at),
            Some(None) => Err(self.wrong(at, format!("{key} has to be a time in quotes"))),
        };
        let origin = match row.get("origin").map(|value| value.as_str().unwrap_or_default()) {
            // A line somebody wrote says no more than that the edge is fine.
            None => Origin::Person,
            Some(word) => Origin::ALL
                .into_iter()
                .find(|origin| origin.word() == word)
                .ok_or_else(|| self.wrong(at, format!("unknown origin {word:?}")))?,
        };
        let evidence = Evidence {
            is_learned,
            origin,
            draws: count("draws")?,
            runs: count("runs")?,
            first_at: instant("first_at")?,
            last_at: instant("last_at")?,
            first_draw: count("first_draw")?,
        };
        Ok((self.ends(row)?, evidence))
    }

    fn ends(&self, row: &InlineTable) -> Result<Edge, DamagedBaseline> {
        let at = row.span().map_or(0, |span| span.start);
        let text = |key: &str| row.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (direction, peer) = match (text("from"), text("to")) {
            (Some(peer), None) => (Direction::From, peer),
            (None, Some(peer)) => (Direction::To, peer),
            (Some(_), Some(_)) | (None, None) => {
                return Err(self.wrong(at, "an edge has either from or to, with a name".to_owned()));
            }
        };
        let port = text("port").unwrap_or_default();
        let port = read_port(port).ok_or_else(|| self.wrong(at, format!("port {port:?}: write 5432/tcp")))?;
        Ok(Edge { direction, peer: peer.to_owned(), port })
    }

    fn instant(&self, text: &str, at: usize) -> Result<Timestamp, DamagedBaseline> {
        let read: Result<Timestamp, _> = text.parse();
        read.map(whole_seconds)
            .map_err(|_| self.wrong(at, format!("{text:?} is no time: write 2026-11-20T14:02:00Z")))
    }

    fn hours(&self, text: &str, at: usize) -> Result<Hours, DamagedBaseline> {
        text.parse().map_err(|NoHours| self.wrong(at, format!("hours {text:?}: write 00:00-03:50, 07:10")))
    }
}
