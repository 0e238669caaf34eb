//! Kubernetes NetworkPolicy objects.
//!
//! # Sources
//!
//! Kubernetes API, networking.k8s.io/v1 NetworkPolicy.

use std::fmt::Write as _;

use super::{Allowed, Caller, plain};
use crate::suggest::quoted;

/// Label by which a pod says which service it is of.
const NAME: &str = "app.kubernetes.io/name";
/// Label by which it says which project that is of.
const PROJECT: &str = "app.kubernetes.io/part-of";

pub(super) fn write(allowed: &Allowed, title: &str) -> String {
    let mut out = allowed.head(title, "Kubernetes network policies");
    let _ = writeln!(
        out,
        "# Pods carry the labels {NAME} and {PROJECT}; nodes may call their own pods whatever these say."
    );
    for service in &allowed.services {
        let _ = write!(
            out,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {}\nspec:\n  podSelector:\n    \
             matchLabels: {}\n  policyTypes: [Ingress]\n",
            plain(&allowed.services, service, '-'),
            labels(&service.0, &service.1),
        );
        let Some(callers) = allowed.calls.get(service) else {
            out.push_str("  ingress: []\n");
            continue;
        };
        let mut rows = String::new();
        for (caller, ports) in callers {
            let from = match caller {
                Caller::Service(project, service) => {
                    format!(
                        "{{namespaceSelector: {{}}, podSelector: {{matchLabels: {}}}}}",
                        labels(project, service)
                    )
                }
                Caller::External => {
                    "{ipBlock: {cidr: \"0.0.0.0/0\"}}, {ipBlock: {cidr: \"::/0\"}}".to_owned()
                }
                Caller::Host => continue,
            };
            for port in ports {
                let Some(number) = port.port else { continue };
                let protocol = port.protocol.to_string().to_uppercase();
                let _ = writeln!(
                    rows,
                    "    - {{from: [{from}], ports: [{{protocol: {protocol}, port: {number}}}]}}"
                );
            }
        }
        out.push_str(if rows.is_empty() { "  ingress: []\n" } else { "  ingress:\n" });
        out.push_str(&rows);
    }
    out
}

fn labels(project: &str, service: &str) -> String {
    if project.is_empty() {
        return format!("{{{NAME}: {}}}", quoted(service));
    }
    format!("{{{NAME}: {}, {PROJECT}: {}}}", quoted(service), quoted(project))
}
