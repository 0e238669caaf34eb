mod generations;

use portolan_flowtable::{
    Direction, Directory, Holder, InterfaceId, Network, NonIp, Observation, Provenance, Role,
};

use super::*;
use crate::inventory::Endpoint;
use crate::record::PictureRecord;

const BRIDGE: u32 = 3;
const BRIDGE_NAME: &str = "br-0123456789ab";
const NETWORK: &str = "0123456789abcdef";

type TableRows = (BTreeMap<String, i32>, BTreeMap<i32, String>, BTreeMap<u32, u32>, BTreeMap<u32, String>);

/// Namespaces as a table: sandbox path to number, and what processes say.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<TableRows>>);

impl Namespaces for Table {
    fn netns_id(&mut self, of: &Whereabouts) -> Result<Option<i32>, ()> {
        self.0.lock().unwrap().0.get(&of.sandbox).map(|number| Some(*number)).ok_or(())
    }

    fn containers_in(&mut self, netns_id: i32) -> BTreeSet<String> {
        self.0.lock().unwrap().1.get(&netns_id).cloned().into_iter().collect()
    }

    fn containers_by_index(&mut self) -> BTreeMap<u32, BTreeSet<String>> {
        let rows = self.0.lock().unwrap();
        rows.3.iter().map(|(index, id)| (*index, BTreeSet::from([id.clone()]))).collect()
    }

    fn interface_indexes(&mut self, of: &Whereabouts) -> BTreeSet<u32> {
        self.0.lock().unwrap().2.get(&of.pid).copied().into_iter().collect()
    }
}

/// A host under test: its links as netlink would tell them.
struct Host {
    book: RosterBook,
    links: LinkPicture,
    namespaces: Table,
}

fn seconds(at: i64) -> Timestamp {
    Timestamp(at * Timestamp::SECOND)
}

fn milliseconds(at: i64) -> Timestamp {
    Timestamp(at * Timestamp::MILLISECOND)
}

impl Host {
    fn new() -> Self {
        let namespaces = Table::default();
        let book = RosterBook::with_namespaces(&["lab0".to_owned()], Box::new(namespaces.clone()));
        let mut host = Self { book, links: LinkPicture::default(), namespaces };
        host.link(1, "lo", "", None);
        host.link(2, "eth0", "", None);
        host.link(BRIDGE, BRIDGE_NAME, "bridge", None);
        host
    }

    fn link(&mut self, index: u32, name: &str, kind: &str, master: Option<u32>) -> &mut Link {
        let link = Link {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            master,
            mac: MacAddr([2, 0, 0, 0, 0, u8::try_from(index).unwrap_or(0)]),
            ..Link::default()
        };
        self.links.links.insert(index, link);
        self.links.links.get_mut(&index).unwrap()
    }

    fn veth(&mut self, index: u32, netns_id: i32) {
        let link = self.link(index, &format!("veth{index}"), "veth", Some(BRIDGE));
        link.netns_id = Some(netns_id);
        link.peer = Some(index - 1);
    }

    fn gone(&mut self, index: u32) {
        let gone = self.links.links.remove(&index);
        self.links.departed.extend(gone);
    }

    fn tell(&mut self, now: Timestamp) -> Arc<Picture> {
        self.book.links_changed(&self.links, now);
        self.links.departed.clear();
        self.book.picture()
    }

    fn network(&self, now: Timestamp) {
        let network = DockerNetwork {
            id: NETWORK.to_owned(),
            name: "shop".to_owned(),
            driver: "bridge".to_owned(),
            subnets: vec!["172.18.0.0/16".parse().unwrap()],
            gateways: vec!["172.18.0.1".parse().unwrap()],
            bridge: Some(BRIDGE_NAME.to_owned()),
            ..DockerNetwork::default()
        };
        self.book.networks_seen(vec![network], true, now);
    }

    fn sandbox(&self, container: &str, netns_id: i32) {
        self.namespaces.0.lock().unwrap().0.insert(format!("/netns/{container}"), netns_id);
    }

    fn inspect(&self, record: Container, now: Timestamp) -> Arc<Picture> {
        self.book.container_inspected(record, now, now);
        self.book.picture()
    }
}

