//! `portolan top` on a terminal that is none.
#![cfg(feature = "top")]

use portolan_daemon::top::picture::Picture;
use portolan_daemon::top::table::{Step, Top};
use portolan_daemon::top::view::draw;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::{Value, json};

/// An edge as the API tells it: client, server, port, verdict, bytes sent, connections answered and refused.
type Row<'a> = (&'a str, &'a str, u16, &'a str, u64, u64, u64);

const SHOP: [Row<'_>; 4] = [
    ("shop/web", "shop/cart", 8080, "documented", 61_000, 112, 0),
    ("shop/web", "shop/cart", 9229, "undocumented_port", 412, 1, 0),
    ("shop/cart", "shop/db", 5432, "documented", 104_000, 57, 0),
    ("shop/batch", "shop/cache", 6379, "documented", 0, 0, 6),
];

fn picture(seconds: u32, rows: &[Row<'_>]) -> Picture {
    let at = format!("2026-11-20T14:02:{seconds:02}.000000000Z");
    let edges: Vec<Value> = rows
        .iter()
        .map(|(source, target, port, verdict, sent, answered, refused)| {
            json!({
                "id": format!("{source} -> {target}:{port}/tcp"), "source": source, "target": target,
                "port": { "port": port, "protocol": "tcp" }, "network": "shop_front", "via": null, "verdict": verdict,
                "documented_by": if *verdict == "documented" { "image EXPOSE" } else { "" }, "findings": [], "severity": null,
                "sent": { "frames": 3, "bytes": sent }, "received": { "frames": 3, "bytes": sent },
                "connections": { "answered": answered, "refused": refused, "unanswered": 0, "blocked": 0, "pending": 0 },
                "rtt_p50": if *answered > 0 { json!(110_000) } else { Value::Null },
                "first_at": "2026-11-20T13:58:00.000000000Z", "last_at": at, "is_guess": false, "is_proxy_leg": false,
            })
        })
        .collect();
    let graph = json!({
        "schema": 1, "group": "service", "nodes": [], "edges": edges, "edges_folded": 0,
        "from": "2026-11-20T13:58:00.000000000Z", "at": at, "completeness": { "state": "complete" },
    });
    let finding = |kind: &str, severity: &str, from: &str, to: &str, port: u16| {
        json!({
            "id": "7c21e0945b1f20aa", "kind": kind, "severity": severity, "initiator": from, "responder": to,
            "port": { "port": port, "protocol": "tcp" }, "reached": "answered", "summary": "1 connection",
            "against": "cart documents 8080/tcp (image EXPOSE)", "first_at": "2026-11-20T14:02:07.000000000Z", "last_at": at,
            "first_frame": 1, "last_frame": 9, "connections": 1, "frames": 9, "initiator_containers": ["shop-web-1"],
            "responder_containers": ["shop-cart-1"], "wireshark_filter": "tcp", "complete": true,
        })
    };
    let findings = json!({ "findings": [
        finding("unexpected_peer", "high", "shop/reports", "shop/db", 5432),
        finding("undocumented_port", "medium", "shop/web", "shop/cart", 9229),
    ], "findings_left_out": 0 });
    let status = json!({ "vitals": { "host": "web-03", "containers": 17, "containers_observable": 15 } });
    Picture::read(&graph.to_string(), &findings.to_string(), &status.to_string()).expect("a picture")
}

fn shop() -> Top {
    let mut top = Top::new(String::new(), true);
    top.take(picture(7, &SHOP));
    top
}

fn screen(top: &Top, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, top)).expect("drawn");
    terminal
}

fn lines(top: &Top, width: u16, height: u16) -> Vec<String> {
    let terminal = screen(top, width, height);
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

fn press(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            letter => KeyCode::Char(letter),
        };
        assert_eq!(top.key(KeyEvent::new(code, KeyModifiers::NONE)), Step::Stay, "{key:?}");
    }
}

fn servers(top: &Top) -> Vec<String> {
    top.edges().iter().map(|edge| format!("{}:{}", edge.target, edge.port)).collect()
}

#[test]
fn findings_and_edges_stand_on_a_small_screen() {
    #[rustfmt::skip]
    let expected = [
        "portolan top  web-03  14:02:07 UTC  complete  17 containers, 15 observable  live",
        " FINDINGS (2)",
        " high    unexpected peer    shop/reports -> shop/db:5432/tcp            14:02:07",
        " medium  undocumented port  shop/web -> shop/cart:9229/tcp              14:02:07",
        ">EDGES (4)  by verdict",
        "  client          server                      sent/s     recv/s    conns  failed",
        "! shop/web        shop/cart:9229/tcp               -          -        1       0",
        "  shop/batch      shop/cache:6379/tcp              -          -        6       6",
        "  shop/cart       shop/db:5432/tcp                 -          -       57       0",
        "  shop/web        shop/cart:8080/tcp               -          -      112       0",
        "",
        "q quit  / filter  s sort  Tab tables  Enter details  Space pause  ? keys",
    ];
    let mut seen = lines(&shop(), 80, 14);
    seen.retain(|line| !line.is_empty());
    let expected: Vec<&str> = expected.into_iter().filter(|line| !line.is_empty()).collect();
    assert_eq!(seen, expected, "{seen:#?}");
}

