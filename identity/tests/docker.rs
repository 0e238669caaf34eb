//! Following a Docker daemon that freezes, dies, restarts and lies.
#![expect(clippy::unwrap_used, reason = "a test's helper may fail like a test")]

mod fake_docker;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake_docker::FakeDocker;
use portolan_identity::{FollowOptions, Picture, RosterBook, follow};
use serde_json::json;
use tempfile::TempDir;

const WEB: &str = "0000000000000000000000000000000000000000000000000000000000000001";
/// The web of `engine-29.json`.
const SERVED: &str = "0000000000000000000000000000000000000000000000000000000000000011";
const JOB: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

struct Following {
    book: Arc<RosterBook>,
    task: tokio::task::JoinHandle<()>,
    directory: TempDir,
}

impl Following {
    /// Follows the socket in a directory of its own, impatiently.
    fn new() -> Self {
        Self::asking(None)
    }

    /// The same, asking what containers use so often.
    fn asking(indicators_every: Option<Duration>) -> Self {
        let directory = TempDir::new().unwrap();
        let book = RosterBook::new(&[], Path::new("/proc"));
        let options = FollowOptions {
            docker_socket: Some(directory.path().join("docker.sock")),
            // None of the processes here is one of its containers.
            proc_root: directory.path().join("proc"),
            probe_every: Duration::from_millis(100),
            answer_within: Duration::from_secs(1),
            retry_within: Duration::from_millis(200),
            indicators_every,
        };
        let following = Arc::clone(&book);
        let task = tokio::spawn(async move { follow(options, following).await.unwrap() });
        Self { book, task, directory }
    }

    fn engine(&self, api: &str, fixture: &str) -> FakeDocker {
        FakeDocker::start(&self.directory.path().join("docker.sock"), api, fixture)
    }