fn container(name: &str, address: &str, started_at: Timestamp) -> Container {
    let endpoint = Endpoint {
        network: "shop".to_owned(),
        network_id: NETWORK.to_owned(),
        addresses: vec![address.parse().unwrap()],
        ..Endpoint::default()
    };
    Container {
        id: format!("id-{name}"),
        name: name.to_owned(),
        is_running: true,
        started_at: Some(started_at),
        pid: 100,
        sandbox: format!("/netns/{name}"),
        endpoints: vec![endpoint],
        is_inspected: true,
        ..Container::default()
    }
}

fn named(picture: &Picture, index: u32) -> String {
    let attachment = picture.interfaces.get(InterfaceId(index)).attachment;
    picture.names.attachments.get(&attachment).map_or_else(String::new, |of| of.container.clone())
}

fn holder(picture: &Picture, address: &str) -> String {
    match picture.directory.holder(ScopeId(1), address.parse().unwrap()) {
        Holder::Attachment(of) => {
            picture.names.attachments.get(&of).map_or_else(String::new, |of| of.container.clone())
        }
        other @ (Holder::Host
        | Holder::External
        | Holder::Unclaimed
        | Holder::Group
        | Holder::Ambiguous
        | Holder::Bare) => format!("{other:?}"),
    }
}

#[test]
fn roles_come_from_links_alone() {
    let mut host = Host::new();
    host.link(4, "lab0", "bridge", None);
    host.link(5, "virbr0", "bridge", None);
    host.veth(7, 0);
    host.link(8, "veth8", "veth", Some(4));
    host.link(9, "veth9", "veth", Some(5));
    host.link(10, "uplink", "veth", None);
    host.link(11, "eth1", "", Some(BRIDGE));
    let picture = host.tell(seconds(1));
    for (index, role, scope, is_fresh) in [
        (1, Role::Foreign, 0, false),
        (2, Role::Foreign, 0, false),
        (BRIDGE, Role::Bridge, 1, false),
        (4, Role::Bridge, 2, false),
        (5, Role::Foreign, 0, false),
        (7, Role::Container, 1, false),
        (8, Role::Container, 2, false),
        (9, Role::Foreign, 0, false),
        (10, Role::Foreign, 0, false),
        (11, Role::Foreign, 0, false),
        (99, Role::Unknown, 0, false),
    ] {
        let entry = picture.interfaces.get(InterfaceId(index));
        assert_eq!((entry.role, entry.scope.0, entry.is_fresh), (role, scope, is_fresh), "{index}");
    }
    assert_eq!(picture.interfaces.get(InterfaceId(BRIDGE)).mac, MacAddr([2, 0, 0, 0, 0, 3]));

    host.link(12, "veth12", "veth", None);
    let picture = host.tell(seconds(2));
    assert_eq!(
        picture.interfaces.get(InterfaceId(12)).role,
        Role::Unknown,
        "it may yet become a container's"
    );
    host.veth(12, 1);
    let entry = host.tell(seconds(2)).interfaces.get(InterfaceId(12));
    assert_eq!((entry.role, entry.is_fresh), (Role::Container, true));
    host.link(13, "veth13", "veth", None);
    host.tell(seconds(3));
    host.book.pass_time(seconds(6));
    assert_eq!(host.book.picture().interfaces.get(InterfaceId(13)).role, Role::Foreign);
}

#[test]
fn a_bridge_of_any_name_becomes_a_container_network_by_docker_s_word() {
    let mut host = Host::new();
    host.link(4, "shopnet", "bridge", None);
    host.link(8, "veth8", "veth", Some(4));
    let before = host.tell(seconds(1));
    assert_eq!(before.interfaces.get(InterfaceId(8)).role, Role::Foreign);
    let network =
        DockerNetwork { id: "n".to_owned(), bridge: Some("shopnet".to_owned()), ..DockerNetwork::default() };
    host.book.networks_seen(vec![network], true, seconds(2));
    let after = host.book.picture();
    assert_eq!(after.interfaces.get(InterfaceId(8)).role, Role::Container);
    assert_ne!(after.epoch, before.epoch);
}

#[test]
fn a_veth_is_named_whichever_comes_first_the_link_or_docker_s_answer() {
    for link_first in [true, false] {
        let mut host = Host::new();
        host.tell(seconds(1));
        host.network(seconds(1));
        host.sandbox("web", 4);
        let record = container("web", "172.18.0.2", seconds(2));
        let picture = if link_first {
            host.veth(8, 4);
            host.tell(seconds(2));
            host.inspect(record, seconds(3))
        } else {
            host.inspect(record.clone(), seconds(2));
            host.veth(8, 4);
            host.tell(seconds(3));
            // The record is older than the link: it names the veth only after a while, or by a later answer.
            assert_eq!(named(&host.book.picture(), 8), "");
            host.inspect(record, seconds(4))
        };
        assert_eq!(named(&picture, 8), "web", "link first: {link_first}");
        assert_eq!(holder(&picture, "172.18.0.2"), "web");
        assert_eq!(holder(&picture, "172.18.0.1"), "Host");
        assert_eq!(holder(&picture, "172.18.0.3"), "Unclaimed");
        let counts = &picture.counts;
        assert_eq!((counts.containers, counts.matched, counts.identity_by.as_str()), (1, 1, "netns id"));
    }
}

