//! The host's links as netlink tells them, followed without a gap.
//!
//! One socket is subscribed before the first dump, so nothing falls between; where the kernel had to drop news
//! (`ENOBUFS`), another dump takes its place. Messages are read attribute by attribute, so that a kernel with new ones
//! is no obstacle. Everything happens in the network namespace of the calling thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use portolan_flowtable::MacAddr;
use rustix::event::{PollFd, PollFlags, poll};

// linux/rtnetlink.h, linux/netlink.h, linux/if_link.h, linux/if_addr.h
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWNSID: u16 = 88;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const NETNSA_NSID: u16 = 1;
const IFF_UP: u32 = 1;
const AF_UNSPEC: u8 = 0;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const NSID_HEADER: usize = 4;
const NESTED_OR_ORDER: u16 = 0xc000;
/// A dump comes in pieces of at most 32 KiB, news in much smaller ones.
const BUFFER: usize = 64 << 10;
/// News that may wait while this process is not scheduled; the kernel grants what it is allowed to.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// Why the links cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot ask the kernel for its network links: {doing}: {source}; is netlink allowed in this sandbox?"
)]
pub struct LinkError {
    /// What was being done.
    doing: &'static str,
    /// What the system said.
    source: io::Error,
}

fn failed(doing: &'static str) -> impl Fn(io::Error) -> LinkError {
    move |source| LinkError { doing, source }
}

/// One network interface of the host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Link {
    /// Kernel index; not reused.
    pub index: u32,
    /// Name; may change.
    pub name: String,
    /// Hardware address, where it is one of six bytes.
    pub mac: MacAddr,
    /// Kind: `veth`, `bridge`, ...; empty for hardware.
    pub kind: String,
    /// Index of the bridge it is a port of.
    pub master: Option<u32>,
    /// For a veth: index of its other end, in that end's namespace.
    pub peer: Option<u32>,
    /// Number by which this namespace knows the other end's; reused by the kernel.
    pub netns_id: Option<i32>,
    /// Whether it is administratively up.
    pub is_up: bool,
}

/// An address of the host on one of its links.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LinkAddress {
    /// The link's index.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its prefix.
    pub length: u8,
}

/// All links and addresses at one instant.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LinkPicture {
    /// Links by index.
    pub links: BTreeMap<u32, Link>,
    /// The host's own addresses.
    pub addresses: BTreeSet<LinkAddress>,
    /// Links that went since the picture before, each as it was last: some came and went between two pictures.
    pub departed: Vec<Link>,
    /// How often news was lost and a dump taken instead.
    pub overruns: u64,
}

/// A request socket: dumps and questions.
#[derive(Debug)]
pub(crate) struct Questions {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Questions {
    pub(crate) fn new() -> Result<Self, LinkError> {
        // Connecting gives it an address too. A sandboxed process may open another one, and bind none.
        let socket = Socket::new(NETLINK_ROUTE).map_err(failed("opening a socket"))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed("connecting the socket"))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Asks for all links and addresses.
    pub(crate) fn dump(&mut self) -> Result<LinkPicture, LinkError> {
        let mut picture = LinkPicture::default();
        for request in [
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        ] {
            self.ask(request, NLM_F_REQUEST | NLM_F_DUMP, &mut |kind, payload| {
                picture.apply(kind, payload);
            })
            .map_err(failed("dumping"))?;
        }
        picture.departed.clear();
        Ok(picture)
    }

    /// Returns the number by which this namespace knows the network namespace behind an open file; `None` while it
    /// has none, which is so until a link leads there.
    pub(crate) fn netns_id(&mut self, namespace: &std::fs::File) -> io::Result<Option<i32>> {
        let descriptor = u32::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(descriptor));
        let mut found = None;
        self.ask(RouteNetlinkMessage::GetNsId(message), NLM_F_REQUEST, &mut |kind, payload| {
            if kind == RTM_NEWNSID {
                found = attributes(payload, NSID_HEADER).find(|(kind, _)| *kind == NETNSA_NSID).and_then(
                    |(_, value)| value.try_into().ok().map(i32::from_ne_bytes).filter(|number| *number >= 0),
                );
            }
        })?;
        Ok(found)
    }

