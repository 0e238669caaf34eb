//! Pictures for tests: any there may be, in small ranges so that they collide, and a host of realistic size.

use std::net::Ipv4Addr;

use portolan_flowtable::{
    DocumentSource, DocumentedPort, ListeningPort, MacAddr, Port, Protocol, Provenance, Role, ServicePort,
    Timestamp,
};
use proptest::collection::{btree_map, hash_map, vec};
use proptest::option;
use proptest::sample::select;

use super::*;
use crate::directory::link_local;

pub(super) const ATTACHMENTS: u32 = 6;
pub(super) const PORTS: u16 = 4;

const ADDRESSES: [&str; 14] = [
    "172.18.0.1",
    "172.18.0.2",
    "172.18.0.3",
    "172.18.0.255",
    "172.19.0.1",
    "172.19.0.2",
    "::ffff:172.18.0.2",
    "fd00:1::1",
    "fd00:1::2",
    "fe80::42:acff:fe12:3",
    "192.0.2.1",
    "198.51.100.1",
    "127.0.0.1",
    "224.0.0.251",
];
const SUBNETS: [&str; 6] =
    ["172.18.0.0/24", "172.18.0.0/16", "172.19.0.0/24", "fd00:1::/64", "192.0.2.0/31", "0.0.0.0/0"];

/// Addresses worth asking a picture for: those of every generated one, and its own.
pub(super) fn probes(picture: &Picture) -> BTreeSet<IpAddr> {
    let known = ADDRESSES.iter().map(|text| text.parse().unwrap());
    let ingredients = picture.directory.ingredients();
    let subnets = ingredients.networks.values().flat_map(|(subnets, _)| subnets);
    let own = subnets.filter_map(Subnet::broadcast).chain(ingredients.held.iter().map(|held| held.1));
    known.chain(own).chain(picture.names.host_addresses.iter().copied()).collect()
}

fn address() -> impl Strategy<Value = IpAddr> {
    select(&ADDRESSES[..]).prop_map(|text| text.parse().unwrap())
}

fn text() -> impl Strategy<Value = String> {
    select(&["", "web", "db", "\"\n\u{1b}[31m\u{202e}", "naïve \\ </script>"][..]).prop_map(str::to_owned)
}

fn time() -> impl Strategy<Value = Timestamp> {
    select(&[i64::MIN, -1, 0, 1, 1_764_000_000_123_456_789, i64::MAX][..]).prop_map(Timestamp)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::TCP, Protocol::UDP, Protocol(200)][..])
}

fn attachment() -> impl Strategy<Value = AttachmentId> {
    prop_oneof![9 => 0..ATTACHMENTS, 1 => Just(u32::MAX)].prop_map(AttachmentId)
}

fn scope() -> impl Strategy<Value = ScopeId> {
    prop_oneof![9 => 0..5_u16, 1 => Just(u16::MAX)].prop_map(ScopeId)
}

fn documented() -> impl Strategy<Value = DocumentedPort> {
    let source = prop_oneof![
        Just(DocumentSource::Image),
        Just(DocumentSource::Run),
        text().prop_map(|host| DocumentSource::Publish { host }),
        text().prop_map(|service| DocumentSource::Swarm { service }),
        text().prop_map(|place| DocumentSource::Compose { place }),
        text().prop_map(|key| DocumentSource::Label { key }),
        text().prop_map(|place| DocumentSource::Roster { place }),
        text().prop_map(|place| DocumentSource::Contract { place }),
    ];
    (0..PORTS, 0..PORTS, protocol(), source).prop_map(|(first, last, protocol, source)| DocumentedPort {
        first: Port(first),
        last: Port(last),
        protocol,
        source,
    })
}

