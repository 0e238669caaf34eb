//! Never half alive: a thread that panics ends the process, one that stalls is told of, and the service manager hears
//! from whoever proves that both planes move.
//!
//! # What is watched
//!
//! - **Panics** of any thread: the hook says which and where, and wakes the session, which settles what can be settled
//!   and ends with an exit code of its own ([`EXIT_CODE`]).
//! - **The tap's thread**: each tick waits for its report, and gives up after some seconds.
//! - **The control threads**: a beat of their own; without one the service manager hears nothing either.
//! - **The session's thread**: it alone feeds the service manager's watchdog, after each tick. Who reads
//!   `/-/ready` and `portolan_publication_age_seconds` sees that it stalls.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::signals::Signal;

/// Exit code where Portolan itself failed: a thread panicked, or did not answer any more.
pub(crate) const EXIT_CODE: u8 = 5;
/// Ticks without a publication that make a stall.
const TICKS: u32 = 3;
/// What makes one at least, however short the ticks are.
const STALL_MIN: Duration = Duration::from_secs(3);
/// Time between two beats of the control threads.
const BEAT: Duration = Duration::from_millis(500);

/// What the first thread that panicked said.
static GRIEF: OnceLock<String> = OnceLock::new();
/// Who is woken by it.
static WAKES: Mutex<Option<Sender<Signal>>> = Mutex::new(None);

/// Has every panic, of whatever thread, said in one sentence, kept, and told to the session.
pub(crate) fn guard_threads() {
    std::panic::set_hook(Box::new(|panicked| {
        let sentence = sentence(panicked);
        crate::say(&format!("portolan: {sentence}"));
        let _ = GRIEF.set(sentence);
        if let Some(wakes) = WAKES.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A session that is gone ends anyway.
            let _ = wakes.send(Signal::Grief);
        }
    }));
}

/// Has the session woken by the next panic.
pub(crate) fn wake(session: Sender<Signal>) {
    *WAKES.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
}

/// Returns what the first thread that panicked said.
pub(crate) fn grief() -> Option<&'static str> {
    GRIEF.get().map(String::as_str)
}

fn sentence(panicked: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let place = panicked.location().map_or(String::new(), |at| format!(" at {}:{}", at.file(), at.line()));
    let payload = panicked.payload();
    let reason = payload.downcast_ref::<&str>().copied();
    let reason = reason.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!(
        "the thread {} panicked{place}: {}; please report this",
        thread.name().unwrap_or("without a name"),
        reason.unwrap_or("no reason was given")
    )
}

/// Returns after how long without a publication a session stalls.
pub(crate) fn stalls_after(tick: Duration) -> Duration {
    STALL_MIN.max(tick * TICKS)
}

/// The beat of the control threads.
#[derive(Clone, Debug)]
pub(crate) struct Beat {
    since: Instant,
    /// Milliseconds from `since` to the latest beat. Nothing else is read by it.
    at: Arc<AtomicU64>,
}

impl Beat {
    /// Starts to beat on a runtime.
    pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Self {
        let beat = Self { since: Instant::now(), at: Arc::new(AtomicU64::new(0)) };
        let own = beat.clone();
        runtime.spawn(async move {
            loop {
                crate::fault::point("control");
                let now = u64::try_from(own.since.elapsed().as_millis()).unwrap_or(u64::MAX);
                own.at.store(now, Ordering::Relaxed);
                tokio::time::sleep(BEAT).await;
            }
        });
        beat
    }

    /// Returns how long ago the latest beat was.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.at.load(Ordering::Relaxed)))
    }
}

/// The service manager, where one listens (sd_notify(3)).
#[derive(Debug)]
pub(crate) struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// Connects to the socket that `NOTIFY_SOCKET` names. Before anything is given up: afterwards no such socket can
    /// be made.
    pub(crate) fn open() -> Self {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self(None);
        };
        let connected = || -> io::Result<UnixDatagram> {
            let address = match name.as_bytes().strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(&name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // A manager that does not listen must not hold the session.
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        match connected() {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                crate::say(&format!(
                    "portolan: NOTIFY_SOCKET={}: {error}; the service manager will hear nothing",
                    name.to_string_lossy()
                ));
                Self(None)
            }
        }
    }

    /// Tells the service manager, for example `READY=1`.
    pub(crate) fn tell(&self, what: &str) {
        if let Some(socket) = &self.0 {
            // Who does not hear it takes the silence for what it is.
            let _ = socket.send(what.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_three_ticks_and_three_seconds_at_least() {
        #[rustfmt::skip]
        let cases = [
            // tick, milliseconds   stall, milliseconds
            (50,                    3_000),
            (1_000,                 3_000),
            (60_000,                180_000),
        ];
        for (tick, stall) in cases {
            assert_eq!(stalls_after(Duration::from_millis(tick)), Duration::from_millis(stall), "{tick}");
        }
    }
}
