//! The four classes of a service port, and what is said of ports nobody called.

#![allow(clippy::unwrap_used, reason = "what a test cannot read is its failure")]

#[expect(dead_code, reason = "the other targets use the rest of it")]
mod support;

use std::sync::Arc;

use portolan_flowtable::{
    Conversation, Listening, ListeningPort, Port, Protocol, PublishedPort, ServicePort, Snapshot, Timestamp,
    Workload,
};
use portolan_policy::{
    AlertState, Contract, FindingKind, Listener, ListenerClass, Listens, Register, Severity,
};
use support::*;

use ListenerClass::{DocumentedIdle, DocumentedUsed, UndocumentedListening, UndocumentedUsed};

fn tcp(port: u16) -> ServicePort {
    ServicePort::new(port, Protocol::TCP)
}

/// What was seen to listen in a container: ports, negative ones on loopback alone.
fn listening(ports: &[i32]) -> Listening {
    let port = |port: &i32| ListeningPort {
        port: tcp(u16::try_from(port.abs()).unwrap()),
        is_loopback: *port < 0,
        since: Timestamp(START),
    };
    Listening { ports: ports.iter().map(port).collect(), not_checked: None }
}

fn heard(mut snapshot: Snapshot, of: &Arc<Workload>, listening: Listening) -> Snapshot {
    snapshot.listening.insert(of.container_id.clone(), listening);
    snapshot
}

fn told(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(|it| format!("{} {:?} {:?}", it.port, it.class, it.listens)).collect()
}

#[test]
fn a_port_moves_through_the_classes_as_it_is_called() {
    let app = workload("shop-app-1", "shop/app", &[80, 443]);
    let web = workload("shop-web-1", "shop/web", &[]);
    let before = heard(snapshot(vec![Arc::clone(&app)], vec![]), &app, listening(&[80, 9229]));
    let assessment = Contract::default().assess(before);
    assert_eq!(
        told(&assessment.listeners),
        ["80/tcp DocumentedIdle Yes", "443/tcp DocumentedIdle No", "9229/tcp UndocumentedListening Yes"]
    );
    let debugger = &assessment.listeners[2];
    assert_eq!(
        (debugger.listens_in.as_slice(), debugger.listens_since),
        (&["shop-app-1".to_owned()][..], Some(Timestamp(START)))
    );
    let [finding] = assessment.findings.as_slice() else { panic!("{:?}", assessment.findings) };
    assert_eq!((finding.kind, finding.severity), (FindingKind::UndocumentedListener, Severity::Low));
    assert_eq!(finding.summary, "listens in shop-app-1; nobody called it, nothing documents it");
    assert_eq!(finding.against, "shop/app documents 80/tcp (image EXPOSE), 443/tcp (image EXPOSE)");

    let calls =
        vec![talk(peer(&web, 4), peer(&app, 3), 80, 1, 0), talk(peer(&web, 4), peer(&app, 3), 9229, 1, 0)];
    let after = heard(snapshot(vec![Arc::clone(&app)], calls), &app, listening(&[80, 9229]));
    let assessment = Contract::default().assess(after);
    assert_eq!(
        told(&assessment.listeners),
        ["80/tcp DocumentedUsed Yes", "443/tcp DocumentedIdle No", "9229/tcp UndocumentedUsed Yes"]
    );
    let kinds: Vec<_> = assessment.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FindingKind::UndocumentedPort]);
}