#[test]
fn a_hundred_containers_with_one_address_and_one_namespace_number_are_kept_apart() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    let mut attachments = BTreeSet::new();
    for round in 0..100_u32 {
        let name = format!("c{round}");
        let at = milliseconds(2000 + i64::from(round) * 50);
        let index = 100 + 2 * round;
        host.sandbox(&name, 9);
        host.veth(index, 9);
        host.tell(at);
        let picture = host.inspect(container(&name, "172.18.0.2", at.plus(1)), at.plus(2_000_000));
        assert_eq!(named(&picture, index), name);
        assert_eq!(holder(&picture, "172.18.0.2"), name);
        attachments.insert(picture.interfaces.get(InterfaceId(index)).attachment);
        // It ends; its number and its address go to the next one at once, before Docker says so.
        host.namespaces.0.lock().unwrap().0.remove(&format!("/netns/{name}"));
        host.gone(index);
        host.tell(at.plus(40 * Timestamp::MILLISECOND));
    }
    assert_eq!(attachments.len(), 100);
    let names = host.book.picture().names.clone();
    assert_eq!(names.attachments.len(), 100);
    let held = &names.addresses[&(ScopeId(1), "172.18.0.2".parse().unwrap())];
    assert_eq!(held.len(), 100);
    for (one, next) in held.iter().zip(&held[1..]) {
        assert!(one.from < one.until.unwrap() && one.until.unwrap() <= next.from, "{one:?} {next:?}");
    }
}

#[test]
fn of_two_open_bindings_of_one_address_the_later_one_holds() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    for (at, index, name) in [(2, 8, "old"), (3, 10, "new")] {
        let number = i32::try_from(index).unwrap();
        host.sandbox(name, number);
        host.veth(index, number);
        host.tell(seconds(at));
        host.inspect(container(name, "172.18.0.2", seconds(at)), seconds(at));
    }
    let picture = host.book.picture();
    assert_eq!(holder(&picture, "172.18.0.2"), "new");
    let held = &picture.names.addresses[&(ScopeId(1), "172.18.0.2".parse().unwrap())];
    let untils: Vec<_> = held.iter().map(|binding| binding.until).collect();
    assert_eq!(untils, [Some(seconds(3)), None], "the end of the old one is only late in coming");
}

#[test]
fn a_dead_veth_is_not_given_to_the_container_that_got_its_namespace_number() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    host.veth(8, 9);
    host.tell(seconds(2));
    host.gone(8);
    host.tell(seconds(3));
    host.sandbox("later", 9);
    let picture = host.inspect(container("later", "172.18.0.2", seconds(4)), seconds(4));
    assert_eq!(named(&picture, 8), "");
    assert_eq!(picture.interfaces.get(InterfaceId(8)).role, Role::Container, "late frames are still its own");
}

#[test]
fn a_container_gone_before_it_could_be_inspected_is_named_by_its_events() {
    // By its namespace, and for who may not look at namespaces by the index of its own end; whether or not that end
    // is taken out of the namespace before the link goes.
    for is_vacated in [false, true] {
        short_life(|rows, id| drop(rows.1.insert(9, id)), is_vacated);
        short_life(|rows, id| drop(rows.3.insert(7, id)), is_vacated);
    }
}

