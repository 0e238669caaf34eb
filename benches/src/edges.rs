//! Flows spread over edges: what the control plane adds up.

use portolan_flowtable::{
    Direction, Fragment, InterfaceId, MacAddr, Network, Observation, Packet, Port, Protocol, Timestamp,
};

/// Returns the question of a flow to one of `edges` services, or the answer to it. 28,000 flows an edge are different ones.
pub fn question(flow: u32, edges: u32, is_answer: bool) -> Observation {
    let edge = flow % edges;
    let [_, b, c, d] = edge.to_be_bytes();
    let port = Port(u16::try_from(32_768 + flow / edges % 28_000).unwrap_or(0));
    let (asker, service) = ((port, [10, b, c, d]), (Port(53), [10, 200, d, c]));
    let (from, to) = if is_answer { (service, asker) } else { (asker, service) };
    Observation {
        at: Timestamp(1_000 * Timestamp::SECOND),
        is_timed: true,
        frame: u64::from(flow) + 1,
        interface: InterfaceId(1),
        direction: Direction::Unstated,
        source_mac: MacAddr::default(),
        wire_bytes: 60,
        fingerprint: 0,
        network: Network::Ip(Packet {
            source: from.1.into(),
            destination: to.1.into(),
            protocol: Protocol::UDP,
            ports: Some((from.0, to.0)),
            tcp: None,
            icmp: None,
            fragment: Fragment::Whole,
            vlan: None,
            is_tunnel: false,
        }),
    }
}
