//! Roster files: who was who, for captures of another time or host.
//!
//! A file is either TOML written by a person (see [`Roster::parse`]) or the output of `docker inspect` for any mix of
//! containers, networks and images, as the shell left it: concatenated arrays, byte order mark, UTF-16 from
//! PowerShell, `No such object` lines in between. Files are merged, so one may add what another lacks.

mod assemble;
mod inspected;
mod written;

use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_flowtable::workload::Binding;
use portolan_flowtable::{InterfaceEntry, InterfaceId, InterfaceTable, Names, ScopeId, Timestamp};

use crate::directory::{RosterDirectory, ScopeAddresses};
use crate::inventory::{Container, DockerNetwork, Image, up_to};
use crate::picture::{Counts, DockerState, Picture};
use crate::subnet::Subnet;
use written::Written;

/// Most bytes of one roster file: 10,000 inspected containers take about 80 MB.
pub const BYTES_MAX: u64 = 256 << 20;

/// Why a roster could not be read. Every message names the file, and the place in it where there is one.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The file could not be opened or read.
    #[error("cannot read roster {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any roster.
    #[error("roster {file} is larger than {} MiB; is it a capture?", BYTES_MAX >> 20)]
    TooLarge {
        /// The file.
        file: String,
    },
    /// Nothing is in it.
    #[error(
        "roster {file} is empty; write one with: docker inspect $(docker ps -q) $(docker network ls -q) > {file}"
    )]
    Empty {
        /// The file.
        file: String,
    },
    /// It is no text.
    #[error("roster {file} is neither TOML nor the output of docker inspect: it is not text")]
    NotText {
        /// The file.
        file: String,
    },
    /// A place in the file is wrong.
    #[error("{place}: {message}")]
    Wrong {
        /// `file:line:column`.
        place: String,
        /// What is wrong and, where one is near, what may have been meant.
        message: String,
    },
}

/// One roster file, read and checked but not yet joined with others.
#[derive(Clone, Debug, Default)]
pub struct RosterFile {
    pub(crate) name: String,
    pub(crate) containers: Vec<Container>,
    pub(crate) networks: Vec<DockerNetwork>,
    pub(crate) images: Vec<Image>,
    pub(crate) written: Written,
    pub(crate) notes: Vec<String>,
}

impl RosterFile {
    /// Returns the file's name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what was passed over while reading, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// One row of a roster's interfaces: by kernel index, by name, or both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RosterInterface {
    /// Index as frames carry it.
    pub index: Option<InterfaceId>,
    /// Name, for captures whose interface descriptions carry names.
    pub name: Option<String>,
    /// What it is.
    pub entry: InterfaceEntry,
}

/// Everything the roster files say, joined: the networks, who held which address and when, and the names.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    pub(crate) scopes: Vec<ScopeAddresses>,
    pub(crate) names: Arc<Names>,
    pub(crate) interfaces: Vec<RosterInterface>,
    pub(crate) counts: Counts,
    pub(crate) notes: Vec<String>,
}

impl Roster {
    /// Reads one roster file.
    ///
    /// # Errors
    /// Where the file cannot be read, is no roster, or a place in it is wrong.
    pub fn read(path: &Path) -> Result<RosterFile, RosterError> {
        let failed = |source| RosterError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads one roster out of `bytes`; `name` stands in messages and in the source of documented ports.
    ///
    /// The TOML form, every key optional that is not marked:
    ///
    /// ```toml
    /// [[network]]
    /// name = "shop_default"              # required
    /// subnets = ["172.18.0.0/16"]        # or: subnet = "..."
    /// gateways = ["172.18.0.1"]          # or: gateway = "..."
    /// bridge = "br-0123456789ab"
    ///
    /// [[interface]]                      # roles, for captures of all interfaces
    /// index = 7                          # index or name is required
    /// name = "veth0a1b2c3"
    /// role = "container"                 # required: container, bridge or other
    /// network = "shop_default"
    /// container = "shop-web-1"           # name or id
    /// mac = "02:42:00:00:00:01"          # for a bridge: its own address
    ///
    /// [[address]]
    /// address = "172.18.0.2"             # required; or addresses = [...]
    /// network = "shop_default"
    /// container = "shop-web-1"
    /// service = "web"
    /// project = "shop"
    /// image = "nginx:1.27"
    /// ports = ["8080/tcp", "7000-7010/udp"]
    /// from = "2026-11-20T13:58:00Z"
    /// until = "2026-11-20T14:58:00Z"
    ///
    /// [[host]]
    /// addresses = ["192.0.2.1"]          # or: address = "..."
    /// ```
    ///
    /// # Errors
    /// Where the bytes are no roster, or a place in them is wrong.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<RosterFile, RosterError> {
        let file = || name.to_owned();
        if bytes.len() as u64 > BYTES_MAX {
            return Err(RosterError::TooLarge { file: file() });
        }
        let text = decoded(bytes).ok_or_else(|| RosterError::NotText { file: file() })?;
        let mut visible = text.chars().filter(|letter| !letter.is_whitespace());
        match (visible.next(), visible.next()) {
            (None, _) => Err(RosterError::Empty { file: file() }),
            (Some('{'), _) | (Some('['), None | Some('{' | ']')) => inspected::read(name, &text),
            (Some(_), _) if inspected::begins_with_a_complaint(&text) => inspected::read(name, &text),
            (Some(_), _) => {
                let (written, notes) = written::read(name, &text)?;
                Ok(RosterFile { name: file(), written, notes, ..RosterFile::default() })
            }
        }
    }

