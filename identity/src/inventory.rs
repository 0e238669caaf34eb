//! Docker's objects reduced to what identity needs, read out of `inspect` answers of any engine since API 1.41.
//!
//! The reader goes by the fields that are there: older engines repeat the default network's address at the top
//! of `NetworkSettings`, newer ones do not. Environment and command are never looked at.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_flowtable::confinement::{MOUNTS_MAX, user};
use portolan_flowtable::{
    Confinement, MacAddr, Mount, NamespaceKind, Port, Protocol, SharedNamespace, Timestamp,
};
use serde_json::{Map, Value};

use crate::subnet::Subnet;

/// Most labels kept of one object, and most bytes of one text: Docker sets no limit of its own.
const LABELS_MAX: usize = 256;
const TEXT_MAX: usize = 4096;

/// A port or an inclusive range of ports of one protocol.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PortRange {
    pub(crate) first: Port,
    pub(crate) last: Port,
    pub(crate) protocol: Protocol,
}

impl PortRange {
    /// Reads `8080`, `8080/tcp` or `7000-7010/udp`, as Docker and compose write them; without a protocol: TCP.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.trim().split_once('/').unwrap_or((text.trim(), "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let range = Self {
            first: Port(first.parse().ok()?),
            last: Port(last.parse().ok()?),
            protocol: protocol.to_ascii_lowercase().parse().ok()?,
        };
        (range.first <= range.last && range.protocol.has_ports()).then_some(range)
    }

    /// Returns whether `self` lies within `other`.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.protocol == other.protocol && other.first <= self.first && self.last <= other.last
    }
}

/// One container, by `inspect` or, less complete, by its network's inspect or an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) image_id: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) is_running: bool,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) pid: u32,
    pub(crate) sandbox: String,
    pub(crate) network_mode: String,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) exposed: Vec<PortRange>,
    pub(crate) publishes: Vec<Publish>,
    pub(crate) confinement: Option<Box<Confinement>>,
    /// Whether this is a full `inspect` answer.
    pub(crate) is_inspected: bool,
}

/// A container on a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) network: String,
    pub(crate) network_id: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) mac: Option<MacAddr>,
}

/// A container port and the host's address and port it is bound to, where Docker has chosen one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Publish {
    pub(crate) container: PortRange,
    pub(crate) host: Option<(IpAddr, Port)>,
}

/// One network, by `inspect` or a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DockerNetwork {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) driver: String,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) gateways: Vec<IpAddr>,
    /// Name of its bridge on the host, for the driver `bridge`.
    pub(crate) bridge: Option<String>,
    /// Containers on it, as far as this answer lists them.
    pub(crate) members: Vec<Container>,
}

/// One image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) tags: Vec<String>,
    /// `sha256:...`, of the registries it came from.
    pub(crate) digests: Vec<String>,
    pub(crate) exposed: Vec<PortRange>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// One service of a swarm, as its manager keeps it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SwarmService {
    pub(crate) name: String,
    /// Ports of its containers that it publishes (`EndpointSpec.Ports`), by the mesh or on each host.
    pub(crate) ports: Vec<PortRange>,
}

/// Reads one row of the service listing: `Spec.Name`, `Spec.EndpointSpec.Ports[].TargetPort` and `Protocol`.
pub(crate) fn read_service(object: &Map<String, Value>) -> Option<SwarmService> {
    let root = &Value::Object(object.clone());
    let name = text(&root["Spec"]["Name"]);
    let port = |row: &Value| {
        let number = u16::try_from(row["TargetPort"].as_u64()?).ok().filter(|number| *number > 0)?;
        let protocol: Protocol = text(&row["Protocol"]).parse().ok()?;
        let range = PortRange { first: Port(number), last: Port(number), protocol };
        protocol.has_ports().then_some(range)
    };
    let rows = root["Spec"]["EndpointSpec"]["Ports"].as_array().into_iter().flatten();
    let mut ports: Vec<PortRange> = rows.take(LABELS_MAX).filter_map(port).collect();
    ports.sort_unstable();
    ports.dedup();
    (!name.is_empty()).then_some(SwarmService { name, ports })
}

/// What one object of `docker inspect` turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DockerObject {
    Container(Container),
    Network(DockerNetwork),
    Image(Image),
    /// A volume, node, service or something else that has no address.
    Other,
}

