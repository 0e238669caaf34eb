//! What joins containers, and containers and the host, without a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portolan_flowtable::{Confinement, NamespaceKind, Workload};

use crate::assessment::{Join, JoinKind, JoinMember};

/// Most joins listed, and containers of each.
const JOINS_MAX: usize = 1_024;
const MEMBERS_MAX: usize = 64;
/// What Docker's socket is called, wherever it lies.
const SOCKET: &str = "docker.sock";
/// Folders it lies in by default, and what they lie in: who has one of them mounted has the socket.
const SOCKET_FOLDERS: [&str; 4] = ["/", "/run", "/var", "/var/run"];

/// Lists what joins containers; returns how many joins were left out.
///
/// A volume or path that nobody may write to joins nobody.
pub(crate) fn joins(workloads: &[Arc<Workload>]) -> (Vec<Join>, u64) {
    let confined: Vec<(&Arc<Workload>, &Confinement)> =
        workloads.iter().filter_map(|it| Some((it, it.confinement.as_deref()?))).collect();
    let mut found: BTreeMap<(JoinKind, String), BTreeMap<String, JoinMember>> = BTreeMap::new();
    let mut add = |kind: JoinKind, what: &str, workload: &Arc<Workload>, how: &str| {
        let member = JoinMember {
            service: workload.qualified(),
            container: workload.container.clone(),
            how: how.to_owned(),
        };
        found.entry((kind, what.to_owned())).or_default().insert(workload.container_id.clone(), member);
    };
    mounts(&confined, &mut add);
    for (workload, confinement) in &confined {
        for shared in &confinement.shared {
            let kind = match shared.namespace {
                NamespaceKind::Network => JoinKind::NetworkNamespace,
                NamespaceKind::Pid => JoinKind::PidNamespace,
                NamespaceKind::Ipc => JoinKind::IpcNamespace,
            };
            match &shared.owner {
                None => add(kind, "host", workload, "host"),
                Some(named) => {
                    let owner = workloads.iter().find(|it| is_called(it, named));
                    let what = owner.map_or(named, |owner| &owner.container).clone();
                    if let Some(owner) = owner {
                        add(kind, &what, owner, "owner");
                    }
                    add(kind, &what, workload, "shares it");
                }
            }
        }
        if confinement.is_privileged {
            add(JoinKind::Privileged, "host", workload, &confinement.user);
        } else {
            for capability in confinement.added_capabilities() {
                add(JoinKind::Capability, capability, workload, &confinement.user);
            }
        }
    }
    let all = found.into_iter().map(|((kind, what), members)| {
        let members_left_out = u64::try_from(members.len().saturating_sub(MEMBERS_MAX)).unwrap_or(u64::MAX);
        Join { kind, what, members: members.into_values().take(MEMBERS_MAX).collect(), members_left_out }
    });
    let mut all: Vec<Join> = all.collect();
    let left_out = u64::try_from(all.len().saturating_sub(JOINS_MAX)).unwrap_or(u64::MAX);
    all.truncate(JOINS_MAX);
    (all, left_out)
}

fn is_called(workload: &Workload, named: &str) -> bool {
    workload.container == named || (named.len() >= 12 && workload.container_id.starts_with(named))
}

/// Who has what mounted, and whether somebody may write to it.
#[derive(Default)]
struct Mounted<'a> {
    by: Vec<(&'a Arc<Workload>, bool)>,
}

impl<'a> Mounted<'a> {
    /// Returns everybody, where there are two of them and one may write.
    fn joined(&self) -> &[(&'a Arc<Workload>, bool)] {
        let who: BTreeSet<&str> = self.by.iter().map(|(it, _)| it.container_id.as_str()).collect();
        let is_written = self.by.iter().any(|(_, is_writable)| *is_writable);
        if who.len() > 1 && is_written { &self.by } else { &[] }
    }
}

fn mounts<'a>(
    confined: &[(&'a Arc<Workload>, &'a Confinement)],
    add: &mut impl FnMut(JoinKind, &str, &Arc<Workload>, &str),
) {
    let how = |is_writable: bool| if is_writable { "read and write" } else { "read" };
    let mut volumes: BTreeMap<&str, Mounted<'a>> = BTreeMap::new();
    let mut paths: BTreeMap<&str, Mounted<'a>> = BTreeMap::new();
    for (workload, confinement) in confined {
        for mount in &confinement.mounts {
            let source = mount.source.trim_end_matches('/');
            let source = if source.is_empty() { "/" } else { source };
            if mount.volume.is_empty() && is_socket(source) {
                // The mount's own right says nothing: who may write to a socket is decided by the socket.
                add(JoinKind::DockerSocket, "host", workload, source);
            }
            let kept = if mount.volume.is_empty() {
                paths.entry(source).or_default()
            } else {
                volumes.entry(&mount.volume).or_default()
            };
            kept.by.push((workload, mount.is_writable));
        }
    }
    for (name, mounted) in &volumes {
        for (workload, is_writable) in mounted.joined() {
            add(JoinKind::Volume, name, workload, how(*is_writable));
        }
    }
    for path in paths.keys().filter(|path| !path.ends_with(SOCKET)) {
        // Who has a folder has what is in it.
        let mut all = Mounted::default();
        for above in above(path) {
            all.by.extend(paths.get(above).into_iter().flat_map(|mounted| mounted.by.iter().copied()));
        }
        for (workload, is_writable) in all.joined() {
            add(JoinKind::HostPath, path, workload, how(*is_writable));
        }
    }
}

