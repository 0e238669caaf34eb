//! What an interface block says: the interface's name, and what hangs on it.

use portolan_flowtable::{InterfaceId, Role};
use portolan_identity::Picture;

/// An interface as its block describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) description: String,
    /// Whether more may become known of it: a container's veth whose container has no name yet.
    pub(super) may_improve: bool,
}

/// Describes an interface by what is known of it.
pub(super) fn describe(index: u32, picture: &Picture) -> Described {
    let entry = picture.interfaces.get(InterfaceId(index));
    let name = picture.interface_names.get(&index);
    let network = picture.names.scopes.get(&entry.scope);
    let on = network.map_or(String::new(), |network| format!(", network {network}"));
    let (description, may_improve) = match entry.role {
        Role::Container => match picture.names.attachments.get(&entry.attachment) {
            Some(workload) => {
                (format!("container {} ({}){on}", workload.container, workload.qualified()), false)
            }
            None => (format!("a container without a name{on}"), true),
        },
        Role::Bridge => (format!("bridge{on}"), false),
        Role::Unknown => (String::new(), true),
        Role::Foreign | Role::Plain => (String::new(), false),
    };
    Described {
        name: name.cloned().unwrap_or_else(|| format!("if{index}")),
        description,
        may_improve: may_improve || name.is_none(),
    }
}