    fn ask(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
        each: &mut dyn FnMut(u16, &[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
        message.header.flags = flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            let received = self.buffer.get(..length).unwrap_or_default();
            let is_dump = flags & NLM_F_DUMP == NLM_F_DUMP;
            if read_all(received, Some(self.sequence), each)? || !is_dump {
                return Ok(());
            }
        }
    }
}

fn open() -> Result<Socket, LinkError> {
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("opening a socket"))?;
    socket.bind_auto().map_err(failed("binding the socket"))?;
    Ok(socket)
}

/// Walks the messages of one datagram; returns whether a dump is done. `sequence` passes over answers to an earlier
/// question.
fn read_all(bytes: &[u8], sequence: Option<u32>, each: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
    let mut rest = bytes;
    while let Ok(message) = NetlinkBuffer::new_checked(rest) {
        let length = message.length() as usize;
        let payload = rest.get(16..length).unwrap_or_default();
        let is_ours = sequence.is_none_or(|sequence| message.sequence_number() == sequence);
        match message.message_type() {
            NLMSG_DONE if is_ours => return Ok(true),
            NLMSG_ERROR if is_ours => {
                let code = payload.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            kind if is_ours => each(kind, payload),
            _ => {}
        }
        match rest.get(length.next_multiple_of(4).max(16)..) {
            Some(next) if !next.is_empty() => rest = next,
            Some(_) | None => break,
        }
    }
    Ok(false)
}

/// Iterates over the attributes behind a header of `header` bytes (`struct rtattr`); a damaged one ends it.
fn attributes(payload: &[u8], header: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = payload.get(header..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [low, high, kind_low, kind_high] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([low, high]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([kind_low, kind_high]) & !NESTED_OR_ORDER, value))
    })
}

