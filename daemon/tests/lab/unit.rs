//! The shipped systemd unit's settings, without systemd: by `unshare`, `mount` and `setpriv`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::daemon::Daemon;
use crate::engine::Lab;

/// The unit.
const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/portolan.service");

/// Settings that [`SETTINGS`] and `setpriv` bring about.
const EMULATED: [&str; 19] = [
    "AmbientCapabilities",
    "CapabilityBoundingSet",
    "ConfigurationDirectory",
    "DynamicUser",
    "LimitCORE",
    "LogsDirectory",
    "NoNewPrivileges",
    "PrivateDevices",
    "PrivateTmp",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelTunables",
    "ProtectSystem",
    "RuntimeDirectory",
    "RuntimeDirectoryMode",
    "StateDirectory",
    "SupplementaryGroups",
    "UMask",
];

/// Settings that take a system call list of systemd's own, which nothing else makes, or a capability that is not there
/// anyway; and those that limit nothing.
const NOT_EMULATED: [&str; 19] = [
    "EnvironmentFile",
    "ExecReload",
    "ExecStart",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "ProtectClock",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "RemoveIPC",
    "Restart",
    "RestartSec",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "WatchdogSec",
];

/// Arguments: the laboratory's directory, which stands for /run, where Docker's socket is; the service's own, which
/// stands for those below /run, /var/log, /var/lib and /etc; and what is to be run.
const SETTINGS: &str = r#"
set -e
lab=$1 own=$2
shift 2
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lab /mnt/own
mount --bind "$lab" /mnt/lab
mount --bind "$own" /mnt/own
# PrivateTmp, ProtectHome
for place in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmpfs $place; done
for place in /home /root /run/user; do [ ! -d $place ] || mount -t tmpfs -o ro,mode=000 tmpfs $place; done
mkdir "$lab" "$own"
mount --move /mnt/lab "$lab"
mount --move /mnt/own "$own"
umount /mnt
# PrivateDevices
mount -t tmpfs -o mode=755,nosuid tmpfs /dev
number=3
for device in null zero - full - random urandom; do
    [ $device = - ] || mknod -m 666 /dev/$device c 1 $number
    number=$((number + 1))
done
# ProtectSystem=strict, ProtectKernelTunables, ProtectControlGroups
mount --bind /proc/sys /proc/sys
cut -d ' ' -f 5 /proc/self/mountinfo | sort -u | while read -r place; do
    case "$place" in
        "$own" | /proc | /tmp | /var/tmp | /home | /root | /run/user) ;;
        *) mount -o remount,bind,ro "$(printf '%b' "$place")" 2>/dev/null || true ;;
    esac
done
umask 077
ulimit -c 0
exec setpriv "$@"
"#;

/// Starts the daemon as the unit would, as this user and with this group besides.
pub(crate) fn spawn(lab: &Lab, (user, group): (u32, u32), arguments: &[&str]) -> Daemon {
    let own = tempfile::Builder::new().prefix("portolan-run-").tempdir_in("/tmp").expect("a directory");
    fs::set_permissions(own.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    chown(own.path(), Some(user), Some(user)).expect("another owner");
    // Where this program lies, the service may not be able to go.
    let copy = own.path().join("portolan");
    fs::copy(env!("CARGO_BIN_EXE_portolan"), &copy).expect("a copy of the program");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut program = lab.host().command("unshare");
    program
        .args(["--mount", "--uts", "--propagation", "private", "sh", "-c", SETTINGS, "unit"])
        .args([lab.directory(), own.path()])
        .args([format!("--reuid={user}"), format!("--regid={user}"), format!("--groups={group}")])
        .args(["--no-new-privs", "--inh-caps=-all,+net_raw"])
        .args(["--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw"])
        .arg(copy);
    let mut daemon = Daemon::spawn_by(program, arguments, own);
    daemon.wait_until("/-/healthy");
    // It does run so: what is read-only, hidden and its own.
    let seen = |path: &str| Path::new("/proc").join(daemon.pid().to_string()).join("root").join(path);
    let refused = |path: &str| fs::write(seen(path), "").expect_err(path).kind();
    for path in ["usr/portolan", "etc/portolan.lab", "run/portolan.lab", "proc/sys/kernel/hostname"] {
        assert_eq!(refused(path), std::io::ErrorKind::ReadOnlyFilesystem, "{path}");
    }
    assert_eq!(fs::read_dir(seen("root")).expect("a folder").count(), 0);
    assert!(!seen("dev/kmsg").exists() && seen("dev/null").exists());
    daemon
}

#[test]
fn every_setting_of_the_unit_is_emulated_or_known_not_to_be() {
    let text = fs::read_to_string(UNIT).expect("the unit");
    let service = text.split("[Service]").nth(1).and_then(|rest| rest.split("[Install]").next());
    let lines = service.expect("a section").lines().filter(|line| !line.starts_with('#'));
    let mut keys: Vec<&str> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, _)| key)
        .filter(|key| *key != "Type")
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut known = [&EMULATED[..], &NOT_EMULATED[..]].concat();
    known.sort_unstable();
    assert_eq!(keys, known);
    for line in ["CapabilityBoundingSet=CAP_NET_RAW", "ProtectSystem=strict", "UMask=0077", "PrivateTmp=yes"]
    {
        assert!(text.lines().any(|written| written == line), "{line}");
    }
}
