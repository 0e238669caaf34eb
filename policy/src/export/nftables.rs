//! A table for `nft -f`, by the addresses services had.
//!
//! # Sources
//!
//! nft(8), nftables 1.0.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Allowed, Caller, plain};

/// The families, with their words and the ending of their sets.
const FAMILIES: [(bool, &str, &str, &str); 2] =
    [(true, "ip", "ipv4_addr", "4"), (false, "ip6", "ipv6_addr", "6")];

pub(super) fn write(allowed: &Allowed, title: &str) -> String {
    let mut out = allowed.head(title, "An nftables table");
    out.push_str(
        "# By address: containers that start anew may get another one. Frames within one bridge pass here where\n\
         # net.bridge.bridge-nf-call-iptables is 1. Load with: nft -f FILE\n\
         table inet portolan {\n",
    );
    let everybody: BTreeSet<IpAddr> = allowed.addresses.values().flatten().copied().collect();
    for (service, addresses) in &allowed.addresses {
        let name = plain(&allowed.services, service, '_');
        FAMILIES
            .iter()
            .for_each(|family| set(&mut out, &format!("s_{name}_{}", family.3), family, addresses));
    }
    FAMILIES.iter().for_each(|family| set(&mut out, &format!("containers_{}", family.3), family, &everybody));
    out.push_str(
        "    chain forward {\n        type filter hook forward priority filter; policy accept;\n        \
         ct state established,related accept\n",
    );
    for (service, callers) in &allowed.calls {
        let to = plain(&allowed.services, service, '_');
        for (caller, ports) in callers {
            for (is_v4, word, _, ending) in &FAMILIES {
                if !has(allowed.addresses.get(service), *is_v4) {
                    continue;
                }
                let from = match caller {
                    Caller::Service(project, name) => {
                        let caller = (project.clone(), name.clone());
                        if !has(allowed.addresses.get(&caller), *is_v4) {
                            continue;
                        }
                        format!("{word} saddr @s_{}_{ending} ", plain(&allowed.services, &caller, '_'))
                    }
                    Caller::External => format!("{word} saddr != @containers_{ending} "),
                    // The host's own packets are not forwarded.
                    Caller::Host => continue,
                };
                for port in ports {
                    let Some(number) = port.port else { continue };
                    let protocol = port.protocol;
                    let _ = writeln!(
                        out,
                        "        {from}{word} daddr @s_{to}_{ending} {protocol} dport {number} accept"
                    );
                }
            }
        }
    }
    for (is_v4, word, _, ending) in &FAMILIES {
        if has(Some(&everybody), *is_v4) {
            let _ = writeln!(out, "        {word} daddr @containers_{ending} drop");
        }
    }
    out.push_str("    }\n}\n");
    out
}

fn has(addresses: Option<&BTreeSet<IpAddr>>, is_v4: bool) -> bool {
    addresses.is_some_and(|addresses| addresses.iter().any(|address| address.is_ipv4() == is_v4))
}

fn set(out: &mut String, name: &str, family: &(bool, &str, &str, &str), addresses: &BTreeSet<IpAddr>) {
    let own: Vec<String> =
        addresses.iter().filter(|address| address.is_ipv4() == family.0).map(ToString::to_string).collect();
    if !own.is_empty() {
        let _ = writeln!(out, "    set {name} {{ type {}; elements = {{ {} }} }}", family.2, own.join(", "));
    }
}
