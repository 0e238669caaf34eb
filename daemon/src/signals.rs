//! Signals as messages: SIGTERM and SIGINT end, SIGHUP reloads; the word that a thread panicked; and orders, which come
//! the same way.

use std::sync::mpsc::{Receiver, Sender, channel};

use portolan_exporter::http::Order;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::error::Failure;

/// What a signal asks for.
#[derive(Debug)]
pub(crate) enum Signal {
    /// Settle and end.
    End,
    /// Read configuration and contract again, open the event file anew.
    Reload,
    /// A thread panicked: settle what can be settled and end.
    Grief,
    /// Change something, as somebody asked by the socket.
    Order(Order),
}

/// Starts to listen.
///
/// # Errors
///
/// Returns why signals cannot be listened to.
pub(crate) fn listen(runtime: &Runtime) -> Result<(Sender<Signal>, Receiver<Signal>), Failure> {
    let (sender, receiver) = channel();
    let _context = runtime.enter();
    let meanings: [(SignalKind, fn() -> Signal); 3] = [
        (SignalKind::terminate(), || Signal::End),
        (SignalKind::interrupt(), || Signal::End),
        (SignalKind::hangup(), || Signal::Reload),
    ];
    for (kind, meaning) in meanings {
        let stream =
            signal(kind).map_err(|error| Failure::error(format!("cannot listen to signals: {error}")))?;
        runtime.spawn(forward(stream, meaning, sender.clone()));
    }
    crate::watchdog::wake(sender.clone());
    Ok((sender, receiver))
}

async fn forward(mut stream: Stream, meaning: fn() -> Signal, to: Sender<Signal>) {
    while stream.recv().await.is_some() {
        if to.send(meaning()).is_err() {
            return;
        }
    }
}
