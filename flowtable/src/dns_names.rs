//! What outside addresses are called: names that containers asked for, as whoever answered claimed them.
//!
//! # Invariants
//!
//! - **A claim, of one client.** A name stands for an address only with who asked for it: what one container was told says
//!   nothing about another's traffic. Who answered stands beside it.
//! - **Asked for.** An answer teaches only what the client asked that server, from that port, with that number, at most
//!   [`PATIENCE`] before. Answers nobody asked for are counted.
//! - **Inside.** Clients are containers, the host, and addresses of container networks; where there is no roster, any
//!   address. Whoever asks from outside is none.
//! - **Bounded.** Clients, names, names of an address, open questions: each has a limit. A client's own oldest name
//!   goes first, then that of the client with the most; whoever asks for much does not take others' room. Those that
//!   only ask have a room of their own: no question makes a client go that has names.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use crate::directory::{AttachmentId, Holder, ScopeId};
use crate::units::{Port, Protocol, Timestamp};

/// How long an answer may take, in nanoseconds.
pub const PATIENCE: i64 = 30 * Timestamp::SECOND;
/// How long behind its time to live a name still explains a connection, in nanoseconds: programs keep addresses longer
/// than they were told to.
pub const GRACE: i64 = 300 * Timestamp::SECOND;
/// Clients whose names are kept; beyond, one whose names are all gone, then the one that learned nothing for longest.
pub const CLIENTS_MAX: usize = 1_024;
/// Addresses and ports of askers remembered.
const ASKERS_MAX: usize = 4_096;
/// Clients that asked and learned nothing so far; beyond, the one that asked nothing for longest goes.
pub const ASKING_MAX: usize = 1_024;
/// Names kept.
pub const NAMES_MAX: usize = 32_768;
/// Names kept of one client.
pub const NAMES_PER_CLIENT_MAX: usize = 4_096;
/// Names kept of one address, for one client.
pub const NAMES_PER_ADDRESS_MAX: usize = 8;
/// Questions of one client that wait for an answer.
pub const ASKED_PER_CLIENT_MAX: usize = 256;

/// What somebody said an address is called.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct DnsName {
    /// What was asked for, in lower case, without the dot at its end; bytes that are no printable ASCII stand as
    /// `\DDD`.
    pub name: String,
    /// What the answer says it is an alias of, in the order of the chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Who answered.
    pub answered_by: IpAddr,
    /// When it was first answered.
    pub from: Timestamp,
    /// When the last answer's time to live ends.
    pub until: Timestamp,
}

impl DnsName {
    /// Returns whether it explains something between two times.
    fn covers(&self, (first, last): (Timestamp, Timestamp)) -> bool {
        last.since(self.from) >= 0 && first.since(self.until) <= GRACE
    }
}

/// How names were learned, and what was not.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsCounts {
    /// Answers that named an address.
    pub answers: u64,
    /// Answers nobody was seen to ask for, too late ones included.
    pub unasked: u64,
    /// Messages cut by the capture, or by the end of a TCP segment.
    pub cut: u64,
    /// Messages that contradict themselves.
    pub malformed: u64,
    /// Messages for which there was no room on the way, or no role known of their interface.
    pub missed: u64,
    /// Names forgotten to make room.
    pub evicted: u64,
    /// Names held.
    pub names: u64,
}

/// One end of an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Speaker {
    /// Who it is: the attachment that sent, or the holder of the address.
    pub holder: Holder,
    /// The address it used.
    pub address: IpAddr,
    /// Its port.
    pub port: Port,
}

/// A message between a client and a server.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// When.
    pub at: Timestamp,
    /// In which network.
    pub scope: ScopeId,
    /// Who asks.
    pub client: Speaker,
    /// Who answers.
    pub server: Speaker,
    /// Over what.
    pub protocol: Protocol,
    /// Number of the exchange.
    pub id: u16,
    /// What is asked for.
    pub name: &'a str,
    /// The answer; `None` for a question.
    pub answer: Option<Answer<'a>>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Names the one asked for is an alias of.
    pub aliases: &'a [String],
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// For how long, in seconds.
    pub ttl_seconds: u32,
}

/// Who asks for names.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Client {
    /// A container, by its attachment.
    Attachment(AttachmentId),
    /// The host.
    Host,
    /// An address of a network, where no more is known.
    Address(ScopeId, IpAddr),
}

