use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * Timestamp::SECOND)
}

fn speaker(holder: Holder, address: &str, port: u16) -> Speaker {
    Speaker { holder, address: address.parse().unwrap(), port: Port(port) }
}

/// Attachment `client` asks, or is answered, about `name`.
fn said<'a>(seconds: i64, client: u32, id: u16, name: &'a str, answer: Option<Answer<'a>>) -> Said<'a> {
    Said {
        at: at(seconds),
        scope: ScopeId(1),
        client: speaker(Holder::Attachment(AttachmentId(client)), "172.18.0.2", 40_000),
        server: speaker(Holder::External, "192.0.2.53", 53),
        protocol: Protocol::UDP,
        id,
        name,
        answer,
    }
}

fn address(last: u8) -> IpAddr {
    [203, 0, 113, last].into()
}

fn exchange(names: &mut DnsNames, seconds: i64, client: u32, name: &str, addresses: &[IpAddr]) {
    names.hear(&said(seconds, client, 7, name, None));
    let answer = Answer { aliases: &[], addresses, ttl_seconds: 60 };
    names.hear(&said(seconds, client, 7, name, Some(answer)));
}

fn called(names: &DnsNames, client: u32, last: u8, seconds: i64) -> Vec<String> {
    let client = Client::Attachment(AttachmentId(client));
    in_order(names.of(client, address(last), (at(seconds), at(seconds))))
        .iter()
        .map(|it| it.name.clone())
        .collect()
}

#[test]
fn a_name_belongs_to_who_asked_for_it_from_its_answer_to_its_time_to_live_and_grace() {
    let mut names = DnsNames::default();
    exchange(&mut names, 100, 1, "api.example.com", &[address(9)]);
    exchange(&mut names, 110, 1, "www.example.com", &[address(9)]);
    assert_eq!(called(&names, 1, 9, 120), ["www.example.com", "api.example.com"]);
    assert_eq!(called(&names, 1, 9, 105), ["api.example.com"]);
    assert_eq!(called(&names, 1, 9, 99), [""; 0]);
    assert_eq!(called(&names, 1, 9, 160 + 300 + 1), ["www.example.com"]);
    assert_eq!(called(&names, 1, 9, 170 + 300 + 1), [""; 0]);
    assert_eq!(called(&names, 2, 9, 120), [""; 0]);
    assert_eq!(called(&names, 1, 8, 120), [""; 0]);
}

#[test]
fn an_answer_teaches_who_asked_also_before_anybody_holds_the_address() {
    let addresses = [address(9)];
    let answer = Answer { aliases: &[], addresses: &addresses, ttl_seconds: 60 };
    for holder in [Holder::Unclaimed, Holder::External, Holder::Bare] {
        let mut names = DnsNames::default();
        names.hear(&said(100, 1, 7, "a.example", None));
        let honest = said(101, 1, 7, "a.example", Some(answer));
        names.hear(&Said { client: speaker(holder, "172.18.0.2", 40_000), ..honest });
        assert_eq!(called(&names, 1, 9, 102), ["a.example"], "{holder:?}");
    }
}

#[test]
fn an_answer_nobody_asked_for_teaches_nothing() {
    let answer = |addresses| Some(Answer { aliases: &[], addresses, ttl_seconds: 60 });
    let addresses = [address(9)];
    let question = said(100, 1, 7, "a.example", None);
    let honest = said(101, 1, 7, "a.example", answer(&addresses));
    #[rustfmt::skip]
    let forged = [
        ("another client",   Said { client: speaker(Holder::Attachment(AttachmentId(2)), "172.18.0.2", 40_000), ..honest }),
        ("another port",     Said { client: speaker(honest.client.holder, "172.18.0.2", 40_001), ..honest }),
        ("another server",   Said { server: speaker(Holder::External, "192.0.2.54", 53), ..honest }),
        ("another number",   Said { id: 8, ..honest }),
        ("another name",     Said { name: "b.example", ..honest }),
        ("another protocol", Said { protocol: Protocol::TCP, ..honest }),
        ("too late",         Said { at: at(131), ..honest }),
        ("too early",        Said { at: at(99), ..honest }),
    ];
    for (what, forged) in forged {
        let mut names = DnsNames::default();
        names.hear(&question);
        names.hear(&forged);
        assert_eq!((names.counts().unasked, names.is_empty()), (1, true), "{what}");
    }
    let mut names = DnsNames::default();
    names.hear(&question);
    names.hear(&honest);
    // The same answer seen a second time.
    names.hear(&honest);
    assert_eq!(names.counts(), DnsCounts { answers: 2, names: 1, ..DnsCounts::default() });
}

