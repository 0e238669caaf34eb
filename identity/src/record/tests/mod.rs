mod pictures;

use std::fs;
use std::path::Path;

use portolan_flowtable::{Holder, Protocol, Role, ServicePort, Timestamp};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::roster::Roster;
use pictures::{ATTACHMENTS, PORTS, any_picture, host, probes};

/// The record as it comes back from a file.
fn through_text(record: &PictureRecord) -> PictureRecord {
    serde_json::from_str(&serde_json::to_string(record).unwrap()).unwrap()
}

fn patch_through_text(patch: &PicturePatch) -> PicturePatch {
    serde_json::from_str(&serde_json::to_string(patch).unwrap()).unwrap()
}

/// Compares every answer two pictures give. Destructures, so that a field more stops the build here.
fn assert_same(left: &Picture, right: &Picture) {
    let Picture { interfaces, interface_names, directory, names, epoch, counts, docker } = left;
    assert_eq!((epoch, counts, docker), (&right.epoch, &right.counts, &right.docker));
    assert_eq!(interface_names, &right.interface_names);
    assert_eq!(interfaces.default_row(), right.interfaces.default_row());
    assert!(interfaces.rows().eq(right.interfaces.rows()));
    for index in (0..260).chain([(1 << 24) - 1, 1 << 24, u32::MAX]) {
        assert_eq!(interfaces.get(InterfaceId(index)), right.interfaces.get(InterfaceId(index)), "{index}");
    }
    assert_eq!(directory.epoch(), right.directory.epoch());
    assert_eq!(directory.has_subnets(), right.directory.has_subnets());
    for address in probes(left) {
        assert_eq!(directory.is_in_a_subnet(address), right.directory.is_in_a_subnet(address), "{address}");
        for scope in (0..6).map(ScopeId) {
            let holders = [directory.holder(scope, address), right.directory.holder(scope, address)];
            assert_eq!(holders[0], holders[1], "scope {}, {address}", scope.0);
        }
    }
    for attachment in (0..ATTACHMENTS).map(AttachmentId) {
        for port in (0..PORTS).map(|port| ServicePort::new(port, Protocol::TCP)) {
            let listeners =
                [&left.directory, &right.directory].map(|of| of.is_known_listener(attachment, port));
            assert_eq!(listeners[0], listeners[1], "{attachment:?} {port}");
        }
    }
    let Names {
        has_roster,
        attachments,
        scopes,
        addresses,
        published,
        former,
        host_addresses,
        workloads,
        listening,
        stale,
    } = &**names;
    let other = &right.names;
    assert_eq!((has_roster, stale), (&other.has_roster, &other.stale));
    assert_eq!((attachments, workloads), (&other.attachments, &other.workloads));
    assert_eq!((scopes, addresses), (&other.scopes, &other.addresses));
    assert_eq!((published, former), (&other.published, &other.former));
    assert_eq!((host_addresses, listening), (&other.host_addresses, &other.listening));
}