/// Few ids, starts and contents, so that generations and records of one generation meet.
fn workload() -> impl Strategy<Value = Arc<Workload>> {
    let long = format!("{:0>64}", "1");
    let other_long = format!("{long:.12}{:0>52}", "2");
    let id = select(vec!["".to_owned(), "a".to_owned(), "000000000000".to_owned(), long, other_long]);
    let provenance = select(
        &[
            Provenance::Compose,
            Provenance::Swarm,
            Provenance::Roster,
            Provenance::ContainerName,
            Provenance::Image,
        ][..],
    );
    let texts = (text(), text(), text(), text());
    let more = (btree_map(text(), text(), 0..3), vec(text(), 0..3), vec(documented(), 0..3));
    (id, select(&[0, 1][..]), provenance, texts, more, option::of(text()), option::of(text())).prop_map(
        |(id, started_at, provenance, texts, more, identity_claim, unobservable)| {
            let ((container, project, service, image), (labels, networks, documented)) = (texts, more);
            Arc::new(Workload {
                container_id: id,
                started_at: Timestamp(started_at),
                container,
                image_id: image.clone(),
                project,
                service,
                provenance,
                image,
                labels,
                networks,
                documented,
                identity_claim,
                confinement: unobservable
                    .clone()
                    .map(|user| Box::new(portolan_flowtable::Confinement { user, ..Default::default() })),
                image_digests: Vec::new(),
                unobservable,
            })
        },
    )
}

fn interface() -> impl Strategy<Value = InterfaceEntry> {
    let role = select(&[Role::Unknown, Role::Container, Role::Bridge, Role::Foreign, Role::Plain][..]);
    (role, scope(), attachment(), any::<[u8; 6]>(), any::<bool>()).prop_map(
        |(role, scope, attachment, mac, is_fresh)| InterfaceEntry {
            role,
            scope,
            attachment,
            mac: MacAddr(mac),
            is_fresh,
        },
    )
}

fn index() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..6_u32, 2 => 250..260_u32, 1 => (1 << 24) - 1..(1 << 24) + 1_u32]
}

fn interfaces() -> impl Strategy<Value = InterfaceTable> {
    let default = prop_oneof![3 => Just(InterfaceEntry::default()), 1 => interface()];
    (default, vec((index(), interface()), 0..6)).prop_map(|(default, rows)| {
        let mut table = InterfaceTable::with_default(default);
        for (index, entry) in rows {
            table.set(InterfaceId(index), entry);
        }
        table
    })
}

/// Workloads are drawn from the picture's own few, so that they are shared.
fn of(workloads: &[Arc<Workload>], drawn: &prop::sample::Index) -> Option<Arc<Workload>> {
    (!workloads.is_empty()).then(|| Arc::clone(drawn.get(workloads)))
}

type Drawn = prop::sample::Index;

type Parts = (u16, Vec<ScopeAddresses>, Vec<(ScopeId, IpAddr, AttachmentId)>, Vec<IpAddr>);

fn directory() -> impl Strategy<Value = (Parts, Vec<(AttachmentId, Drawn)>)> {
    let subnet = select(&SUBNETS[..]).prop_map(|text| text.parse::<Subnet>().unwrap());
    let network = (scope(), vec(subnet, 0..3), vec(address(), 0..3))
        .prop_map(|(scope, subnets, gateways)| ScopeAddresses { scope, subnets, gateways });
    let held = vec((scope(), address(), attachment()), 0..8);
    let parts = (any::<u16>(), vec(network, 0..4), held, vec(address(), 0..3));
    (parts, vec((attachment(), any::<Drawn>()), 0..4))
}

fn published() -> impl Strategy<Value = PublishedPort> {
    (address(), 0..PORTS, protocol(), 0..PORTS, text(), time(), option::of(time())).prop_map(
        |(host_address, host_port, protocol, container_port, container_id, from, until)| PublishedPort {
            host_address,
            host_port: Port(host_port),
            protocol,
            container_port: Port(container_port),
            container_id,
            from,
            until,
        },
    )
}

fn listening() -> impl Strategy<Value = Listening> {
    let port =
        (0..PORTS, protocol(), any::<bool>(), time()).prop_map(|(port, protocol, is_loopback, since)| {
            ListeningPort { port: ServicePort::new(port, protocol), is_loopback, since }
        });
    (vec(port, 0..3), option::of(text())).prop_map(|(ports, not_checked)| Listening { ports, not_checked })
}