#[test]
fn every_limit_holds_and_what_goes_is_counted() {
    let mut names = DnsNames::default();
    for number in 0..20 {
        exchange(&mut names, 100, 1, &format!("n{number}.example"), &[address(9)]);
    }
    assert_eq!(called(&names, 1, 9, 100).len(), NAMES_PER_ADDRESS_MAX);
    assert_eq!((names.counts().names, names.counts().evicted), (8, 12));

    // A victim that asked for one name, and a client that asks for more than there is room for.
    let mut names = DnsNames::default();
    exchange(&mut names, 100, 1, "victim.example", &[address(1)]);
    let many: Vec<IpAddr> =
        (0..NAMES_PER_CLIENT_MAX as u32 + 100).map(|n| std::net::Ipv4Addr::from(n).into()).collect();
    exchange(&mut names, 100, 2, "many.example", &many);
    assert_eq!((names.counts().names, names.counts().evicted), (1 + NAMES_PER_CLIENT_MAX as u64, 100));
    for client in 3..12 {
        exchange(&mut names, 100, client, "many.example", &many);
    }
    assert_eq!(names.counts().names, NAMES_MAX as u64);
    assert_eq!(called(&names, 1, 1, 100), ["victim.example"]);
}

#[test]
fn the_client_that_was_silent_for_longest_makes_room() {
    let mut names = DnsNames::default();
    for client in 0..=u32::try_from(CLIENTS_MAX).unwrap() {
        exchange(&mut names, i64::from(client), client, "a.example", &[address(9)]);
    }
    assert_eq!((names.counts().names, names.counts().evicted), (CLIENTS_MAX as u64, 1));
    assert_eq!(called(&names, 0, 9, 30), [""; 0]);
    assert_eq!(called(&names, 1, 9, 30), ["a.example"]);
}

/// 1,100 questions, more than there is room for, from an address of its own each.
fn flood(names: &mut DnsNames, holder: Holder) {
    for number in 0..1_100_u32 {
        let asker = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        names.hear(&Said { client: speaker(holder, &asker, 40_000), ..said(1_000, 0, 7, "a.example", None) });
    }
}

#[test]
fn no_question_makes_a_client_go_that_has_names() {
    for holder in [Holder::External, Holder::Group, Holder::Unclaimed, Holder::Ambiguous] {
        let mut names = DnsNames::default();
        let all = u32::try_from(CLIENTS_MAX).unwrap();
        for client in 0..all {
            exchange(&mut names, 1_000, client, "a.example", &[address(9)]);
        }
        flood(&mut names, holder);
        assert_eq!((names.counts().names, names.counts().evicted), (u64::from(all), 0), "{holder:?}");
        let is_client = matches!(holder, Holder::Unclaimed | Holder::Ambiguous);
        assert_eq!(names.asking.len(), if is_client { ASKING_MAX } else { 0 }, "{holder:?}");
        // Among so many that ask, a container is answered still.
        exchange(&mut names, 1_001, all, "b.example", &[address(9)]);
        assert_eq!(called(&names, all, 9, 1_001), ["b.example"], "{holder:?}");
    }
}

#[test]
fn a_client_whose_names_are_gone_makes_room_before_one_that_has_some() {
    let mut names = DnsNames::default();
    let all = u32::try_from(CLIENTS_MAX).unwrap();
    for client in 0..all {
        exchange(&mut names, i64::from(client), client, "a.example", &[address(9)]);
    }
    let last = Client::Attachment(AttachmentId(all - 1));
    names.held -= usize::from(names.clients.get_mut(&last).unwrap().forget_oldest());
    exchange(&mut names, 2_000, all, "a.example", &[address(9)]);
    assert_eq!((names.counts().names, names.counts().evicted), (CLIENTS_MAX as u64, 0));
    assert_eq!(called(&names, 0, 9, 30), ["a.example"]);
    assert!(!names.clients.contains_key(&last));
}