proptest! {
    #[test]
    fn a_restored_picture_gives_every_answer_of_the_one_that_was_recorded(picture in any_picture()) {
        let record = PictureRecord::of(&picture);
        assert_same(&picture, &record.restore());
        let read = through_text(&record);
        prop_assert_eq!(&read, &record);
        assert_same(&picture, &read.restore());
    }

    #[test]
    fn the_same_picture_gives_the_same_bytes(picture in any_picture()) {
        let bytes = |picture: &Picture| serde_json::to_string(&PictureRecord::of(picture)).unwrap();
        // What is restored has maps of its own, in an order of their own; its workloads lie elsewhere in memory.
        let mut record = PictureRecord::of(&picture);
        for workload in record.workloads.values_mut().rev() {
            *workload = Arc::new(Workload::clone(workload));
        }
        let mut restored = record.restore();
        for workload in Arc::make_mut(&mut restored.names).workloads.iter_mut().rev() {
            *workload = Arc::new(Workload::clone(workload));
        }
        prop_assert_eq!(bytes(&picture), bytes(&restored));
    }

    #[test]
    fn a_chain_of_patches_leads_to_the_last_picture(pictures in prop::collection::vec(any_picture(), 1..6)) {
        let mut told = PictureRecord::default();
        let mut known = PictureRecord::default();
        for picture in &pictures {
            let next = PictureRecord::of(picture);
            let patch = known.patch_to(&next);
            prop_assert_eq!(patch.is_empty(), known == next);
            told.apply(patch_through_text(&patch));
            prop_assert_eq!(&told, &next);
            assert_same(picture, &told.restore());
            known = next;
        }
    }

    #[test]
    fn every_workload_is_shared_again(picture in any_picture()) {
        let restored = through_text(&PictureRecord::of(&picture)).restore();
        let names = &restored.names;
        let all = names.attachments.values().chain(&names.workloads).chain(&names.former);
        let all: Vec<_> = all.chain(restored.directory.workloads().values()).collect();
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            prop_assert_eq!(Arc::ptr_eq(a, b), a == b);
        }
    }

    #[test]
    fn a_patch_for_another_record_is_taken_over_all_the_same(
        pictures in prop::array::uniform3(any_picture()),
    ) {
        let [mut known, from, to] = pictures.map(|picture| PictureRecord::of(&picture));
        known.apply(from.patch_to(&to));
        let restored = known.restore();
        // What dangles is dropped, so what is restored records without loss.
        assert_same(&restored, &PictureRecord::of(&restored).restore());
    }

    #[test]
    fn a_damaged_record_is_refused_or_restored(
        picture in any_picture(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let record = PictureRecord::of(&picture);
        let texts = [
            serde_json::to_string(&record).unwrap(),
            serde_json::to_string(&PictureRecord::default().patch_to(&record)).unwrap(),
        ];
        for text in texts {
            let mut bytes = text.into_bytes();
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Ok(read) = serde_json::from_slice::<PictureRecord>(bytes) {
                    let _ = read.restore();
                }
                if let Ok(read) = serde_json::from_slice::<PicturePatch>(bytes) {
                    let mut known = record.clone();
                    known.apply(read);
                    let _ = known.restore();
                }
            }
        }
    }
}

#[test]
fn a_real_roster_is_recorded_at_each_of_its_times() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files = Vec::new();
    for name in ["engine-20.10.json", "engine-29.json"] {
        files.push(Roster::parse(name, &fs::read(fixtures.join(name)).unwrap()).unwrap());
    }
    let interfaces = r#"
        [[interface]]
        index = 7
        name = "veth0a1b2c3"
        role = "container"
        network = "shop_default"
        container = "shop-web-1"

        [[interface]]
        name = "eth0"
        role = "other"

        [[interface]]
        index = 2
        role = "other"

        [[interface]]
        index = 3
        name = "br-shop"
        role = "bridge"
        network = "shop_default"
        mac = "02:42:00:00:00:01"

        [[address]]
        address = "172.18.0.44"
        network = "shop_default"
        container = "shop-job-1"
        ports = ["9229/tcp"]
        from = "2026-11-20T13:58:00Z"
        until = "2026-11-20T14:58:00Z"
    "#;
    files.push(Roster::parse("interfaces.toml", interfaces.as_bytes()).unwrap());
    let roster = Roster::merge(files);
    let mut told = PictureRecord::default();
    let changes = roster.changes();
    assert_eq!(changes.len(), 3);
    for (at, epoch) in [Timestamp(0)].into_iter().chain(changes).zip(1..) {
        let picture = roster.picture_at(at, epoch);
        let names: Vec<_> = picture.interface_names.iter().map(|(index, name)| (*index, &**name)).collect();
        assert_eq!(names, [(3, "br-shop"), (7, "veth0a1b2c3")]);
        assert!(picture.interfaces.get(InterfaceId(7)).attachment != AttachmentId(0));
        let record = through_text(&PictureRecord::of(&picture));
        assert_same(&picture, &record.restore());
        told.apply(patch_through_text(&told.patch_to(&record)));
        assert_same(&picture, &told.restore());
    }
}