fn is_socket(source: &str) -> bool {
    source.rsplit('/').next() == Some(SOCKET) || SOCKET_FOLDERS.contains(&source)
}

/// Iterates over a path and what it lies in: `/srv/data`, `/srv`, `/`.
fn above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/') {
        Some(("", "")) | None => None,
        Some(("", _)) => Some("/"),
        Some((above, _)) => Some(above),
    })
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{Mount, SharedNamespace};

    use super::*;

    fn workload(name: &str, change: impl FnOnce(&mut Confinement)) -> Arc<Workload> {
        let mut confinement = Confinement {
            user: "root".to_owned(),
            capabilities: Confinement::effective_capabilities(false, None, None),
            ..Confinement::default()
        };
        change(&mut confinement);
        Arc::new(Workload {
            container_id: format!("{name:0<64}"),
            container: format!("shop-{name}-1"),
            project: "shop".to_owned(),
            service: name.to_owned(),
            confinement: Some(Box::new(confinement)),
            ..Workload::default()
        })
    }

    fn mount(volume: &str, source: &str, is_writable: bool) -> Mount {
        Mount { target: "/x".to_owned(), volume: volume.to_owned(), source: source.to_owned(), is_writable }
    }

    fn told(workloads: Vec<Arc<Workload>>) -> Vec<String> {
        let (joins, left_out) = joins(&workloads);
        assert_eq!(left_out, 0);
        let member = |it: &JoinMember| format!("{} ({})", it.service, it.how);
        let line = |join: &Join| {
            let members: Vec<String> = join.members.iter().map(member).collect();
            format!("{} {}: {}", join.kind.name(), join.what, members.join(", "))
        };
        joins.iter().map(line).collect()
    }

    #[test]
    fn a_volume_or_folder_joins_those_who_have_it_where_one_may_write() {
        let with = |name: &str, mounts: &[Mount]| workload(name, |it| it.mounts = mounts.to_vec());
        let joined = told(vec![
            with(
                "web",
                &[mount("data", "/var/lib/docker/volumes/data/_data", true), mount("", "/srv", false)],
            ),
            with(
                "cart",
                &[mount("data", "/var/lib/docker/volumes/data/_data", false), mount("", "/srv/a", true)],
            ),
            with(
                "db",
                &[mount("own", "/o", true), mount("", "/etc/localtime", false), mount("", "/srv2", true)],
            ),
            with("log", &[mount("", "/etc/localtime", false)]),
        ]);
        assert_eq!(
            joined,
            [
                "volume data: shop/cart (read), shop/web (read and write)",
                "host_path /srv/a: shop/cart (read and write), shop/web (read)",
            ]
        );
    }

    #[test]
    fn the_socket_of_docker_joins_whoever_has_it_or_a_folder_it_lies_in() {
        for (source, expected) in [
            ("/var/run/docker.sock", true),
            ("/run/user/1000/docker.sock", true),
            ("/run/", true),
            ("/", true),
            ("/var/lib", false),
            ("/srv/docker.sock.d", false),
        ] {
            let joined = told(vec![workload("web", |it| it.mounts = vec![mount("", source, false)])]);
            assert_eq!(
                joined.iter().any(|it| it.starts_with("docker_socket")),
                expected,
                "{source}: {joined:?}"
            );
        }
    }

    #[test]
    fn namespaces_and_rights_join_with_their_owner_or_the_host() {
        let share =
            |namespace, owner: Option<&str>| SharedNamespace { namespace, owner: owner.map(str::to_owned) };
        let joined = told(vec![
            workload("web", |it| {
                it.capabilities = Confinement::effective_capabilities(false, Some("SYS_ADMIN"), None)
            }),
            workload("side", |it| {
                it.shared = vec![
                    share(NamespaceKind::Network, Some(&format!("{:0<64}", "web"))),
                    share(NamespaceKind::Pid, None),
                    share(NamespaceKind::Ipc, Some("gone")),
                ];
            }),
            workload("agent", |it| {
                it.is_privileged = true;
                it.capabilities = Confinement::effective_capabilities(true, None, None);
            }),
        ]);
        assert_eq!(
            joined,
            [
                "network_namespace shop-web-1: shop/side (shares it), shop/web (owner)",
                "pid_namespace host: shop/side (host)",
                "ipc_namespace gone: shop/side (shares it)",
                "privileged host: shop/agent (root)",
                "capability SYS_ADMIN: shop/web (root)",
            ]
        );
    }

    #[test]
    fn nothing_is_said_of_containers_nobody_inspected() {
        let plain = Arc::new(Workload { container: "web".to_owned(), ..Workload::default() });
        assert_eq!(told(vec![plain]), [""; 0]);
    }
}
