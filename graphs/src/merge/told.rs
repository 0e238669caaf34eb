//! What a merged graph says of its hosts: whom it is of, what crossed between them, and what stays apart and why.

use std::fmt;
use std::net::IpAddr;

use portolan_flowtable::conversation::{Conversation, Snapshot};
use portolan_flowtable::{Completeness, Outcomes, Port, ServicePort, Tally, Timestamp};
use serde::Serialize;

use super::HostView;

/// A host of a merged graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MergedHost {
    /// Its name.
    pub host: String,
    /// Its addresses outside container networks; empty where nobody said.
    pub addresses: Vec<IpAddr>,
    /// First frame's time there.
    pub from: Timestamp,
    /// When its picture was taken, by its own clock.
    pub at: Timestamp,
    /// Whether anything was missed in between.
    pub completeness: Completeness,
}

/// A call from a container of one host to a port that another publishes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossing {
    /// The edge it is part of; where it was folded into `other`, the edge it would be.
    pub edge: String,
    /// The caller's host.
    pub caller_host: String,
    /// The called host.
    pub called_host: String,
    /// The address that was called.
    pub address: IpAddr,
    /// The published port that was called.
    pub published: Port,
    /// What the caller's host saw: the figures of the edge.
    pub at_caller: Sighting,
    /// What the called host saw of the caller's host at that container's port; `None` for nothing. The two hosts may have
    /// looked at different times, and missed different frames.
    pub at_called: Option<Sighting>,
    /// Further crossings of the same host to the same container's port, which `at_called` holds too: the called host sees
    /// one address for all of them.
    pub shared_by: u64,
}

/// What one host saw of a call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sighting {
    /// Sent by the caller.
    pub sent: Tally,
    /// Received by the caller.
    pub received: Tally,
    /// How its connections fared.
    pub connections: Outcomes,
    /// First frame's time, by that host's clock.
    pub first_at: Timestamp,
    /// Last frame's time.
    pub last_at: Timestamp,
}

/// Calls that look as if they went to another host of the fleet, or came from one, and stay with `external`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Apart {
    /// Host that saw them.
    pub host: String,
    /// The address outside.
    pub address: IpAddr,
    /// What was called, as that host saw it.
    pub port: ServicePort,
    /// Why they stay.
    pub reason: Reason,
    /// The hosts, or containers, that fit.
    pub fitting: Vec<String>,
    /// How many conversations.
    pub conversations: u64,
}

/// Why a call stays apart.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Several hosts have the address, or publish that very address and port.
    SeveralHosts,
    /// Several containers of the host held the published port in that time.
    SeveralContainers,
    /// The container that published the port is not in its host's picture.
    OwnerUnknown,
    /// A host publishes the port on every address, and its picture does not say which it has.
    AddressesUnknown,
    /// The caller's host does not say its own addresses, or shares all of them with others: what the called host saw of it
    /// could not be told from others, and would count twice.
    CallerUnknown,
    /// The called host saw calls from an address that several hosts have: some of them may be these.
    CallerShared,
}

impl Reason {
    /// Returns its name, as serialised: `several_hosts`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SeveralHosts => "several_hosts",
            Self::SeveralContainers => "several_containers",
            Self::OwnerUnknown => "owner_unknown",
            Self::AddressesUnknown => "addresses_unknown",
            Self::CallerUnknown => "caller_unknown",
            Self::CallerShared => "caller_shared",
        }
    }
}

/// One sentence without a full stop: `web-03 called 10.0.0.4 at 8080/tcp: ...`.
impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, port, reason, fitting, conversations: _ } = self;
        let fitting = fitting.join(", ");
        write!(f, "{host} called {address} at {port}: ")?;
        match reason {
            Reason::SeveralHosts => write!(f, "{fitting} have that address"),
            Reason::SeveralContainers => write!(f, "{fitting} held that port in that time"),
            Reason::OwnerUnknown => {
                write!(f, "{fitting} publishes it, of a container its picture does not hold")
            }
            Reason::AddressesUnknown => {
                write!(
                    f,
                    "{fitting} publishes that port on every address, and its picture does not say which it has"
                )
            }
            Reason::CallerUnknown => {
                write!(
                    f,
                    "{fitting} publishes it, but what it saw of {host} cannot be told: no address is {host}'s alone"
                )
            }
            Reason::CallerShared => write!(f, "{fitting} saw calls from an address that several hosts have"),
        }
    }
}

impl MergedHost {
    pub(super) fn of(view: &HostView) -> Self {
        let HostView { host, addresses, assessment } = view;
        let Snapshot { from, at, completeness, .. } = &assessment.snapshot;
        Self {
            host: host.clone(),
            addresses: addresses.clone(),
            from: *from,
            at: *at,
            completeness: completeness.clone(),
        }
    }
}

impl Sighting {
    pub(super) fn of(conversation: &Conversation) -> Self {
        Self {
            sent: conversation.sent,
            received: conversation.received,
            connections: conversation.connections,
            first_at: conversation.first_at,
            last_at: conversation.last_at,
        }
    }

    pub(super) fn with(self, more: Self) -> Self {
        let mut connections = self.connections;
        crate::drafts::add_outcomes(&mut connections, &more.connections);
        Self {
            sent: self.sent + more.sent,
            received: self.received + more.received,
            connections,
            first_at: self.first_at.min(more.first_at),
            last_at: self.last_at.max(more.last_at),
        }
    }
}
