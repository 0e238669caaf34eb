//! What a container is called, and which ports it documents; each with its source.

use std::collections::BTreeMap;
use std::net::IpAddr;

use portolan_flowtable::{DocumentSource, DocumentedPort, Provenance, PublishedPort, Timestamp, Workload};

use crate::inventory::{Container, Image, PortRange, clipped};
use crate::random_names::is_made_up;

const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_SERVICE: &str = "com.docker.compose.service";
const COMPOSE_ONE_OFF: &str = "com.docker.compose.oneoff";
/// Labels compose gives every container it creates, and no image it builds.
const COMPOSE_RUN: [&str; 5] = [
    "com.docker.compose.config-hash",
    "com.docker.compose.container-number",
    "com.docker.compose.oneoff",
    "com.docker.compose.project.config_files",
    "com.docker.compose.project.working_dir",
];
const SWARM_SERVICE: &str = "com.docker.swarm.service.name";
const SWARM_STACK: &str = "com.docker.stack.namespace";
const SWARM_RUN: [&str; 3] =
    ["com.docker.swarm.task.id", "com.docker.swarm.task.name", "com.docker.swarm.service.id"];

/// The label by which an operator documents ports: `portolan.ports=9000/tcp,7000-7010/udp`.
pub(crate) const PORTS_LABEL: &str = "portolan.ports";

/// Who a container says it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Called {
    project: String,
    service: String,
    provenance: Provenance,
    claim: Option<String>,
}

/// Builds the workload of one container generation. `image` is its image, where that was inspected too.
pub(crate) fn workload(container: &Container, image: Option<&Image>, started_at: Timestamp) -> Workload {
    let called = called(container, image);
    let mut networks: Vec<_> = container.endpoints.iter().map(|endpoint| endpoint.network.clone()).collect();
    networks.sort_unstable();
    networks.dedup();
    Workload {
        container_id: container.id.clone(),
        started_at,
        container: container.name.clone(),
        project: called.project,
        service: called.service,
        provenance: called.provenance,
        image: image_reference(container, image),
        image_id: container.image_id.clone(),
        image_digests: image.map(|image| image.digests.clone()).unwrap_or_default(),
        labels: container.labels.clone(),
        networks,
        documented: documented(container, image),
        identity_claim: called.claim,
        unobservable: None,
        confinement: container.confinement.clone(),
    }
}

fn called(container: &Container, image: Option<&Image>) -> Called {
    let label = |key: &str| container.labels.get(key).filter(|value| !value.is_empty());
    let mut called = Called::default();
    if let (Some(project), Some(service)) = (label(COMPOSE_PROJECT), label(COMPOSE_SERVICE)) {
        if stands_in_the_image(container, image, &[COMPOSE_PROJECT, COMPOSE_SERVICE], &COMPOSE_RUN) {
            called.claim = Some(clipped(&format!("{project}/{service} by compose labels of the image")));
        } else {
            called.project.clone_from(project);
            if label(COMPOSE_ONE_OFF).is_none_or(|value| !value.eq_ignore_ascii_case("true")) {
                called.service.clone_from(service);
                called.provenance = Provenance::Compose;
                return called;
            }
            if let Some(repository) = repository(&image_reference(container, image)) {
                called.service = repository;
                called.provenance = Provenance::Image;
                return called;
            }
        }
    }
    if let Some(service) = label(SWARM_SERVICE) {
        let stack = label(SWARM_STACK).cloned().unwrap_or_default();
        if stands_in_the_image(container, image, &[SWARM_SERVICE], &SWARM_RUN) {
            called.claim = Some(clipped(&format!("{service} by swarm labels of the image")));
        } else {
            // `docker stack deploy` names the service STACK_SERVICE.
            let short = service.strip_prefix(&format!("{stack}_")).filter(|_| !stack.is_empty());
            called.service = short.unwrap_or(service).to_owned();
            called.project = stack;
            called.provenance = Provenance::Swarm;
            return called;
        }
    }
    let made_up = container.name.is_empty() || is_made_up(&container.name);
    match repository(&image_reference(container, image)).filter(|_| made_up) {
        Some(repository) => {
            called.service = repository;
            called.provenance = Provenance::Image;
        }
        None => {
            let short = container.id.get(..12).unwrap_or(&container.id);
            called.service =
                if container.name.is_empty() { short.to_owned() } else { container.name.clone() };
            called.provenance = Provenance::ContainerName;
        }
    }
    called
}

