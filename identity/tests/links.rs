//! Roles and namespace numbers of real links, in namespaces made for the purpose. Needs root and `ip`; without, each
//! test says so and passes.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers may fail and speak like a test")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use portolan_flowtable::{InterfaceId, Role};
use portolan_identity::{FollowOptions, LinkFollower, LinkPicture, RosterBook, follow};

/// A network namespace with a bridge as Docker names it, removed with everything in it when dropped.
struct Namespace {
    name: String,
    container: String,
}

impl Namespace {
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || Command::new("ip").arg("-V").output().is_err() {
            println!("skipped: needs root and ip");
            return None;
        }
        let id = std::process::id();
        let made = Self { name: format!("pti-{test}-{id}"), container: format!("ptc-{test}-{id}") };
        for name in [&made.name, &made.container] {
            if !Command::new("ip").args(["netns", "add", name]).status().unwrap().success() {
                println!("skipped: no network namespaces here");
                return None;
            }
        }
        made.ip("link add br-0123456789ab type bridge");
        made.ip("addr add 10.88.0.1/24 dev br-0123456789ab");
        made.ip("link set br-0123456789ab up");
        Some(made)
    }

    fn ip(&self, arguments: &str) {
        let mut command = Command::new("ip");
        command.args(["-n", &self.name]).args(arguments.split(' '));
        let done = command.output().unwrap();
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs `body` on a thread inside the namespace.
    fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
                body()
            });
            inside.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for name in [&self.name, &self.container] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// Waits for a picture; the time limit only keeps a failure from hanging.
fn until(pictures: &Receiver<LinkPicture>, is_right: impl Fn(&LinkPicture) -> bool) -> LinkPicture {
    loop {
        let picture = pictures.recv_timeout(Duration::from_secs(30)).unwrap();
        if is_right(&picture) {
            return picture;
        }
    }
}

#[test]
fn links_are_followed_from_their_birth_to_their_end() {
    let Some(namespace) = Namespace::new("a") else { return };
    let (tell, pictures) = channel();
    let follower =
        namespace.within(|| LinkFollower::spawn(move |picture| tell.send(picture.clone()).unwrap()).unwrap());
    let first = pictures.recv().unwrap();
    let bridge = first.links.values().find(|link| link.kind == "bridge").unwrap();
    assert_eq!((bridge.name.as_str(), bridge.is_up), ("br-0123456789ab", true));
    assert!(first.addresses.iter().any(|own| own.index == bridge.index && own.length == 24));

    namespace.ip("link add vha type veth peer name vca");
    namespace.ip("link set vha master br-0123456789ab up");
    namespace.ip(&format!("link set vca netns {}", namespace.container));
    // The kernel says nothing of the move until the far end is up.
    let up = Command::new("ip").args(["-n", &namespace.container, "link", "set", "vca", "up"]).status();
    assert!(up.unwrap().success());
    let named =
        |picture: &LinkPicture, name: &str| picture.links.values().find(|of| of.name == name).cloned();
    let is_away = |picture: &LinkPicture| named(picture, "vha").is_some_and(|veth| veth.netns_id.is_some());
    let picture = until(&pictures, is_away);
    let veth = named(&picture, "vha").unwrap();
    assert_eq!((veth.kind.as_str(), veth.master, veth.is_up), ("veth", Some(bridge.index), true));
    assert!(veth.peer.is_some());

    namespace.ip("link set vha nomaster");
    let picture = until(&pictures, |picture| named(picture, "vha").is_some_and(|veth| veth.master.is_none()));
    assert!(named(&picture, "vha").is_some(), "leaving a bridge is not the end");
    namespace.ip("link del vha");
    let picture = until(&pictures, |picture| named(picture, "vha").is_none());
    assert!(picture.departed.iter().any(|link| link.name == "vha"));
    drop(follower);
    assert!(pictures.iter().all(|_| true), "the thread has ended and let go of the channel");
}

#[test]
fn lost_news_is_replaced_by_a_dump() {
    let Some(namespace) = Namespace::new("b") else { return };
    let (tell, pictures) = channel();
    let (go, wait) = channel::<()>();
    let follower = namespace.within(|| {
        let mut has_waited = false;
        LinkFollower::spawn(move |picture| {
            tell.send(picture.clone()).unwrap();
            if picture.links.values().any(|link| link.name == "stall") && !has_waited {
                // Not scheduled for a while, as far as the kernel can tell.
                has_waited = true;
                wait.recv().unwrap();
            }
        })
        .unwrap()
    });
    namespace.ip("link add stall type bridge");
    until(&pictures, |picture| picture.links.values().any(|link| link.name == "stall"));
    let mut batch = String::new();
    for _ in 0..12_000 {
        batch.push_str("link set stall up\nlink set stall down\n");
    }
    let path = std::env::temp_dir().join(format!("portolan-links-{}", std::process::id()));
    std::fs::write(&path, batch + "link add last type bridge\n").unwrap();
    namespace.ip(&format!("-batch {}", path.display()));
    std::fs::remove_file(&path).unwrap();
    go.send(()).unwrap();
    let picture = until(&pictures, |picture| picture.links.values().any(|link| link.name == "last"));
    assert!(picture.overruns > 0, "the kernel kept everything; the test has to offer more");
    drop(follower);
}

#[test]
fn roles_reach_the_picture_without_docker() {
    let Some(namespace) = Namespace::new("c") else { return };
    namespace.ip("link add vold type veth peer name vpeer");
    namespace.ip("link set vold master br-0123456789ab up");
    namespace.ip(&format!("link set vpeer netns {}", namespace.container));
    namespace.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let book = RosterBook::new(&[], Path::new("/proc"));
            let options = FollowOptions { docker_socket: None, ..FollowOptions::default() };
            let following = tokio::spawn(follow(options, std::sync::Arc::clone(&book)));
            let mut pictures = book.subscribe();
            let count = |picture: &portolan_identity::Picture| picture.counts.attachments;
            pictures.wait_for(|picture| count(picture) == 1).await.unwrap();
            namespace.ip("link add vnew type veth peer name vpeer2");
            namespace.ip("link set vnew master br-0123456789ab up");
            let picture = pictures.wait_for(|picture| count(picture) == 2).await.unwrap().clone();
            let entries: Vec<_> = (0..4096)
                .map(|index| picture.interfaces.get(InterfaceId(index)))
                .filter(|entry| entry.role == Role::Container)
                .map(|entry| (entry.scope.0, entry.attachment.0, entry.is_fresh))
                .collect();
            assert_eq!(entries, [(1, 1, false), (1, 2, true)]);
            assert!(picture.docker.stale.as_ref().unwrap().contains("no socket is configured"));
            following.abort();
        });
    });
}
