//! Docker's answers: names, and nothing the data plane waits for.
//!
//! Only GET requests are made. Events are hints that something should be asked again; list plus inspect is the truth,
//! taken at every subscription. A frozen engine keeps its event stream open and silent, so it is probed; one that
//! went away is asked for again until it answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::{
    EventsOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptions, ListServicesOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt};
use portolan_flowtable::Timestamp;
use portolan_flowtable::lifecycle::Change;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::follow::{FollowOptions, clock};
use crate::inventory::{clipped, read_container, read_image, read_network, read_service};
use crate::lifecycle::change_of;
use crate::registry::RosterBook;

/// Questions in flight at once while listing.
const LISTING_WIDTH: usize = 8;
/// Inspections in flight at once that events asked for: an engine answers none about a container it is starting.
const INSPECTIONS_MAX: usize = 64;
/// How far back events are asked for, so that none falls between subscription and listing, in seconds.
const OVERLAP_SECONDS: i64 = 2;
/// Container events after which it is inspected again. The rest (exec, health, attach, top ...) change nothing here.
const TELLING: [&str; 9] =
    ["create", "start", "restart", "die", "rename", "update", "unpause", "destroy", "stop"];

/// Why Docker could not be followed for a while.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerError {
    #[error("no Docker at {socket}: {reason}")]
    Unreachable { socket: String, reason: String },
    #[error("Docker at {socket} does not answer")]
    Silent { socket: String },
    #[error("Docker at {socket} ended its event stream")]
    StreamEnded { socket: String },
    #[error("Docker at {socket} answered what cannot be used: {reason}")]
    Unusable { socket: String, reason: String },
}

/// Follows Docker until it fails. Returns the failure and whether a full listing was had.
pub(crate) async fn follow_once(
    options: &FollowOptions,
    socket: &Path,
    book: &Arc<RosterBook>,
) -> (DockerError, bool) {
    let engine = match Engine::connect(options, socket, book).await {
        Ok(engine) => engine,
        Err(error) => return (error, false),
    };
    let since = (clock().0 / Timestamp::SECOND - OVERLAP_SECONDS).to_string();
    let events = engine.docker.events(Some(EventsOptionsBuilder::default().since(&since).build()));
    let mut session = Session::new(&engine);
    match session.listing(events).await {
        Ok(never) => match never {},
        Err(error) => (error, session.has_listed),
    }
}

/// A connection and where its answers go. Cheap to clone.
#[derive(Clone)]
struct Engine {
    docker: Docker,
    socket: String,
    book: Arc<RosterBook>,
    answer_within: Duration,
    probe_every: Duration,
}

impl Engine {
    async fn connect(
        options: &FollowOptions,
        socket: &Path,
        book: &Arc<RosterBook>,
    ) -> Result<Self, DockerError> {
        let name = socket.display().to_string();
        let unreachable =
            |error: &BollardError| DockerError::Unreachable { socket: name.clone(), reason: reason(error) };
        let seconds = options.answer_within.as_secs().max(1);
        let docker = Docker::connect_with_socket(&name, seconds, API_DEFAULT_VERSION)
            .map_err(|error| unreachable(&error))?;
        let docker = match time::timeout(options.answer_within, docker.negotiate_version()).await {
            Ok(Err(BollardError::RequestTimeoutError)) | Err(_) => {
                return Err(DockerError::Silent { socket: name });
            }
            Ok(negotiated) => negotiated.map_err(|error| unreachable(&error))?,
        };
        let engine = Self {
            docker,
            socket: name,
            book: Arc::clone(book),
            answer_within: options.answer_within,
            probe_every: options.probe_every,
        };
        let version = engine.ask(engine.docker.version()).await?.version.unwrap_or_default();
        let api = engine.docker.client_version();
        engine.book.docker(
            |state| {
                state.version = version;
                state.api_version = format!("{}.{}", api.major_version, api.minor_version);
            },
            clock(),
        );
        Ok(engine)
    }