/// Returns whether the container merely inherited the naming labels: the image carries the same values, and none of
/// the labels the tool gives a container at its creation differs from the image's. (Compose labels the images it
/// builds with project and service too, so that alone is no sign of a false claim.)
fn stands_in_the_image(container: &Container, image: Option<&Image>, naming: &[&str], run: &[&str]) -> bool {
    let Some(image) = image else { return false };
    let is_inherited = |key: &&&str| container.labels.get(**key) == image.labels.get(**key);
    naming.iter().any(|key| image.labels.contains_key(*key) && is_inherited(&key))
        && run.iter().filter(|key| container.labels.contains_key(**key)).all(|key| is_inherited(&key))
}

/// The reference it was run by; for a bare id, a tag of that image.
fn image_reference(container: &Container, image: Option<&Image>) -> String {
    let is_id = container.image.is_empty() || container.image.starts_with("sha256:");
    match image.and_then(|image| image.tags.first()).filter(|_| is_id) {
        Some(tag) => tag.clone(),
        None => container.image.clone(),
    }
}

/// Returns the last part of an image's repository, without registry, tag and digest.
pub(crate) fn repository(reference: &str) -> Option<String> {
    if reference.starts_with("sha256:") {
        return None;
    }
    let undigested = reference.split('@').next().unwrap_or_default();
    let last = undigested.rsplit('/').next().unwrap_or_default();
    let name = last.split(':').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns the swarm service a container belongs to; `None` where its image says so, which is a claim of the image.
pub(crate) fn swarm_service<'a>(container: &'a Container, image: Option<&Image>) -> Option<&'a str> {
    let name = container.labels.get(SWARM_SERVICE)?;
    let is_of_the_image = image.is_some_and(|image| image.labels.get(SWARM_SERVICE) == Some(name));
    (!is_of_the_image).then_some(name.as_str())
}

