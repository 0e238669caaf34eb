//! The accept loops and one connection's life.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::Patience;
use super::guard::Guarded;
use super::routes::{Door, State};
use super::socket::SocketFile;
use crate::publication::Publication;

/// Most bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most header fields.
const HEADER_FIELDS_MAX: usize = 64;
/// Pause after a failed accept: out of file descriptors does not pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What answers under way are given at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Feeds every publication to the exposition's memory, scraped or not.
pub(super) async fn remember(
    state: Arc<State>,
    mut receiver: watch::Receiver<Arc<Publication>>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let publication = Arc::clone(&receiver.borrow_and_update());
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

pub(super) async fn tcp(
    listener: TcpListener,
    state: Arc<State>,
    patience: Patience,
    mut shutdown: watch::Receiver<bool>,
) {
    let guests = Arc::new(Guests::default());
    loop {
        let accepted = tokio::select! {
            () = asked_to_end(&mut shutdown) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.local_addr()?, stream))) {
            Ok((local, stream)) => guests.admit(stream, Door::Tcp(local), &state, patience),
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
    let guests = Arc::new(Guests::default());
    loop {
        let accepted = tokio::select! {
            () = asked_to_end(&mut shutdown) => break,
            accepted = socket.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => guests.admit(stream, Door::Socket, &state, patience),
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

/// The connections of one listener.
#[derive(Default)]
struct Guests {
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    next: u64,
    guests: BTreeMap<u64, Guest>,
}

struct Guest {
    has_asked: Arc<AtomicBool>,
    handle: AbortHandle,
}

impl Guests {
    fn admit<S>(self: &Arc<Self>, stream: S, door: Door, state: &Arc<State>, patience: Patience)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.guests.len() >= patience.connections_max {
            present.displace_one();
            state.own.closed("displaced");
        }
        let number = present.next;
        present.next += 1;
        let has_asked = Arc::new(AtomicBool::new(false));
        let guests = Arc::clone(self);
        let conversation = converse(stream, door, Arc::clone(state), Arc::clone(&has_asked), patience);
        // The lock is held until the guest is listed, so it cannot leave before it came.
        let task = tokio::spawn(async move {
            conversation.await;
            guests.present.lock().unwrap_or_else(PoisonError::into_inner).guests.remove(&number);
        });
        present.guests.insert(number, Guest { has_asked, handle: task.abort_handle() });
    }

    async fn see_off(&self) {
        let is_empty = || self.present.lock().unwrap_or_else(PoisonError::into_inner).guests.is_empty();
        let emptied = async {
            while !is_empty() {
                sleep(FAREWELL / 20).await;
            }
        };
        if timeout(FAREWELL, emptied).await.is_err() {
            for guest in self.present.lock().unwrap_or_else(PoisonError::into_inner).guests.values() {
                guest.handle.abort();
            }
        }
    }
}

impl Present {
    /// Ends the oldest connection that has not asked for anything, else the oldest.
    fn displace_one(&mut self) {
        let silent = self.guests.iter().find(|(_, guest)| !guest.has_asked.load(Ordering::Relaxed));
        let number = silent.or_else(|| self.guests.first_key_value()).map(|(number, _)| *number);
        if let Some(guest) = number.and_then(|number| self.guests.remove(&number)) {
            guest.handle.abort();
        }
    }
}

async fn converse<S>(stream: S, door: Door, state: Arc<State>, has_asked: Arc<AtomicBool>, patience: Patience)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answering = Arc::clone(&state);
    let service = service_fn(move |request: Request<Incoming>| {
        has_asked.store(true, Ordering::Relaxed);
        let state = Arc::clone(&answering);
        async move { Ok::<Response<Full<Bytes>>, Infallible>(state.answer(door, request).await) }
    });
    let stream = TokioIo::new(Guarded::new(stream, patience.stall));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_header_size(HEADER_BYTES_MAX)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(4 * HEADER_BYTES_MAX)
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