fn short_life(process: impl FnOnce(&mut TableRows, String), is_vacated: bool) {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    let id = "a".repeat(64);
    process(&mut host.namespaces.0.lock().unwrap(), id.clone());
    let attributes = HashMap::from(
        [
            ("name", "job-1"),
            ("image", "busybox:1"),
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "job"),
            ("exitCode", "0"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    host.book.container_mentioned(&id, &attributes, "create", seconds(2), seconds(2));
    host.veth(8, 9);
    host.tell(seconds(2));
    assert_eq!(named(&host.book.picture(), 8), "", "its start may still be told");
    if is_vacated {
        host.links.links.get_mut(&8).unwrap().netns_id = None;
        host.tell(milliseconds(2050));
        // Another's process may have its number by then.
        host.namespaces.0.lock().unwrap().1.insert(9, "b".repeat(64));
    }
    host.gone(8);
    host.tell(milliseconds(2100));
    for action in ["start", "die", "destroy"] {
        host.book.container_mentioned(&id, &attributes, action, milliseconds(2150), milliseconds(2150));
    }
    let picture = host.book.picture();
    let attachment = picture.interfaces.get(InterfaceId(8)).attachment;
    let job = &picture.names.attachments[&attachment];
    assert_eq!((job.qualified().as_str(), job.provenance), ("shop/job", Provenance::Compose));
    assert_eq!(job.image, "busybox:1");
    assert!(!job.labels.contains_key("exitCode"));
    assert_eq!(picture.names.workloads.len(), 1, "it ended within the last 40 s");
    host.book.pass_time(seconds(43));
    let picture = host.book.picture();
    assert!(picture.names.workloads.is_empty(), "its series end");
    assert_eq!(
        picture.names.attachments[&attachment].qualified(),
        "shop/job",
        "late frames are still its own"
    );
    host.book.pass_time(seconds(63));
    let picture = host.book.picture();
    assert!(picture.names.workloads.is_empty() && picture.names.attachments.is_empty());
    assert_eq!(picture.interfaces.get(InterfaceId(8)).role, Role::Unknown);
}

#[test]
fn whoever_ended_lends_its_name_to_nobody_who_has_its_process_number() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    host.inspect(container("earlier", "172.18.0.2", seconds(1)), seconds(1));
    host.book.container_mentioned("id-earlier", &HashMap::new(), "die", seconds(2), seconds(2));
    // Process 100 is another container's, which nobody has told of.
    host.namespaces.0.lock().unwrap().2.insert(100, 7);
    host.veth(8, 9);
    assert_eq!(named(&host.tell(seconds(5)), 8), "");
    host.book.pass_time(seconds(9));
    assert_eq!(named(&host.book.picture(), 8), "");
}

#[test]
fn of_two_containers_whose_own_ends_have_one_index_neither_is_named_by_it() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    let id = "a".repeat(64);
    host.namespaces.0.lock().unwrap().3.insert(7, id.clone());
    let attributes = HashMap::from([("name".to_owned(), "job-1".to_owned())]);
    host.book.container_mentioned(&id, &attributes, "start", seconds(2), seconds(2));
    host.veth(8, 9);
    host.veth(10, 11);
    host.links.links.get_mut(&10).unwrap().peer = Some(7);
    host.tell(seconds(2));
    host.book.pass_time(seconds(3));
    let picture = host.book.picture();
    assert_eq!((named(&picture, 8), named(&picture, 10)), (String::new(), String::new()));
}

#[test]
fn a_restart_is_another_generation_at_another_attachment() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    host.sandbox("web", 4);
    host.veth(8, 4);
    host.tell(seconds(2));
    host.inspect(container("web", "172.18.0.2", seconds(2)), seconds(3));
    host.gone(8);
    host.tell(seconds(10));
    let holder = |picture: &Picture| picture.directory.holder(ScopeId(1), "172.18.0.2".parse().unwrap());
    assert_eq!(holder(&host.book.picture()), Holder::Unclaimed, "the next one to use it forges nothing");
    host.veth(10, 4);
    host.tell(seconds(11));
    assert_eq!(holder(&host.book.picture()), Holder::Unclaimed);
    assert_eq!(named(&host.book.picture(), 10), "", "the record is of the life before");
    let picture = host.inspect(container("web", "172.18.0.2", seconds(11)), seconds(12));
    let started = |index| {
        let attachment = picture.interfaces.get(InterfaceId(index)).attachment;
        picture.names.attachments[&attachment].started_at
    };
    assert_eq!((started(8), started(10)), (seconds(2), seconds(11)));
    // An answer that was asked for earlier and came later changes nothing.
    host.book.container_inspected(container("old", "172.18.0.2", seconds(2)), seconds(9), seconds(13));
    assert_eq!(named(&host.book.picture(), 10), "web");
}