#[test]
fn what_listens_is_sorted_by_what_is_documented_and_called() {
    #[rustfmt::skip]
    let cases = [
        // documented  listens            called           expected
        (&[80][..],    &[80][..],         None,            vec![(80, DocumentedIdle, Listens::Yes)]),
        (&[80],        &[],               None,            vec![(80, DocumentedIdle, Listens::No)]),
        (&[80],        &[-80],            None,            vec![(80, DocumentedIdle, Listens::Loopback)]),
        (&[80],        &[80],             Some((80, 1)),   vec![(80, DocumentedUsed, Listens::Yes)]),
        // Nobody outside the container can call what listens on its loopback.
        (&[80],        &[80, -9229],      None,            vec![(80, DocumentedIdle, Listens::Yes)]),
        (&[],          &[9229],           None,            vec![(9229, UndocumentedListening, Listens::Yes)]),
        (&[],          &[9229],           Some((9229, 0)), vec![(9229, UndocumentedListening, Listens::Yes)]),
        (&[],          &[9229],           Some((9229, 1)), vec![(9229, UndocumentedUsed, Listens::Yes)]),
        // It answered and has gone.
        (&[],          &[],               Some((9229, 1)), vec![(9229, UndocumentedUsed, Listens::No)]),
    ];
    for (documented, listens, called, expected) in cases {
        let app = workload("app-1", "shop/app", documented);
        let web = workload("web-1", "shop/web", &[]);
        let call = |(port, answered)| talk(peer(&web, 4), peer(&app, 3), port, answered, 1 - answered);
        let seen = snapshot(vec![Arc::clone(&app)], called.map(call).into_iter().collect());
        let assessment = Contract::default().assess(heard(seen, &app, listening(listens)));
        let found: Vec<_> =
            assessment.listeners.iter().map(|it| (it.port.port.unwrap().0, it.class, it.listens)).collect();
        assert_eq!(found, expected, "{documented:?} {listens:?} {called:?}");
    }
}

#[test]
fn one_replica_nobody_could_look_into_leaves_the_service_unchecked() {
    let one = workload("app-1", "shop/app", &[80]);
    let other = workload("app-2", "shop/app", &[80]);
    let refused =
        Listening { not_checked: Some("cannot read /proc/7/net/tcp".to_owned()), ..Listening::default() };
    let both = snapshot(vec![Arc::clone(&one), Arc::clone(&other)], vec![]);
    let assessment = Contract::default().assess(heard(heard(both, &one, listening(&[])), &other, refused));
    assert_eq!(told(&assessment.listeners), ["80/tcp DocumentedIdle NotChecked"]);
    let [not_checked] = assessment.listening_not_checked.as_slice() else { panic!("{assessment:?}") };
    assert_eq!(
        (not_checked.container.as_str(), not_checked.reason.as_str()),
        ("app-2", "cannot read /proc/7/net/tcp")
    );
}

#[test]
fn a_service_without_any_documentation_is_no_storm_of_findings() {
    let app = workload("app-1", "shop/app", &[]);
    let seen = heard(snapshot(vec![Arc::clone(&app)], vec![]), &app, listening(&[1, 2, 3]));
    let assessment = Contract::default().assess(seen);
    assert_eq!(assessment.undeclared, ["shop/app"]);
    assert_eq!((assessment.listeners.len(), assessment.findings.len()), (3, 0));
}

#[test]
fn a_listener_is_exempt_by_its_service_and_port() {
    let app = workload("shop-app-1", "shop/app", &[80]);
    let except =
        |more: &str| format!("[[standard.undocumented_listener.except]]\nreason = \"a debugger\"\n{more}");
    #[rustfmt::skip]
    let cases = [
        (String::new(),                                        1),
        (except(""),                                           0),
        (except("to = \"shop/app\"\nports = 9229\n"),         0),
        (except("to = \"project:shop\"\n"),                   0),
        (except("to = \"shop/web\"\n"),                       1),
        (except("to = \"shop/app\"\nports = 9230\n"),         1),
        (except("to = \"shop/app\"\nexpires = 2020-01-01\n"), 1),
    ];
    for (text, expected) in cases {
        let seen = heard(snapshot(vec![Arc::clone(&app)], vec![]), &app, listening(&[80, 9229]));
        let assessment = Contract::parse(&text, "contract.toml").unwrap().assess(seen);
        assert_eq!(assessment.findings.len(), expected, "{text}");
    }
}

