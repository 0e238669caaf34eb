//! A Docker daemon that plays recorded answers on a unix socket, and can freeze, die and lie.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What the daemon knows and how it behaves.
#[derive(Debug, Default)]
struct Memory {
    api: String,
    containers: BTreeMap<String, Value>,
    networks: Vec<Value>,
    images: Vec<Value>,
    /// Services of its swarm; `None` where it manages none.
    services: Option<Value>,
    /// Container ids answered with nonsense.
    lies: Vec<String>,
    /// What every container uses.
    stats: Value,
    requests: Vec<String>,
    subscriptions: usize,
    /// Events told before anybody subscribed: a real engine gives them to whoever asks `since`.
    untold: Vec<String>,
}

/// The daemon. Dropping it kills it: connections end, the socket goes.
pub(crate) struct FakeDocker {
    path: PathBuf,
    memory: Arc<Mutex<Memory>>,
    frozen: watch::Sender<bool>,
    events: broadcast::Sender<String>,
    server: Option<JoinHandle<()>>,
}

impl FakeDocker {
    /// Starts a daemon that speaks API version `api` and knows what the fixture holds.
    pub(crate) fn start(path: &Path, api: &str, fixture: &str) -> Self {
        let text = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture),
        )
        .unwrap();
        let stats = json!({
            "memory_stats": {"usage": 5_000, "stats": {"inactive_file": 1_000}}, "pids_stats": {"current": 3},
            "cpu_stats": {"cpu_usage": {"total_usage": 12_000}}, "blkio_stats": {"io_service_bytes_recursive": null},
        });
        let mut memory = Memory { api: api.to_owned(), stats, ..Memory::default() };
        for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            for object in value.unwrap().as_array().unwrap() {
                if object["State"].is_object() {
                    memory.containers.insert(object["Id"].as_str().unwrap().to_owned(), object.clone());
                } else if object["IPAM"].is_object() {
                    memory.networks.push(object.clone());
                } else {
                    memory.images.push(object.clone());
                }
            }
        }
        let mut docker = Self {
            path: path.to_owned(),
            memory: Arc::new(Mutex::new(memory)),
            frozen: watch::Sender::new(false),
            events: broadcast::Sender::new(64),
            server: None,
        };
        docker.revive();
        docker
    }

    /// Starts serving, with the same memory as before.
    pub(crate) fn revive(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let listener = UnixListener::bind(&self.path).unwrap();
        let memory = Arc::clone(&self.memory);
        let frozen = self.frozen.clone();
        let events = self.events.clone();
        self.server = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (memory, frozen, events) = (Arc::clone(&memory), frozen.clone(), events.clone());
                connections.spawn(async move {
                    let answering = service_fn(move |request| {
                        answer(request, Arc::clone(&memory), frozen.subscribe(), events.subscribe())
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answering)
                        .await;
                });
            }
        }));
    }

    /// Ends at once, as by SIGKILL.
    pub(crate) async fn die(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await;
        }
        let _ = std::fs::remove_file(&self.path);
    }

    /// Stops or goes on answering, as by SIGSTOP and SIGCONT. Connections stay open.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.frozen.send_replace(is_frozen);
    }

    /// Tells subscribers of an event that happens at this moment.
    pub(crate) fn tell(&self, kind: &str, action: &str, id: &str, attributes: &Value) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let event = json!({
            "Type": kind, "Action": action, "Actor": {"ID": id, "Attributes": attributes},
            "scope": "local", "time": since.as_secs(), "timeNano": u64::try_from(since.as_nanos()).unwrap(),
        });
        let mut memory = self.memory.lock().unwrap();
        if memory.subscriptions == 0 {
            memory.untold.push(format!("{event}\n"));
        }
        let _ = self.events.send(format!("{event}\n"));
    }

    /// Tells subscribers something that is no event.
    pub(crate) fn babble(&self, text: &str) {
        let _ = self.events.send(text.to_owned());
    }

    /// Edits what it knows.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut BTreeMap<String, Value>)) {
        change(&mut self.memory.lock().unwrap().containers);
    }

    /// From now on manages a swarm with these services, or none.
    pub(crate) fn manage(&self, services: Option<Value>) {
        self.memory.lock().unwrap().services = services;
    }

    /// From now on answers nonsense about this container.
    pub(crate) fn lie_about(&self, id: &str) {
        self.memory.lock().unwrap().lies.push(id.to_owned());
    }

    /// Returns `METHOD path` of every request so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.memory.lock().unwrap().requests.clone()
    }

    /// Returns how often events were subscribed to.
    pub(crate) fn subscriptions(&self) -> usize {
        self.memory.lock().unwrap().subscriptions
    }
}