#[test]
fn a_renamed_container_keeps_its_generation() {
    let mut host = Host::new();
    host.network(seconds(1));
    host.sandbox("web", 4);
    host.veth(8, 4);
    host.tell(seconds(2));
    host.inspect(container("web", "172.18.0.2", seconds(1)), seconds(3));
    let mut renamed = container("web", "172.18.0.2", seconds(1));
    renamed.name = "front".to_owned();
    let picture = host.inspect(renamed, seconds(4));
    assert_eq!(named(&picture, 8), "front");
    let attachment = picture.interfaces.get(InterfaceId(8)).attachment;
    assert_eq!(picture.names.attachments[&attachment].started_at, seconds(1));
}

#[test]
fn without_privilege_the_interface_index_tells_where_it_is_unmistakable() {
    for twins in [false, true] {
        let mut host = Host::new();
        host.network(seconds(1));
        host.namespaces.0.lock().unwrap().2.insert(100, 7);
        host.veth(8, 4);
        if twins {
            host.link(9, "veth9", "veth", Some(BRIDGE)).peer = Some(7);
        }
        host.tell(seconds(1));
        let picture = host.inspect(container("web", "172.18.0.2", seconds(1)), seconds(1));
        assert_eq!(named(&picture, 8), if twins { "" } else { "web" });
        assert_eq!(picture.counts.identity_by, if twins { "nothing" } else { "interface index" });
    }
}

#[test]
fn the_epoch_moves_with_the_answers_and_only_with_them() {
    let mut host = Host::new();
    let first = host.tell(seconds(1)).epoch;
    host.book.pass_time(seconds(2));
    assert_eq!(host.book.picture().epoch, first);
    host.book.docker(|state| state.stale = Some("frozen".to_owned()), seconds(3));
    let picture = host.book.picture();
    assert_eq!((picture.epoch, picture.names.stale.as_deref()), (first, Some("frozen")));
    host.veth(8, 4);
    assert_ne!(host.tell(seconds(4)).epoch, first);
}

#[test]
fn readers_are_woken_only_by_news() {
    let mut host = Host::new();
    host.veth(8, 4);
    host.tell(seconds(1));
    let mut pictures = host.book.subscribe();
    pictures.mark_unchanged();
    host.book.pass_time(seconds(2));
    assert!(!pictures.has_changed().unwrap());
    host.network(seconds(3));
    assert!(pictures.has_changed().unwrap());
}

#[test]
fn what_a_full_listing_leaves_out_is_gone() {
    let host = Host::new();
    host.inspect(container("old", "172.18.0.2", seconds(1)), seconds(1));
    host.inspect(container("new", "172.18.0.3", seconds(5)), seconds(5));
    host.book.listed(&BTreeSet::new(), seconds(3), seconds(6));
    let picture = host.book.picture();
    assert_eq!(picture.counts.containers, 1, "one was created after the question");
    assert_eq!(picture.names.workloads.len(), 2, "the other is kept for late names");
    assert!(picture.docker.is_listed);
}

#[test]
fn a_link_that_is_gone_keeps_its_name_as_long_as_its_row() {
    let mut host = Host::new();
    host.veth(8, 1);
    host.tell(seconds(1));
    let name = |picture: &Picture, index| picture.interface_names.get(&index).cloned().unwrap_or_default();
    assert_eq!(name(&host.book.picture(), 8), "veth8");
    let picture = host.book.picture();
    assert_eq!([1, 2, BRIDGE].map(|index| name(&picture, index)), ["lo", "eth0", BRIDGE_NAME]);
    host.gone(8);
    // One more comes and goes between two pictures, and one is renamed.
    host.veth(9, 2);
    host.gone(9);
    host.link(2, "uplink", "", None);
    let epoch = picture.epoch;
    let picture = host.tell(seconds(2));
    assert_eq!([2, 8, 9].map(|index| name(&picture, index)), ["uplink", "veth8", "veth9"]);
    assert_ne!(picture.epoch, epoch);
    host.link(2, "eth0", "", None);
    let renamed = host.tell(seconds(3));
    assert_eq!((name(&renamed, 2), renamed.epoch), ("eth0".to_owned(), picture.epoch));
    host.book.pass_time(seconds(40));
    let picture = host.book.picture();
    assert_eq!([2, 8, 9].map(|index| name(&picture, index)), ["eth0", "", ""]);
    assert!(picture.interfaces.rows().all(|(index, _)| picture.interface_names.contains_key(&index.0)));
}