/// Tells what `object` is by its fields and reads it.
pub(crate) fn read_object(object: &Map<String, Value>) -> DockerObject {
    let has = |key: &str| object.get(key).is_some_and(|value| !value.is_null());
    if has("State") && (has("NetworkSettings") || has("HostConfig")) && object["State"].is_object() {
        DockerObject::Container(read_container(object))
    } else if has("IPAM") && has("Driver") {
        DockerObject::Network(read_network(object))
    } else if has("RootFS") || (has("RepoTags") && has("Architecture")) {
        DockerObject::Image(read_image(object))
    } else {
        DockerObject::Other
    }
}

/// Reads a container's `inspect` answer.
pub(crate) fn read_container(object: &Map<String, Value>) -> Container {
    let root = &Value::Object(object.clone());
    let state = &root["State"];
    let settings = &root["NetworkSettings"];
    let config = &root["Config"];
    let mut container = Container {
        id: text(&root["Id"]),
        name: text(&root["Name"]).trim_start_matches('/').to_owned(),
        image: text(&config["Image"]),
        image_id: text(&root["Image"]),
        labels: labels(&config["Labels"]),
        is_running: state["Running"].as_bool().unwrap_or(false),
        started_at: instant(&state["StartedAt"]),
        finished_at: instant(&state["FinishedAt"]),
        pid: state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        sandbox: text(&settings["SandboxKey"]),
        network_mode: text(&root["HostConfig"]["NetworkMode"]),
        exposed: exposed(&config["ExposedPorts"]),
        publishes: publishes(&settings["Ports"], &root["HostConfig"]["PortBindings"]),
        confinement: confinement(root).map(Box::new),
        is_inspected: true,
        ..Container::default()
    };
    for (network, settings) in entries(&settings["Networks"]) {
        container.endpoints.push(endpoint(network, settings));
    }
    let has_address = container.endpoints.iter().any(|endpoint| !endpoint.addresses.is_empty());
    if !has_address && !text(&settings["IPAddress"]).is_empty() {
        // Before networks had names of their own, and where a tool left `Networks` out.
        container.endpoints = vec![endpoint("bridge", settings)];
    }
    container
}

/// Reads how a container is kept apart. An answer that does not say whether it is privileged says nothing of the rest.
fn confinement(root: &Value) -> Option<Confinement> {
    let host = &root["HostConfig"];
    let is_privileged = host["Privileged"].as_bool()?;
    let list = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().map(text).collect() };
    let (added, dropped) = (list(&host["CapAdd"]), list(&host["CapDrop"]));
    let words = |list: &[String]| -> Vec<String> { list.iter().take(LABELS_MAX).cloned().collect() };
    let (added, dropped) = (words(&added), words(&dropped));
    let mut mounts: Vec<Mount> = root["Mounts"].as_array().into_iter().flatten().filter_map(mount).collect();
    mounts.sort_unstable();
    mounts.dedup();
    let mounts_left_out = mounts.len().saturating_sub(MOUNTS_MAX);
    mounts.truncate(MOUNTS_MAX);
    let modes = [
        (NamespaceKind::Network, "NetworkMode"),
        (NamespaceKind::Pid, "PidMode"),
        (NamespaceKind::Ipc, "IpcMode"),
    ];
    let shared = modes.into_iter().filter_map(|(namespace, key)| {
        let mode = text(&host[key]);
        let owner = mode.strip_prefix("container:").map(str::to_owned);
        (mode == "host" || owner.is_some()).then_some(SharedNamespace { namespace, owner })
    });
    Some(Confinement {
        user: user(&text(&root["Config"]["User"])),
        is_privileged,
        capabilities: Confinement::effective_capabilities(
            is_privileged,
            added.iter().map(String::as_str),
            dropped.iter().map(String::as_str),
        ),
        mounts,
        mounts_left_out: u64::try_from(mounts_left_out).unwrap_or(u64::MAX),
        shared: shared.collect(),
    })
}

/// Reads one row of `Mounts`; what lives in memory alone joins nobody.
fn mount(row: &Value) -> Option<Mount> {
    let is_shared = matches!(row["Type"].as_str(), Some("bind" | "volume"));
    is_shared.then(|| Mount {
        target: text(&row["Destination"]),
        volume: text(&row["Name"]),
        source: text(&row["Source"]),
        is_writable: row["RW"].as_bool().unwrap_or(true),
    })
}

/// Reads the digests out of `NAME@sha256:...`.
fn digests(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut digests: Vec<String> = rows
        .filter_map(|row| row.rsplit_once('@'))
        .map(|(_, digest)| clipped(digest))
        .take(LABELS_MAX)
        .collect();
    digests.sort_unstable();
    digests.dedup();
    digests
}

