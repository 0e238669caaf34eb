//! Who is let in over TCP: what the web configuration file says at this moment.
//!
//! # Invariants
//!
//! - **Renewed without a restart.** The file and those it names are looked at when a connection or a request comes,
//!   at most once a second, and read again when one of them is another than before.
//! - **Never half.** What cannot be used as a whole is told, once, and what was read before stays in force.

mod passwords;
mod subject_names;
mod tls;
mod web_config;

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use passwords::Passwords;
pub(in crate::http) use web_config::WebConfig;
pub use web_config::WebConfigError;

/// Shortest time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the file says, and when it was looked at.
pub(super) struct Doors {
    path: Option<PathBuf>,
    passwords: Passwords,
    notice: fn(&str),
    /// Whether nothing else keeps strangers out: then no change of the file may let them in.
    is_alone: bool,
    known: Mutex<Known>,
}

struct Known {
    config: Arc<WebConfig>,
    stamps: Vec<Stamp>,
    looked_at: Instant,
    /// What was wrong with the files as they were last read.
    told: Option<WebConfigError>,
}

/// What tells one state of a file from another: device, number, size, times of writing and of change.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Stamp(PathBuf, Option<[i128; 5]>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let known = fs::metadata(path).ok().map(|found| {
            let time = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            let written = time(found.mtime(), found.mtime_nsec());
            let changed = time(found.ctime(), found.ctime_nsec());
            [found.dev().into(), found.ino().into(), found.size().into(), written, changed]
        });
        Self(path.to_owned(), known)
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Doors {
    /// Reads the file, if there is one.
    pub(super) fn open(
        path: Option<&Path>,
        notice: fn(&str),
        is_alone: bool,
    ) -> Result<Self, WebConfigError> {
        let (config, stamps) = match path {
            Some(path) => read(path)?,
            None => (WebConfig::default(), Vec::new()),
        };
        let known = Known { config: Arc::new(config), stamps, looked_at: Instant::now(), told: None };
        Ok(Self {
            path: path.map(Path::to_owned),
            passwords: Passwords::new(),
            notice,
            is_alone,
            known: Mutex::new(known),
        })
    }

    /// What keeps strangers out, in words; nothing if nothing does.
    pub(super) fn guards(&self) -> Vec<&'static str> {
        self.known().config.guards()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.known().config.tls.is_some()
    }

    /// Returns what is in force, after a look at the files where the last one is a while ago.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<WebConfig> {
        let Some(path) = self.path.clone() else {
            return self.known().config.clone();
        };
        {
            let mut known = self.known();
            if known.looked_at.elapsed() < LOOK_EVERY {
                return Arc::clone(&known.config);
            }
            // Others need not look meanwhile.
            known.looked_at = Instant::now();
        }
        let doors = Arc::clone(self);
        // A panic there would leave what is in force.
        let _ = tokio::task::spawn_blocking(move || doors.look(&path)).await;
        Arc::clone(&self.known().config)
    }

    fn look(&self, path: &Path) {
        let before = self.known().stamps.clone();
        if before.iter().all(|stamp| Stamp::of(&stamp.0) == *stamp) && self.known().told.is_none() {
            return;
        }
        let still_guarded = |(config, stamps): (WebConfig, Vec<Stamp>)| {
            if !self.is_alone || !config.guards().is_empty() {
                return Ok((config, stamps));
            }
            let problem = "would let everybody in who can reach this host: keep passwords or client certificates, or \
                           start with --open";
            Err(WebConfigError {
                file: path.to_owned(),
                field: "the file".to_owned(),
                problem: problem.to_owned(),
            })
        };
        match read(path).and_then(still_guarded) {
            Ok((config, stamps)) => {
                let mut known = self.known();
                (known.config, known.stamps, known.told) = (Arc::new(config), stamps, None);
                drop(known);
                (self.notice)(&format!("portolan: {} read again", path.display()));
            }
            Err(error) => {
                let is_other = self.known().told.replace(error.clone()).as_ref() != Some(&error);
                if is_other {
                    (self.notice)(&format!("portolan: {error}\n  what was read before stays in force"));
                }
            }
        }
    }

    /// Returns whether what follows `Basic ` in a request is a user's name and password.
    pub(super) async fn admit(&self, config: &WebConfig, credentials: &[u8]) -> bool {
        self.passwords.admit(&config.users, credentials).await
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the files and what told their states before that: what is written meanwhile is found at the next look.
fn read(path: &Path) -> Result<(WebConfig, Vec<Stamp>), WebConfigError> {
    let own = Stamp::of(path);
    let first = WebConfig::read(path)?;
    let stamps = std::iter::once(own).chain(first.files.iter().map(|file| Stamp::of(file))).collect();
    // Once more, so that the stamps of the files it names are older than what was read of them.
    WebConfig::read(path).map(|config| (config, stamps))
}
