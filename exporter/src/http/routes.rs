//! What is answered to which request.

use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use portolan_flowtable::Timestamp;
use portolan_graphs::{Boxes, Group};
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use super::doors::{Doors, WebConfig};
use super::orders::{ORDERS, OrderAnswer, OrderDoor};
use super::stream::{READERS_MAX, Stream};
use super::{ServeOptions, page};
use crate::collect::EdgeMemory;
use crate::cost::CostBook;
use crate::escape;
use crate::exposition;
use crate::own::OwnMetrics;
use crate::publication::{FlowRecord, Publication};
use crate::snapshots::Snapshots;
use crate::view::View;

/// Draws a publication's graph: grouping and format in, content type and text out; or what was wrong with either.
pub type GraphForms = Arc<dyn Fn(&Publication, &str, &str) -> Result<(String, String), String> + Send + Sync>;

/// Draws what a publication holds already: the graph by service, as JSON.
pub fn plain_graph_forms() -> GraphForms {
    Arc::new(|publication, group, format| match (group, format) {
        ("service", "json") => serde_json::to_string(&publication.graph)
            .map(|text| ("application/json".to_owned(), text))
            .map_err(|error| error.to_string()),
        ("service", other) => Err(format!("unknown format {other:?}: the only one is json")),
        (other, _) => Err(format!("unknown group {other:?}: the only one is service")),
    })
}

/// Which way a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    /// Over TCP, to this address of ours.
    Tcp(SocketAddr),
    /// By the socket file, whose mode says who may; with the user id of whoever connected.
    Socket(Option<u32>),
}

pub(super) struct State {
    listen: Vec<SocketAddr>,
    hosts: Vec<String>,
    token: Option<String>,
    pub(super) doors: Arc<Doors>,
    receiver: watch::Receiver<Arc<Publication>>,
    forms: GraphForms,
    pub(super) own: OwnMetrics,
    cost: Option<CostBook>,
    stalls_after: Duration,
    /// When the latest publication came.
    taken_in: Mutex<Instant>,
    orders: Option<OrderDoor>,
    snapshots: Option<Arc<Snapshots>>,
    exposed: Mutex<Exposed>,
    /// Answers to plain questions, of one publication: however many ask, each is written once.
    plain: Mutex<Plain>,
    /// Answers being written at once; more would only take the processors from the capture.
    writers: Semaphore,
    /// Places of those who are told of every publication.
    readers: Arc<Semaphore>,
    /// How long one of them is told before it has to come back.
    stream_span: Duration,
}

/// The exposition of one publication, written once however many ask.
struct Exposed {
    memory: EdgeMemory,
    publication: Option<Arc<Publication>>,
    text: Option<Arc<str>>,
}

/// Answers to questions without a query.
#[derive(Default)]
struct Plain {
    publication: Option<Arc<Publication>>,
    answers: BTreeMap<Route, Answer>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("listen", &self.listen)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn new(
        options: &ServeOptions,
        doors: Arc<Doors>,
        listen: Vec<SocketAddr>,
        receiver: watch::Receiver<Arc<Publication>>,
        forms: GraphForms,
        own: OwnMetrics,
    ) -> Self {
        let exposed = Exposed { memory: EdgeMemory::new(options.series), publication: None, text: None };
        Self {
            listen,
            hosts: options.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            token: options.token.clone(),
            doors,
            receiver,
            forms,
            own,
            cost: CostBook::open(),
            stalls_after: options.stalls_after,
            taken_in: Mutex::new(Instant::now()),
            orders: options.orders.clone(),
            snapshots: options.snapshots.clone(),
            exposed: Mutex::new(exposed),
            plain: Mutex::default(),
            writers: Semaphore::new(WRITERS_MAX),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            stream_span: options.patience.connection,
        }
    }