#[test]
fn a_wide_screen_says_more_and_a_narrow_one_keeps_who_and_where() {
    let wide = lines(&shop(), 120, 14).join("\n");
    for word in ["verdict", "undocumented port", "rtt", "0.11 ms", "seen", "14:02:07"] {
        assert!(wide.contains(word), "{word}: {wide}");
    }
    let narrow = lines(&shop(), 50, 14).join("\n");
    for word in [
        "web-03",
        "high",
        "shop/web",
        "shop/cart:9229/tcp",
        "shop/reports -> sho\u{2026}:5432/tcp  14:02:07",
        "sent/s",
    ] {
        assert!(narrow.contains(word), "{word}: {narrow}");
    }
    assert!(!narrow.contains("conns"), "{narrow}");
}

#[test]
fn rates_are_what_grew_between_two_pictures() {
    let mut top = shop();
    let mut rows = SHOP;
    rows[0].4 += 10 * 1024;
    top.take(picture(17, &rows));
    let edges = top.edges();
    let busy = edges.iter().find(|edge| edge.port.port.is_some_and(|port| port.0 == 8080)).expect("the edge");
    assert_eq!(top.rate(busy).map(|rate| rate.sent), Some(1024.0));
    let line = lines(&top, 80, 14).into_iter().find(|line| line.contains("8080")).expect("a line");
    assert!(line.contains("1.0 KiB"), "{line}");
    // The same round asked for again says nothing of rates.
    top.take(picture(17, &rows));
    let edges = top.edges();
    let busy = edges.iter().find(|edge| edge.port.port.is_some_and(|port| port.0 == 8080)).expect("the edge");
    assert_eq!(top.rate(busy).map(|rate| rate.sent), Some(1024.0));
}

#[test]
fn keys_sort_filter_and_turn_round() {
    let mut top = shop();
    assert_eq!(servers(&top)[0], "shop/cart:9229/tcp", "what has a finding comes first");
    press(&mut top, "ss");
    assert_eq!(servers(&top)[0], "shop/db:5432/tcp", "bytes");
    press(&mut top, "r");
    assert_eq!(servers(&top)[0], "shop/cache:6379/tcp", "fewest bytes");
    press(&mut top, "rss");
    assert_eq!(servers(&top)[0], "shop/cache:6379/tcp", "failed");
    press(&mut top, "/CART 9229\n");
    assert_eq!(servers(&top), ["shop/cart:9229/tcp"]);
    assert_eq!(top.findings().len(), 1, "the filter holds for both tables");
    let shown = lines(&top, 80, 14).join("\n");
    assert!(shown.contains("EDGES (1 of 4)") && shown.contains("[CART 9229]"), "{shown}");
    top.key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
    assert_eq!(servers(&top).len(), 4);
    // While it is written, q is a letter.
    press(&mut top, "/q");
    assert_eq!(top.filter(), ("q", true));
    assert_eq!(top.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Step::End);
}

#[test]
fn details_tell_what_to_ask_next() {
    let mut top = shop();
    press(&mut top, "\n");
    let shown = lines(&top, 100, 30).join("\n");
    for word in ["portolan why 'shop/web -> shop/cart:9229/tcp'", "documented   nothing", "1 answered"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    press(&mut top, "x\t\n");
    let shown = lines(&top, 100, 30).join("\n");
    for word in ["unexpected peer, high", "portolan ack F-7c21e0", "cart documents 8080/tcp"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn a_daemon_that_is_gone_is_told_and_the_last_picture_stays() {
    let mut top = shop();
    top.miss("no daemon answers at /run/portolan/portolan.sock: start one with: sudo portolan run");
    let shown = lines(&top, 100, 14).join("\n");
    for word in ["no answer", "no daemon answers at", "shop/cart:9229"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

#[test]
fn without_colour_nothing_is_coloured() {
    for is_coloured in [true, false] {
        let mut top = Top::new(String::new(), is_coloured);
        top.take(picture(7, &SHOP));
        let terminal = screen(&top, 100, 20);
        let cells = &terminal.backend().buffer().content;
        let has_colour = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(has_colour, is_coloured);
    }
}

#[test]
fn wide_and_hostile_names_keep_columns_straight() {
    let rows: [Row<'_>; 3] = [
        ("港/サービス", "shop/db", 5432, "documented", 10, 1, 0),
        ("esc\u{1b}[2J", "bidi\u{202e}gnp", 80, "documented", 10, 1, 0),
        (
            "shop/web",
            "a-name-that-is-far-too-long-for-any-column-of-any-screen-that-anybody-has",
            80,
            "documented",
            10,
            1,
            0,
        ),
    ];
    let mut top = Top::new(String::new(), false);
    top.take(picture(7, &rows));
    let terminal = screen(&top, 80, 14);
    let buffer = terminal.backend().buffer();
    // The last digit of the failed column stands in the last cell of each of the three rows.
    let ends: Vec<&str> = (0..14).map(|y| buffer[(79, y)].symbol()).filter(|symbol| *symbol == "0").collect();
    assert_eq!(ends.len(), 3, "{:?}", lines(&top, 80, 14));
    for cell in &buffer.content {
        assert!(!cell.symbol().chars().any(|letter| letter.is_control() || letter == '\u{202e}'));
    }
}

#[test]
fn no_size_and_no_key_breaks_it() {
    let keys = "jjjkGg\t\n?sSrp /x\n\t\n";
    for (width, height) in [(0, 0), (1, 1), (3, 2), (10, 3), (20, 5), (39, 7), (300, 90)] {
        for mut top in [Top::default(), shop()] {
            drop(screen(&top, width, height));
            for key in keys.chars() {
                press(&mut top, &key.to_string());
                drop(screen(&top, width, height));
            }
            // The rows there were are gone.
            press(&mut top, "\nG");
            top.take(picture(30, &[]));
            drop(screen(&top, width, height));
        }
    }
}
