//! The host's interfaces: what `--interface` may name, and what doctor lists.

use std::net::IpAddr;

use pnet::datalink;
use portolan_flowtable::{InterfaceId, MacAddr};

/// One interface of this network namespace, as it is at the moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its index in the kernel.
    pub id: InterfaceId,
    /// Its Ethernet address, where it has one.
    pub mac: Option<MacAddr>,
    /// Its IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether it is up.
    pub is_up: bool,
    /// Whether it is a loopback.
    pub is_loopback: bool,
}

/// Returns the interfaces of this network namespace by index.
pub fn inventory() -> Vec<HostInterface> {
    let mut interfaces: Vec<HostInterface> = datalink::interfaces()
        .into_iter()
        .map(|each| HostInterface {
            id: InterfaceId(each.index),
            mac: each.mac.map(|mac| MacAddr(mac.octets())),
            addresses: each.ips.iter().map(|network| network.ip()).collect(),
            is_up: each.is_up(),
            is_loopback: each.is_loopback(),
            name: each.name,
        })
        .collect();
    interfaces.sort_by_key(|each| each.id);
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_in_the_inventory() {
        let interfaces = inventory();
        let loopback = interfaces.iter().find(|each| each.is_loopback).unwrap();
        assert_eq!(loopback.name, "lo");
        assert_eq!(loopback.id, InterfaceId(1));
    }
}
