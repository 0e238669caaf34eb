//! The standard rules: what is raised without anybody writing a rule, why, and what to do about it.

use crate::assessment::{FindingKind, Severity};

/// A rule that holds without being written.
#[derive(Clone, Copy, Debug)]
pub struct StandardRule {
    /// What it raises; its name is the rule's id.
    pub kind: FindingKind,
    /// The gravest it gets.
    pub severity: Severity,
    /// What it says, in one line.
    pub title: &'static str,
    /// Why it matters.
    pub rationale: &'static str,
    /// What to do about a finding.
    pub remedy: &'static str,
    /// When it is raised, and when it is not.
    pub condition: &'static str,
}

impl FindingKind {
    /// Returns the standard rule that raises it; `None` for what the operator's own rules and the baseline raise.
    pub fn standard_rule(self) -> Option<StandardRule> {
        let is_own = matches!(self, Self::Denied | Self::NewEdge | Self::ForbiddenEdge);
        (!is_own).then(|| self.explained())
    }

    /// Returns what raises it, why, and what to do: its standard rule, or what the operator's word or the baseline does.
    pub fn explained(self) -> StandardRule {
        let rule = |severity, title, rationale, condition, remedy| StandardRule {
            kind: self,
            severity,
            title,
            rationale,
            remedy,
            condition,
        };
        match self {
            Self::Denied => rule(
                Severity::High,
                "somebody does what a rule or a default of a contract denies",
                "The operator wrote that it must not happen.",
                "Of the severity of the rule where it was answered, of a default medium; low where it was tried.",
                "Stop it; or mend the rule the finding names.",
            ),
            Self::NewEdge => rule(
                Severity::Medium,
                "a service does what its promoted baseline has not learned",
                "A service that suddenly talks to somebody else was changed, or taken over.",
                "Answered calls of whom neither contract nor documentation says anything, at a promoted service.",
                "Find out what changed; then portolan baseline promote SERVICE EDGE, or forbid.",
            ),
            Self::ForbiddenEdge => rule(
                Severity::High,
                "a service does what somebody forbade in the baseline",
                "A person decided that it must not be learned.",
                "portolan baseline forbid; holds against documentation, not against a contract that names the initiator.",
                "Stop it; or portolan baseline permit SERVICE EDGE.",
            ),
            Self::SpoofedSource => rule(
                Severity::High,
                "a container sends under an address that another one, a gateway or the host holds",
                "Whoever forges a source wants answers to go astray, or actions to be charged to another.",
                "The sender is the interface the frame came in by; 2 s around a hand-over of the address are left out.",
                "Look into the container that sent; drop CAP_NET_RAW from it, which lets a process forge.",
            ),
            Self::UnexpectedPeer => rule(
                Severity::High,
                "somebody calls a service that expects others",
                "A service that is reached by whom nobody had in mind is how one compromise becomes several.",
                "A contract names the initiators, or compose files join neither end; high where answered, low where tried.",
                "Find out why it calls; then add it to the contract, or part the networks.",
            ),
            Self::UndocumentedPort => rule(
                Severity::Medium,
                "a service answers on a port no source documents",
                "Debuggers, consoles and back doors answer on ports nobody wrote down.",
                "Answered calls alone count; services that document nothing are left out and listed as undeclared.",
                "Document the port (EXPOSE, portolan.ports, contract), or stop what serves it.",
            ),
            Self::UndocumentedListener => rule(
                Severity::Low,
                "something listens on a port no source documents, and nobody has called it",
                "It is the same door before somebody tries it.",
                "Read from the container's socket tables every two seconds; loopback and Docker's resolver do not count.",
                "Document the port, bind it to loopback, or stop what serves it.",
            ),
            Self::UnusedExposure => rule(
                Severity::Info,
                "a port is published on every address and nobody from outside has used it for a day",
                "Docker opens published ports past the host's INPUT rules; an open door that nobody needs is only a risk.",
                "24 h without a caller from outside and without a known loss.",
                "Publish on 127.0.0.1, or not at all: containers of one network need no published port.",
            ),
            Self::ForeignDatabase => rule(
                Severity::High,
                "a database is called by a container of another project, or from outside",
                "A database that more than its own project reaches is lost with the weakest of them.",
                "TCP on a port databases are known for; callers a contract or compose file expects are left out.",
                "Part the networks, or do not publish the port; else expect the caller in a contract.",
            ),
            Self::DockerApi => rule(
                Severity::High,
                "a container calls Docker's API over TCP",
                "Whoever may ask Docker to start a container is root on its host.",
                "Port 2375 or 2376 of anybody; callers a contract or compose file expects are left out.",
                "Close the port; give the container a proxy that allows what it needs.",
            ),
            Self::CloudMetadata => rule(
                Severity::High,
                "a container calls the address where a cloud hands out the machine's credentials",
                "A request that is made to be forged there turns a flaw of a web service into the machine's rights.",
                "169.254.169.254, fd00:ec2::254, 100.100.100.200 on any port.",
                "Block the address for containers; demand session tokens (IMDSv2).",
            ),
            Self::InternalOutbound => rule(
                Severity::High,
                "a service whose networks are all internal by its compose file calls somebody outside",
                "Either the file is not what runs, or something found a way around it.",
                "All networks of the service are internal: true in files that could be read whole.",
                "Compare the container's networks with the file; recreate it from the file.",
            ),
            Self::ForeignResolver => rule(
                Severity::Medium,
                "a container asks a resolver that is not among the ones that are meant",
                "Names asked elsewhere escape what is logged and filtered, and can carry data out.",
                "Port 53 of an outside address that is not in group:resolvers; silent without that group.",
                "Correct the container's resolver, or add it to the group.",
            ),
            Self::CleartextAdmin => rule(
                Severity::Medium,
                "a container speaks a protocol that sends passwords in the clear",
                "Anybody on the way reads them.",
                "Answered calls to FTP, Telnet, rexec, rlogin, rsh or TFTP, by their ports.",
                "Use SSH or TLS instead.",
            ),
            Self::PortScan => rule(
                Severity::Medium,
                "one initiator tries many ports of one responder in vain",
                "It is how somebody finds out what there is to attack.",
                "10 ports refused, unanswered or blocked within 60 s.",
                "Look into who scans; exempt scanners of your own, with a reason.",
            ),
            Self::HostSweep => rule(
                Severity::Medium,
                "one initiator tries many responders",
                "It is how somebody finds out whom there is to attack.",
                "10 responders on one port, or 30 on any, of which a share fails, within 60 s; or 10 addresses of its own network \
                 that it asks for by ARP and nobody answers for.",
                "Look into who sweeps; exempt discovery of your own, with a reason.",
            ),
            Self::SynFlood => rule(
                Severity::High,
                "many handshakes to one port stay unanswered within a second",
                "It takes a service away from everybody else.",
                "100 in one second to one port, counted by the initiator's name, as floods forge their addresses.",
                "Stop the sender by its interface; SYN cookies and connection limits help the one who is called.",
            ),
            Self::StolenMac => rule(
                Severity::High,
                "a container sends from the hardware address of another one, or of the gateway",
                "Whoever takes a hardware address is sent what was meant for its holder.",
                "The sender is the interface the frame came in by, the holder whoever Docker gave the address to.",
                "Look into the container that sent; drop CAP_NET_RAW and CAP_NET_ADMIN from it.",
            ),
            Self::Beaconing => rule(
                Severity::Medium,
                "a container calls one place outside at one interval, again and again",
                "It is how software that waits for orders asks for them; also how clocks, updates and telemetry call home.",
                "17 calls to one address and port, 5 s apart or more, with a jitter of up to a quarter; DNS, NTP and what is \
                 documented, allowed or learned are left out.",
                "Find out what calls; then allow it in a contract, exempt it with a reason, or stop it.",
            ),
            Self::PasswordGuessing => rule(
                Severity::Medium,
                "one peer opens a login port again and again, each time for a moment",
                "It is how somebody tries passwords; each attempt is a connection of its own.",
                "20 connections of one peer to one port within 60 s, answered, over within 30 s and with at most 16,384 bytes \
                 each. FTP, SSH, Telnet, mail, LDAP, SMB, r-commands, VMware's 902, RDP, VNC, WinRM whoever calls; SQL Server, \
                 Oracle, MySQL, PostgreSQL, Redis, MongoDB only for callers of another project, from outside or not expected. \
                 What a rule allows is left out.",
                "Find out who calls; close the port to it, demand keys. Exempt tools of your own, with a reason.",
            ),
            Self::UnusualLevel => rule(
                Severity::Low,
                "a service does many times what is usual at that time of day",
                "Data that is carried off, a flood of calls, a worm and a miner look like that; so does a good day.",
                "Bytes sent, connections opened or received, peers or new peers called in a minute; live, where Docker is asked \
                 for them, memory, processor time, block I/O and processes of its containers: over 4 times the median of the \
                 same half hour of earlier days, 5 minutes in a row; from the fourth day on.",
                "Look at what its busiest edges were then; exempt what bursts by design, with a reason.",
            ),
            Self::UnlistedSource => rule(
                Severity::Info,
                "a container sends under an address nobody holds",
                "Mostly a container with an address of its own making; sometimes a forgery.",
                "Only for senders whose own addresses are known.",
                "Give the address to the container through Docker, or look why it uses it.",
            ),
        }
    }
}

/// Lists the standard rules, gravest first.
pub fn standard_rules() -> Vec<StandardRule> {
    let mut rules: Vec<StandardRule> =
        FindingKind::ALL.into_iter().filter_map(FindingKind::standard_rule).collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.severity));
    rules
}
