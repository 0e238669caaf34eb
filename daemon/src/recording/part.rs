//! One capture file of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use portolan_capture::LinkType;
use portolan_capture::write::{Counts, NewInterface, PcapngWriter, Section};
use portolan_flowtable::Timestamp;

use super::RecordingOptions;
use super::disk::{Pieces, Room};
use crate::journal::{self, Begin};

/// The pseudo-interface whose statistics speak for the socket on all interfaces.
const ANY: &str = "any";

/// One capture file.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) blocks: PcapngWriter<Vec<u8>>,
    pub(super) pieces: Pieces,
    /// Kernel index to block number and frames written.
    pub(super) interfaces: BTreeMap<u32, (u32, u64)>,
    pub(super) names: BTreeSet<(IpAddr, String)>,
    any: u32,
}

impl Part {
    /// Makes the file and describes the socket.
    pub(super) fn create(path: &Path, options: &RecordingOptions, begin: &Begin) -> Result<Self, io::Error> {
        let mut pieces = Pieces::create(path)?;
        let journal = journal::place(&options.capture);
        let journal = journal.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let what = if begin.only.is_empty() { String::new() } else { format!("{}; ", begin.only) };
        let uname = rustix::system::uname();
        let section = Section {
            application: &format!("portolan {}", begin.version),
            os: &format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            hardware: "",
            comment: &format!("{what}{} kept; who is who and when: {journal}", begin.kept),
        };
        let mut blocks = PcapngWriter::new(Vec::new(), &section)?;
        let any = blocks.add_interface(&NewInterface {
            link: LinkType::LINUX_SLL2,
            snaplen: options.snaplen,
            name: ANY,
            description: "the socket on all interfaces; its statistics tell what the kernel dropped",
        })?;
        pieces.add(blocks.get_mut(), 0)?;
        blocks.get_mut().clear();
        Ok(Self {
            path: path.to_owned(),
            blocks,
            pieces,
            interfaces: BTreeMap::new(),
            names: BTreeSet::new(),
            any,
        })
    }

    /// Hands what was assembled to the file.
    pub(super) fn commit(&mut self, frames: u64) -> io::Result<Room> {
        let room = self.pieces.add(self.blocks.get_mut(), frames);
        self.blocks.get_mut().clear();
        room
    }

    /// Writes the statistics and closes the file.
    pub(super) fn close(
        mut self,
        begin: &Begin,
        at: Timestamp,
        (received, dropped): (u64, u64),
    ) -> io::Result<(Room, u64)> {
        let (started_at, ended_at) = (Some(begin.started_at), Some(at));
        let socket = Counts {
            at,
            started_at,
            ended_at,
            received: Some(received),
            dropped: Some(dropped),
            delivered: None,
        };
        self.blocks.statistics(self.any, &socket)?;
        for (block, frames) in self.interfaces.values() {
            let counts =
                Counts { at, started_at, ended_at, received: None, dropped: None, delivered: Some(*frames) };
            self.blocks.statistics(*block, &counts)?;
        }
        self.pieces.add_last(self.blocks.get_mut());
        let bytes = self.pieces.bytes();
        Ok((self.pieces.close()?, bytes))
    }
}