    /// Notes that a publication came.
    pub(super) fn take_in(&self) {
        *self.taken_in.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn age(&self) -> Duration {
        self.taken_in.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Takes a publication into the exposition's memory, once.
    pub(super) fn remember(&self, publication: &Arc<Publication>) {
        // What nobody can be told any more is not kept.
        *self.plain.lock().unwrap_or_else(PoisonError::into_inner) = Plain::default();
        self.exposed.lock().unwrap_or_else(PoisonError::into_inner).remember(publication);
    }

    /// Returns the answer, and what goes on to be told where it does not end at once.
    pub(super) async fn answer(
        self: Arc<Self>,
        door: Door,
        request: Request<Incoming>,
    ) -> (Response<Bytes>, Option<Stream>) {
        let (parts, body) = request.into_parts();
        // A body is not read: the connection closes after the answer that refuses it.
        drop(body);
        let route = Route::of(parts.uri.path());
        let config = self.doors.current().await;
        let mut refusal = self.refuse(door, &parts.method, &parts.uri, &parts.headers);
        if refusal.is_none() && matches!(door, Door::Tcp(_)) && !route.is_probe() {
            refusal = self.stranger(&config, &parts.headers).await;
        }
        let mut stream = None;
        let answer = match refusal {
            Some(refusal) => refusal,
            None if route == Route::Stream => match self.stream(&parts.headers) {
                Ok(told) => {
                    stream = Some(told);
                    Answer::text("text/event-stream", String::new())
                }
                Err(refusal) => refusal,
            },
            None if route == Route::Order => self.order(door, &parts.uri).await,
            None => Arc::clone(&self).write(route, parts.uri).await,
        };
        self.own.request(route.word(), answer.status.as_u16());
        let mut response = answer.into_response();
        if matches!(door, Door::Tcp(_)) {
            // These replace our own of the same name.
            for (name, value) in &config.headers {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
        (response, stream)
    }

    /// Begins to tell of every publication, where there is a place left.
    fn stream(&self, headers: &HeaderMap) -> Result<Stream, Answer> {
        let Ok(place) = Arc::clone(&self.readers).try_acquire_owned() else {
            let remedy =
                format!("{READERS_MAX} readers are told already: ask /api/v1/map now and then instead");
            return Err(Answer::error(StatusCode::SERVICE_UNAVAILABLE, &remedy).closing());
        };
        let told =
            headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
        Ok(Stream::new(self.receiver.clone(), told, self.stream_span, place))
    }

    /// Has an order carried out. It came by POST.
    async fn order(&self, door: Door, uri: &Uri) -> Answer {
        let (Door::Socket(Some(by)), Some(orders)) = (door, &self.orders) else {
            let remedy = "orders are taken by the socket alone, from whoever the kernel can name";
            return Answer::error(StatusCode::FORBIDDEN, remedy).closing();
        };
        let with = match Query::read_any(uri.query().unwrap_or_default()) {
            Ok(query) => query.values,
            Err(error) => return Answer::error(StatusCode::BAD_REQUEST, &error),
        };
        let what = uri.path().strip_prefix(ORDERS).unwrap_or_default().to_owned();
        match orders.ask(by, what, with).await {
            Some(OrderAnswer::Done(text)) => Answer::text("text/plain; charset=utf-8", text),
            Some(OrderAnswer::Wrong(sentence)) => Answer::error(StatusCode::BAD_REQUEST, &sentence),
            Some(OrderAnswer::Forbidden(sentence)) => Answer::error(StatusCode::FORBIDDEN, &sentence),
            None => Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon does not answer: ask again"),
        }
    }

    async fn write(self: Arc<Self>, route: Route, uri: Uri) -> Answer {
        if uri.query().is_none()
            && let Some(known) = self.known(route)
        {
            return known;
        }
        let Ok(_permit) = self.writers.acquire().await else {
            return Answer::error(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending: ask its successor");
        };
        let state = Arc::clone(&self);
        let written = tokio::task::spawn_blocking(move || state.written_once(route, uri.query())).await;
        written.unwrap_or_else(|_| {
            Answer::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer could not be written: report this as a defect",
            )
        })
    }

    /// Returns the answer to a request that is not entitled to another.
    fn refuse(&self, door: Door, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Answer> {
        if let Door::Tcp(local) = door
            && !self.is_called(local, uri, headers)
        {
            let remedy = "this host is not known by that name: use its address, or add the name with --host";
            return Some(Answer::error(StatusCode::MISDIRECTED_REQUEST, remedy).closing());
        }
        let is_order = Route::of(uri.path()) == Route::Order;
        let (is_allowed, allowed, remedy) = match is_order {
            true => (method == Method::POST, "POST", "an order is given with POST"),
            false => (
                method == Method::GET || method == Method::HEAD,
                "GET, HEAD",
                "only GET and HEAD are answered here",
            ),
        };
        if !is_allowed {
            let mut answer = Answer::error(StatusCode::METHOD_NOT_ALLOWED, remedy);
            answer.further.push((header::ALLOW, HeaderValue::from_static(allowed)));
            return Some(answer.closing());
        }
        let length = headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
        if length || headers.contains_key(header::TRANSFER_ENCODING) {
            let remedy = "a request with a body is not read: ask with GET and a query";
            return Some(Answer::error(StatusCode::PAYLOAD_TOO_LARGE, remedy).closing());
        }
        None
    }

    /// Returns whether every name the request has for this host is one of ours.
    fn is_called(&self, local: SocketAddr, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut names = headers.get_all(header::HOST).iter();
        let (Some(name), None) = (names.next(), names.next()) else {
            return false;
        };
        let is_ours = |authority: &str| self.is_ours(host_of(authority), local);
        name.to_str().is_ok_and(is_ours)
            && uri.authority().is_none_or(|authority| is_ours(authority.as_str()))
    }

    fn is_ours(&self, host: &str, local: SocketAddr) -> bool {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return address.is_loopback()
                || address == local.ip()
                || self.listen.iter().any(|listened| listened.ip() == address)
                || self.hosts.iter().any(|name| name == host);
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        host == "localhost" || self.hosts.contains(&host)
    }

    /// Returns the refusal of who has neither the token nor a password, where either is asked for.
    async fn stranger(&self, config: &WebConfig, headers: &HeaderMap) -> Option<Answer> {
        if self.token.is_none() && !config.has_users() {
            return None;
        }
        let presented = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        if let Some(token) = &self.token
            && let Some(presented) = after(presented, BEARER)
            && is_equal_in_constant_time(presented, token.as_bytes())
        {
            return None;
        }
        if config.has_users()
            && let Some(credentials) = after(presented, BASIC)
            && self.doors.admit(config, credentials).await
        {
            return None;
        }
        let (remedy, schemes): (&str, &[&'static str]) = match (self.token.is_some(), config.has_users()) {
            (true, false) => ("a token is needed: send the header Authorization: Bearer TOKEN", &["Bearer"]),
            (true, true) => (
                "a token or a password is needed: send the header Authorization: Bearer TOKEN, or a user's name and \
                 password",
                &["Bearer", BASIC_CHALLENGE],
            ),
            (false, _) => ("a password is needed: send a user's name and password", &[BASIC_CHALLENGE]),
        };
        let mut answer = Answer::error(StatusCode::UNAUTHORIZED, remedy);
        for scheme in schemes {
            answer.further.push((header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme)));
        }
        Some(answer.closing())
    }

    fn known(&self, route: Route) -> Option<Answer> {
        let plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let is_latest = plain.publication.as_ref().is_some_and(|of| Arc::ptr_eq(of, &self.receiver.borrow()));
        plain.answers.get(&route).filter(|_| is_latest).cloned()
    }

    /// Writes an answer, unless another just did. Runs where it may take time.
    fn written_once(&self, route: Route, query: Option<&str>) -> Answer {
        let publication = Arc::clone(&self.receiver.borrow());
        if let Some(query) = query {
            return self.written(&publication, route, query);
        }
        if let Some(known) = self.known(route) {
            return known;
        }
        let answer = self.written(&publication, route, "");
        // Metrics count each scrape, and are kept as far as they do not; whether it is ready depends on the time too;
        // the other two are short.
        if !matches!(
            route,
            Route::Metrics | Route::Ready | Route::Healthy | Route::Snapshots | Route::Unknown
        ) {
            let mut plain = self.plain.lock().unwrap_or_else(PoisonError::into_inner);
            if !plain.publication.as_ref().is_some_and(|of| Arc::ptr_eq(of, &publication)) {
                *plain = Plain { publication: Some(publication), answers: BTreeMap::new() };
            }
            plain.answers.insert(route, answer.clone());
        }
        answer
    }

    /// Writes an answer. Runs where it may take time.
    fn written(&self, publication: &Arc<Publication>, route: Route, query: &str) -> Answer {
        let allowed: &[&str] = match route {
            Route::Graph => &["at", "format", "group"],
            Route::Map => &["at", "boxes", "group"],
            Route::Publication => &["at"],
            Route::Flows => &["limit", "after"],
            Route::Page
            | Route::Style
            | Route::Script
            | Route::Icon
            | Route::Metrics
            | Route::Healthy
            | Route::Ready
            | Route::Findings
            | Route::Status
            | Route::Snapshots
            | Route::Stream
            | Route::Order
            | Route::Unknown => &[],
        };
        let query = match Query::read(query, allowed) {
            Ok(query) => query,
            Err(error) => return Answer::error(StatusCode::BAD_REQUEST, &error),
        };
        let earlier = match self.earlier(&query) {
            Ok(earlier) => earlier,
            Err(refusal) => return refusal,
        };
        let publication = earlier.as_ref().unwrap_or(publication);
        match route {
            Route::Page => Answer::text("text/html; charset=utf-8", page::PAGE.to_owned()),
            Route::Style => Answer::text("text/css; charset=utf-8", page::STYLE.to_owned()),
            Route::Script => Answer::text("text/javascript; charset=utf-8", page::SCRIPT.to_owned()),
            Route::Icon => Answer::text("image/svg+xml", page::ICON.to_owned()),
            Route::Map => map(publication, &query),
            Route::Metrics => Answer::text(EXPOSITION_TYPE, self.exposition(publication)),
            Route::Healthy => Answer::text("text/plain; charset=utf-8", "healthy\n".to_owned()),
            Route::Ready => ready(publication, self.age(), self.stalls_after),
            Route::Graph => self.graph(publication, &query),
            Route::Flows => flows(publication, &query),
            Route::Findings => Answer::json(&Findings::of(publication)),
            Route::Snapshots => self.kept(),
            Route::Status => Answer::json(&Status::of(publication)),
            Route::Publication => Answer::json(&**publication),
            Route::Stream | Route::Order | Route::Unknown => Answer::error(StatusCode::NOT_FOUND, NOT_FOUND),
        }
    }

    /// Returns the snapshot that is asked for, if one is.
    fn earlier(&self, query: &Query) -> Result<Option<Arc<Publication>>, Answer> {
        let Some(text) = query.get("at") else { return Ok(None) };
        let wrong = |status, sentence: &str| Err(Answer::error(status, sentence));
        let Ok(at) = text.parse::<Timestamp>() else {
            return wrong(
                StatusCode::BAD_REQUEST,
                &format!("at {text:?}: write a time as 2026-11-21T14:02:00Z"),
            );
        };
        let Some(snapshots) = &self.snapshots else {
            return wrong(StatusCode::NOT_FOUND, NO_SNAPSHOTS);
        };
        match snapshots.at(at) {
            Ok(Some(publication)) => Ok(Some(Arc::new(publication))),
            Ok(None) => wrong(StatusCode::NOT_FOUND, &format!("no snapshot was kept at {at} or before")),
            Err(error) => wrong(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("the snapshot of {at} cannot be read: {error}"),
            ),
        }
    }

    /// Lists the times of the snapshots that can be asked for.
    fn kept(&self) -> Answer {
        let Some(snapshots) = &self.snapshots else {
            return Answer::json(&serde_json::json!({"snapshots": [], "every_seconds": null}));
        };
        match snapshots.times() {
            Ok(times) => Answer::json(
                &serde_json::json!({"snapshots": times, "every_seconds": snapshots.every().as_secs()}),
            ),
            Err(error) => Answer::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("the folder of the snapshots cannot be read: {error}"),
            ),
        }
    }

    fn exposition(&self, publication: &Arc<Publication>) -> String {
        let mut exposed = self.exposed.lock().unwrap_or_else(PoisonError::into_inner);
        exposed.remember(publication);
        // Another answer may have been given a later one meanwhile; the memory goes with that one.
        let shown = exposed.publication.as_ref().map_or_else(|| Arc::clone(publication), Arc::clone);
        let published = match &exposed.text {
            Some(text) => Arc::clone(text),
            None => {
                let text: Arc<str> = exposition::render_published(&shown, &exposed.memory).into();
                exposed.text = Some(Arc::clone(&text));
                text
            }
        };
        self.own.publication_is_old(self.age());
        if let Some(cost) = self.cost.as_ref().and_then(CostBook::read) {
            self.own.costs(cost);
        }
        let own = self.own.render(&shown, &exposed.memory);
        drop(exposed);
        format!("{published}{own}")
    }

    fn graph(&self, publication: &Publication, query: &Query) -> Answer {
        let group = query.get("group").unwrap_or("service");
        let format = query.get("format").unwrap_or("json");
        match (self.forms)(publication, group, format) {
            Ok((content_type, text)) if content_type.starts_with("application/json") => {
                Answer::text(JSON_TYPE, escape::json(&text).into_owned())
            }
            Ok((content_type, text)) => Answer::text(&content_type, text),
            Err(error) => Answer::error(StatusCode::BAD_REQUEST, &error),
        }
    }
}

impl Exposed {
    fn remember(&mut self, publication: &Arc<Publication>) {
        let is_known = self.publication.as_ref().is_some_and(|known| Arc::ptr_eq(known, publication));
        // A slow answer may still hold the publication before the latest; time does not run backwards for it.
        let is_older = self
            .publication
            .as_ref()
            .is_some_and(|known| known.assessment.snapshot.at > publication.assessment.snapshot.at);
        if !is_known && !is_older {
            self.memory.turn(publication);
            self.publication = Some(Arc::clone(publication));
            self.text = None;
        }
    }
}

/// Answers written at once.
const WRITERS_MAX: usize = 2;
const BEARER: &[u8] = b"Bearer ";
const BASIC: &[u8] = b"Basic ";
const BASIC_CHALLENGE: &str = "Basic realm=\"portolan\", charset=\"UTF-8\"";
const EXPOSITION_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON_TYPE: &str = "application/json";
const NO_SNAPSHOTS: &str =
    "no snapshots are kept: set directory in the table [snapshots], or --snapshots, and start again";
const NOT_FOUND: &str = "no such page: there are /, /metrics, /-/healthy, /-/ready, /api/v1/graph, /api/v1/map, \
                         /api/v1/flows, /api/v1/findings, /api/v1/status, \
                         /api/v1/snapshots, /api/v1/stream and /api/v1/publication";

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Route {
    Page,
    Style,
    Script,
    Icon,
    Map,
    Metrics,
    Healthy,
    Ready,
    Graph,
    Flows,
    Findings,
    Status,
    Publication,
    Snapshots,
    Stream,
    Order,
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            "/" => Self::Page,
            "/map.css" => Self::Style,
            "/map.js" => Self::Script,
            "/icon.svg" => Self::Icon,
            "/api/v1/map" => Self::Map,
            "/metrics" => Self::Metrics,
            "/-/healthy" => Self::Healthy,
            "/-/ready" => Self::Ready,
            "/api/v1/graph" => Self::Graph,
            "/api/v1/flows" => Self::Flows,
            "/api/v1/findings" => Self::Findings,
            "/api/v1/status" => Self::Status,
            "/api/v1/publication" => Self::Publication,
            "/api/v1/snapshots" => Self::Snapshots,
            "/api/v1/stream" => Self::Stream,
            order if order.starts_with(ORDERS) => Self::Order,
            _ => Self::Unknown,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Style => "style",
            Self::Script => "script",
            Self::Icon => "icon",
            Self::Map => "map",
            Self::Metrics => "metrics",
            Self::Healthy => "healthy",
            Self::Ready => "ready",
            Self::Graph => "graph",
            Self::Flows => "flows",
            Self::Findings => "findings",
            Self::Status => "status",
            Self::Publication => "publication",
            Self::Snapshots => "snapshots",
            Self::Stream => "stream",
            Self::Order => "order",
            Self::Unknown => "unknown",
        }
    }

    /// Returns whether an orchestrator asks for it, which has no token and learns a word.
    fn is_probe(self) -> bool {
        matches!(self, Self::Healthy | Self::Ready)
    }
}

fn ready(publication: &Publication, age: Duration, stalls_after: Duration) -> Answer {
    if age >= stalls_after {
        let said = format!(
            "not ready: nothing was published for {} s, a thread stalls; where it does not pass, restart the daemon",
            age.as_secs()
        );
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, &said);
    }
    match (publication.vitals.is_capturing, publication.vitals.is_named) {
        (true, true) => Answer::text("text/plain; charset=utf-8", "ready\n".to_owned()),
        (false, _) => {
            Answer::error(StatusCode::SERVICE_UNAVAILABLE, "not ready: no frames are being captured yet")
        }
        (true, false) => Answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: Docker has not listed its containers yet",
        ),
    }
}

