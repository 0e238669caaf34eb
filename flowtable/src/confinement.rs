//! How a container is kept apart, and what it shares with others without a packet.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Capabilities Docker grants a container that asks for nothing, without `CAP_` (moby, `oci/caps/defaults.go`).
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The capabilities beyond those there are (capabilities(7)), without `CAP_`.
pub const FURTHER_CAPABILITIES: [&str; 27] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// Every capability together.
pub const ALL_CAPABILITIES: &str = "ALL";

/// How a container is kept apart, as Docker was told when it was made. What its image or its processes make of it is
/// not known here.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// The user its first process runs as, a name or a number, without the group; `root` for 0 and for none.
    pub user: String,
    /// Whether it runs privileged: every capability, every device.
    #[serde(skip_serializing_if = "is_false")]
    pub is_privileged: bool,
    /// Capabilities it may use, without `CAP_`; `ALL` alone for all of them.
    pub capabilities: BTreeSet<String>,
    /// What is mounted into it, in the order of places, at most [`MOUNTS_MAX`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Further mounts.
    #[serde(skip_serializing_if = "is_zero")]
    pub mounts_left_out: u64,
    /// Namespaces it has in common with the host or another container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared: Vec<SharedNamespace>,
}

/// Mounts kept of one container.
pub const MOUNTS_MAX: usize = 64;

/// A folder, file or volume mounted into a container.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Where it stands in the container.
    pub target: String,
    /// Name of the volume; empty for what is bound from the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// Path on the host.
    pub source: String,
    /// Whether the container may write there.
    pub is_writable: bool,
}

/// A namespace a container has not to itself.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct SharedNamespace {
    /// Which: `network`, `pid`, `ipc`.
    pub namespace: NamespaceKind,
    /// Id or name of the container it belongs to, as Docker was told; `None` for the host.
    pub owner: Option<String>,
}

/// Kinds of namespaces that join containers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceKind {
    /// Interfaces, addresses, ports.
    Network,
    /// Processes: seen, and with the same user signalled and read.
    Pid,
    /// Shared memory and queues.
    Ipc,
}

impl NamespaceKind {
    /// Returns its name, as serialised: `network`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
        }
    }
}

impl Confinement {
    /// Returns what Docker makes of additions and removals: a privileged container has everything; `ALL` among the
    /// removals leaves the additions; else the default, less the removals, and the additions (moby, `oci/caps/utils.go`).
    pub fn effective_capabilities<'a>(
        is_privileged: bool,
        added: impl IntoIterator<Item = &'a str>,
        dropped: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<String> {
        let added: BTreeSet<String> = added.into_iter().map(capability).collect();
        let dropped: BTreeSet<String> = dropped.into_iter().map(capability).collect();
        let has_all = |of: &BTreeSet<String>| of.contains(ALL_CAPABILITIES);
        if is_privileged || (has_all(&added) && dropped.is_empty()) {
            return BTreeSet::from([ALL_CAPABILITIES.to_owned()]);
        }
        let every = DEFAULT_CAPABILITIES.iter().chain(&FURTHER_CAPABILITIES);
        let base: BTreeSet<String> = match (has_all(&added), has_all(&dropped)) {
            (true, _) => every.map(|it| (*it).to_owned()).collect(),
            (false, true) => BTreeSet::new(),
            (false, false) => DEFAULT_CAPABILITIES.iter().map(|it| (*it).to_owned()).collect(),
        };
        let is_named = |it: &String| it != ALL_CAPABILITIES;
        let kept = base.into_iter().filter(|it| !dropped.contains(it));
        kept.chain(added.into_iter().filter(is_named)).collect()
    }

    /// Returns whether it may use a capability, named without `CAP_`; with `ALL`, whether it may use every one.
    pub fn has_capability(&self, name: &str) -> bool {
        self.capabilities.contains(name) || self.capabilities.contains(ALL_CAPABILITIES)
    }

    /// Iterates over capabilities it may use that Docker does not grant unasked.
    pub fn added_capabilities(&self) -> impl Iterator<Item = &str> {
        self.capabilities.iter().map(String::as_str).filter(|it| !DEFAULT_CAPABILITIES.contains(it))
    }
}

/// Returns a capability's name in capitals, without `CAP_`.
pub fn capability(name: &str) -> String {
    let name = name.trim().to_ascii_uppercase();
    name.strip_prefix("CAP_").map_or(name.clone(), str::to_owned)
}

/// Returns the user of `USER[:GROUP]`: `root` for 0 and for nobody.
pub fn user(text: &str) -> String {
    match text.split(':').next().unwrap_or_default().trim() {
        "" | "0" => "root".to_owned(),
        user => user.to_owned(),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_what_docker_makes_of_additions_and_removals() {
        #[rustfmt::skip]
        let cases = [
            // privileged, added,                dropped,        has,                              has not
            (false, vec![],                      vec![],         vec!["NET_RAW", "CHOWN"],         vec!["NET_ADMIN", "ALL"]),
            (false, vec!["CAP_NET_ADMIN"],       vec![],         vec!["NET_RAW", "NET_ADMIN"],     vec!["SYS_ADMIN"]),
            (false, vec!["net_admin"],           vec!["ALL"],    vec!["NET_ADMIN"],                vec!["NET_RAW"]),
            (false, vec![],                      vec!["NET_RAW"],vec!["CHOWN"],                    vec!["NET_RAW"]),
            (false, vec!["ALL"],                 vec![],         vec!["SYS_ADMIN", "ALL"],         vec![]),
            (false, vec!["ALL"],                 vec!["SYS_ADMIN"], vec!["NET_ADMIN"],             vec!["SYS_ADMIN", "ALL"]),
            (false, vec![],                      vec!["all"],    vec![],                           vec!["CHOWN"]),
            (true,  vec![],                      vec!["ALL"],    vec!["SYS_ADMIN", "ALL"],         vec![]),
        ];
        for (is_privileged, added, dropped, has, has_not) in cases {
            let capabilities =
                Confinement::effective_capabilities(is_privileged, added.clone(), dropped.clone());
            let of = Confinement { capabilities, ..Confinement::default() };
            for name in has {
                assert!(of.has_capability(name), "{name}: {added:?} {dropped:?}");
            }
            for name in has_not {
                assert!(!of.has_capability(name), "{name}: {added:?} {dropped:?}");
            }
        }
    }

    #[test]
    fn a_user_is_root_by_number_by_name_and_by_default() {
        for (text, expected) in [
            ("", "root"),
            ("0", "root"),
            ("0:0", "root"),
            ("root", "root"),
            ("1000:50", "1000"),
            ("app", "app"),
        ] {
            assert_eq!(user(text), expected, "{text:?}");
        }
    }
}
