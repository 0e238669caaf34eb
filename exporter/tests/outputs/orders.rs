//! Orders: by the socket alone, with who asks.

use std::collections::BTreeMap;

use portolan_exporter::client::{Client, Server};
use portolan_exporter::http::{Order, OrderAnswer, OrderDoor};

use crate::fixture::empty;
use crate::http::Host;

/// Tells what was asked, and refuses what it does not know.
fn carried_out(order: Order) {
    let with: BTreeMap<String, String> = order.with.clone();
    let answer = match order.what.as_str() {
        "findings/ack" => OrderAnswer::Done(format!("{} {with:?}", order.by)),
        "findings/lost" => return,
        "baseline/freeze" => OrderAnswer::Forbidden("not you".to_owned()),
        other => OrderAnswer::Wrong(format!("unknown order {other:?}")),
    };
    order.answer(answer);
}

#[test]
fn orders_come_by_the_socket_alone_and_carry_who_asks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/portolan.sock");
    let host = Host::new(empty(), |options| {
        options.socket = Some(path.clone());
        options.orders = Some(OrderDoor::new(carried_out));
    });
    let by_socket = Client::new(Server::Socket(path.clone()));
    let done =
        by_socket.order("findings/ack", &[("id", "7c2&x=1"), ("reason", "a b\r\nX: \u{e9}+%")]).unwrap();
    let own = rustix::process::geteuid().as_raw();
    assert_eq!(done.body, format!("{own} {{\"id\": \"7c2&x=1\", \"reason\": \"a b\\r\\nX: é+%\"}}"));
    let refused = |error: portolan_exporter::client::ClientError| error.to_string();
    let said = refused(by_socket.order("baseline/freeze", &[]).unwrap_err());
    assert!(said.contains("refused: not you"), "{said}");
    let said = refused(by_socket.order("nonsense", &[]).unwrap_err());
    assert!(said.contains("unknown order \"nonsense\""), "{said}");
    let said = refused(by_socket.order("findings/lost", &[]).unwrap_err());
    assert!(said.contains("the daemon does not answer"), "{said}");
    let said = refused(by_socket.get("/api/v1/do/findings/ack").unwrap_err());
    assert!(said.contains("an order is given with POST"), "{said}");
    let said = refused(host.client().order("findings/ack", &[]).unwrap_err());
    assert!(said.contains("orders are taken by the socket alone"), "{said}");
    let posted = host.raw("POST /api/v1/findings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
    host.end();
}

#[test]
fn a_server_without_an_order_door_takes_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/portolan.sock");
    let host = Host::new(empty(), |options| options.socket = Some(path.clone()));
    let said = Client::new(Server::Socket(path)).order("findings/ack", &[]).unwrap_err().to_string();
    assert!(said.contains("orders are taken by the socket alone"), "{said}");
    host.end();
}