#[test]
fn a_listener_that_goes_clears_its_finding() {
    let app = workload("app-1", "shop/app", &[80]);
    let seen = |ports: &[i32]| {
        Contract::default().assess(heard(snapshot(vec![Arc::clone(&app)], vec![]), &app, listening(ports)))
    };
    let mut register = Register::new();
    let states: Vec<_> = [seen(&[9229]), seen(&[9229]), seen(&[])]
        .iter()
        .map(|assessment| register.update(assessment).iter().map(|alert| alert.state).collect::<Vec<_>>())
        .collect();
    assert_eq!(states, [vec![AlertState::Raised], vec![], vec![AlertState::Cleared]]);
}

#[test]
fn a_published_port_says_who_came_from_outside_and_when_it_was_last_used() {
    let web = workload("web-1", "shop/web", &[80]);
    let batch = workload("batch-1", "shop/batch", &[]);
    let via = |call: Conversation| Conversation { via: Some("host:8080".to_owned()), ..call };
    let calls = vec![
        via(talk(external(7), peer(&web, 3), 80, 3, 0)),
        via(talk(external(8), peer(&web, 3), 80, 0, 1)),
        via(talk(peer(&batch, 4), peer(&web, 3), 80, 5, 0)),
        // Straight to the container, by no binding.
        talk(peer(&batch, 4), peer(&web, 3), 80, 1, 0),
    ];
    let assessment =
        Contract::default().assess(published(snapshot(vec![Arc::clone(&web)], calls), &web, "0.0.0.0"));
    let [exposure] = assessment.exposures.as_slice() else { panic!("{:?}", assessment.exposures) };
    assert_eq!((exposure.host.as_str(), exposure.is_everywhere), ("0.0.0.0:8080", true));
    assert_eq!(
        exposure.callers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["203.0.113.7", "203.0.113.8"]
    );
    assert_eq!((exposure.connections_outside, exposure.connections_inside), (4, 5));
    assert_eq!(exposure.last_used, Some(Timestamp(START + SECOND)));
}

#[test]
fn a_port_published_everywhere_that_nobody_uses_for_a_day_is_a_finding() {
    let web = workload("web-1", "shop/web", &[80]);
    let hour = 3_600 * SECOND;
    let call =
        || Conversation { via: Some("host:8080".to_owned()), ..talk(external(7), peer(&web, 3), 80, 1, 0) };
    #[rustfmt::skip]
    let cases = [
        // bound on     watched for  called   finding
        ("0.0.0.0",     24 * hour,   false,   true),
        ("0.0.0.0",     23 * hour,   false,   false),
        ("0.0.0.0",     24 * hour,   true,    false),
        ("127.0.0.1",   24 * hour,   false,   false),
        ("198.51.100.1", 24 * hour,  false,   false),
    ];
    for (bound, watched, is_called, expected) in cases {
        let calls = if is_called { vec![call()] } else { vec![] };
        let seen = published(snapshot(vec![Arc::clone(&web)], calls), &web, bound);
        let seen = Snapshot { at: Timestamp(START + watched), ..seen };
        let kinds: Vec<_> = Contract::default().assess(seen).findings.iter().map(|it| it.kind).collect();
        let wanted = if expected { vec![FindingKind::UnusedExposure] } else { vec![] };
        assert_eq!(kinds, wanted, "{bound} {watched} {is_called}");
    }
}

fn published(mut snapshot: Snapshot, owner: &Arc<Workload>, bound: &str) -> Snapshot {
    snapshot.published.push(PublishedPort {
        host_address: bound.parse().unwrap(),
        host_port: Port(8080),
        protocol: Protocol::TCP,
        container_port: Port(80),
        container_id: owner.container_id.clone(),
        from: Timestamp(0),
        until: None,
    });
    snapshot
}