fn endpoint(network: &str, settings: &Value) -> Endpoint {
    let mut endpoint = Endpoint {
        network: clipped(network),
        network_id: text(&settings["NetworkID"]),
        mac: mac(&text(&settings["MacAddress"])),
        ..Endpoint::default()
    };
    for (address_key, length_key, gateway_key, configured_key) in [
        ("IPAddress", "IPPrefixLen", "Gateway", "IPv4Address"),
        ("GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPv6Gateway", "IPv6Address"),
    ] {
        // A stopped container has no address but the one its operator fixed for it.
        let configured = &settings["IPAMConfig"][configured_key];
        if let Some(address) = address(&settings[address_key]).or_else(|| address(configured)) {
            endpoint.addresses.push(address);
            let length = settings[length_key].as_u64().and_then(|length| u8::try_from(length).ok());
            endpoint
                .subnets
                .extend(length.filter(|length| *length > 0).and_then(|length| Subnet::new(address, length)));
        }
        endpoint.gateways.extend(address(&settings[gateway_key]));
    }
    endpoint
}

/// Reads a network's `inspect` answer or one row of the network listing.
pub(crate) fn read_network(object: &Map<String, Value>) -> DockerNetwork {
    let root = &Value::Object(object.clone());
    let mut network = DockerNetwork {
        id: text(&root["Id"]),
        name: text(&root["Name"]),
        driver: text(&root["Driver"]),
        ..DockerNetwork::default()
    };
    for pool in root["IPAM"]["Config"].as_array().into_iter().flatten() {
        network.subnets.extend(text(&pool["Subnet"]).parse::<Subnet>().ok());
        // Some engines write the gateway with its prefix length.
        let gateway = text(&pool["Gateway"]);
        network.gateways.extend(gateway.split('/').next().and_then(|text| text.parse::<IpAddr>().ok()));
    }
    if network.driver == "bridge" {
        let named = text(&root["Options"]["com.docker.network.bridge.name"]);
        network.bridge = if !named.is_empty() {
            Some(named)
        } else if network.name == "bridge" {
            Some("docker0".to_owned())
        } else {
            network.id.get(..12).map(|short| format!("br-{short}"))
        };
    }
    for (id, member) in entries(&root["Containers"]) {
        let mut endpoint = Endpoint {
            network: network.name.clone(),
            network_id: network.id.clone(),
            mac: mac(&text(&member["MacAddress"])),
            ..Endpoint::default()
        };
        for key in ["IPv4Address", "IPv6Address"] {
            let written = text(&member[key]);
            endpoint.addresses.extend(written.split('/').next().and_then(|text| text.parse::<IpAddr>().ok()));
        }
        // `lb-NAME` and `ingress-sbox` are Swarm's own endpoints, not containers.
        if id.len() == 64 && id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            network.members.push(Container {
                id: id.clone(),
                name: text(&member["Name"]),
                is_running: true,
                endpoints: vec![endpoint],
                ..Container::default()
            });
        }
    }
    network
}

/// Reads an image's `inspect` answer.
pub(crate) fn read_image(object: &Map<String, Value>) -> Image {
    let root = &Value::Object(object.clone());
    let config = if root["Config"].is_object() { &root["Config"] } else { &root["ContainerConfig"] };
    let tags = root["RepoTags"].as_array().into_iter().flatten().map(text);
    Image {
        id: text(&root["Id"]),
        digests: digests(&root["RepoDigests"]),
        tags: tags.filter(|tag| !tag.is_empty() && !tag.starts_with("<none>")).take(LABELS_MAX).collect(),
        exposed: exposed(&config["ExposedPorts"]),
        labels: labels(&config["Labels"]),
    }
}

fn exposed(ports: &Value) -> Vec<PortRange> {
    let mut ranges: Vec<_> = entries(ports).filter_map(|(port, _)| PortRange::parse(port)).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}

