//! Exact, bounded traffic between namespaces, by sockets of this process.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::namespace::Namespace;

/// Most datagrams or calls of one test.
const TIMES_MAX: u32 = 2_000_000;
/// Ethernet, IPv4 and UDP headers, in bytes.
pub(crate) const UDP_HEADERS: u64 = 14 + 20 + 8;
/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends so many datagrams of so many bytes, one frame each, as fast as they go; returns the wire bytes.
pub(crate) fn send_datagrams(from: &Namespace, to: SocketAddrV4, times: u32, payload: usize) -> u64 {
    assert!(times <= TIMES_MAX && payload <= 1472, "{times} datagrams of {payload} bytes");
    from.within(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
        let datagram = vec![b'x'; payload];
        for _ in 0..times {
            socket.send_to(&datagram, to).unwrap_or_else(|error| panic!("cannot send to {to}: {error}"));
        }
    });
    u64::from(times) * (UDP_HEADERS + payload as u64)
}

/// Sends datagrams from 64 ports until it is over or nothing can be sent any more, and at most a bounded number;
/// returns how many went out.
pub(crate) fn flood(from: &Namespace, to: SocketAddrV4, is_over: &AtomicBool, payload: usize) -> u64 {
    from.within(|| {
        let sockets = [(); 64].map(|()| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port"));
        let datagram = vec![b'x'; payload];
        let mut sent = 0;
        for socket in sockets.iter().cycle().take(TIMES_MAX as usize) {
            if is_over.load(Ordering::Relaxed) || socket.send_to(&datagram, to).is_err() {
                break;
            }
            sent += 1;
        }
        sent
    })
}

/// Opens a port that swallows datagrams, so that nobody answers "port unreachable", until it is dropped.
pub(crate) fn sink(at: &Namespace, port: u16) -> UdpSocket {
    at.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
        .unwrap_or_else(|error| panic!("udp port {port}: {error}"))
}

/// Makes so many TCP connections, each with one request and one answer of the given sizes, all closed at the end.
pub(crate) fn call(
    client: &Namespace,
    server: &Namespace,
    at: SocketAddrV4,
    times: u32,
    request: usize,
    answer: usize,
) {
    assert!(times <= TIMES_MAX, "{times} calls");
    let listener = server
        .within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port())))
        .unwrap_or_else(|error| panic!("tcp port {}: {error}", at.port()));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..times {
                let (mut stream, _) = listener.accept().expect("a caller");
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                let mut asked = vec![0; request];
                stream.read_exact(&mut asked).expect("a whole request");
                stream.write_all(&vec![b'y'; answer]).expect("a caller that listens");
                // Until the caller closes: who closes first is part of what a test counts.
                let _ = stream.read(&mut [0]);
            }
        });
        client.within(|| {
            for _ in 0..times {
                let mut stream =
                    TcpStream::connect(at).unwrap_or_else(|error| panic!("cannot reach {at}: {error}"));
                stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
                stream.write_all(&vec![b'x'; request]).expect("a server that listens");
                let mut answered = vec![0; answer];
                stream.read_exact(&mut answered).expect("a whole answer");
                stream.shutdown(Shutdown::Write).expect("an open connection");
                let _ = stream.read(&mut [0]);
            }
        });
    });
}
