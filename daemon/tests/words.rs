//! The words of the field (state, history, retransmissions, gaps, Community ID), held against what other programs say
//! of the same captures. A difference that is meant stands here with its reason; any other fails.

#![allow(clippy::unwrap_used, reason = "an oracle that cannot be read is a broken test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use portolan_exporter::{FlowRecord, Publication};
use serde_json::Value;

/// Address and port of the sender, then of the receiver.
type Sender = (String, u64, String, u64);

#[test]
fn retransmissions_closed_windows_and_gaps_are_those_of_tshark() {
    // (file, sender's port, what, tshark, here, why).
    #[rustfmt::skip]
    let differences: &[(&str, u64, &str, u64, u64, &str)] = &[
        ("ipv6-atomic-fragment-http.pcap", 36_951, "resent", 1, 0,
         "the request was recorded after the ACK of it; it is seen once. tshark takes it for a repetition"),
        ("ng-process-comments.pcapng", 42_906, "resent", 1, 0,
         "as above: frame 5 after the ACK of it, frame 4"),
        ("pppoe-in-qinq.pcap", 443, "resent", 13, 19,
         "six ACKs have six zeros of padding that their IP length claims as payload (frames 19, 33, 41, 47, 63, 81); \
          tshark takes them for padding, here and in Zeek they are payload, and what follows begins before their end"),
        ("tun-vxlan-overlap.pcap", 59_856, "resent", 3, 0,
         "tshark holds the packets inside two tunnels and those outside for one connection"),
        ("tun-vxlan-overlap.pcap", 80, "resent", 6, 0, "as above"),
    ];
    let text = fs::read_to_string(folder().join("tcp-analysis/tcp-analysis.tsv")).unwrap();
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let mut theirs: BTreeMap<String, BTreeMap<Sender, BTreeMap<&str, u64>>> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        let sender =
            (cells[1].to_owned(), cells[2].parse().unwrap(), cells[3].to_owned(), cells[4].parse().unwrap());
        let counts = heading.iter().copied().zip(&cells).skip(5);
        let counts = counts.map(|(name, count)| (name, count.parse().unwrap())).collect();
        theirs.entry(cells[0].to_owned()).or_default().insert(sender, counts);
    }
    let mut found = Vec::new();
    for file in captures() {
        let theirs = theirs.remove(&file).unwrap_or_default();
        let ours = counted(&flows(&file));
        let senders: BTreeSet<&Sender> = theirs.keys().chain(ours.keys()).collect();
        for sender in senders {
            let said = |name: &str| theirs.get(sender).and_then(|it| it.get(name)).copied().unwrap_or(0);
            let [resent, closed, unseen] = ours.get(sender).copied().unwrap_or_default();
            for (what, theirs, ours) in [
                // tshark counts fast and spurious retransmissions among the retransmissions.
                ("resent", said("retransmission") + said("out_of_order"), resent),
                ("closed", said("zero_window"), closed),
                ("unseen", said("ack_lost_segment"), unseen),
            ] {
                if theirs != ours {
                    found.push((file.clone(), sender.1, what, theirs, ours));
                }
            }
        }
    }
    assert!(theirs.is_empty(), "captures that are not there: {:?}", theirs.keys());
    let listed: Vec<_> = differences
        .iter()
        .map(|(file, port, what, theirs, ours, _)| ((*file).to_owned(), *port, *what, *theirs, *ours))
        .collect();
    assert_eq!(found, listed, "a capture that came later needs tcp-analysis/make_tcp_analysis.py to be run");
}