fn map(publication: &Publication, query: &Query) -> Answer {
    let group = match query.get("group") {
        None | Some("service") => Group::Service,
        Some("container") => Group::Container,
        Some(other) => {
            return Answer::error(
                StatusCode::BAD_REQUEST,
                &format!("unknown group {other:?}: service or container"),
            );
        }
    };
    let boxes = match query.get("boxes") {
        None | Some("project") => Boxes::Project,
        Some("network") => Boxes::Network,
        Some(other) => {
            return Answer::error(
                StatusCode::BAD_REQUEST,
                &format!("unknown boxes {other:?}: project or network"),
            );
        }
    };
    Answer::json(&View::of(publication, group, boxes))
}

/// Flows in one answer unless asked otherwise, and at most.
const FLOWS_DEFAULT: usize = 1_000;
const FLOWS_MAX: usize = 10_000;

fn flows(publication: &Publication, query: &Query) -> Answer {
    let limit = match query.number("limit") {
        Ok(limit) => limit.map_or(FLOWS_DEFAULT, |limit| usize::try_from(limit).unwrap_or(FLOWS_MAX)),
        Err(error) => return Answer::error(StatusCode::BAD_REQUEST, &error),
    };
    if !(1..=FLOWS_MAX).contains(&limit) {
        return Answer::error(StatusCode::BAD_REQUEST, &format!("limit must lie between 1 and {FLOWS_MAX}"));
    }
    let after = match query.number("after") {
        Ok(after) => after,
        Err(error) => return Answer::error(StatusCode::BAD_REQUEST, &error),
    };
    let mut later: Vec<&FlowRecord> =
        publication.flows.iter().filter(|flow| after.is_none_or(|after| flow.flow_id > after)).collect();
    later.sort_by_key(|flow| flow.flow_id);
    let has_more = later.len() > limit;
    later.truncate(limit);
    let next = later.last().filter(|_| has_more).map(|flow| flow.flow_id);
    let snapshot = &publication.assessment.snapshot;
    Answer::json(&Flows {
        at: snapshot.at,
        completeness: &snapshot.completeness,
        flows: later,
        forgotten: publication.vitals.flows_forgotten,
        next,
    })
}