    /// Joins files in their order: a later one adds to an earlier one, and wins where they differ.
    pub fn merge(files: Vec<RosterFile>) -> Self {
        assemble::assemble(files)
    }

    /// Returns whether any interface has a role, so that the vantage rule can be applied.
    pub fn has_interfaces(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// Returns the interfaces with a role; those without an index have to be found by name in the capture.
    pub fn interfaces(&self) -> &[RosterInterface] {
        &self.interfaces
    }

    /// Returns the subnets of the container networks.
    pub fn subnets(&self) -> Vec<(ScopeId, Subnet)> {
        self.scopes.iter().flat_map(|network| network.subnets.iter().map(|of| (network.scope, *of))).collect()
    }

    /// Returns the names, which hold for all of the roster's time.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Returns what was passed over, one sentence each, with the file's name.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the addresses containers hold at any time, in order; the host's own are left out, since every Docker
    /// host uses the same gateways.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses: Vec<_> = self.names.addresses.keys().map(|(_, address)| *address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Returns whether any container's address is one that `is_seen`. Where none is, the roster is of another host or
    /// time than the capture.
    pub fn any_address_in(&self, is_seen: impl Fn(IpAddr) -> bool) -> bool {
        self.names.addresses.keys().any(|(_, address)| is_seen(*address))
    }

    /// Returns the containers all of whose addresses were bound after `end`: they say nothing about a capture that
    /// ended then. Typical for a roster collected after the containers were restarted.
    pub fn bound_after(&self, end: Timestamp) -> Vec<String> {
        let is_late = |container_id: &str| {
            let mut bindings = self.names.addresses.values().flatten().filter(|binding| {
                self.names
                    .attachments
                    .get(&binding.attachment)
                    .is_some_and(|of| of.container_id == container_id)
            });
            bindings.clone().next().is_some() && bindings.all(|binding| binding.from > end)
        };
        let late = self.names.workloads.iter().filter(|workload| is_late(&workload.container_id));
        late.map(|workload| workload.container.clone()).collect()
    }

    /// Returns the instants at which an answer of the directory changes, in order.
    pub fn changes(&self) -> Vec<Timestamp> {
        let bindings = self.names.addresses.values().flatten();
        let mut changes: Vec<_> = bindings
            .flat_map(|binding| [Some(binding.from), binding.until])
            .flatten()
            .filter(|at| at.0 != i64::MIN)
            .collect();
        changes.sort_unstable();
        changes.dedup();
        changes
    }

    /// Returns the picture as it was at `at`. `epoch` has to differ from that of the picture before it.
    pub fn picture_at(&self, at: Timestamp, epoch: u16) -> Picture {
        let holds = |binding: &&Binding| binding.from <= at && binding.until.is_none_or(|until| at < until);
        let held = self.names.addresses.iter().flat_map(|((scope, address), bindings)| {
            bindings.iter().filter(holds).map(|binding| (*scope, *address, binding.attachment))
        });
        let workloads = self.names.attachments.clone();
        let directory =
            RosterDirectory::new(epoch, &self.scopes, held, &self.names.host_addresses, workloads);
        let mut interfaces = InterfaceTable::new();
        for row in &self.interfaces {
            if let Some(index) = row.index {
                interfaces.set(index, row.entry);
            }
        }
        let interface_names =
            self.interfaces.iter().filter_map(|row| Some((row.index?.0, row.name.clone()?))).collect();
        Picture {
            interfaces: Arc::new(interfaces),
            interface_names: Arc::new(interface_names),
            directory: Arc::new(directory),
            names: Arc::clone(&self.names),
            epoch,
            counts: self.counts.clone(),
            docker: DockerState::default(),
        }
    }
}

/// Reads bytes as UTF-8, or as UTF-16 where a byte order mark says so; the mark is dropped.
fn decoded(bytes: &[u8]) -> Option<String> {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
        char::decode_utf16(units).collect::<Result<String, _>>().ok()
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        all => String::from_utf8(all.to_vec()).ok(),
    }
    // A further mark begins the line of a file that was concatenated; within a line it is part of a name.
    .map(|text| text.replace("\n\u{feff}", "\n "))
    .filter(|text| !text.contains('\0'))
}

/// Returns line and column of a byte offset, both from 1, the column in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = up_to(text, offset);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