fn names() -> impl Strategy<Value = (Names, [Vec<(AttachmentId, Drawn)>; 3])> {
    let binding = (attachment(), time(), option::of(time())).prop_map(|(attachment, from, until)| Binding {
        attachment,
        from,
        until,
    });
    let parts = (
        any::<bool>(),
        hash_map(scope(), text().prop_map(Arc::from), 0..4),
        hash_map((scope(), address()), vec(binding, 0..4), 0..6),
        vec(published(), 0..4),
        vec(address(), 0..4),
        (option::of(text()), btree_map(text(), listening(), 0..3)),
        prop::array::uniform3(vec((attachment(), any::<Drawn>()), 0..5)),
    );
    parts.prop_map(|(has_roster, scopes, addresses, published, host_addresses, more, drawn)| {
        let (stale, listening) = more;
        let names = Names {
            has_roster,
            scopes,
            addresses,
            published,
            host_addresses,
            stale,
            listening,
            ..Names::default()
        };
        (names, drawn)
    })
}

fn counts() -> impl Strategy<Value = Counts> {
    let numbers = prop::array::uniform5(prop_oneof![0..3_u64, Just(u64::MAX)]);
    (numbers, vec((text(), text()), 0..3), text()).prop_map(|(numbers, unobservable, identity_by)| {
        let [containers, observable, matched, attachments, attachments_unnamed] = numbers;
        Counts {
            containers,
            observable,
            matched,
            unobservable,
            identity_by,
            attachments,
            attachments_unnamed,
        }
    })
}

fn docker() -> impl Strategy<Value = DockerState> {
    let parts =
        (any::<bool>(), option::of(text()), option::of(time()), 0..3_u64, any::<u64>(), text(), text());
    parts.prop_map(|(is_listed, stale, stale_since, lists, events, version, api_version)| DockerState {
        is_listed,
        stale,
        stale_since,
        lists,
        events,
        version,
        api_version,
    })
}

/// Any picture, consistent in itself or not.
pub(super) fn any_picture() -> impl Strategy<Value = Picture> {
    let of_interfaces = (interfaces(), btree_map(index(), text(), 0..4));
    (of_interfaces, directory(), names(), vec(workload(), 0..5), any::<u16>(), counts(), docker()).prop_map(
        |(
            (interfaces, interface_names),
            (directory, listeners),
            (mut names, drawn),
            workloads,
            epoch,
            counts,
            docker,
        )| {
            let [attached, listed, former] = &drawn;
            let by_attachment = |drawn: &[(AttachmentId, Drawn)]| {
                drawn.iter().filter_map(|(id, drawn)| Some((*id, of(&workloads, drawn)?))).collect()
            };
            let list = |drawn: &[(AttachmentId, Drawn)]| {
                drawn.iter().filter_map(|(_, drawn)| of(&workloads, drawn)).collect()
            };
            names.attachments = by_attachment(attached);
            names.workloads = list(listed);
            names.former = list(former);
            let (epoch_of_directory, networks, held, host) = directory;
            let listeners = by_attachment(&listeners);
            let directory = RosterDirectory::new(epoch_of_directory, &networks, held, &host, listeners);
            Picture {
                interfaces: Arc::new(interfaces),
                interface_names: Arc::new(interface_names),
                directory: Arc::new(directory),
                names: Arc::new(names),
                epoch,
                counts,
                docker,
            }
        },
    )
}