#[test]
fn a_record_can_be_read_by_a_person() {
    let record = PictureRecord::of(&host([4]));
    let written = serde_json::to_value(&record).unwrap();
    let key = "000000000004 1970-01-01T00:00:04.000000000Z";
    for (pointer, expected) in [
        ("/interfaces/3", json!({"role": "bridge", "scope": 1, "mac": "02:42:ac:12:00:01"})),
        ("/interfaces/104", json!({"role": "container", "scope": 1, "attachment": 5, "is_fresh": true})),
        ("/interface_names/104", json!("veth000104")),
        ("/directory/networks/1", json!({"subnets": ["172.18.0.0/16"], "gateways": ["172.18.0.1"]})),
        ("/directory/held/1 172.18.1.4", json!([5])),
        ("/directory/listeners/5", json!(key)),
        ("/names/attachments/5", json!(key)),
        (
            "/names/addresses/1 172.18.1.4",
            json!([{"attachment": 5, "from": "1677-09-21T00:12:43.145224192Z"}]),
        ),
        ("/names/workloads", json!([key])),
        ("/docker/stale_since", json!("1970-01-01T00:00:09.000000000Z")),
    ] {
        assert_eq!(written.pointer(pointer), Some(&expected), "{pointer}");
    }
    assert_eq!(written.pointer("/workloads").unwrap().as_object().unwrap().len(), 1);
    assert_eq!(written.pointer(&format!("/workloads/{key}/container")), Some(&json!("shop-service-004-1")));
}

/// Two records of one container generation: the attachment's, made before its image was known, and the list's.
#[test]
fn two_records_of_one_generation_stay_apart() {
    let mut picture = host([1, 2]);
    let names = Arc::make_mut(&mut picture.names);
    let poorer = Workload { documented: Vec::new(), ..Workload::clone(&names.workloads[0]) };
    names.attachments.insert(AttachmentId(2), Arc::new(poorer));
    let record = PictureRecord::of(&picture);
    let keys: Vec<_> = record.workloads.keys().map(|key| &**key).collect();
    assert_eq!(
        keys,
        [
            "000000000001 1970-01-01T00:00:01.000000000Z",
            "000000000001 1970-01-01T00:00:01.000000000Z#2",
            "000000000002 1970-01-01T00:00:02.000000000Z",
        ]
    );
    assert_same(&picture, &through_text(&record).restore());
}

#[test]
fn one_container_that_starts_among_two_hundred_is_a_small_patch() {
    let before = PictureRecord::of(&host((0..200).filter(|number| *number != 77)));
    let after = PictureRecord::of(&host(0..200));
    let size = |patch: &PicturePatch| serde_json::to_string(patch).unwrap().len();
    let started = before.patch_to(&after);
    assert!(size(&started) < 5_000, "{} bytes", size(&started));
    assert_eq!(started.workloads.len(), 1);
    let ended = after.patch_to(&before);
    assert!(size(&ended) < 2_000, "{} bytes", size(&ended));
    assert_eq!(serde_json::to_string(&after.patch_to(&after)).unwrap(), "{}");
}

#[test]
fn a_list_whose_rows_were_moved_is_told_whole() {
    let mut picture = host(0..5);
    let before = PictureRecord::of(&picture);
    Arc::make_mut(&mut picture.names).workloads.swap(1, 3);
    let after = PictureRecord::of(&picture);
    let mut told = before.clone();
    told.apply(before.patch_to(&after));
    assert_eq!(told, after);
}

#[test]
fn a_reference_to_a_workload_that_is_not_there_leaves_its_attachment_unnamed() {
    let mut record = PictureRecord::of(&host([1, 2]));
    let missing = record.names.workloads[0].clone();
    record.workloads.remove(&missing);
    record.names.former.push(Arc::from("nobody"));
    let picture = record.restore();
    assert_eq!(picture.names.attachments.keys().collect::<Vec<_>>(), [&AttachmentId(3)]);
    assert_eq!((picture.names.workloads.len(), picture.names.former.len()), (1, 0));
    let address = "172.18.1.1".parse().unwrap();
    assert_eq!(picture.directory.holder(ScopeId(1), address), Holder::Attachment(AttachmentId(2)));
    assert!(!picture.directory.is_known_listener(AttachmentId(2), ServicePort::new(8080, Protocol::TCP)));
    assert!(picture.directory.is_known_listener(AttachmentId(3), ServicePort::new(8080, Protocol::TCP)));
}