/// Returns the documented ports, each source kept apart.
///
/// A container's `ExposedPorts` is the union of EXPOSE, `--expose` and published ports. With the image at hand the
/// rest is `--expose`; without it nothing tells EXPOSE from `--expose`, and it is stated as the image's, which is
/// by far the more frequent of the two.
pub(crate) fn documented(container: &Container, image: Option<&Image>) -> Vec<DocumentedPort> {
    let mut ports: Vec<(PortRange, DocumentSource)> = Vec::new();
    for range in image.into_iter().flat_map(|image| &image.exposed) {
        ports.push((*range, DocumentSource::Image));
    }
    for publish in &container.publishes {
        ports.push((publish.container, DocumentSource::Publish { host: host_text(publish.host) }));
    }
    for range in &container.exposed {
        let is_of_the_image = image.is_some_and(|image| image.exposed.iter().any(|of| range.is_within(of)));
        let is_published = container.publishes.iter().any(|publish| range.is_within(&publish.container));
        if !is_of_the_image && !is_published {
            let source = if image.is_some() { DocumentSource::Run } else { DocumentSource::Image };
            ports.push((*range, source));
        }
    }
    for range in label_ports(&container.labels) {
        ports.push((range, DocumentSource::Label { key: PORTS_LABEL.to_owned() }));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
        .into_iter()
        .map(|(range, source)| DocumentedPort {
            first: range.first,
            last: range.last,
            protocol: range.protocol,
            source,
        })
        .collect()
}

/// Ports of the label `portolan.ports`; parts that are no port are passed over.
fn label_ports(labels: &BTreeMap<String, String>) -> impl Iterator<Item = PortRange> {
    let written = labels.get(PORTS_LABEL).map(String::as_str).unwrap_or_default();
    written.split([',', ' ', ';']).filter_map(PortRange::parse)
}

fn host_text(host: Option<(IpAddr, portolan_flowtable::Port)>) -> String {
    match host {
        Some((IpAddr::V4(v4), port)) => format!("{v4}:{port}"),
        Some((IpAddr::V6(v6), port)) => format!("[{v6}]:{port}"),
        None => String::new(),
    }
}

/// Returns the container's ports that are mapped onto the host; ranges port by port.
pub(crate) fn published(container: &Container) -> Vec<PublishedPort> {
    let mut published = Vec::new();
    for publish in &container.publishes {
        if let Some((host_address, host_port)) = publish.host.filter(|_| container.is_running) {
            published.push(PublishedPort {
                host_address,
                host_port,
                protocol: publish.container.protocol,
                container_port: publish.container.first,
                container_id: container.id.clone(),
                from: container.started_at.unwrap_or(Timestamp(i64::MIN)),
                until: None,
            });
        }
    }
    published
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::Protocol;

    use super::*;
    use crate::inventory::Publish;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split_ascii_whitespace().filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| {
                let key = key.replace("c.", "com.docker.compose.").replace("s.", "com.docker.swarm.");
                (key, value.to_owned())
            })
            .collect()
    }

    #[test]
    fn a_service_is_named_by_the_best_source_there_is() {
        let image_claim = Some("c.project=prod c.service=payments");
        let run = "c.project=prod c.service=payments c.config-hash=1 c.container-number=1";
        for (name, image, label, image_labels, expected) in [
            ("shop_web_1", "nginx:1", "c.project=shop c.service=web", None, "shop/web Compose"),
            ("shop_web_1", "nginx:1", "c.project=shop c.service=web", Some(""), "shop/web Compose"),
            // Built and run by compose: the image carries the labels as well.
            ("prod_payments_1", "payments", run, image_claim, "prod/payments Compose"),
            // Run by hand from an image that claims to be a service.
            ("evil", "evil:1", "c.project=prod c.service=payments", image_claim, "evil ContainerName claim"),
            ("zen_turing", "evil:1", "c.project=prod c.service=payments", image_claim, "evil Image claim"),
            // An image that copies every label of a real container.
            ("evil", "evil:1", run, Some(run), "evil ContainerName claim"),
            (
                "x",
                "reg:5000/team/migrate:2@sha256:00",
                "c.project=shop c.service=web c.oneoff=True",
                None,
                "shop/migrate Image",
            ),
            ("x", "nginx", "c.project=shop c.service=web c.oneoff=False", None, "shop/web Compose"),
            ("w.1.abc", "nginx", "s.service.name=st_web com.docker.stack.namespace=st", None, "st/web Swarm"),
            ("w.1.abc", "nginx", "s.service.name=web", None, "web Swarm"),
            ("w", "nginx", "s.service.name=web", Some("s.service.name=web"), "w ContainerName claim"),
            ("web", "nginx:1", "", None, "web ContainerName"),
            ("boring_wozniak", "docker.io/library/nginx:1", "", None, "nginx Image"),
            ("boring_wozniak", "sha256:0011", "", None, "boring_wozniak ContainerName"),
            ("", "", "", None, "0123456789ab ContainerName"),
        ] {
            let container = Container {
                id: "0123456789abcdef".to_owned(),
                name: name.to_owned(),
                image: image.to_owned(),
                labels: labels(label),
                ..Container::default()
            };
            let image = image_labels.map(|text| Image { labels: labels(text), ..Image::default() });
            let named = workload(&container, image.as_ref(), Timestamp(0));
            let claim = if named.identity_claim.is_some() { " claim" } else { "" };
            let answer = format!("{} {:?}{claim}", named.qualified(), named.provenance);
            assert_eq!(answer, expected, "{name} {image:?} {label}");
        }
    }

    #[test]
    fn a_bare_image_id_is_named_by_its_tag() {
        let container = Container { image: "sha256:00".to_owned(), ..Container::default() };
        let image = Image { tags: vec!["team/app:3".to_owned()], ..Image::default() };
        let named = workload(&container, Some(&image), Timestamp(0));
        assert_eq!((named.image.as_str(), named.service.as_str()), ("team/app:3", "app"));
    }

    #[test]
    fn sources_of_documented_ports_are_kept_apart() {
        let ports = |text: &str| text.split(' ').filter_map(PortRange::parse).collect::<Vec<_>>();
        let publish = |port: &str, host: &str| Publish {
            container: PortRange::parse(port).unwrap(),
            host: host
                .rsplit_once(':')
                .map(|(on, port)| (on.parse().unwrap(), portolan_flowtable::Port(port.parse().unwrap()))),
        };
        let container = Container {
            exposed: ports("80 443 5353/udp 7000 7001 9443"),
            publishes: vec![
                publish("80", "127.0.0.1:8090"),
                publish("443", "0.0.0.0:8443"),
                publish("9443", ""),
            ],
            labels: BTreeMap::from([(PORTS_LABEL.to_owned(), "9000/tcp, x,99-98,53/udp".to_owned())]),
            ..Container::default()
        };
        let image = Image { exposed: ports("80 443 5353/udp"), ..Image::default() };
        let text = |image: Option<&Image>| {
            documented(&container, image)
                .iter()
                .map(|port| format!("{}/{} {}", port.first, port.protocol, port.source))
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(
            text(Some(&image)),
            "53/udp label portolan.ports; 80/tcp image EXPOSE; 80/tcp published 127.0.0.1:8090; \
             443/tcp image EXPOSE; 443/tcp published 0.0.0.0:8443; 5353/udp image EXPOSE; \
             7000/tcp run --expose; 7001/tcp run --expose; 9000/tcp label portolan.ports; 9443/tcp published"
        );
        assert_eq!(
            text(None),
            "53/udp label portolan.ports; 80/tcp published 127.0.0.1:8090; 443/tcp published 0.0.0.0:8443; \
             5353/udp image EXPOSE; 7000/tcp image EXPOSE; 7001/tcp image EXPOSE; \
             9000/tcp label portolan.ports; 9443/tcp published"
        );
        assert_eq!(container.exposed[0].protocol, Protocol::TCP);
    }
}