/// A host with one network and these of its containers, each with the labels, ports and addresses compose gives it.
pub(super) fn host(containers: impl IntoIterator<Item = u32>) -> Picture {
    let scope = ScopeId(1);
    let gateway = IpAddr::from([172, 18, 0, 1]);
    let mut interfaces = InterfaceTable::new();
    let mac = MacAddr([0x02, 0x42, 0xac, 0x12, 0, 1]);
    interfaces
        .set(InterfaceId(3), InterfaceEntry { role: Role::Bridge, scope, mac, ..InterfaceEntry::default() });
    let mut interface_names = BTreeMap::from([(3, "br-0123456789ab".to_owned())]);
    let mut held = Vec::new();
    let mut counts = Counts { identity_by: "netns id".to_owned(), ..Counts::default() };
    let mut names = Names {
        has_roster: true,
        scopes: HashMap::from([(scope, Arc::from("shop_default"))]),
        host_addresses: vec![gateway],
        stale: Some("Docker does not answer".to_owned()),
        ..Names::default()
    };
    for number in containers {
        let attachment = AttachmentId(number + 1);
        let index = number + 100;
        let workload = Arc::new(composed(number));
        let entry = InterfaceEntry {
            role: Role::Container,
            scope,
            attachment,
            is_fresh: true,
            ..InterfaceEntry::default()
        };
        interfaces.set(InterfaceId(index), entry);
        interface_names.insert(index, format!("veth{index:06}"));
        let address = Ipv4Addr::from_bits(0xac12_0100 + number);
        let [_, _, high, low] = address.octets();
        for address in [IpAddr::V4(address), link_local(MacAddr([0x02, 0x42, 0xac, 0x12, high, low]))] {
            held.push((scope, address, attachment));
            let binding = Binding { attachment, from: Timestamp(i64::MIN), until: None };
            names.addresses.insert((scope, address), vec![binding]);
        }
        names.published.push(PublishedPort {
            host_address: IpAddr::from([0, 0, 0, 0]),
            host_port: Port(20_000 + u16::try_from(number).unwrap()),
            protocol: Protocol::TCP,
            container_port: Port(8080),
            container_id: workload.container_id.clone(),
            from: workload.started_at,
            until: None,
        });
        names.attachments.insert(attachment, Arc::clone(&workload));
        names.workloads.push(workload);
        counts.containers += 1;
        counts.attachments += 1;
    }
    let network =
        ScopeAddresses { scope, subnets: vec!["172.18.0.0/16".parse().unwrap()], gateways: vec![gateway] };
    let epoch = u16::try_from(counts.containers).unwrap();
    let directory = RosterDirectory::new(epoch, &[network], held, &[], names.attachments.clone());
    Picture {
        interfaces: Arc::new(interfaces),
        interface_names: Arc::new(interface_names),
        directory: Arc::new(directory),
        names: Arc::new(names),
        epoch,
        counts,
        docker: DockerState { stale_since: Some(Timestamp(9 * Timestamp::SECOND)), ..DockerState::default() },
    }
}

fn composed(number: u32) -> Workload {
    let service = format!("service-{number:03}");
    let digest = format!("{number:064x}");
    let labels = [
        ("com.docker.compose.config-hash", digest.clone()),
        ("com.docker.compose.container-number", "1".to_owned()),
        ("com.docker.compose.depends_on", "service-000:service_started:false".to_owned()),
        ("com.docker.compose.image", format!("sha256:{digest}")),
        ("com.docker.compose.oneoff", "False".to_owned()),
        ("com.docker.compose.project", "shop".to_owned()),
        ("com.docker.compose.project.config_files", "/srv/shop/compose.yaml".to_owned()),
        ("com.docker.compose.project.working_dir", "/srv/shop".to_owned()),
        ("com.docker.compose.service", service.clone()),
        ("com.docker.compose.version", "2.39.1".to_owned()),
        ("maintainer", "The people of the shop <shop@example.org>".to_owned()),
        ("org.opencontainers.image.description", "One of the services of the shop".to_owned()),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        ("org.opencontainers.image.revision", digest.chars().take(40).collect()),
        ("org.opencontainers.image.source", format!("https://git.example.org/shop/{service}")),
        ("org.opencontainers.image.version", "1.27.3".to_owned()),
    ];
    let documented =
        |source| DocumentedPort { first: Port(8080), last: Port(8080), protocol: Protocol::TCP, source };
    Workload {
        // The number stands in front, where a short id has it too.
        container_id: format!("{number:012x}{number:052x}"),
        started_at: Timestamp(i64::from(number) * Timestamp::SECOND),
        container: format!("shop-{service}-1"),
        project: "shop".to_owned(),
        image_id: format!("sha256:{number:064x}"),
        image: format!("registry.example.org/shop/{service}:1.27.3"),
        service,
        provenance: Provenance::Compose,
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        networks: vec!["shop_default".to_owned()],
        documented: vec![
            documented(DocumentSource::Image),
            documented(DocumentSource::Publish { host: format!("0.0.0.0:{}", 20_000 + number) }),
        ],
        identity_claim: None,
        unobservable: None,
        confinement: None,
        image_digests: Vec::new(),
    }
}
