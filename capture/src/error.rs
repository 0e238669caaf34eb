//! What can go wrong with a tap: one sentence that names the thing, and the remedy where there is one.

use std::io;

use portolan_flowtable::units::grouped;

/// Why a tap cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It takes libpcap, which was left out of this build.
    #[error("{what} takes libpcap, which this build was made without; {remedy}")]
    WithoutLibrary {
        /// What was asked for.
        what: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The capture file does not exist.
    #[error("{path}: no such file")]
    Missing {
        /// The file, as the user wrote it.
        path: String,
    },
    /// The capture file may not be read.
    #[error("{path}: permission denied; make it readable:  sudo chmod a+r {path}")]
    Unreadable {
        /// The file.
        path: String,
    },
    /// The path names a directory.
    #[error("{path}: is a directory, not a capture file; name the files in it:  {path}/*.pcap*")]
    Directory {
        /// The directory.
        path: String,
    },
    /// The file could not be opened for another reason.
    #[error("{path}: cannot be opened: {source}")]
    Open {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file has no bytes.
    #[error("{path}: the file is empty; a capture without packets still has a header")]
    Empty {
        /// The file.
        path: String,
    },
    /// The file is no capture.
    #[error(
        "{path}: not a capture file: {looks_like}; expected pcap or pcapng, plain or compressed by gzip or zstd"
    )]
    Foreign {
        /// The file.
        path: String,
        /// What it looks like.
        looks_like: String,
    },
    /// A version or layout of the format nobody reads here.
    #[error(
        "{path}: {what} cannot be read; convert it with Wireshark:  editcap -F pcapng {path} converted.pcapng"
    )]
    Unsupported {
        /// The file.
        path: String,
        /// What it is: `pcap version 1.2`.
        what: String,
    },
    /// The file ends within its header.
    #[error("{path}: truncated in the middle of its header (file ends at byte {})", grouped(*.ends_at))]
    TruncatedHeader {
        /// The file.
        path: String,
        /// Its length in bytes, after decompression.
        ends_at: u64,
    },
    /// The file ends within a packet.
    #[error("{path}: truncated in the middle of packet {} (file ends at byte {}); everything before it was counted", grouped(*.packet), grouped(*.ends_at))]
    Truncated {
        /// The file.
        path: String,
        /// The packet that is cut, from 1.
        packet: u64,
        /// Its length in bytes, after decompression.
        ends_at: u64,
    },
    /// The file contradicts itself.
    #[error("{path}: damaged at byte {}: {what}; {}", grouped(*.at), kept(*.packets))]
    Damaged {
        /// The file.
        path: String,
        /// Packets read before.
        packets: u64,
        /// Where the damaged part begins, in bytes after decompression.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// Reading the file failed.
    #[error("{path}: reading failed at byte {}: {source}; {}", grouped(*.at), kept(*.packets))]
    Read {
        /// The file.
        path: String,
        /// Packets read before.
        packets: u64,
        /// How far it was read, in bytes after decompression.
        at: u64,
        /// What the system or the decompressor says.
        source: io::Error,
    },
    /// The process may not open a packet socket.
    #[error(
        "cannot capture on this host: permission denied opening a packet socket\n  grant CAP_NET_RAW to the process, or run as root:  sudo setcap cap_net_raw+ep $(which portolan)"
    )]
    PermissionDenied,
    /// The interface asked for does not exist.
    #[error("no interface {name:?} on this host; there are {present}")]
    NoSuchInterface {
        /// The name asked for.
        name: String,
        /// The names there are, joined by commas.
        present: String,
    },
    /// The interface was removed.
    #[error("interface {name:?} is gone; everything before was counted")]
    InterfaceGone {
        /// Its name.
        name: String,
    },
    /// The interface is not up.
    #[error("interface {name:?} is down:  sudo ip link set {name} up")]
    InterfaceDown {
        /// Its name.
        name: String,
    },
    /// The kernel or libpcap is too old for cooked frames that say their interface.
    #[error("libpcap cannot deliver LINUX_SLL2 frames: {reason}; version 1.10 or later is needed")]
    NoCookedFrames {
        /// What libpcap says.
        reason: String,
    },
    /// libpcap refused something else.
    #[error("{action} failed: {reason}")]
    Library {
        /// What was being done: `opening any`.
        action: String,
        /// What libpcap says.
        reason: String,
    },
    /// A system call on the tap's socket failed.
    #[error("{action} failed: {source}")]
    Socket {
        /// What was being done.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A capture filter expression was refused.
    #[error("filter {expression:?} on link type {link}: {reason}")]
    Filter {
        /// The expression, as the user wrote it.
        expression: String,
        /// The link type it was compiled for.
        link: String,
        /// What libpcap says.
        reason: String,
    },
}

/// Says what became of the packets before the damage.
fn kept(packets: u64) -> String {
    match packets {
        0 => "there was no packet before it".to_owned(),
        1 => "the packet before it was counted".to_owned(),
        many => format!("the {} packets before it were counted", grouped(many)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_file_is_reported_as_a_person_would_say_it() {
        let error = TapError::Truncated { path: "shop.pcap".into(), packet: 4_813, ends_at: 1_902_113 };
        assert_eq!(
            error.to_string(),
            "shop.pcap: truncated in the middle of packet 4,813 (file ends at byte 1,902,113); everything before it was counted"
        );
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(kept(2_000), "the 2,000 packets before it were counted");
    }
}
