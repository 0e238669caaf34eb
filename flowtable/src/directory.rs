//! What the flow table asks of identity: who holds an address.

use std::net::IpAddr;

use crate::units::ServicePort;

/// A container's veth during one life of it. Never reused while the daemon runs: Docker hands a dead
/// container's address to the next one at once, and their flows must not merge. Dense, from 1.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct AttachmentId(pub u32);

/// The container network (bridge) a frame was seen in. 0 is the one scope of a capture without roles.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct ScopeId(pub u16);

/// Who holds an address, as far as is known. Every variant is an answer somebody can act on.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// A container, by this attachment.
    Attachment(AttachmentId),
    /// The Docker host itself: a bridge's gateway address or one of its own.
    Host,
    /// Outside every container network.
    External,
    /// An address of a container network that no known container holds.
    Unclaimed,
    /// Multicast or broadcast: a group of receivers.
    Group,
    /// Several bindings fit and nothing tells them apart.
    Ambiguous,
    /// There is no roster: the address is all that is known.
    Bare,
}

/// The question put to the roster by the data plane, when a flow opens or the epoch moved. Must not block.
pub trait Directory: Send + Sync {
    /// Returns who holds `address`, seen from within `scope`.
    fn holder(&self, scope: ScopeId, address: IpAddr) -> Holder;

    /// Returns whether `port` of the container behind `attachment` is documented or known to listen: the
    /// evidence `KnownListener` for flows joined midstream.
    fn is_known_listener(&self, attachment: AttachmentId, port: ServicePort) -> bool;

    /// A number that changes whenever any answer may have.
    fn epoch(&self) -> u16;
}

/// The directory of a capture without a roster: every unicast address stands for itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct BareDirectory;

impl Directory for BareDirectory {
    fn holder(&self, _scope: ScopeId, address: IpAddr) -> Holder {
        if is_group(address) { Holder::Group } else { Holder::Bare }
    }

    fn is_known_listener(&self, _attachment: AttachmentId, _port: ServicePort) -> bool {
        false
    }

    fn epoch(&self) -> u16 {
        0
    }
}

/// Returns whether `address` is multicast or the limited broadcast address.
pub fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    }
}

/// Returns whether a sender may use `address` without holding it: unspecified (DHCP, duplicate address
/// detection) and link-local addresses.
pub fn is_exempt_source(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unspecified() || (v6.segments()[0] & 0xffc0) == 0xfe80,
    }
}
