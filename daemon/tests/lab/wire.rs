//! What remains of wire bytes without headers: the payload, which the senders know.

/// Ethernet, IPv4 and TCP headers with the timestamps Linux adds, in bytes.
const TCP_HEADERS: u64 = 14 + 20 + 32;
/// The same without any TCP option: a RST of somebody who knows nothing of the connection.
const TCP_BARE: u64 = 14 + 20 + 20;
/// What a SYN and a SYN-ACK have more: maximum segment size, SACK, window scale.
const SYN_OPTIONS: u64 = 8;

/// Connections that a number of frames belongs to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Connections {
    /// Answered by a SYN-ACK.
    pub(crate) answered: u64,
    /// Refused by a RST.
    pub(crate) refused: u64,
    /// Without an answer; blocked ones are among them.
    pub(crate) unanswered: u64,
}

/// Payload of TCP frames from client to server, each of which began with one SYN.
pub(crate) fn tcp_to_server(frames: u64, bytes: u64, connections: Connections) -> u64 {
    let syns = connections.answered + connections.refused + connections.unanswered;
    rest(bytes, frames * TCP_HEADERS + syns * SYN_OPTIONS)
}

/// Payload of TCP frames from server to client.
pub(crate) fn tcp_to_client(frames: u64, bytes: u64, connections: Connections) -> u64 {
    let with_options = rest(frames, connections.refused) * TCP_HEADERS;
    rest(bytes, with_options + connections.refused * TCP_BARE + connections.answered * SYN_OPTIONS)
}

/// Payload of SYNs somebody made by hand, without options.
pub(crate) fn forged(frames: u64, bytes: u64) -> u64 {
    rest(bytes, frames * TCP_BARE)
}

/// Payload of UDP datagrams or of pings over IPv4, whose headers are of one size.
pub(crate) fn datagrams(frames: u64, bytes: u64) -> u64 {
    rest(bytes, frames * crate::traffic::UDP_HEADERS)
}

fn rest(bytes: u64, headers: u64) -> u64 {
    bytes.checked_sub(headers).unwrap_or_else(|| panic!("{bytes} bytes cannot hold {headers} of headers"))
}