impl Client {
    /// Returns who an end is; `None` for one outside and for a group, which are no clients.
    pub fn of(scope: ScopeId, holder: Holder, address: IpAddr) -> Option<Self> {
        match holder {
            Holder::Attachment(attachment) => Some(Self::Attachment(attachment)),
            Holder::Host => Some(Self::Host),
            Holder::Unclaimed | Holder::Ambiguous | Holder::Bare => Some(Self::Address(scope, address)),
            Holder::External | Holder::Group => None,
        }
    }
}

/// All names.
#[derive(Debug, Default)]
pub struct DnsNames {
    /// Those that learned a name.
    clients: HashMap<Client, OfClient, RandomState>,
    /// Who asked last from an address and port.
    askers: HashMap<(IpAddr, Port), Client, RandomState>,
    /// Those that only asked.
    asking: HashMap<Client, OfClient, RandomState>,
    counts: DnsCounts,
    held: usize,
}

#[derive(Debug, Default)]
struct OfClient {
    asked: VecDeque<Asked>,
    names: HashMap<IpAddr, Vec<DnsName>, RandomState>,
    /// What was learned, oldest first.
    order: VecDeque<(IpAddr, String)>,
    /// When it learned something; before it ever did, when it asked.
    heard_at: Timestamp,
}

#[derive(Debug)]
struct Asked {
    at: Timestamp,
    server: IpAddr,
    port: Port,
    protocol: Protocol,
    id: u16,
    name: String,
}

impl DnsNames {
    /// Takes one message in, in the order of time.
    pub fn hear(&mut self, said: &Said<'_>) {
        let client = Client::of(said.scope, said.client.holder, said.client.address);
        match (&said.answer, client) {
            (None, Some(client)) => self.ask(client, said),
            (None, None) => {}
            (Some(answer), client) if !answer.addresses.is_empty() => {
                // Whoever asked may hold its address only later: the veth of the question was known before. Where somebody
                // holds it, it is theirs.
                let client = match client {
                    Some(Client::Attachment(_) | Client::Host) => client,
                    Some(Client::Address(..)) | None => {
                        let asker = self.askers.get(&(said.client.address, said.client.port));
                        asker.copied().filter(|asker| self.has_asked(asker, said)).or(client)
                    }
                };
                if let Some(client) = client {
                    self.learn(client, said, answer);
                }
            }
            (Some(_), _) => {}
        }
    }

    fn has_asked(&self, client: &Client, said: &Said<'_>) -> bool {
        let asked = [self.clients.get(client), self.asking.get(client)];
        asked.into_iter().flatten().flat_map(|of| &of.asked).any(|asked| asked.is_answered_by(said))
    }

    /// Counts what could not be taken in.
    pub fn count(&mut self, note: impl FnOnce(&mut DnsCounts)) {
        note(&mut self.counts);
    }

    /// Returns what was learned and what was not.
    pub fn counts(&self) -> DnsCounts {
        DnsCounts { names: u64::try_from(self.held).unwrap_or(u64::MAX), ..self.counts }
    }

    /// Returns whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Iterates over what `client` was told `address` is called, as far as it explains something between two times.
    pub fn of(
        &self,
        client: Client,
        address: IpAddr,
        span: (Timestamp, Timestamp),
    ) -> impl Iterator<Item = &DnsName> {
        let names = self.clients.get(&client).and_then(|of| of.names.get(&address.to_canonical()));
        names.into_iter().flatten().filter(move |name| name.covers(span))
    }

    fn ask(&mut self, client: Client, said: &Said<'_>) {
        if self.askers.len() >= ASKERS_MAX {
            // No more than a help for answers that are on their way.
            self.askers.clear();
        }
        self.askers.insert((said.client.address, said.client.port), client);
        let of = match self.clients.get_mut(&client) {
            Some(of) => of,
            None => {
                if self.asking.len() >= ASKING_MAX && !self.asking.contains_key(&client) {
                    remove_first(&mut self.asking, |of| of.heard_at);
                }
                let of = self.asking.entry(client).or_default();
                of.heard_at = of.heard_at.max(said.at);
                of
            }
        };
        if of.asked.len() >= ASKED_PER_CLIENT_MAX {
            of.asked.pop_front();
        }
        of.asked.push_back(Asked {
            at: said.at,
            server: said.server.address,
            port: said.client.port,
            protocol: said.protocol,
            id: said.id,
            name: said.name.to_owned(),
        });
    }

