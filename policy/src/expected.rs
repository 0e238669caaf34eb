//! Edges somebody documented: who may call what, before anybody does.
//!
//! An exporter starts their counters at 0, so that an increase sees the first connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_flowtable::{DocumentSource, DocumentedPort, ServicePort, Workload};

use crate::contract::{Contract, Expected};
use crate::selector::Initiator;

/// Most edges listed: a contract of a few hundred services must not become a million series.
pub const EXPECTED_EDGES_MAX: usize = 4_096;

/// One end of an expected edge.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ExpectedEnd {
    /// Compose or stack project; empty where there is none, and for `host` and `external`.
    pub project: String,
    /// Service without its project, `host` or `external`.
    pub service: String,
}

/// An edge somebody documented.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ExpectedEdge {
    /// Who may call.
    pub initiator: ExpectedEnd,
    /// Who may be called.
    pub responder: ExpectedEnd,
    /// What may be called.
    pub port: ServicePort,
    /// Who says so: `contract.toml:12`.
    pub documented_by: String,
}

impl Contract {
    /// Lists the edges the contract expects between these workloads, on every single documented port; ranges and
    /// expected addresses name too many to list. Sorted, the first line that says so for each edge, at most
    /// [`EXPECTED_EDGES_MAX`].
    pub fn expected_edges(&self, workloads: &[Arc<Workload>]) -> Vec<ExpectedEdge> {
        let mut found: BTreeMap<(ExpectedEnd, ExpectedEnd, ServicePort), String> = BTreeMap::new();
        for entry in &self.entries {
            for responder in workloads.iter().filter(|workload| entry.names(workload)) {
                let ports: BTreeSet<ServicePort> =
                    entry.documented().chain(&responder.documented).filter_map(single).collect();
                for port in ports {
                    for expected in entry.expected_on(port) {
                        for initiator in initiators(expected, workloads) {
                            if found.len() >= EXPECTED_EDGES_MAX {
                                return listed(found);
                            }
                            found.entry((initiator, end(responder), port)).or_insert_with(|| place(expected));
                        }
                    }
                }
            }
        }
        listed(found)
    }
}

fn listed(found: BTreeMap<(ExpectedEnd, ExpectedEnd, ServicePort), String>) -> Vec<ExpectedEdge> {
    found
        .into_iter()
        .filter(|((initiator, responder, _), _)| initiator != responder)
        .map(|((initiator, responder, port), documented_by)| ExpectedEdge {
            initiator,
            responder,
            port,
            documented_by,
        })
        .collect()
}

fn initiators(expected: &Expected, workloads: &[Arc<Workload>]) -> BTreeSet<ExpectedEnd> {
    let word = |service: &str| ExpectedEnd { project: String::new(), service: service.to_owned() };
    let mut ends = BTreeSet::new();
    for written in &expected.initiators {
        match &written.initiator {
            Initiator::Workload(property) => {
                ends.extend(workloads.iter().filter(|workload| property.is_of(workload)).map(end));
            }
            Initiator::Host => {
                ends.insert(word("host"));
            }
            Initiator::External => {
                ends.insert(word("external"));
            }
            Initiator::Addresses(_)
            | Initiator::Group(_)
            | Initiator::Dns(_)
            | Initiator::Multicast
            | Initiator::Any => {}
        }
    }
    ends
}

fn end(workload: &Arc<Workload>) -> ExpectedEnd {
    ExpectedEnd { project: workload.project.clone(), service: workload.service.clone() }
}

fn single(documented: &DocumentedPort) -> Option<ServicePort> {
    (documented.first == documented.last)
        .then_some(ServicePort { port: Some(documented.first), protocol: documented.protocol })
}

fn place(expected: &Expected) -> String {
    DocumentSource::Contract { place: expected.place.line() }.to_string()
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{Port, Protocol};

    use super::*;

    fn workload(service: &str, port: u16) -> Arc<Workload> {
        Arc::new(Workload {
            container_id: service.to_owned(),
            project: "shop".to_owned(),
            service: service.to_owned(),
            documented: vec![DocumentedPort {
                first: Port(port),
                last: Port(port),
                protocol: Protocol::TCP,
                source: DocumentSource::Image,
            }],
            ..Workload::default()
        })
    }

    #[test]
    fn every_expected_initiator_has_an_edge_to_every_single_documented_port() {
        let text = "[[service]]\nservice = \"shop/db\"\nports = [\"9187/tcp\", \"7000-7010/tcp\"]\n\
                    initiators = [\"shop/cart\", \"host\", \"10.0.0.0/8\"]\n\
                    [[service]]\nservice = \"shop/cart\"\ninitiators = [\"project:shop\"]\n";
        let contract = Contract::parse(text, "contract.toml").unwrap();
        let edges = contract.expected_edges(&[workload("cart", 8080), workload("db", 5432)]);
        let lines: Vec<String> = edges
            .iter()
            .map(|edge| {
                let ExpectedEdge { initiator, responder, port, documented_by } = edge;
                format!("{} {} {port} {documented_by}", initiator.service, responder.service)
            })
            .collect();
        assert_eq!(
            lines,
            [
                "host db 9187/tcp contract.toml:4",
                "cart db 9187/tcp contract.toml:4",
                "db cart 8080/tcp contract.toml:7",
            ]
        );
    }
}