/// Resent, closed windows, and acknowledgments of what was never seen, by the end that sent them.
fn counted(flows: &[FlowRecord]) -> BTreeMap<Sender, [u64; 3]> {
    let mut counts: BTreeMap<Sender, [u64; 3]> = BTreeMap::new();
    for flow in flows {
        let (Some(from), Some(to)) = (flow.src.port, flow.dest.port) else { continue };
        let (src, dest) = (flow.src.ip.to_string(), flow.dest.ip.to_string());
        let (from, to) = (u64::from(from.0), u64::from(to.0));
        let sides = [
            // A gap in what one end sent is an acknowledgment of the other's.
            (
                (src.clone(), from, dest.clone(), to),
                [flow.retransmissions.sent, flow.zero_windows.sent, flow.gaps.received],
            ),
            (
                (dest, to, src, from),
                [flow.retransmissions.received, flow.zero_windows.received, flow.gaps.sent],
            ),
        ];
        for (sender, row) in sides {
            let sums = counts.entry(sender).or_default();
            sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
    }
    counts
}

#[test]
fn states_histories_and_packets_are_those_of_zeek() {
    // (file, initiator's port, field, Zeek, here, why).
    let differences: &[(&str, u64, &str, &str, &str, &str)] = &[];
    let mut found = Vec::new();
    for file in ["mixed-office", "mpls-vlan-mixed", "pppoe-in-qinq", "tcp-missing-syn"] {
        let log = fs::read_to_string(folder().join(format!("upstream/{file}.zeek-conn.log"))).unwrap();
        let fields: Vec<&str> =
            log.lines().find_map(|line| line.strip_prefix("#fields\t")).unwrap().split('\t').collect();
        let mut ours: BTreeMap<Sender, FlowRecord> = BTreeMap::new();
        for flow in flows(&format!("{file}.pcap")) {
            let (Some(from), Some(to)) = (flow.src.port, flow.dest.port) else { continue };
            let key = (flow.src.ip.to_string(), u64::from(from.0), flow.dest.ip.to_string(), u64::from(to.0));
            assert!(ours.insert(key, flow).is_none(), "{file}: two flows of the same ends");
        }
        for line in log.lines().filter(|line| !line.starts_with('#')) {
            let row: BTreeMap<&str, &str> = fields.iter().copied().zip(line.split('\t')).collect();
            let key = (
                row["id.orig_h"].to_owned(),
                row["id.orig_p"].parse().unwrap(),
                row["id.resp_h"].to_owned(),
                row["id.resp_p"].parse().unwrap(),
            );
            let flow = ours.remove(&key).unwrap_or_else(|| panic!("{file}: no flow for {key:?}"));
            for (field, ours) in [
                ("conn_state", flow.conn_state.to_string()),
                ("history", flow.history.to_string()),
                ("orig_pkts", flow.sent.frames.to_string()),
                ("resp_pkts", flow.received.frames.to_string()),
            ] {
                if row[field] != ours {
                    found.push((file.to_owned(), key.1, field, row[field].to_owned(), ours));
                }
            }
        }
        assert!(ours.is_empty(), "{file}: flows Zeek does not have: {:?}", ours.keys());
    }
    let listed: Vec<_> = differences
        .iter()
        .map(|(file, port, field, theirs, ours, _)| {
            ((*file).to_owned(), *port, *field, (*theirs).to_owned(), (*ours).to_owned())
        })
        .collect();
    assert_eq!(found, listed);
}

#[test]
fn packets_flags_and_community_ids_are_those_of_arkime() {
    let mut compared = 0;
    for (file, options) in [
        ("tcp-handshake-variants", &[][..]),
        ("tcp-retransmissions", &[]),
        ("tun-geneve-eth", &["--innermost"]),
    ] {
        let text = fs::read_to_string(folder().join(format!("upstream/{file}.arkime.json"))).unwrap();
        let oracle: Value = serde_json::from_str(&text).unwrap();
        let ours = flows_with(&format!("{file}.pcap"), options);
        for session in oracle["sessions3"].as_array().unwrap() {
            let session = session.get("body").unwrap_or(session);
            let id = session["network"]["community_id"].as_str().unwrap();
            let these: Vec<&FlowRecord> = ours.iter().filter(|flow| flow.community_id == id).collect();
            assert!(!these.is_empty(), "{file}: no flow {id}");
            let sum = |count: fn(&FlowRecord) -> u64| these.iter().map(|flow| count(flow)).sum::<u64>();
            let stated = |end: &str| session[end]["packets"].as_u64().unwrap();
            assert_eq!(sum(|flow| flow.sent.frames), stated("source"), "{file}: {id}");
            assert_eq!(sum(|flow| flow.received.frames), stated("destination"), "{file}: {id}");
            compared += 1;
            let flags = &session["tcpflags"];
            if flags.is_null() {
                continue;
            }
            let has =
                |letter: char| these.iter().any(|flow| flow.history.to_ascii_uppercase().contains(letter));
            for (flag, letter) in [("syn", 'S'), ("syn-ack", 'H'), ("fin", 'F'), ("rst", 'R')] {
                assert_eq!(flags[flag].as_u64().unwrap() > 0, has(letter), "{file}: {id}: {flag}");
            }
            let tags = session["tags"].as_array().cloned().unwrap_or_default();
            assert_eq!(
                tags.iter().any(|tag| tag == "acked-unseen-segment-src"),
                sum(|flow| flow.gaps.received) > 0,
                "{file}: {id}: {tags:?}"
            );
        }
    }
    assert_eq!(compared, 17);
}

#[test]
fn community_ids_are_those_that_are_published() {
    let text = fs::read_to_string(folder().join("upstream/fmt-gz-community-id.community-id.json")).unwrap();
    let oracle: Value = serde_json::from_str(&text).unwrap();
    let published: BTreeSet<String> =
        oracle.as_array().unwrap().iter().map(|it| it["communityid"].as_str().unwrap().to_owned()).collect();
    let ours: BTreeSet<String> =
        flows("fmt-gz-community-id.pcap.gz").into_iter().map(|flow| flow.community_id.into()).collect();
    let missing: Vec<&String> = published.difference(&ours).collect();
    let other: Vec<&String> = ours.difference(&published).collect();
    // All ICMP messages between two addresses are one flow here, and its ID is that of the first: the solicitation of
    // the other end (frame 9) has one of its own.
    assert_eq!(missing, ["1:zavyT/cezQr1fmImYCwYnMXbgck="]);
    assert_eq!(other, Vec::<&String>::new());
}

fn flows(file: &str) -> Vec<FlowRecord> {
    flows_with(file, &[])
}

fn flows_with(file: &str, options: &[&str]) -> Vec<FlowRecord> {
    let capture = folder().join(file);
    let output = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["replay", "--format", "json", "--vantage", "every"])
        .args(options)
        .arg(&capture)
        .output()
        .unwrap();
    let publication: Publication = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{file}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(publication.vitals.flows_forgotten, 0, "{file}");
    publication.flows
}

fn captures() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| [".pcap", ".pcapng", ".gz"].iter().any(|end| name.ends_with(end))).collect();
    names.sort();
    assert!(names.len() >= 60, "only {names:?}");
    names
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/oracle-cases")
}