impl Drop for FakeDocker {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    memory: Arc<Mutex<Memory>>,
    mut frozen: watch::Receiver<bool>,
    events: broadcast::Receiver<String>,
) -> Result<Response<Body>, Infallible> {
    let _ = frozen.wait_for(|is_frozen| !is_frozen).await;
    let path = request.uri().path().to_owned();
    let question = request.uri().query().map_or(String::new(), |query| format!("?{query}"));
    let mut memory = memory.lock().unwrap();
    let question = if path.ends_with("/stats") { question } else { String::new() };
    memory.requests.push(format!("{} {path}{question}", request.method()));
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let parts = match parts.split_first() {
        Some((first, rest)) if first.starts_with("v1.") => rest.to_vec(),
        _ => parts,
    };
    Ok(match parts.as_slice() {
        ["_ping"] => text(200, "OK".to_owned()),
        ["version"] => text(
            200,
            json!({"Version": "1.2.3", "ApiVersion": memory.api, "MinAPIVersion": "1.12"}).to_string(),
        ),
        ["events"] => {
            memory.subscriptions += 1;
            let mut untold = std::mem::take(&mut memory.untold).into_iter();
            // What was told before the lock was taken is among the untold.
            let mut events = events;
            while events.try_recv().is_ok() {}
            let lines = stream::unfold((events, frozen), move |(mut events, mut frozen)| {
                let earlier = untold.next();
                async move {
                    let line = match earlier {
                        Some(line) => line,
                        None => events.recv().await.ok()?,
                    };
                    let _ = frozen.wait_for(|is_frozen| !is_frozen).await;
                    Some((Ok(Frame::data(Bytes::from(line))), (events, frozen)))
                }
            });
            Response::new(BodyExt::boxed_unsync(StreamBody::new(lines)))
        }
        ["containers", "json"] => {
            let ids: Vec<_> = memory.containers.keys().map(|id| json!({"Id": id})).collect();
            text(200, Value::from(ids).to_string())
        }
        ["containers", id, "json"] if memory.lies.iter().any(|lie| lie == id) => {
            text(200, r#"{"Id": 7, "State": "yes", "NetworkSettings": [{"#.to_owned())
        }
        ["containers", id, "json"] => found(memory.containers.get(*id)),
        ["containers", id, "stats"] if memory.lies.iter().any(|lie| lie == id) => {
            text(200, r#"{"memory_stats": {"usage": -1}}"#.to_owned())
        }
        ["containers", id, "stats"] => found(memory.containers.get(*id).map(|_| &memory.stats)),
        ["services"] => match &memory.services {
            Some(services) => text(200, services.to_string()),
            None => text(503, json!({"message": "This node is not a swarm manager."}).to_string()),
        },
        ["networks"] => text(200, Value::from(memory.networks.clone()).to_string()),
        ["networks", id] => found(memory.networks.iter().find(|network| network["Id"] == **id)),
        ["images", id, "json"] => found(memory.images.iter().find(|image| image["Id"] == **id)),
        _ => text(404, json!({"message": "page not found"}).to_string()),
    })
}

fn found(object: Option<&Value>) -> Response<Body> {
    match object {
        Some(object) => text(200, object.to_string()),
        None => text(404, json!({"message": "No such object"}).to_string()),
    }
}

fn text(status: u16, body: String) -> Response<Body> {
    let mut response = Response::new(BodyExt::boxed_unsync(Full::from(body)));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}
