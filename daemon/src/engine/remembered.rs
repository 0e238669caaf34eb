//! Names outlive their containers: totals are kept as long as the daemon runs, and with them whose they are.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use portolan_flowtable::workload::Binding;
use portolan_flowtable::{AttachmentId, Names, PublishedPort, Timestamp};

/// Attachments remembered beyond those identity still knows. Beyond, the oldest are forgotten, and what they sent
/// becomes `unclaimed`.
const REMEMBERED_MAX: usize = 16_384;

/// Returns `now` with what only `before` knew: attachments that are gone, the addresses they held, their networks.
///
/// Attachments are never used again, so nothing that is known now is overruled. A binding whose end nobody told
/// ends at `at`, when it was missed: its address may be another's from then on.
pub(super) fn with_remembered(before: &Names, now: Arc<Names>, at: Timestamp) -> Arc<Names> {
    let gone: BTreeSet<AttachmentId> =
        before.attachments.keys().filter(|id| !now.attachments.contains_key(*id)).copied().collect();
    let gone: HashSet<AttachmentId> = gone.into_iter().rev().take(REMEMBERED_MAX).collect();
    let closed = closed_ports(before, &now);
    if gone.is_empty() && closed.is_empty() {
        return now;
    }
    let mut names = Names::clone(&now);
    for (id, workload) in before.attachments.iter().filter(|(id, _)| gone.contains(*id)) {
        names.attachments.insert(*id, Arc::clone(workload));
    }
    for (place, bindings) in &before.addresses {
        let mut ended: Vec<Binding> =
            bindings.iter().filter(|binding| gone.contains(&binding.attachment)).cloned().collect();
        if ended.is_empty() {
            continue;
        }
        let held = names.addresses.entry(*place).or_default();
        ended.retain(|binding| held.iter().all(|known| known.attachment != binding.attachment));
        held.extend(
            ended.into_iter().map(|binding| Binding { until: binding.until.or(Some(at)), ..binding }),
        );
        held.sort_by_key(|binding| (binding.from, binding.attachment));
    }
    remember_published(&mut names, before, &closed, at);
    for (scope, name) in &before.scopes {
        names.scopes.entry(*scope).or_insert_with(|| Arc::clone(name));
    }
    Arc::new(names)
}

/// Returns the ports that were published and no longer are; the latest, where there are too many.
fn closed_ports<'a>(before: &'a Names, now: &Names) -> Vec<&'a PublishedPort> {
    let key = |port: &PublishedPort| {
        (port.host_address, port.host_port, port.protocol, port.container_port, port.from)
    };
    let open: HashSet<_> = now.published.iter().map(|port| (port.container_id.as_str(), key(port))).collect();
    let mut closed: Vec<&PublishedPort> = before
        .published
        .iter()
        .filter(|port| !open.contains(&(port.container_id.as_str(), key(port))))
        .collect();
    let forgotten = closed.len().saturating_sub(REMEMBERED_MAX);
    closed.drain(..forgotten);
    closed
}

/// Keeps published ports that were closed, and whose they were: the traffic they explain stays.
fn remember_published(names: &mut Names, before: &Names, closed: &[&PublishedPort], at: Timestamp) {
    let owners: HashSet<&str> = closed.iter().map(|port| port.container_id.as_str()).collect();
    for port in closed {
        names.published.push(PublishedPort { until: port.until.or(Some(at)), ..(*port).clone() });
    }
    for owner in before.former.iter().chain(&before.workloads) {
        let is_new = names.former.iter().all(|known| known.container_id != owner.container_id);
        if is_new && owners.contains(owner.container_id.as_str()) {
            names.former.push(Arc::clone(owner));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use portolan_flowtable::{Port, Protocol, ScopeId, Workload};

    use super::*;

    fn names(attachments: std::ops::Range<u32>, scope: &str) -> Arc<Names> {
        let place = (ScopeId(1), "172.18.0.2".parse().unwrap());
        let binding = |id| Binding {
            attachment: AttachmentId(id),
            from: Timestamp(i64::from(id)),
            until: Some(Timestamp(i64::from(id) + 1)),
        };
        let named = |id: u32| Arc::new(Workload { container: format!("c{id}"), ..Workload::default() });
        Arc::new(Names {
            attachments: attachments.clone().map(|id| (AttachmentId(id), named(id))).collect(),
            addresses: HashMap::from([(place, attachments.map(binding).collect())]),
            scopes: HashMap::from([(ScopeId(1), Arc::from(scope))]),
            ..Names::default()
        })
    }

    #[test]
    fn whoever_is_gone_keeps_name_and_addresses_and_nobody_is_overruled() {
        let first = names(1..4, "net");
        let second = with_remembered(&first, names(3..5, "renamed"), Timestamp(9));
        let third = with_remembered(&second, names(4..6, "renamed"), Timestamp(9));
        let containers: BTreeSet<&str> = third.attachments.values().map(|of| of.container.as_str()).collect();
        assert_eq!(containers, BTreeSet::from(["c1", "c2", "c3", "c4", "c5"]));
        let held: Vec<u32> = third.addresses.values().flatten().map(|binding| binding.attachment.0).collect();
        assert_eq!(held, [1, 2, 3, 4, 5]);
        assert_eq!(&*third.scopes[&ScopeId(1)], "renamed");
        let same = names(1..4, "net");
        assert!(Arc::ptr_eq(&with_remembered(&first, Arc::clone(&same), Timestamp(9)), &same));
    }

    #[test]
    fn the_oldest_are_forgotten_where_there_are_too_many() {
        let most = u32::try_from(REMEMBERED_MAX).unwrap();
        let kept = with_remembered(&names(1..most + 11, "net"), names(0..0, "net"), Timestamp(9));
        assert_eq!(kept.attachments.len(), REMEMBERED_MAX);
        assert!(!kept.attachments.contains_key(&AttachmentId(10)));
        assert!(kept.attachments.contains_key(&AttachmentId(11)));
    }

    #[test]
    fn a_closed_port_still_explains_what_went_through_it() {
        let web = Arc::new(Workload { container_id: "w".to_owned(), ..Workload::default() });
        let port = |from: i64| PublishedPort {
            host_address: "0.0.0.0".parse().unwrap(),
            host_port: Port(8080),
            protocol: Protocol::TCP,
            container_port: Port(80),
            container_id: "w".to_owned(),
            from: Timestamp(from),
            until: None,
        };
        let open = Arc::new(Names {
            published: vec![port(1)],
            workloads: vec![Arc::clone(&web)],
            ..Names::default()
        });
        let closed = with_remembered(&open, Arc::new(Names::default()), Timestamp(5));
        assert_eq!(closed.published, [PublishedPort { until: Some(Timestamp(5)), ..port(1) }]);
        assert_eq!(closed.former, [web]);
        // Its end is not moved by what comes later, and another life of it is another entry.
        let again = with_remembered(
            &closed,
            Arc::new(Names { published: vec![port(7)], ..Names::default() }),
            Timestamp(9),
        );
        let until: Vec<_> = again.published.iter().map(|port| port.until).collect();
        assert_eq!(until, [None, Some(Timestamp(5))]);
        assert_eq!(again.former.len(), 1);
    }
}