/// Written straight from the records: as a tree of values they would take several times their room.
#[derive(Serialize)]
struct Flows<'a> {
    at: portolan_flowtable::Timestamp,
    completeness: &'a portolan_flowtable::Completeness,
    flows: Vec<&'a FlowRecord>,
    forgotten: u64,
    next: Option<u64>,
}

#[derive(Serialize)]
struct Findings<'a> {
    at: portolan_flowtable::Timestamp,
    completeness: &'a portolan_flowtable::Completeness,
    findings: &'a [portolan_policy::Finding],
    findings_left_out: u64,
    listeners: &'a [portolan_policy::Listener],
    listening_not_checked: &'a [portolan_policy::NotChecked],
    exposures: &'a [portolan_policy::Exposure],
    joins: &'a [portolan_policy::Join],
    joins_left_out: u64,
    undeclared: &'a [String],
    warnings: &'a [String],
    contract: &'a str,
}

impl<'a> Findings<'a> {
    fn of(publication: &'a Publication) -> Self {
        let assessment = &publication.assessment;
        Self {
            at: assessment.snapshot.at,
            completeness: &assessment.snapshot.completeness,
            findings: &assessment.findings,
            findings_left_out: assessment.findings_left_out,
            listeners: &assessment.listeners,
            listening_not_checked: &assessment.listening_not_checked,
            exposures: &assessment.exposures,
            joins: &assessment.joins,
            joins_left_out: assessment.joins_left_out,
            undeclared: &assessment.undeclared,
            warnings: &assessment.warnings,
            contract: &assessment.contract,
        }
    }
}