    /// Waits for a picture that satisfies `is_right`; the time limit only keeps a failure from hanging.
    async fn until(&self, what: &str, is_right: impl Fn(&Picture) -> bool) -> Arc<Picture> {
        let mut pictures = self.book.subscribe();
        let waiting = pictures.wait_for(|picture| is_right(picture));
        match tokio::time::timeout(Duration::from_secs(30), waiting).await {
            Ok(picture) => Arc::clone(&picture.unwrap()),
            Err(_) => panic!("never came: {what}; last seen: {:?}", self.book.picture()),
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn services(picture: &Picture) -> Vec<String> {
    picture.names.workloads.iter().map(|workload| workload.qualified()).collect()
}

fn is_fresh(picture: &Picture) -> bool {
    picture.docker.is_listed && picture.docker.stale.is_none()
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_of_both_generations_are_named_at_the_start() {
    for (api, fixture, expected, ports) in [
        (
            "1.41",
            "engine-20.10.json",
            vec!["busybox", "monitoring", "offline", "shop/db", "shop/web", "sidecar", "vpn"],
            vec!["80 image EXPOSE", "80 published 0.0.0.0:8080", "9443 run --expose"],
        ),
        ("1.52", "engine-29.json", vec!["shop/db", "shop/web"], vec!["80 image EXPOSE"]),
    ] {
        let following = Following::new();
        let docker = following.engine(api, fixture);
        let picture = following.until("a listing", is_fresh).await;
        assert_eq!(services(&picture), expected, "{api}");
        assert_eq!(picture.docker.api_version, api);
        assert_eq!(picture.docker.lists, 1);
        let web = picture.names.workloads.iter().find(|of| of.service == "web").unwrap();
        let documented: Vec<_> =
            web.documented.iter().map(|of| format!("{} {}", of.first, of.source)).collect();
        assert_eq!(documented, ports, "{api}");
        let requests = docker.requests();
        assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
        assert!(!format!("{picture:?}").contains("hunter2"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_cannot_be_observed_are_named_with_the_reason() {
    let following = Following::new();
    let _docker = following.engine("1.41", "engine-20.10.json");
    let picture = following.until("a listing", is_fresh).await;
    let reasons: Vec<_> =
        picture.counts.unobservable.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    assert_eq!(
        reasons,
        [
            "monitoring: host network",
            "offline: no network",
            "sidecar: shares the network of shop_web_1",
            "vpn: macvlan"
        ]
    );
    assert_eq!((picture.counts.containers, picture.counts.observable), (7, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_may_come_later_and_its_absence_is_said() {
    let following = Following::new();
    let picture = following.until("staleness", |picture| picture.docker.stale.is_some()).await;
    let stale = picture.names.stale.clone().unwrap();
    assert!(stale.starts_with("no Docker at ") && stale.contains("docker.sock"), "{stale}");
    let _docker = following.engine("1.41", "engine-20.10.json");
    let picture = following.until("a listing", is_fresh).await;
    assert!(services(&picture).contains(&"shop/web".to_owned()));
    assert_eq!(picture.names.stale, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_engine_is_noticed_and_recovery_needs_nobody() {
    let following = Following::new();
    let docker = following.engine("1.41", "engine-20.10.json");
    following.until("a listing", is_fresh).await;
    docker.freeze(true);
    let picture = following.until("staleness", |picture| picture.docker.stale.is_some()).await;
    let stale = picture.names.stale.clone().unwrap();
    assert!(stale.contains("does not answer (since 20"), "{stale}");
    assert!(services(&picture).contains(&"shop/web".to_owned()), "what was known stays");
    let since = picture.docker.stale_since;
    // What happened meanwhile is in the listing, whatever became of its event.
    docker.edit(|containers| {
        let mut late = containers[WEB].clone();
        late["Id"] = json!(JOB);
        late["Name"] = json!("/late");
        late["Config"]["Labels"] = json!({});
        containers.insert(JOB.to_owned(), late);
        containers.remove(WEB);
    });
    docker.freeze(false);
    let picture = following.until("recovery", is_fresh).await;
    assert!(since.is_some() && picture.docker.stale_since.is_none());
    assert!(services(&picture).contains(&"late".to_owned()));
    assert_eq!(picture.counts.containers, 7);
    assert!(docker.subscriptions() >= 2 && picture.docker.lists >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_engine_is_listed_again() {
    let following = Following::new();
    let mut docker = following.engine("1.52", "engine-29.json");
    following.until("a listing", is_fresh).await;
    docker.die().await;
    following.until("staleness", |picture| picture.docker.stale.is_some()).await;
    docker.edit(|containers| containers.clear());
    docker.revive();
    let picture = following.until("recovery", |picture| is_fresh(picture) && picture.docker.lists == 2).await;
    assert_eq!(picture.counts.containers, 0);
    assert_eq!(docker.subscriptions(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_gone_before_it_can_be_inspected_is_named_by_its_events() {
    let following = Following::new();
    let docker = following.engine("1.41", "engine-20.10.json");
    following.until("a listing", is_fresh).await;
    let attributes = json!({
        "name": "shop_job_7", "image": "busybox:1", "exitCode": "0",
        "com.docker.compose.project": "shop", "com.docker.compose.service": "flash",
    });
    for action in ["create", "start", "die", "destroy"] {
        docker.tell("container", action, JOB, &attributes);
    }
    let picture = following
        .until("the container", |picture| services(picture).contains(&"shop/flash".to_owned()))
        .await;
    let job = picture.names.workloads.iter().find(|of| of.container_id == JOB).unwrap();
    assert_eq!((job.container.as_str(), job.image.as_str()), ("shop_job_7", "busybox:1"));
    assert_eq!(picture.names.stale, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_a_network_makes_its_container_be_inspected() {
    let following = Following::new();
    let docker = following.engine("1.41", "engine-20.10.json");
    following.until("a listing", is_fresh).await;
    docker.edit(|containers| containers.get_mut(WEB).unwrap()["Name"] = json!("/renamed"));
    let network = "00000000000000000000000000000000000000000000000000000000000000a1";
    docker.tell(
        "network",
        "connect",
        network,
        &json!({"container": WEB, "name": "shop_default", "type": "bridge"}),
    );
    following
        .until("the new name", |picture| picture.names.workloads.iter().any(|of| of.container == "renamed"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_one_container_cost_the_others_nothing() {
    let following = Following::new();
    let docker = following.engine("1.41", "engine-20.10.json");
    docker.lie_about(WEB);
    let picture = following.until("a listing", is_fresh).await;
    assert!(services(&picture).contains(&"shop/db".to_owned()));
    assert!(!services(&picture).contains(&"shop/web".to_owned()));
    docker.babble("{\"Type\": 7, \"Action\": []}\n");
    docker.tell("container", "start", "", &json!({}));
    docker.tell("container", "start", "../../images/x", &json!({"name": "evil\u{1b}[2J\n"}));
    docker.edit(|containers| {
        let mut late = containers[WEB].clone();
        late["Id"] = json!(JOB);
        late["Name"] = json!("/late");
        late["Config"]["Labels"] = json!({});
        containers.insert(JOB.to_owned(), late);
    });
    docker.tell("container", "start", JOB, &json!({"name": "late"}));
    following
        .until("the honest one", |picture| {
            is_fresh(picture) && services(picture).contains(&"late".to_owned())
        })
        .await;
}

/// As the API's documentation shows a service, with what it publishes.
fn swarm_service(name: &str, ports: &serde_json::Value) -> serde_json::Value {
    json!({
        "ID": "9mnpnzenvg8p8tdbtq4wvbkcz", "Version": {"Index": 19},
        "CreatedAt": "2016-06-07T21:05:51.880065305Z", "UpdatedAt": "2016-06-07T21:07:29.962229872Z",
        "Spec": {
            "Name": name,
            "TaskTemplate": {"ContainerSpec": {"Image": "redis"}, "RestartPolicy": {"Condition": "any"}},
            "Mode": {"Replicated": {"Replicas": 1}},
            "EndpointSpec": {"Mode": "vip", "Ports": ports},
        },
        "Endpoint": {"Spec": {"Mode": "vip"}, "VirtualIPs": []},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_a_swarm_service_are_documented_where_the_engine_manages_it_and_as_long_as_it_does() {
    let following = Following::new();
    let docker = following.engine("1.52", "engine-29.json");
    let documented = |picture: &Picture| -> Vec<String> {
        let web = picture.names.workloads.iter().find(|of| of.container_id == SERVED);
        let ports = web.into_iter().flat_map(|of| &of.documented);
        ports.map(|of| format!("{}/{} {}", of.first, of.protocol, of.source)).collect()
    };
    let picture = following.until("a listing", is_fresh).await;
    // An engine that is no manager refuses, and nobody is told of it.
    assert_eq!(documented(&picture), ["80/tcp image EXPOSE"]);
    assert_eq!(picture.docker.stale, None);
    docker.edit(|containers| {
        let web = containers.get_mut(SERVED).unwrap();
        web["Config"]["Labels"]["com.docker.swarm.service.name"] = json!("shop_web");
    });
    docker.tell("container", "update", SERVED, &json!({}));
    let ports = json!([
        {"Protocol": "tcp", "TargetPort": 6379, "PublishedPort": 30001, "PublishMode": "ingress"},
        {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "host"},
    ]);
    let services = [swarm_service("shop_web", &ports), swarm_service("shop_db", &json!(null))];
    docker.manage(Some(json!(services)));
    docker.tell("service", "create", "9mnpnzenvg8p8tdbtq4wvbkcz", &json!({"name": "shop_web"}));
    let expected =
        ["80/tcp image EXPOSE", "53/udp swarm service shop_web", "6379/tcp swarm service shop_web"];
    let picture = following.until("the service's ports", |picture| documented(picture).len() == 3).await;
    assert_eq!(documented(&picture), expected);
    docker.manage(Some(json!([])));
    docker.tell("service", "remove", "9mnpnzenvg8p8tdbtq4wvbkcz", &json!({"name": "shop_web"}));
    following.until("the service's end", |picture| documented(picture).len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn running_containers_are_asked_what_they_use_and_a_lie_is_counted() {
    let following = Following::asking(Some(Duration::from_millis(20)));
    let docker = following.engine("1.52", "engine-29.json");
    docker.lie_about(SERVED);
    docker.edit(|containers| {
        let served = containers.get(SERVED).unwrap().clone();
        let mut other = served.clone();
        other["Id"] = json!(WEB);
        containers.insert(WEB.to_owned(), other);
        let mut ended = served;
        ended["Id"] = json!(JOB);
        ended["State"]["Running"] = json!(false);
        ended["State"]["Status"] = json!("exited");
        containers.insert(JOB.to_owned(), ended);
    });
    following.until("a listing", is_fresh).await;
    let waiting = async {
        loop {
            let round = following.book.take_indicators();
            if let Some(round) = round.filter(|round| !round.readings.is_empty()) {
                break round;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let round = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
    let web = round.readings.iter().find(|reading| reading.container_id == WEB).unwrap();
    assert_eq!(web.qualified(), "shop/web");
    let used = web.indicators;
    assert_eq!((used.memory_bytes, used.cpu_nanoseconds, used.pids), (Some(4_000), Some(12_000), Some(3)));
    assert_eq!((used.block_read_bytes, used.block_written_bytes), (None, None));
    let requests = docker.requests();
    let asked = |id: &str| requests.iter().filter(|it| it.contains(&format!("/{id}/stats"))).count();
    assert!(asked(WEB) > 0 && asked(JOB) == 0, "{requests:?}");
    let stats: Vec<_> = requests.iter().filter(|it| it.contains("/stats")).collect();
    let is_one_shot = |it: &&&String| it.starts_with("GET ") && it.ends_with("?stream=false&one-shot=true");
    assert!(stats.iter().all(|it| is_one_shot(&it)), "{stats:?}");
}