#[test]
fn a_live_host_is_recorded_and_restored() {
    let mut host = Host::new();
    host.tell(seconds(1));
    host.network(seconds(1));
    let mut told = PictureRecord::default();
    for (number, name) in [(2_u8, "web"), (3, "db")] {
        host.sandbox(name, i32::from(number));
        host.veth(6 + 2 * u32::from(number), i32::from(number));
        host.tell(seconds(1));
        let picture = host.inspect(container(name, &format!("172.18.0.{number}"), seconds(1)), seconds(1));
        let record = PictureRecord::of(&picture);
        told.apply(told.patch_to(&record));
        let restored = told.restore();
        assert_eq!(PictureRecord::of(&restored), record);
        assert!(is_same(&restored, &picture));
        assert!(restored.interfaces.rows().eq(picture.interfaces.rows()));
        assert_eq!(holder(&restored, &format!("172.18.0.{number}")), name);
        assert_eq!(named(&restored, 6 + 2 * u32::from(number)), name);
    }
}

/// Returns whose hardware address a frame of an interface was sent from, if it is another's: an interface's index.
fn robbed(picture: &Picture, from: u32, mac: MacAddr) -> Option<u32> {
    let seen = Observation {
        at: seconds(1),
        is_timed: true,
        frame: 1,
        interface: InterfaceId(from),
        direction: Direction::Incoming,
        source_mac: mac,
        wire_bytes: 60,
        fingerprint: 0,
        network: Network::NonIp(NonIp::Other),
    };
    let holder = picture.interfaces.robbed(&seen)?;
    let is_its = |(_, row): &(InterfaceId, InterfaceEntry)| {
        row.attachment == holder && matches!(row.role, Role::Container | Role::Bridge)
    };
    picture.interfaces.rows().find(is_its).map(|(index, _)| index.0)
}

#[test]
fn a_hardware_address_is_stolen_only_from_whoever_holds_it_now_in_the_same_network() {
    const OTHER: u32 = 4;
    let mac = |last| MacAddr([2, 0x42, 0, 0, 0, last]);
    let bridge = MacAddr([2, 0, 0, 0, 0, 3]);
    let with_mac = |name: &str, address: &str, at, last| {
        let mut record = container(name, address, at);
        record.endpoints[0].mac = Some(mac(last));
        record
    };
    let mut host = Host::new();
    host.link(OTHER, "lab0", "bridge", None);
    host.tell(seconds(1));
    host.network(seconds(1));
    for (index, number, name, last) in [(8, 4, "victim", 0x11), (10, 5, "thief", 0x12)] {
        host.sandbox(name, number);
        host.veth(index, number);
        host.tell(seconds(2));
        // Until Docker says what its own is, nobody is judged.
        assert_eq!(robbed(&host.book.picture(), index, mac(0x11)), None);
        host.inspect(with_mac(name, &format!("172.18.0.{last}"), seconds(2), last), seconds(2));
    }
    let picture = host.book.picture();
    assert_eq!(robbed(&picture, 10, mac(0x11)), Some(8), "the victim's");
    assert_eq!(robbed(&picture, 10, bridge), Some(BRIDGE), "the gateway's");
    assert_eq!(robbed(&picture, 10, mac(0x12)), None, "its own");
    assert_eq!(robbed(&picture, 10, mac(0x77)), None, "nobody's");
    // The victim starts anew with the same address: neither life robs the other.
    host.gone(8);
    let picture = host.tell(seconds(3));
    assert_eq!(robbed(&picture, 10, mac(0x11)), None, "nobody holds it");
    host.veth(12, 4);
    assert_eq!(robbed(&host.tell(seconds(4)), 12, mac(0x11)), None);
    let picture = host.inspect(with_mac("victim", "172.18.0.17", seconds(4), 0x11), seconds(4));
    assert_eq!((robbed(&picture, 12, mac(0x11)), robbed(&picture, 8, mac(0x11))), (None, None));
    assert_eq!(robbed(&picture, 10, mac(0x11)), Some(12));
    // It moves to another network and takes its address along: whoever has it there or gets it here is no thief.
    host.gone(12);
    host.link(14, "veth14", "veth", Some(OTHER)).netns_id = Some(4);
    let picture = host.tell(seconds(5));
    assert_eq!((robbed(&picture, 14, mac(0x11)), robbed(&picture, 10, mac(0x11))), (None, None));
    host.sandbox("next", 6);
    host.veth(16, 6);
    host.tell(seconds(6));
    let picture = host.inspect(with_mac("next", "172.18.0.17", seconds(6), 0x11), seconds(6));
    assert_eq!((robbed(&picture, 16, mac(0x11)), robbed(&picture, 14, mac(0x11))), (None, None));
}