    async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T, DockerError> {
        let socket = || self.socket.clone();
        match time::timeout(self.answer_within, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(BollardError::RequestTimeoutError)) | Err(_) => {
                Err(DockerError::Silent { socket: socket() })
            }
            Ok(Err(error)) => Err(DockerError::Unusable { socket: socket(), reason: reason(&error) }),
        }
    }

    /// Takes the whole truth: all networks, all containers, the images they are of.
    async fn list(&self) -> Result<(), DockerError> {
        let asked_at = clock();
        let networks = self.ask(self.docker.list_networks(None::<ListNetworksOptions>)).await?;
        let networks = networks.iter().filter_map(|network| object(network).as_ref().map(read_network));
        self.book.networks_seen(networks.collect(), true, clock());
        self.list_services().await;
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let containers = self.ask(self.docker.list_containers(Some(all))).await?;
        let ids: BTreeSet<String> =
            containers.into_iter().filter_map(|summary| summary.id).filter(|id| is_id(id)).collect();
        let mut asking = JoinSet::new();
        for id in &ids {
            if asking.len() >= LISTING_WIDTH {
                asking.join_next().await;
            }
            let (engine, id) = (self.clone(), id.clone());
            asking.spawn(async move { engine.inspect(&id).await });
        }
        while asking.join_next().await.is_some() {}
        self.book.listed(&ids, asked_at, clock());
        Ok(())
    }

    /// Takes the services of the swarm, where the engine is a manager of one. Any other engine says that it is not, and has
    /// none.
    async fn list_services(&self) {
        let question = self.docker.list_services(None::<ListServicesOptions>);
        let services = match time::timeout(self.answer_within, question).await {
            Ok(Ok(services)) => services,
            Ok(Err(BollardError::DockerResponseServerError { status_code, message }))
                if is_no_manager(status_code, &message) =>
            {
                Vec::new()
            }
            // What was refused for another reason, could not be read, or did not come, leaves what is known.
            Ok(Err(_)) | Err(_) => return,
        };
        let read = services.iter().filter_map(|service| read_service(object(service).as_ref()?));
        self.book.services_seen(read.collect(), clock());
    }

    /// Inspects a container, and its image where that is not known. A failure leaves what is known: the next event
    /// or listing asks again, and only the probe decides whether Docker is there at all.
    async fn inspect(&self, id: &str) {
        let asked_at = clock();
        let answer = time::timeout(self.answer_within, self.docker.inspect_container(id, None)).await;
        match answer {
            Ok(Ok(answer)) => {
                if let Some(object) = object(&answer) {
                    let record = read_container(&object);
                    if !record.image_id.is_empty() && !self.book.knows_image(&record.image_id) {
                        self.inspect_image(&record.image_id).await;
                    }
                    self.book.container_inspected(record, asked_at, clock());
                }
            }
            Ok(Err(BollardError::DockerResponseServerError { status_code: 404, .. })) => {
                self.book.container_gone(id, clock());
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn inspect_image(&self, id: &str) {
        let answer = time::timeout(self.answer_within, self.docker.inspect_image(id)).await;
        if let Some(object) = answer.ok().and_then(Result::ok).as_ref().and_then(object) {
            self.book.image_seen(read_image(&object));
        }
    }

    async fn inspect_network(&self, id: &str) {
        let answer = time::timeout(self.answer_within, self.docker.inspect_network(id, None)).await;
        match answer {
            Ok(Ok(answer)) => {
                if let Some(object) = object(&answer) {
                    self.book.networks_seen(vec![read_network(&object)], false, clock());
                }
            }
            Ok(Err(BollardError::DockerResponseServerError { status_code: 404, .. })) => {
                self.book.network_gone(id, clock());
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// What is asked again after an event.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Asked {
    Container(String),
    Network(String),
    Services,
}

/// One subscription: its questions in flight, each object asked for once at a time.
struct Session<'a> {
    engine: &'a Engine,
    has_listed: bool,
    asking: JoinSet<Option<Asked>>,
    /// Objects in flight, and whether another event came meanwhile.
    in_flight: BTreeMap<Asked, bool>,
    waiting: BTreeSet<Asked>,
}

impl<'a> Session<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            has_listed: false,
            asking: JoinSet::new(),
            in_flight: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// Hears events from before the listing on; ends with the first failure.
    async fn listing(
        &mut self,
        events: impl Stream<Item = Result<EventMessage, BollardError>>,
    ) -> Result<std::convert::Infallible, DockerError> {
        let engine = self.engine;
        let mut events = std::pin::pin!(events);
        let mut list = std::pin::pin!(engine.list());
        let first = Instant::now() + engine.probe_every;
        let mut probe = time::interval_at(first, engine.probe_every);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(Ok(event)) => self.heed(event),
                    Some(Err(BollardError::JsonDataError { .. })) => {}
                    Some(Err(_)) | None => {
                        return Err(DockerError::StreamEnded { socket: engine.socket.clone() });
                    }
                },
                listed = &mut list, if !self.has_listed => {
                    listed?;
                    self.has_listed = true;
                }
                Some(done) = self.asking.join_next() => {
                    if let Ok(Some(asked)) = done {
                        self.answered(&asked);
                    }
                }
                _ = probe.tick() => {
                    engine.ask(engine.docker.ping()).await?;
                }
            }
        }
    }

    fn heed(&mut self, event: EventMessage) {
        self.engine.book.event_seen();
        let now = clock();
        let at =
            event.time_nano.map(Timestamp).or(event.time.map(|seconds| Timestamp::from_parts(seconds, 0)));
        let at = at.unwrap_or(now);
        let action = event.action.unwrap_or_default();
        let actor = event.actor.unwrap_or_default();
        let attributes: HashMap<String, String> = actor.attributes.unwrap_or_default();
        let Some(id) = actor.id.filter(|id| is_id(id)) else { return };
        if event.typ == Some(EventMessageTypeEnum::CONTAINER)
            && let Some(change) = change_of(&action, attributes.get("exitCode"))
        {
            self.engine.book.happened(&id, &attributes, change, at);
        }
        match event.typ {
            Some(EventMessageTypeEnum::CONTAINER) if TELLING.contains(&action.as_str()) => {
                self.engine.book.container_mentioned(&id, &attributes, &action, at, now);
                if action != "destroy" {
                    self.ask(Asked::Container(id));
                }
            }
            Some(EventMessageTypeEnum::SERVICE) => self.ask(Asked::Services),
            Some(EventMessageTypeEnum::NETWORK) => {
                // A connection shows here long before the container's start does, and names the sandbox.
                if let Some(container) = attributes.get("container").filter(|id| is_id(id)) {
                    self.ask(Asked::Container(container.clone()));
                    let network = attributes.get("name").map(|name| clipped(name)).unwrap_or_default();
                    let change = match action.as_str() {
                        "connect" => Some(Change::NetworkConnect { network }),
                        "disconnect" => Some(Change::NetworkDisconnect { network }),
                        _ => None,
                    };
                    if let Some(change) = change {
                        // The attributes are the network's.
                        self.engine.book.happened(container, &HashMap::new(), change, at);
                    }
                }
                match action.as_str() {
                    "destroy" | "remove" => self.engine.book.network_gone(&id, now),
                    "create" | "update" => self.ask(Asked::Network(id)),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, asked: Asked) {
        if let Some(again) = self.in_flight.get_mut(&asked) {
            *again = true;
        } else if self.in_flight.len() >= INSPECTIONS_MAX {
            self.waiting.insert(asked);
        } else {
            self.in_flight.insert(asked.clone(), false);
            let engine = self.engine.clone();
            self.asking.spawn(async move {
                match &asked {
                    Asked::Container(id) => engine.inspect(id).await,
                    Asked::Network(id) => engine.inspect_network(id).await,
                    Asked::Services => engine.list_services().await,
                }
                Some(asked)
            });
        }
    }

    fn answered(&mut self, asked: &Asked) {
        if self.in_flight.remove(asked) == Some(true) {
            self.ask(asked.clone());
        }
        if let Some(next) = self.waiting.pop_first() {
            self.ask(next);
        }
    }
}

/// Returns whether an engine that refused to list services has none: it is in no swarm, or a worker of one (503 "node is not
/// part of a swarm", Docker Engine API, ServiceList; 406 in 1.24 itself). A manager that lost its quorum,
/// or waits to be unlocked, answers 503 as well, with another message, and has services.
fn is_no_manager(status: u16, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says_so = ["not a swarm manager", "not part of a swarm"].iter().any(|words| message.contains(words));
    matches!(status, 406 | 503) && says_so
}

/// Returns whether `id` may stand in a request's path: an id goes into the next question as it came.
pub(crate) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.bytes().all(|letter| letter.is_ascii_alphanumeric())
}

/// Turns a typed answer back into the JSON it came as, to be read by the same code as roster files.
pub(crate) fn object(answer: &impl Serialize) -> Option<Map<String, Value>> {
    match serde_json::to_value(answer) {
        Ok(Value::Object(object)) => Some(object),
        Ok(_) | Err(_) => None,
    }
}

/// The innermost cause, which names what the system said.
fn reason(error: &BollardError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_manages_no_swarm_has_no_services_and_one_in_trouble_keeps_those_known() {
        const ALONE: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";
        const WORKER: &str = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
        #[rustfmt::skip]
        let cases = [
            (503, ALONE, true),
            (503, WORKER, true),
            (406, ALONE, true),
            (503, "node is not part of a swarm", true),
            (503, "", false),
            (503, "rpc error: code = Unknown desc = The swarm does not have a leader.", false),
            (503, "Swarm is encrypted and needs to be unlocked before it can be used.", false),
            (503, "<html><body><h1>503 Service Unavailable</h1></body></html>", false),
            (500, "context deadline exceeded", false),
            (500, ALONE, false),
            (403, "Forbidden", false),
        ];
        for (status, message, expected) in cases {
            assert_eq!(is_no_manager(status, message), expected, "{status} {message}");
        }
    }
}
