//! Which sightings of a capture count, decided before the first frame is metered.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use portolan_capture::{FileInterface, LinkType, MergedFiles, ParseOptions, Polled, Tap, parse};
use portolan_flowtable::{InterfaceId, InterfaceTable, Timestamp};

use super::Request;
use crate::cli::Vantage;
use crate::error::Failure;
use crate::survey::Survey;

/// Frames of the first reading. A capture whose interfaces all show up later than this is counted by what was seen.
const SURVEYED_MAX: u64 = 4_000_000;
const MULTIPLES: &str = "totals may be multiples: frames were captured at several interfaces and nothing says which of them are containers': add \
     [[interface]] rows to a roster, or count once by contents with --vantage dedup";

/// Why a capture that could be read only once may be counted twice.
pub(super) const UNSURVEYED: &str = "totals may be multiples: read from a pipe, the capture could not be asked beforehand which interfaces are containers'";

/// The choice, and what it rests on.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    /// Interface to role.
    pub interfaces: Arc<InterfaceTable>,
    /// Whether interfaces say which container sent.
    pub has_attachments: bool,
    /// Whether packets are counted once by their contents.
    pub is_deduplicated: bool,
    /// Instants at which the roster's answers change.
    pub changes: Vec<Timestamp>,
    /// Whether the capture says that frames were lost; when is never said.
    pub has_losses: bool,
    /// Addresses of the capture, as far as it was surveyed.
    pub addresses: BTreeSet<IpAddr>,
    /// Whether it was.
    pub was_surveyed: bool,
    /// Whether the capture was read without a look ahead: if it turns out to have several interfaces, totals may be
    /// multiples.
    pub is_blind_to_roles: bool,
    /// What makes the answer incomplete.
    pub remarks: Vec<String>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Default for Chosen {
    /// Every frame counts, and nothing more is known.
    fn default() -> Self {
        Self {
            interfaces: Arc::new(InterfaceTable::plain()),
            has_attachments: false,
            is_deduplicated: false,
            changes: Vec::new(),
            has_losses: false,
            addresses: BTreeSet::new(),
            was_surveyed: false,
            is_blind_to_roles: false,
            remarks: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Chooses the vantage, reading the capture a first time where that is needed and possible.
///
/// # Errors
///
/// Returns why the capture cannot be read at all, or why the vantage asked for does not fit it.
pub(super) fn choose(paths: &[String], request: &Request<'_>) -> Result<Chosen, Failure> {
    let roster = request.knowledge.roster.as_deref();
    let changes = roster.map(portolan_identity::Roster::changes).unwrap_or_default();
    let mut chosen = Chosen { changes, ..Chosen::default() };
    let is_piped = paths.iter().any(|path| path == "-");
    let wanted = request.read.vantage;
    let needs_survey = match wanted {
        Vantage::Auto => roster.is_some() || may_have_interfaces(paths)?,
        Vantage::Any => true,
        Vantage::Interface | Vantage::Dedup | Vantage::Every => false,
    };
    let surveyed = if needs_survey && !is_piped { Some(survey(paths)?) } else { None };
    chosen.was_surveyed = surveyed.is_some();
    if let Some(surveyed) = &surveyed {
        chosen.addresses = surveyed.survey.addresses().clone();
        chosen.has_losses = surveyed.has_losses;
    }
    match wanted {
        Vantage::Interface => {}
        Vantage::Every => {
            chosen.remarks.push("every sighting is counted: totals may be multiples".to_owned())
        }
        Vantage::Dedup => chosen.is_deduplicated = true,
        Vantage::Auto | Vantage::Any => choose_roles(&mut chosen, surveyed.as_ref(), request, is_piped)?,
    }
    Ok(chosen)
}

fn choose_roles(
    chosen: &mut Chosen,
    surveyed: Option<&Surveyed>,
    request: &Request<'_>,
    is_piped: bool,
) -> Result<(), Failure> {
    let roster = request.knowledge.roster.as_deref();
    let is_forced = request.read.vantage == Vantage::Any;
    let Some(Surveyed { survey, interfaces: files, .. }) = surveyed else {
        if is_piped && let Some(table) = roster.and_then(by_index) {
            // A pipe is read once: the roster's rows have to do, and fit cooked frames alone.
            if is_forced {
                chosen.interfaces = Arc::new(table);
                chosen.has_attachments = true;
                return Ok(());
            }
        }
        chosen.is_blind_to_roles = is_piped;
        return Ok(());
    };
    let rows = roster.filter(|roster| roster.has_interfaces());
    if let Some(roster) = rows
        && let Some(table) = by_roster(roster, survey, files)
    {
        chosen.interfaces = Arc::new(table);
        chosen.has_attachments = true;
        return Ok(());
    }
    if survey.is_cooked()
        && let Some(table) = survey.roles(roster.is_none())
    {
        chosen.interfaces = Arc::new(table);
        return Ok(());
    }
    if is_forced {
        return Err(Failure::error(
            "--vantage any: neither the capture nor a roster says which interfaces are containers'; \
             add [[interface]] rows to a roster, or count once by contents with --vantage dedup",
        ));
    }
    if survey.is_cooked() || survey.has_parallel_interfaces() {
        chosen.remarks.push(MULTIPLES.to_owned());
    }
    Ok(())
}

/// Roles by kernel index, where cooked frames carry it, and by the names the capture gives its interfaces. Numbers of
/// the capture's own are no kernel indexes ([`FileInterface::FIRST`]), so that a row never fits an interface of both.
fn by_roster(
    roster: &portolan_identity::Roster,
    survey: &Survey,
    files: &[FileInterface],
) -> Option<InterfaceTable> {
    if survey.is_cooked() {
        let mut table = by_index(roster)?;
        if survey.has_directions() {
            by_name(roster, files, &mut table);
        }
        return Some(table);
    }
    if !survey.has_directions() {
        // The rule asks which way a frame went: it would count nothing at all.
        return None;
    }
    let mut table = InterfaceTable::new();
    let matched = by_name(roster, files, &mut table);
    (matched > 1 && matched == files.len()).then_some(table)
}

/// Sets the rows of interfaces the roster knows by name, and returns how many there are.
fn by_name(roster: &portolan_identity::Roster, files: &[FileInterface], table: &mut InterfaceTable) -> usize {
    let mut matched = 0;
    for interface in files {
        let row = roster.interfaces().iter().find(|row| row.name.is_some() && row.name == interface.name);
        if let Some(row) = row {
            table.set(interface.id, row.entry);
            matched += 1;
        }
    }
    matched
}

fn by_index(roster: &portolan_identity::Roster) -> Option<InterfaceTable> {
    let mut table = InterfaceTable::new();
    let mut rows = 0;
    for row in roster.interfaces() {
        if let Some(InterfaceId(index)) = row.index {
            table.set(InterfaceId(index), row.entry);
            rows += 1;
        }
    }
    (rows > 0).then_some(table)
}

/// Classic captures of one Ethernet interface need no first reading.
fn may_have_interfaces(paths: &[String]) -> Result<bool, Failure> {
    if paths.iter().any(|path| path == "-") {
        return Ok(false);
    }
    let tap = MergedFiles::open(paths)?;
    let interfaces = tap.interfaces();
    Ok(interfaces.len() != paths.len() || may_show_twice(interfaces))
}

/// Returns whether frames of these interfaces may be sightings of the same packets.
pub(super) fn may_show_twice(interfaces: &[FileInterface]) -> bool {
    interfaces.len() > 1
        || interfaces.iter().any(|it| matches!(it.link, LinkType::LINUX_SLL | LinkType::LINUX_SLL2))
}

/// What the first reading gave.
struct Surveyed {
    survey: Survey,
    interfaces: Vec<FileInterface>,
    has_losses: bool,
}

fn survey(paths: &[String]) -> Result<Surveyed, Failure> {
    let mut tap = MergedFiles::open(paths)?;
    let mut survey = Survey::default();
    let options = ParseOptions::default();
    let mut frames = 0;
    while frames < SURVEYED_MAX {
        let polled = tap.poll(&mut |frame| {
            frames += 1;
            if let Ok(seen) = parse(frame, &options) {
                survey.frame(frame, &seen);
            }
        });
        match polled {
            Ok(Polled::Frames(_)) => {}
            // Damage is reported by the second reading.
            Ok(Polled::Idle | Polled::End) | Err(_) => break,
        }
    }
    let has_losses = tap.kernel_dropped().is_some_and(|dropped| dropped > 0);
    Ok(Surveyed { survey, interfaces: tap.interfaces().to_vec(), has_losses })
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::Role;

    use super::*;

    #[test]
    fn roles_of_kernel_indexes_do_not_reach_interfaces_of_the_file() {
        let packet = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        // A broadcast that came in by the interface of index 1, sent by a container: a veth.
        let cooked =
            [[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 6, 2, 0, 0, 0, 0, 9, 0, 0].as_slice(), &packet].concat();
        // The file's second interface, by position number 1, says no direction.
        let ethernet = [[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0].as_slice(), &packet].concat();
        let mut file = block(0x0a0d_0d0a, &[[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0], [0xff; 8]].concat());
        file.extend(block(1, &[20, 1, 0, 0, 0, 0, 0, 0]));
        file.extend(block(1, &[1, 0, 0, 0, 0, 0, 0, 0]));
        file.extend(frame(0, &cooked));
        file.extend(frame(1, &ethernet));
        let path = std::env::temp_dir().join(format!("portolan-vantage-{}.pcapng", std::process::id()));
        std::fs::write(&path, file).unwrap();
        let surveyed = survey(&[path.to_str().unwrap().to_owned()]);
        std::fs::remove_file(&path).unwrap();

        let Ok(Surveyed { survey, interfaces, .. }) = surveyed else { panic!("it is a capture") };
        let table = survey.roles(true).unwrap();
        assert_eq!(table.get(InterfaceId(1)).role, Role::Container);
        assert_eq!(table.get(interfaces[1].id).role, Role::Foreign);
        assert!(!survey.has_directions());
    }

    fn frame(interface: u32, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        let mut body = [interface, 0, 0, length, length].map(u32::to_le_bytes).concat();
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        block(6, &body)
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
        [&kind.to_le_bytes(), length.as_slice(), body, &length].concat()
    }
}
