//! Signals as messages: SIGTERM and SIGINT end, SIGHUP reloads; and the word that a thread panicked.

use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::error::Failure;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signal {
    /// Settle and end.
    End,
    /// Read configuration and contract again, open the event file anew.
    Reload,
    /// A thread panicked: settle what can be settled and end.
    Grief,
}

/// Starts to listen.
///
/// # Errors
///
/// Returns why signals cannot be listened to.
pub(crate) fn listen(runtime: &Runtime) -> Result<Receiver<Signal>, Failure> {
    let (sender, receiver) = channel();
    let _context = runtime.enter();
    for (kind, meaning) in [
        (SignalKind::terminate(), Signal::End),
        (SignalKind::interrupt(), Signal::End),
        (SignalKind::hangup(), Signal::Reload),
    ] {
        let stream =
            signal(kind).map_err(|error| Failure::error(format!("cannot listen to signals: {error}")))?;
        runtime.spawn(forward(stream, meaning, sender.clone()));
    }
    crate::watchdog::wake(sender);
    Ok(receiver)
}

async fn forward(mut stream: Stream, meaning: Signal, to: Sender<Signal>) {
    while stream.recv().await.is_some() {
        if to.send(meaning).is_err() {
            return;
        }
    }
}