    fn learn(&mut self, client: Client, said: &Said<'_>, answer: &Answer<'_>) {
        // The question stays: another sighting of the same answer is no answer nobody asked for.
        let has_asked = |of: &OfClient| of.asked.iter().any(|asked| asked.is_answered_by(said));
        if self.asking.get(&client).is_some_and(has_asked)
            && let Some(of) = self.asking.remove(&client)
        {
            self.make_room();
            self.clients.insert(client, of);
        }
        let Some(of) = self.clients.get_mut(&client).filter(|of| has_asked(of)) else {
            self.counts.unasked += 1;
            return;
        };
        of.heard_at = of.heard_at.max(said.at);
        self.counts.answers += 1;
        let ttl = i64::from(answer.ttl_seconds).saturating_mul(Timestamp::SECOND);
        for address in answer.addresses {
            let name = DnsName {
                name: said.name.to_owned(),
                aliases: answer.aliases.to_vec(),
                answered_by: said.server.address,
                from: said.at,
                until: said.at.plus(ttl),
            };
            let (added, evicted) = of.learn(address.to_canonical(), name);
            self.held = (self.held + usize::from(added)).saturating_sub(evicted);
            self.counts.evicted += u64::try_from(evicted).unwrap_or(u64::MAX);
        }
        while self.held > NAMES_MAX {
            let most = self.clients.values_mut().max_by_key(|of| of.order.len());
            if !most.is_some_and(OfClient::forget_oldest) {
                return;
            }
            self.held -= 1;
            self.counts.evicted += 1;
        }
    }

    /// Makes room for a client that learns its first name.
    fn make_room(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            return;
        }
        let gone = remove_first(&mut self.clients, |of| (!of.order.is_empty(), of.heard_at));
        let gone = gone.map_or(0, |gone| gone.order.len());
        self.held = self.held.saturating_sub(gone);
        self.counts.evicted += u64::try_from(gone).unwrap_or(u64::MAX);
    }
}

/// Removes the client that comes first by `order`.
fn remove_first<O: Ord>(
    clients: &mut HashMap<Client, OfClient, RandomState>,
    order: impl Fn(&OfClient) -> O,
) -> Option<OfClient> {
    let first = clients.iter().min_by_key(|(_, of)| order(of)).map(|(client, _)| *client)?;
    clients.remove(&first)
}

impl Asked {
    fn is_answered_by(&self, said: &Said<'_>) -> bool {
        self.id == said.id
            && self.port == said.client.port
            && self.server == said.server.address
            && self.protocol == said.protocol
            && self.name == said.name
            && (0..=PATIENCE).contains(&said.at.since(self.at))
    }
}

impl OfClient {
    /// Keeps a name; returns whether it is another one, and how many went for it.
    fn learn(&mut self, address: IpAddr, name: DnsName) -> (bool, usize) {
        let names = self.names.entry(address).or_default();
        if let Some(known) = names.iter_mut().find(|known| known.name == name.name) {
            let until = known.until.max(name.until);
            let from = known.from.min(name.from);
            *known = DnsName { from, until, ..name };
            return (false, 0);
        }
        let mut evicted = 0;
        if names.len() >= NAMES_PER_ADDRESS_MAX {
            let gone = names.remove(0);
            self.order.retain(|(at, name)| *at != address || *name != gone.name);
            evicted += 1;
        }
        self.order.push_back((address, name.name.clone()));
        names.push(name);
        while self.order.len() > NAMES_PER_CLIENT_MAX && self.forget_oldest() {
            evicted += 1;
        }
        (true, evicted)
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((address, name)) = self.order.pop_front() else { return false };
        if let Some(names) = self.names.get_mut(&address) {
            names.retain(|known| known.name != name);
            if names.is_empty() {
                self.names.remove(&address);
            }
        }
        true
    }
}

/// Returns names in the order they are shown: who was said last comes first, each name once.
pub(crate) fn in_order<'a>(names: impl Iterator<Item = &'a DnsName>) -> Arc<[DnsName]> {
    let mut names: Vec<&DnsName> = names.collect();
    names.sort_by(|one, other| (other.until, &one.name).cmp(&(one.until, &other.name)));
    let mut seen: Vec<&str> = Vec::with_capacity(names.len());
    names.retain(|name| {
        let is_new = !seen.contains(&name.name.as_str());
        seen.push(&name.name);
        is_new
    });
    names.into_iter().take(NAMES_PER_ADDRESS_MAX).cloned().collect()
}

#[cfg(test)]
mod tests;