/// `NetworkSettings.Ports` says what Docker bound, `HostConfig.PortBindings` what was asked for.
fn publishes(bound: &Value, requested: &Value) -> Vec<Publish> {
    let mut publishes: Vec<Publish> = Vec::new();
    for (source, is_bound) in [(bound, true), (requested, false)] {
        for (port, bindings) in entries(source) {
            let Some(container) = PortRange::parse(port) else { continue };
            if !is_bound && publishes.iter().any(|publish| publish.container == container) {
                continue;
            }
            for binding in bindings.as_array().into_iter().flatten() {
                let everywhere = IpAddr::from([0, 0, 0, 0]);
                let on = address(&binding["HostIp"]).unwrap_or(everywhere);
                let host = text(&binding["HostPort"]).parse().ok().filter(|port| *port != 0);
                let host = host.map(|port| (on, Port(port)));
                // Docker lists a port published everywhere once for each address family.
                let twin = host.map(|(_, port)| (everywhere, port));
                let is_twin = |known: &Publish| known.container == container && known.host == twin;
                let is_known =
                    publishes.iter().any(|known| known.container == container && known.host == host);
                let is_second_family = on.is_unspecified() && publishes.iter().any(is_twin);
                if !is_known && !is_second_family {
                    publishes.push(Publish { container, host });
                }
            }
        }
    }
    publishes
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn labels(value: &Value) -> BTreeMap<String, String> {
    entries(value).take(LABELS_MAX).map(|(key, value)| (clipped(key), text(value))).collect()
}

fn text(value: &Value) -> String {
    clipped(value.as_str().unwrap_or_default())
}

/// Cuts a hostile text to what is worth keeping, at a character's edge.
pub(crate) fn clipped(text: &str) -> String {
    up_to(text, TEXT_MAX).to_owned()
}

/// Returns the first `bytes` bytes of `text`, or as many as end a character.
pub(crate) fn up_to(text: &str, bytes: usize) -> &str {
    let fits = |end: &usize| text.is_char_boundary(*end);
    let end = (0..=bytes.min(text.len())).rev().find(fits).unwrap_or_default();
    text.get(..end).unwrap_or_default()
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

/// Docker writes the year 1 where something never happened.
fn instant(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok().filter(|at: &Timestamp| at.0 > 0)
}

/// Reads `02:42:ac:12:00:03`; `None` for anything else.
pub(crate) fn mac(text: &str) -> Option<MacAddr> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        *byte =
            parts.next().filter(|part| part.len() == 2).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    (parts.next().is_none() && mac != [0; 6]).then_some(MacAddr(mac))
}

impl Container {
    /// Returns whether it has no network namespace of its own but another container's.
    pub(crate) fn shares_a_network(&self) -> bool {
        self.network_mode.starts_with("container:")
    }
}

/// Why a container's traffic does not show on the host's interfaces, if it does not. `driver_of` tells a network's
/// driver, `name_of` a container's name.
pub(crate) fn unobservable<'a>(
    container: &Container,
    driver_of: impl Fn(&Endpoint) -> &'a str,
    name_of: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if let Some(owner) = container.network_mode.strip_prefix("container:") {
        let name = name_of(owner).unwrap_or_else(|| owner.to_owned());
        return Some(format!("shares the network of {name}"));
    }
    match container.network_mode.as_str() {
        "host" => return Some("host network".to_owned()),
        "none" => return Some("no network".to_owned()),
        _ => {}
    }
    let reasons: Vec<_> =
        container.endpoints.iter().map(|endpoint| unobservable_driver(driver_of(endpoint))).collect();
    let first = reasons.first().copied().flatten()?;
    reasons.iter().all(Option::is_some).then(|| first.to_owned())
}

