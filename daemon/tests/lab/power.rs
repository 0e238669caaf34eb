//! What is stored survives a loss of power: the order of calls, as strace sees them.
//!
//! Power may go at any call. What was written and not synced may then be missing, and a name that was not synced may be
//! the old one. So no name may be given before the bytes under it are on the disk, and at the end nothing may be left
//! that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bridge::BridgeLab;
use crate::namespace::output;

/// What is on the way to the disk.
#[derive(Debug, Default)]
struct Unsynced {
    /// Files whose bytes are.
    bytes: BTreeSet<String>,
    /// Names that are, by their folders.
    names: BTreeMap<String, BTreeSet<String>>,
    /// What was done in the wrong order.
    wrong: Vec<String>,
    renames: usize,
}

impl Unsynced {
    /// Takes in a call as strace prints it with the paths of its descriptors.
    fn take(&mut self, call: &str) {
        let Some((name, rest)) = call.split_once('(') else { return };
        let path_of_descriptor = || {
            rest.split_once('<').and_then(|(_, path)| path.split_once('>')).map(|(path, _)| path.to_owned())
        };
        let quoted: Vec<&str> = rest.split('"').skip(1).step_by(2).collect();
        match (name, quoted.as_slice()) {
            ("open" | "openat" | "creat", [path, ..])
                if rest.contains("O_CREAT") && !call.contains("= -1") =>
            {
                self.name(path);
            }
            ("write" | "writev" | "pwrite64" | "ftruncate", _) => {
                self.bytes.extend(path_of_descriptor());
            }
            ("fsync" | "fdatasync", _) => {
                if let Some(path) = path_of_descriptor() {
                    self.bytes.remove(&path);
                    self.names.remove(&path);
                }
            }
            ("rename" | "renameat" | "renameat2", [from, to, ..]) => {
                if self.bytes.contains(*from) {
                    self.wrong.push(format!("{to} is named before its bytes are synced"));
                }
                self.renames += 1;
                self.name(to);
            }
            _ => {}
        }
    }

    fn name(&mut self, path: &str) {
        let folder = Path::new(path).parent().expect("a folder").to_string_lossy().into_owned();
        self.names.entry(folder).or_default().insert(path.to_owned());
    }
}

/// Runs the program under strace and returns what was unsynced at its end.
fn traced(mut command: Command, folder: &Path, arguments: &[&str]) -> Unsynced {
    let log = folder.join("calls");
    let calls =
        "trace=open,openat,creat,write,writev,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,renameat2";
    command.args(["-f", "-y", "-qq", "-s", "300", "-e", calls, "-o"]).arg(&log);
    command.arg(env!("CARGO_BIN_EXE_portolan")).args(arguments);
    output(&mut command);
    let mut unsynced = Unsynced::default();
    for line in fs::read_to_string(&log).expect("strace's log").lines() {
        // The process that called comes first.
        let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
        unsynced.take(call);
    }
    unsynced
}

#[test]
#[ignore = "needs root"]
fn what_is_stored_is_synced_before_it_is_named_and_its_name_before_the_end() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/shop/capture.pcapng");
    let beside = |name: &str| shop.with_file_name(name).to_str().expect("a path in UTF-8").to_owned();
    let (inspected, interfaces) = (beside("docker-inspect.json"), beside("interfaces.toml"));
    let shop = shop.to_str().expect("a path in UTF-8");
    let lab = BridgeLab::up(2);
    let kept = tempfile::Builder::new().prefix("portolan-power-").tempdir_in("/tmp").expect("a folder");
    let folder = kept.path().join("stored");
    fs::create_dir(&folder).expect("a folder");
    let place = |name: &str| folder.join(name).to_str().expect("a path in UTF-8").to_owned();
    let configuration = kept.path().join("portolan.toml");
    let bridge = BridgeLab::BRIDGE;
    fs::write(
        &configuration,
        format!("[identity]\nbridges = [\"{bridge}\"]\ndocker_socket = \"/nowhere/docker.sock\"\n"),
    )
    .expect("a configuration");
    let configuration = configuration.to_str().expect("a path in UTF-8");
    let (result, cut, recording, looked) =
        (place("shop.result"), place("cut.pcapng"), place("live.pcapng"), place("live.result"));
    #[rustfmt::skip]
    let cases: [(&[&str], usize); 3] = [
        // arguments                                                                            names moved
        (&["replay", shop, "--quiet", "--output", &result],                                     1),
        (&["cut", shop, "--roster", &inspected, "--roster", &interfaces, "--edge", "reports -> db:5432", "--write", &cut], 1),
        (&["record", "--config", configuration, "--for", "1s", "--quiet", "--write", &recording, "--output", &looked], 1),
    ];
    for (arguments, renames) in cases {
        let unsynced = traced(lab.host().command("strace"), kept.path(), arguments);
        assert_eq!(unsynced.wrong, Vec::<String>::new(), "{arguments:?}");
        assert_eq!(unsynced.renames, renames, "{arguments:?}");
        let stored = |path: &&String| path.starts_with(folder.to_str().expect("UTF-8"));
        let left: Vec<_> = unsynced.bytes.iter().filter(stored).collect();
        assert!(left.is_empty(), "{arguments:?}: bytes of {left:?} are not synced");
        let left: Vec<_> = unsynced.names.values().flatten().filter(stored).map(PathBuf::from).collect();
        let left: Vec<_> = left.iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{arguments:?}: the names {left:?} are not synced");
    }
    assert!(fs::read_dir(&folder).expect("a folder").count() >= 5, "all of it is stored");
}