/// What `/api/v1/status` answers: completeness, accounts and vitals.
/// What `/api/v1/status` answers.
#[derive(Serialize)]
pub struct Status<'a> {
    at: portolan_flowtable::Timestamp,
    from: portolan_flowtable::Timestamp,
    completeness: &'a portolan_flowtable::Completeness,
    kernel_dropped: Option<u64>,
    ledger: &'a portolan_flowtable::Ledger,
    withheld: portolan_flowtable::Tally,
    stale: Option<&'a str>,
    findings: usize,
    vitals: &'a crate::publication::Vitals,
}

impl<'a> Status<'a> {
    /// Takes them from a publication.
    pub fn of(publication: &'a Publication) -> Self {
        let snapshot = &publication.assessment.snapshot;
        Self {
            at: snapshot.at,
            from: snapshot.from,
            completeness: &snapshot.completeness,
            kernel_dropped: snapshot.kernel_dropped,
            ledger: &snapshot.ledger,
            withheld: snapshot.withheld,
            stale: snapshot.stale.as_deref(),
            findings: publication.assessment.findings.len(),
            vitals: &publication.vitals,
        }
    }
}

struct Query {
    values: BTreeMap<String, String>,
}

impl Query {
    fn read(query: &str, allowed: &[&str]) -> Result<Self, String> {
        let query = Self::read_any(query)?;
        match query.values.keys().find(|name| !allowed.contains(&name.as_str())) {
            Some(name) => {
                let known = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(" and ") };
                Err(format!("unknown query {name:?}: this page understands {known}"))
            }
            None => Ok(query),
        }
    }

    /// Reads a query of whatever names.
    fn read_any(query: &str) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (percent_decoded(name)?, percent_decoded(value)?);
            if values.insert(name.clone(), value).is_some() {
                return Err(format!("the query has {name:?} twice: give it once"));
            }
        }
        Ok(Self { values })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let parsed =
            self.get(name).map(|text| text.parse().map_err(|_| format!("{name} must be a number: {text:?}")));
        parsed.transpose()
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("the query is not well formed: {text:?}");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit =
                    || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(wrong);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).map_err(|_| wrong())?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// Returns what follows the scheme, whatever its case.
