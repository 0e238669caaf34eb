//! Following the running host for as long as the program runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portolan_flowtable::Timestamp;
use tokio::time::{self, MissedTickBehavior};

use crate::docker::follow_once;
use crate::indicators::follow_indicators;
use crate::links::{LinkError, LinkFollower};
use crate::listening::look;
use crate::registry::RosterBook;

/// What is followed and how patiently.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// Docker's socket; `None` follows links alone.
    pub docker_socket: Option<PathBuf>,
    /// Where the host's `/proc` is mounted.
    pub proc_root: PathBuf,
    /// Silence after which Docker is asked whether it is there.
    pub probe_every: Duration,
    /// How long an answer may take.
    pub answer_within: Duration,
    /// Longest pause between two attempts to reach Docker; the first is a fifth of a second.
    pub retry_within: Duration,
    /// Pause between two rounds in which all running containers are asked what they use; `None` never asks.
    pub indicators_every: Option<Duration>,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            docker_socket: Some(PathBuf::from("/var/run/docker.sock")),
            proc_root: PathBuf::from("/proc"),
            probe_every: Duration::from_secs(5),
            answer_within: Duration::from_secs(5),
            retry_within: Duration::from_secs(5),
            indicators_every: None,
        }
    }
}

/// Why the host cannot be followed at all. Docker's absence is no such reason: it is a state of the picture.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Netlink refused.
    #[error(transparent)]
    Links(#[from] LinkError),
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked what listens in containers, at most.
const LOOK_FOR_LISTENERS_EVERY: Duration = Duration::from_secs(2);
/// How often what waits for time to pass is looked at.
const PASS_TIME_EVERY: Duration = Duration::from_millis(250);
/// How often containers that came just now are looked for.
const SEARCH_EVERY: Duration = Duration::from_millis(25);

/// Returns the wall clock, which is what Docker's and the kernel's timestamps go by.
pub(crate) fn clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}

/// Follows links and Docker into `book` for ever; dropping the future stops both.
///
/// Links are followed by a thread of their own, in the network namespace of the thread that polls this future first,
/// so that a new veth's role is in the picture within milliseconds. Where Docker is absent, frozen or restarting, the
/// picture says so in `docker.stale` and recovers by itself.
///
/// # Errors
/// Where netlink refuses. Nothing else ends it.
pub async fn follow(options: FollowOptions, book: Arc<RosterBook>) -> Result<(), IdentityError> {
    let links = {
        let book = Arc::clone(&book);
        LinkFollower::spawn(move |picture| book.links_changed(picture, clock()))?
    };
    let docker = follow_docker(&options, &book);
    let passing = pass_time(&book);
    let listening = look_for_listeners(&options, &book);
    let indicating = follow_indicators(&options, &book);
    tokio::join!(docker, passing, listening, indicating);
    drop(links);
    Ok(())
}

async fn follow_docker(options: &FollowOptions, book: &Arc<RosterBook>) {
    let Some(socket) = &options.docker_socket else {
        book.docker(
            |state| state.stale = Some("Docker is not asked: no socket is configured".to_owned()),
            clock(),
        );
        return;
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let (error, has_listed) = follow_once(options, socket, book).await;
        book.docker(
            |state| {
                // The first reason stays in front: it says when the picture went stale.
                let since = *state.stale_since.get_or_insert_with(clock);
                let since = since.to_string();
                let since = since.split('.').next().unwrap_or_default();
                state.stale = Some(format!("{error} (since {since}Z)"));
            },
            clock(),
        );
        if has_listed {
            pause = FIRST_PAUSE;
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(options.retry_within);
    }
}

/// Reads again and again what listens in the running containers, on a thread that may wait.
async fn look_for_listeners(options: &FollowOptions, book: &Arc<RosterBook>) {
    loop {
        let places = book.listening_places();
        let proc_root = options.proc_root.clone();
        let began = time::Instant::now();
        let seen = tokio::task::spawn_blocking(move || look(&places, &proc_root)).await;
        // Reading fails by container and says so; a thread that could not be had is tried again.
        if let Ok(seen) = seen {
            book.listening_seen(seen, clock());
        }
        // Many containers with many sockets take long: never more than a twentieth of one processor.
        time::sleep((began.elapsed() * 20).max(LOOK_FOR_LISTENERS_EVERY)).await;
    }
}

async fn pass_time(book: &Arc<RosterBook>) {
    let mut every = time::interval(PASS_TIME_EVERY);
    let mut searching = time::interval(SEARCH_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    searching.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => book.pass_time(clock()),
            _ = searching.tick() => book.search_again(clock()),
        }
    }
}
