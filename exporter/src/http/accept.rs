//! The accept loops and one connection's life.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::Patience;
use super::guard::Guarded;
use super::guests::{Guests, Origin, Place};
use super::routes::{Door, State};
use super::socket::SocketFile;
use super::stream::Stream;
use crate::publication::Publication;
use crate::snapshots::{Pace, Snapshots};

/// Most bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most header fields.
const HEADER_FIELDS_MAX: usize = 64;
/// Pause after a failed accept: out of file descriptors does not pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of requests read ahead, of answers written ahead.
const BUFFER_MAX: usize = 4 * HEADER_BYTES_MAX;
/// Requests after which a connection is closed: who has more to ask comes anew, and queues with the others.
const REQUESTS_MAX: u32 = 1_000;
/// Requests of a connection that are answered as fast as they come; a page or a scrape needs fewer.
const REQUESTS_AT_ONCE: u32 = 20;
/// What each further one waits, so that a flood on one connection leaves the processors to the others.
const REQUEST_PAUSE: Duration = Duration::from_millis(50);
/// First byte of every TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// What who speaks plain HTTP to a TLS port is told.
const PLAIN_REFUSED: &str = "{\"error\":\"plain HTTP is not answered here: write https:// instead\"}\n";

/// Feeds every publication to the exposition's memory, scraped or not.
pub(super) async fn remember(
    state: Arc<State>,
    mut receiver: watch::Receiver<Arc<Publication>>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let publication = Arc::clone(&receiver.borrow_and_update());
        state.take_in();
        let fed = Arc::clone(&state);
        // A panic there would poison one publication's memory only; the next one is taken in all the same.
        let _ = tokio::task::spawn_blocking(move || fed.remember(&publication)).await;
        tokio::select! {
            () = asked_to_end(&mut shutdown) => return,
            changed = receiver.changed() => if changed.is_err() {
                // The last publication stays readable until the end.
                return asked_to_end(&mut shutdown).await;
            },
        }
    }
}

/// Takes a snapshot of the first publication with names, or without where none come for that long, and of one each while
/// from then on. Nobody waits for the disk:
/// what is published meanwhile is passed over.
pub(super) async fn keep(
    snapshots: Arc<Snapshots>,
    notice: fn(&str),
    mut receiver: watch::Receiver<Arc<Publication>>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut pace = Pace::new(snapshots.every());
    let mut is_told = false;
    loop {
        let publication = Arc::clone(&receiver.borrow_and_update());
        let at = publication.assessment.snapshot.at;
        let vitals = &publication.vitals;
        if pace.takes(at, vitals.started_at, vitals.is_named) {
            let (kept, taken) = (Arc::clone(&snapshots), publication);
            let written = tokio::task::spawn_blocking(move || kept.write(&taken)).await;
            match written {
                Ok(Err(error)) => {
                    notice(&format!(
                        "portolan: no snapshot was kept: {error}; the next is tried when it is due"
                    ));
                }
                Ok(Ok(later)) if later > 0 && !is_told => {
                    is_told = true;
                    notice(&format!(
                        "portolan: {} holds {later} snapshots of a later time than {at}: the clock was set back, or they \
                         come from elsewhere; they go first where there are too many",
                        snapshots.directory().display()
                    ));
                }
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        tokio::select! {
            () = asked_to_end(&mut shutdown) => return,
            changed = receiver.changed() => if changed.is_err() { return },
        }
    }
}

pub(super) async fn tcp(
    listener: TcpListener,
    state: Arc<State>,
    patience: Patience,
    mut shutdown: watch::Receiver<bool>,
) {
    let guests = Guests::new(patience, state.own.clone());
    loop {
        let accepted = tokio::select! {
            () = asked_to_end(&mut shutdown) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, from)| Ok((stream.local_addr()?, stream, from))) {
            Ok((local, stream, from)) => {
                let state = Arc::clone(&state);
                let converse =
                    |place| async move { greet(stream, Door::Tcp(local), state, place, patience).await };
                tokio::select! {
                    () = asked_to_end(&mut shutdown) => break,
                    () = guests.admit(Origin::of(from.ip()), converse) => {}
                }
                // A request that came with its connection is read before further ones are let in.
                yield_now().await;
            }
            Err(error) => recover(&error).await,
        }
    }
    drop(listener);
    guests.see_off().await;
}

pub(super) async fn unix(
    socket: SocketFile,
    state: Arc<State>,
    patience: Patience,
    mut shutdown: watch::Receiver<bool>,
) {
    let guests = Guests::new(patience, state.own.clone());
    loop {
        let accepted = tokio::select! {
            () = asked_to_end(&mut shutdown) => break,
            accepted = socket.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                // A peer that is gone already has no name, and gives no orders.
                let by = stream.peer_cred().ok().map(|credentials| credentials.uid());
                let converse = |place| converse(stream, Door::Socket(by), state, place, patience);
                tokio::select! {
                    () = asked_to_end(&mut shutdown) => break,
                    () = guests.admit(Origin::Socket, converse) => {}
                }
            }
            Err(error) => recover(&error).await,
        }
    }
    drop(socket);
    guests.see_off().await;
}

async fn asked_to_end(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the daemon.
    let _ = shutdown.wait_for(|is_asked| *is_asked).await;
}

async fn recover(error: &io::Error) {
    // A client that left before it was accepted is no reason to pause.
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        sleep(ACCEPT_PAUSE).await;
    }
}

/// Speaks TLS first where that is asked for.
async fn greet(mut stream: TcpStream, door: Door, state: Arc<State>, place: Place, patience: Patience) {
    let Some(tls) = state.doors.current().await.tls.clone() else {
        return converse(stream, door, state, place, patience).await;
    };
    let handshake = async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first != [TLS_HANDSHAKE] {
            let length = PLAIN_REFUSED.len();
            let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let refusal = format!("{head}Content-Length: {length}\r\n\r\n{PLAIN_REFUSED}");
            stream.write_all(refusal.as_bytes()).await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        TlsAcceptor::from(tls).accept(stream).await
    };
    // A handshake is part of asking; who fails at it is told by the protocol.
    if let Ok(Ok(stream)) = timeout(patience.header, handshake).await {
        place.stir();
        converse(stream, door, state, place, patience).await;
    }
}

async fn converse<S>(stream: S, door: Door, state: Arc<State>, place: Place, patience: Patience)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answering = Arc::clone(&state);
    let asked = Arc::new(AtomicU32::new(0));
    let service = service_fn(move |request: Request<Incoming>| {
        let place = place.clone();
        let state = Arc::clone(&answering);
        let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            if number > REQUESTS_AT_ONCE {
                sleep(REQUEST_PAUSE).await;
            }
            let under_way = place.answering();
            let (answer, stream) = state.answer(door, request).await;
            let (mut head, body) = answer.into_parts();
            if number >= REQUESTS_MAX {
                head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            let body = match stream {
                // Its events are few bytes each, and nothing is kept for who does not take them.
                Some(stream) => Either::Right(stream),
                None => Either::Left(Full::new(under_way.hand_out(body))),
            };
            Ok::<Response<Either<Full<Bytes>, Stream>>, Infallible>(Response::from_parts(head, body))
        }
    });
    let stream = TokioIo::new(Guarded::new(stream, patience.stall));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_header_size(HEADER_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);

    // How a connection ends is the client's affair; an error here is weather.
    if timeout(patience.connection, connection.as_mut()).await.is_ok() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    if timeout(patience.farewell, connection).await.is_err() {
        state.own.closed("deadline");
    }
}