#[test]
fn hostile_text_is_refused_or_has_a_defined_answer() {
    for refused in [
        r#"{"interfaces": {"-1": {}}}"#,
        r#"{"interfaces": {"4294967296": {}}}"#,
        r#"{"interfaces": {"7": {"role": "boss"}}}"#,
        r#"{"interfaces": {"7": {"mac": "02:42"}}}"#,
        r#"{"directory": {"held": {"1": [1]}}}"#,
        r#"{"directory": {"held": {"1 nowhere": [1]}}}"#,
        r#"{"directory": {"held": {"65536 1.2.3.4": [1]}}}"#,
        r#"{"directory": {"networks": {"1": {"subnets": ["1.2.3.4/33"]}}}}"#,
        r#"{"names": {"addresses": {"1 1.2.3.4": [{"attachment": 1}]}}}"#,
        r#"{"epoch": 65536}"#,
        r#"{"epoch": 1"#,
        "[",
    ] {
        assert!(serde_json::from_str::<PictureRecord>(refused).is_err(), "{refused}");
        assert!(serde_json::from_str::<PicturePatch>(refused).is_err(), "{refused}");
    }
    let far = r#"{"interfaces": {"16777216": {"role": "bridge"}, "4294967295": {"role": "bridge"}}}"#;
    let picture = serde_json::from_str::<PictureRecord>(far).unwrap().restore();
    assert_eq!(picture.interfaces.get(InterfaceId(u32::MAX)).role, Role::Unknown);
    assert_eq!(picture.interfaces.rows().count(), 0);
    let beyond =
        r#"{"names": {"workloads": {"gone": ["x"], "put": [[18446744073709551615, "a"], [0, "b"]]}}}"#;
    let mut record = PictureRecord::default();
    record.apply(serde_json::from_str(beyond).unwrap());
    assert_eq!(record.names.workloads, [Arc::from("a"), Arc::from("b")]);
}

#[test]
fn what_a_later_version_adds_is_passed_over_and_what_it_leaves_out_is_empty() {
    assert_eq!(serde_json::from_str::<PictureRecord>("{}").unwrap(), PictureRecord::default());
    assert!(serde_json::from_str::<PicturePatch>("{}").unwrap().is_empty());
    let mut written = serde_json::to_value(PictureRecord::of(&host([1]))).unwrap();
    let known = written.clone();
    for place in
        ["", "/directory", "/names", "/counts", "/docker", "/interfaces/3", "/names/addresses/1 172.18.1.1/0"]
    {
        written.pointer_mut(place).unwrap()["weather"] = json!({"deep": [1, null]});
    }
    let read = |value| serde_json::from_value::<PictureRecord>(value).unwrap();
    assert_eq!(read(written), read(known));
    let patch = r#"{"epoch": 3, "weather": 1, "names": {"weather": {}}}"#;
    assert_eq!(serde_json::from_str::<PicturePatch>(patch).unwrap().epoch, Some(3));
}

#[test]
fn an_end_of_staleness_is_told() {
    let stale = PictureRecord::of(&host([1]));
    let mut fresh = stale.clone();
    fresh.names.stale = None;
    let mut told = stale.clone();
    told.apply(patch_through_text(&stale.patch_to(&fresh)));
    assert_eq!((stale.names.stale.as_deref(), told.names.stale), (Some("Docker does not answer"), None));
}

/// Where serde has to look for the tag it buffers the rest, and keys that are numbers cannot be read any more.
#[test]
fn a_record_can_stand_in_a_tagged_line() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Line {
        Roster { frame: u64, picture: Box<PictureRecord> },
        Patch { frame: u64, patch: Box<PicturePatch> },
    }
    let record = PictureRecord::of(&host(0..3));
    let (patch, picture) = (Box::new(PictureRecord::default().patch_to(&record)), Box::new(record));
    for line in [Line::Roster { frame: 1, picture }, Line::Patch { frame: 9, patch }] {
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}

#[test]
fn times_are_exact() {
    let mut picture = host([1]);
    let names = Arc::make_mut(&mut picture.names);
    for (binding, at) in
        names.addresses.values_mut().flatten().zip([i64::MIN, -1, 1, i64::MAX].into_iter().cycle())
    {
        binding.from = Timestamp(at);
        binding.until = Some(Timestamp(at));
    }
    assert_same(&picture, &through_text(&PictureRecord::of(&picture)).restore());
}

#[test]
fn the_form_in_the_documentation_is_one_that_can_be_read() {
    let source = include_str!("../mod.rs");
    let (_, after) = source.split_once("//! ```json\n").unwrap();
    let (form, _) = after.split_once("//! ```\n").unwrap();
    let record: PictureRecord = serde_json::from_str(&form.replace("//!", "")).unwrap();
    let picture = record.restore();
    assert_eq!(picture.names.workloads[0].container, "shop-web-1");
    let holder = picture.directory.holder(ScopeId(1), "172.18.0.2".parse().unwrap());
    assert_eq!(holder, Holder::Attachment(AttachmentId(2)));
    assert_eq!(picture.interfaces.rows().count(), 2);
}