fn after<'a>(presented: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = presented.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').and_then(|end| authority.get(..=end)).unwrap_or(authority);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Compares without telling by its duration how much agrees; the length is no secret.
fn is_equal_in_constant_time(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| black_box(difference | (a ^ b)));
    one.len() == other.len() && difference == 0
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    content_type: String,
    body: Bytes,
    further: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    fn text(content_type: &str, body: String) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: content_type.to_owned(),
            body: body.into(),
            further: Vec::new(),
        }
    }

    fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self::text(JSON_TYPE, format!("{}\n", escape::json(&text))),
            Err(error) => Self::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    fn error(status: StatusCode, sentence: &str) -> Self {
        let quoted = serde_json::Value::from(sentence).to_string();
        let body = format!("{{\"error\":{}}}\n", escape::json(&quoted));
        Self { status, ..Self::text(JSON_TYPE, body) }
    }

    fn closing(mut self) -> Self {
        self.further.push((header::CONNECTION, HeaderValue::from_static("close")));
        self
    }

    fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, page::POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // What draws the graph names its own type; one that is no header value is no type either.
        let content_type = HeaderValue::from_str(&self.content_type);
        headers.insert(
            header::CONTENT_TYPE,
            content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
        );
        for (name, value) in self.further {
            headers.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_yields_its_host() {
        #[rustfmt::skip]
        let cases = [
            // authority         expected
            ("localhost",        "localhost"),
            ("localhost:9414",   "localhost"),
            ("127.0.0.1:1",      "127.0.0.1"),
            ("[::1]:9414",       "[::1]"),
            ("[::1]",            "[::1]"),
            ("[::1",             "[::1"),
            ("",                 ""),
        ];
        for (authority, expected) in cases {
            assert_eq!(host_of(authority), expected, "{authority}");
        }
    }

    #[test]
    fn queries_are_read_or_refused_with_the_reason() {
        #[rustfmt::skip]
        let cases = [
            // query                 expected
            ("",                     Ok(None)),
            ("limit=5",              Ok(Some("5"))),
            ("limit=%35&&",          Ok(Some("5"))),
            ("limit=a+b%20c",        Ok(Some("a b c"))),
            ("limit=",               Ok(None)),
            ("limit=%",              Err("the query is not well formed: \"%\"")),
            ("limit=%f",             Err("the query is not well formed: \"%f\"")),
            ("limit=%ff",            Err("the query is not well formed: \"%ff\"")),
            ("limit=1&limit=2",      Err("the query has \"limit\" twice: give it once")),
            ("limt=1",               Err("unknown query \"limt\": this page understands limit")),
        ];
        for (query, expected) in cases {
            let read = Query::read(query, &["limit"]);
            let value = read.as_ref().map(|query| query.get("limit")).map_err(String::as_str);
            assert_eq!(value, expected, "{query}");
        }
    }

    #[test]
    fn equal_means_equal() {
        #[rustfmt::skip]
        let cases: [(&[u8], &[u8], bool); 5] = [
            (b"abc", b"abc", true), (b"abc", b"abd", false), (b"abc", b"ab", false), (b"", b"a", false), (b"", b"", true),
        ];
        for (one, other, expected) in cases {
            assert_eq!(is_equal_in_constant_time(one, other), expected, "{one:?} {other:?}");
        }
    }
}
