//! How Portolan itself is doing, as far as identity and the run say it; the chart adds the accounts.

use portolan_exporter::Vitals;
use portolan_flowtable::Timestamp;
use portolan_identity::Picture;

/// What a live run says of itself at a tick; a replay with a journal says the same.
#[derive(Clone, Debug, Default)]
pub struct RunFacts {
    /// Host that is watched.
    pub host: String,
    /// When the tap was opened.
    pub started_at: Timestamp,
    /// Whether frames are being captured.
    pub is_capturing: bool,
    /// Whether the last reload was good.
    pub reload_ok: bool,
    /// When it was.
    pub reload_at: Timestamp,
    /// Frames in the kernel's ring, at most.
    pub in_ring: u64,
}

/// Returns the vitals of a run with a picture of who is who.
pub fn vitals(picture: &Picture, facts: &RunFacts) -> Vitals {
    let counts = &picture.counts;
    Vitals {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: facts.host.clone(),
        host_addresses: picture.directory.host_addresses_outside(),
        started_at: facts.started_at,
        in_ring_max: Some(facts.in_ring),
        containers: counts.containers,
        containers_observable: counts.observable,
        containers_matched: counts.matched,
        unobservable: counts.unobservable.clone(),
        identity_by: if counts.matched == 0 { String::new() } else { counts.identity_by.clone() },
        is_capturing: facts.is_capturing,
        is_named: picture.docker.is_listed,
        docker_events: picture.docker.events,
        docker_lists: picture.docker.lists,
        reload_ok: facts.reload_ok,
        reload_at: facts.reload_at,
        ..Vitals::default()
    }
}