fn unobservable_driver(driver: &str) -> Option<&'static str> {
    match driver {
        "macvlan" => Some("macvlan"),
        "ipvlan" => Some("ipvlan"),
        "overlay" => Some("overlay network"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_swarm_service_the_ports_are_read_that_a_container_can_serve() {
        let service = |ports: Value| {
            let object = serde_json::json!({"ID": "9mn", "Spec": {"Name": "shop_web", "EndpointSpec": {"Ports": ports}}});
            read_service(object.as_object().unwrap()).unwrap().ports
        };
        let tcp = |number| PortRange { first: Port(number), last: Port(number), protocol: Protocol::TCP };
        let hostile = serde_json::json!([
            {"Protocol": "tcp", "TargetPort": 6379, "PublishedPort": 30001},
            {"Protocol": "tcp", "TargetPort": 6379, "PublishedPort": 30002},
            {"Protocol": "tcp", "TargetPort": 0}, {"Protocol": "smoke", "TargetPort": 9},
            {"Protocol": "icmp", "TargetPort": 9}, {"Protocol": "tcp", "TargetPort": 70_000},
            {"Protocol": "tcp", "TargetPort": -1}, {"Protocol": "tcp"}, {"TargetPort": "80"}, 7, null,
        ]);
        assert_eq!(service(hostile), [tcp(6_379)]);
        let many: Vec<Value> =
            (1..=2_000).map(|number| serde_json::json!({"Protocol": "tcp", "TargetPort": number})).collect();
        assert_eq!(service(Value::from(many)).len(), LABELS_MAX);
        for nameless in
            [serde_json::json!({}), serde_json::json!({"Spec": 7}), serde_json::json!({"Spec": {"Name": ""}})]
        {
            assert_eq!(read_service(nameless.as_object().unwrap()), None, "{nameless}");
        }
    }

    #[test]
    fn ports_are_read_as_docker_and_compose_write_them() {
        let range =
            |first, last, protocol| Some(PortRange { first: Port(first), last: Port(last), protocol });
        for (text, expected) in [
            ("8080/tcp", range(8080, 8080, Protocol::TCP)),
            ("8080", range(8080, 8080, Protocol::TCP)),
            (" 53/UDP ", range(53, 53, Protocol::UDP)),
            ("7000-7010/udp", range(7000, 7010, Protocol::UDP)),
            ("7010-7000/udp", None),
            ("70000/tcp", None),
            ("80/icmp", None),
            ("80/", None),
            ("", None),
            ("-/tcp", None),
        ] {
            assert_eq!(PortRange::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn macs_are_read_whole_or_not_at_all() {
        assert_eq!(mac("02:42:ac:12:00:03"), Some(MacAddr([2, 0x42, 0xac, 0x12, 0, 3])));
        for text in ["", "02:42:ac:12:00", "02:42:ac:12:00:03:04", "02:42:ac:12:00:0g", "00:00:00:00:00:00"] {
            assert_eq!(mac(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let long = "ä".repeat(TEXT_MAX);
        assert_eq!(clipped(&long).len(), TEXT_MAX);
        assert_eq!(clipped(&long[..TEXT_MAX - 2]).len(), TEXT_MAX - 2);
        assert_eq!(clipped(&format!("x{long}")).len(), TEXT_MAX - 1);
    }

    #[test]
    fn a_container_is_kept_apart_as_docker_was_told() {
        let read = |text: &str| {
            let Value::Object(object) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
            read_container(&object).confinement
        };
        let told = read(
            r#"{"Config":{"User":"1000:50"},
                "HostConfig":{"Privileged":false,"CapAdd":["CAP_NET_ADMIN"],"CapDrop":["ALL"],
                              "NetworkMode":"container:abc","PidMode":"host","IpcMode":"private"},
                "Mounts":[{"Type":"volume","Name":"data","Source":"/var/lib/docker/volumes/data/_data","Destination":"/data","RW":true},
                          {"Type":"bind","Source":"/var/run/docker.sock","Destination":"/var/run/docker.sock","RW":false},
                          {"Type":"tmpfs","Destination":"/tmp"}]}"#,
        )
        .unwrap();
        assert_eq!((told.user.as_str(), told.is_privileged), ("1000", false));
        assert_eq!(told.capabilities.iter().collect::<Vec<_>>(), ["NET_ADMIN"]);
        let mounts: Vec<_> =
            told.mounts.iter().map(|it| (it.target.as_str(), it.volume.as_str(), it.is_writable)).collect();
        assert_eq!(mounts, [("/data", "data", true), ("/var/run/docker.sock", "", false)]);
        let shared: Vec<_> = told.shared.iter().map(|it| (it.namespace, it.owner.as_deref())).collect();
        assert_eq!(shared, [(NamespaceKind::Network, Some("abc")), (NamespaceKind::Pid, None)]);
        // Who says half says nothing: an answer that was shortened must not pass for a confined container.
        assert_eq!(read(r#"{"HostConfig":{"CapAdd":["ALL"]},"Config":{}}"#), None);
        let many: Vec<String> =
            (0..70).map(|n| format!(r#"{{"Type":"bind","Source":"/{n}","Destination":"/{n}"}}"#)).collect();
        let many = read(&format!(r#"{{"HostConfig":{{"Privileged":true}},"Mounts":[{}]}}"#, many.join(",")))
            .unwrap();
        assert_eq!((many.mounts.len(), many.mounts_left_out, many.user.as_str()), (64, 6, "root"));
        assert_eq!(many.capabilities.iter().collect::<Vec<_>>(), ["ALL"]);
    }

    #[test]
    fn any_json_is_read_without_a_panic() {
        for text in [
            "{}",
            r#"{"State":1,"NetworkSettings":2}"#,
            r#"{"State":{},"NetworkSettings":[],"HostConfig":"x","Config":{"Labels":7}}"#,
            r#"{"State":{"StartedAt":"x","Pid":-1},"NetworkSettings":{"Networks":{"":null},"Ports":{"x":{}}}}"#,
            r#"{"Driver":"bridge","IPAM":{"Config":[1,{"Subnet":1}]},"Id":"é","Containers":{"x":{}}}"#,
            r#"{"RootFS":{},"Config":null,"RepoTags":[1,null]}"#,
        ] {
            let Value::Object(object) = serde_json::from_str(text).unwrap() else { panic!("{text}") };
            read_object(&object);
        }
    }
}