impl LinkPicture {
    /// Applies one message; returns whether anything changed.
    fn apply(&mut self, kind: u16, payload: &[u8]) -> bool {
        match kind {
            RTM_NEWLINK | RTM_DELLINK => {
                // A bridge tells of its ports in family AF_BRIDGE; "deleted" there means left the bridge.
                let Some(link) = read_link(payload).filter(|_| payload.first() == Some(&AF_UNSPEC)) else {
                    return false;
                };
                if kind == RTM_DELLINK {
                    let gone = self.links.remove(&link.index);
                    self.departed.extend(gone.clone());
                    self.addresses.retain(|of| of.index != link.index);
                    return gone.is_some();
                }
                self.links.insert(link.index, link.clone()) != Some(link)
            }
            RTM_NEWADDR => read_address(payload).is_some_and(|address| self.addresses.insert(address)),
            RTM_DELADDR => read_address(payload).is_some_and(|address| self.addresses.remove(&address)),
            _ => false,
        }
    }
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let word = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let mut link = Link { index: word(4)?, is_up: word(8)? & IFF_UP != 0, ..Link::default() };
    for (kind, value) in attributes(payload, LINK_HEADER) {
        let number = value.try_into().ok().map(u32::from_ne_bytes);
        match kind {
            IFLA_ADDRESS => link.mac = value.try_into().map(MacAddr).unwrap_or_default(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_LINK => link.peer = number.filter(|index| *index != 0),
            IFLA_MASTER => link.master = number.filter(|index| *index != 0),
            IFLA_LINK_NETNSID => link.netns_id = value.try_into().ok().map(i32::from_ne_bytes),
            IFLA_LINKINFO => {
                let kind = attributes(value, 0).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| text(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

fn read_address(payload: &[u8]) -> Option<LinkAddress> {
    let [_family, length, _flags, _scope, index @ ..] = payload.first_chunk::<ADDRESS_HEADER>()?;
    let index = u32::from_ne_bytes(*index);
    let mut address = None;
    for (kind, value) in attributes(payload, ADDRESS_HEADER) {
        // On a point-to-point link ADDRESS is the other end's and LOCAL this one's.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && address.is_none()) {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            address = v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok().or(address);
        }
    }
    Some(LinkAddress { index, address: address?, length: *length })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// A thread that follows the links for as long as this value lives.
#[derive(Debug)]
pub struct LinkFollower {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl LinkFollower {
    /// Subscribes, takes a dump, hands it to `on_change` before returning, and goes on with every change.
    ///
    /// # Errors
    /// Where netlink refuses the subscription or the first dump. Later failures cost a dump, not the follower.
    pub fn spawn(mut on_change: impl FnMut(&LinkPicture) + Send + 'static) -> Result<Self, LinkError> {
        let news = open()?;
        // Refused sizes leave the default; an overrun is noticed and mended either way.
        let _ = news.set_rx_buf_sz(RECEIVE_BUFFER);
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            news.add_membership(group).map_err(failed("subscribing to changes"))?;
        }
        news.set_non_blocking(true).map_err(failed("setting up the socket"))?;
        let mut questions = Questions::new()?;
        let mut picture = questions.dump()?;
        on_change(&picture);
        let (stop, stopped) = UnixStream::pair().map_err(failed("making a pair of sockets"))?;
        let thread = thread::Builder::new().name("portolan-links".to_owned()).spawn(move || {
            let mut buffer = vec![0; BUFFER];
            while wait(&news, &stopped) {
                match drain(&news, &mut buffer, &mut picture) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    // ENOBUFS: news was dropped. Any other failure is mended the same way.
                    Err(_) => renew(&mut questions, &mut picture),
                }
                on_change(&picture);
                picture.departed.clear();
            }
        });
        Ok(Self { stop, thread: Some(thread.map_err(failed("starting a thread"))?) })
    }
}

impl Drop for LinkFollower {
    fn drop(&mut self) {
        // The thread ends at the byte, or where that fails at the end of the stream.
        let _ = self.stop.write_all(&[0]);
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for news; returns false when asked to stop.
fn wait(news: &Socket, stopped: &UnixStream) -> bool {
    loop {
        let mut descriptors = [PollFd::new(news, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(_) => return descriptors[1].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Applies all news there is; returns whether anything changed.
fn drain(news: &Socket, buffer: &mut [u8], picture: &mut LinkPicture) -> io::Result<bool> {
    let mut has_changed = false;
    loop {
        let length = match news.recv(&mut &mut buffer[..], 0) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(has_changed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let received = buffer.get(..length).unwrap_or_default();
        read_all(received, None, &mut |kind, payload| has_changed |= picture.apply(kind, payload))?;
    }
}

/// Takes a dump in place of lost news; where that fails too, the picture stays until the next news.
fn renew(questions: &mut Questions, picture: &mut LinkPicture) {
    let overruns = picture.overruns + 1;
    if let Ok(mut renewed) = questions.dump() {
        renewed.departed = std::mem::take(&mut picture.departed);
        let gone = picture.links.values().filter(|link| !renewed.links.contains_key(&link.index));
        renewed.departed.extend(gone.cloned());
        *picture = renewed;
    }
    picture.overruns = overruns;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from((u16::try_from(value.len()).unwrap() + 4).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(family: u8, index: u32, extra: &[u8]) -> Vec<u8> {
        let mut payload = vec![family, 0, 1, 0];
        payload.extend(index.to_ne_bytes());
        payload.extend(IFF_UP.to_ne_bytes());
        payload.extend([0; 4]);
        payload.extend(attribute(IFLA_IFNAME, b"veth1\0"));
        payload.extend(extra);
        payload
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_taken_for_deleted() {
        let mut picture = LinkPicture::default();
        assert!(picture.apply(RTM_NEWLINK, &link(0, 7, &attribute(IFLA_MASTER, &3_u32.to_ne_bytes()))));
        assert!(!picture.apply(RTM_DELLINK, &link(7, 7, &[])));
        assert_eq!(picture.links[&7].master, Some(3));
        assert!(picture.apply(RTM_NEWLINK, &link(0, 7, &[])));
        assert_eq!(picture.links[&7].master, None);
        assert!(picture.apply(RTM_DELLINK, &link(0, 7, &[])));
        assert_eq!((picture.links.len(), picture.departed.len()), (0, 1));
    }

    #[test]
    fn damaged_messages_are_passed_over() {
        let whole = link(0, 7, &attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth\0")));
        for cut in 0..whole.len() {
            let mut picture = LinkPicture::default();
            picture.apply(RTM_NEWLINK, &whole[..cut]);
            picture.apply(RTM_NEWADDR, &whole[..cut]);
            let _ = read_all(&whole[..cut], None, &mut |_, _| {});
        }
        let mut picture = LinkPicture::default();
        assert!(picture.apply(RTM_NEWLINK, &whole));
        assert_eq!(picture.links[&7].kind, "veth");
    }
}
