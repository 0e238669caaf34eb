//! Names: what an attachment is called, and what its container had documented.
//!
//! Filled by `identity`, read when a snapshot is taken. Strings come from Docker, images and labels and are
//! hostile: outputs escape them, nothing here interprets them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::confinement::Confinement;
use crate::directory::{AttachmentId, ScopeId};
use crate::units::{Port, Protocol, ServicePort, Timestamp};

/// Our record of one container generation. Its order is for writing it: by id, then by start.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(default)]
pub struct Workload {
    /// Docker's 64-digit id; for a roster without one, what stands for it there.
    pub container_id: String,
    /// Start of this generation: the same container restarted is another workload.
    pub started_at: Timestamp,
    /// Container name without the leading slash.
    pub container: String,
    /// Compose or stack project; empty where there is none.
    pub project: String,
    /// Service: the name replicas share.
    pub service: String,
    /// Where the service name comes from.
    pub provenance: Provenance,
    /// Image reference as run.
    pub image: String,
    /// The image's id, `sha256:` and 64 digits; empty where nobody said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_id: String,
    /// Digests of the image in the registries it came from, `sha256:` and 64 digits; none for one built here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_digests: Vec<String>,
    /// Container labels (not secrets: environment and command are never kept).
    pub labels: BTreeMap<String, String>,
    /// Names of the networks it is on.
    pub networks: Vec<String>,
    /// Ports documented for it, each source kept apart.
    pub documented: Vec<DocumentedPort>,
    /// Set where a compose label stands in the image itself: a claim, not an identity.
    pub identity_claim: Option<String>,
    /// Set where its traffic cannot be observed from the host's interfaces: `host network`, `macvlan`, ...
    pub unobservable: Option<String>,
    /// How it is kept apart, and what it shares; `None` where nobody said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confinement: Option<Box<Confinement>>,
}

impl Workload {
    /// Returns `project/service`, or `service` where there is no project.
    pub fn qualified(&self) -> String {
        if self.project.is_empty() {
            self.service.clone()
        } else {
            format!("{}/{}", self.project, self.service)
        }
    }
}

/// Where a service name comes from.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Compose labels of the container.
    Compose,
    /// Swarm service labels.
    Swarm,
    /// The operator's roster file.
    Roster,
    /// The container's own name.
    #[default]
    ContainerName,
    /// The image's repository: the container's name is one Docker made up, or it is a one-off.
    Image,
}

/// One documented port (or range) of a service and who says so.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct DocumentedPort {
    /// First port of the range.
    pub first: Port,
    /// Last port of the range, inclusive.
    pub last: Port,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Who says so.
    pub source: DocumentSource,
}

impl DocumentedPort {
    /// Returns whether `port` lies in the range.
    pub fn covers(&self, port: ServicePort) -> bool {
        port.protocol == self.protocol
            && port.port.is_some_and(|port| self.first <= port && port <= self.last)
    }
}

/// Sources of documentation, kept apart.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DocumentSource {
    /// EXPOSE in the image.
    Image,
    /// `--expose` at run time, or compose `expose`.
    Run,
    /// `-p` at run time, or compose `ports`.
    Publish {
        /// Host address and port, `0.0.0.0:8080`; empty where Docker had not chosen yet.
        host: String,
    },
    /// The service a swarm's manager keeps it for.
    Swarm {
        /// The service's name.
        service: String,
    },
    /// A compose file.
    Compose {
        /// `file:line`.
        place: String,
    },
    /// A `portolan.ports` label.
    Label {
        /// The label's key.
        key: String,
    },
    /// A roster file.
    Roster {
        /// `file:line`.
        place: String,
    },
    /// A contract.
    Contract {
        /// `file:line`.
        place: String,
    },
}

/// As reports print it under `documented by`.
impl std::fmt::Display for DocumentSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image => f.write_str("image EXPOSE"),
            Self::Run => f.write_str("run --expose"),
            Self::Publish { host } if host.is_empty() => f.write_str("published"),
            Self::Publish { host } => write!(f, "published {host}"),
            Self::Label { key } => write!(f, "label {key}"),
            Self::Swarm { service } => write!(f, "swarm service {service}"),
            Self::Compose { place } | Self::Roster { place } | Self::Contract { place } => f.write_str(place),
        }
    }
}

/// What listens in a container's network namespace, as the kernel lists it, whether anybody called it or not.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listening {
    /// Ports, sorted by port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ListeningPort>,
    /// Set where nobody could look, with the reason and without ports; or where there was more than was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_checked: Option<String>,
}

/// A port that accepts calls.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ListeningPort {
    /// Which.
    pub port: ServicePort,
    /// Whether it accepts calls of its own container alone, over loopback.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_loopback: bool,
    /// When it was first seen to.
    pub since: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A container port mapped onto the host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Host address it is bound to; unspecified for all.
    pub host_address: IpAddr,
    /// Port on the host.
    pub host_port: Port,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The container's port.
    pub container_port: Port,
    /// Its owner.
    pub container_id: String,
    /// From when on.
    pub from: Timestamp,
    /// Until when; `None` while it lasts.
    pub until: Option<Timestamp>,
}

/// An address of a container network and who held it when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// Who holds it.
    pub attachment: AttachmentId,
    /// From when on.
    pub from: Timestamp,
    /// Until when; `None` while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Everything needed to turn numbers into names at a snapshot. Replaced whole, never edited in place.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Whether anybody knows anything; without, addresses stand for themselves.
    pub has_roster: bool,
    /// Workload behind each attachment that is named.
    pub attachments: HashMap<AttachmentId, Arc<Workload>>,
    /// Network name of each scope.
    pub scopes: HashMap<ScopeId, Arc<str>>,
    /// Who held an address of a container network, newest binding last.
    pub addresses: HashMap<(ScopeId, IpAddr), Vec<Binding>>,
    /// Container ports mapped onto the host.
    pub published: Vec<PublishedPort>,
    /// Containers that are gone and whose published ports still explain traffic; they count nowhere else.
    pub former: Vec<Arc<Workload>>,
    /// The host's own addresses, gateways included.
    pub host_addresses: Vec<IpAddr>,
    /// Every container known, observable or not, for counts and for documented-and-idle ports. Includes
    /// containers that have ended within the last 40 s.
    pub workloads: Vec<Arc<Workload>>,
    /// What listens in each running container, by its id, where somebody looked or tried to.
    pub listening: BTreeMap<String, Listening>,
    /// Set while the picture may be out of date, with the reason: `Docker does not answer since ...`.
    pub stale: Option<String>,
}
