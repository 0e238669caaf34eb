//! An edge as people write it and reports print it: `reports -> db:5432/tcp`, `batch -> web:80/tcp  via host:8080`.
//!
//! `record` and `cut` read it here, so that what one takes the other takes too.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use portolan_flowtable::{Port, Protocol, Workload};

/// An edge by the names of its ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edge {
    /// Who opens: a service, with or without its project, a container, an address, or `host`, `external`,
    /// `unclaimed`, `multicast`, `ambiguous`.
    pub initiator: String,
    /// Who answers, named the same way.
    pub responder: String,
    /// Where: the port as reports print it, for a published one the container's.
    pub port: Option<Port>,
    /// By which protocol. Without a port it is one that has none, or fragments whose port nothing says.
    pub protocol: Option<Protocol>,
    /// The host binding it goes through, as reports print it: `host:8080`, `ambiguous`.
    pub via: Option<String>,
}

/// A text was no edge.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{text:?}: {wrong}; write 'reports -> db:5432', 'shop/reports -> shop/db:5432/tcp' or '10.0.0.1 -> [fd00::2]:80'"
)]
pub struct UnknownEdge {
    text: String,
    wrong: String,
}

impl FromStr for Edge {
    type Err = UnknownEdge;

    /// Reads an edge; port, protocol and binding may be left out.
    ///
    /// An IPv6 address has colons of its own: the port behind one is written `[fd00::2]:80`, or with its protocol, as
    /// reports print it: `fd00::2:80/tcp`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).map_err(|wrong| UnknownEdge { text: text.to_owned(), wrong })
    }
}

fn read(text: &str) -> Result<Edge, String> {
    let (initiator, called) = match text.split("->").collect::<Vec<_>>().as_slice() {
        [initiator, called] => (initiator.trim(), called.trim()),
        [_] | [] => return Err("not an edge".to_owned()),
        [_, _, _, ..] => return Err("an edge has one arrow".to_owned()),
    };
    let (called, via) = match called.split_once(" via ") {
        Some((called, via)) => (called.trim_end(), Some(binding(via.trim())?)),
        None => (called, None),
    };
    let initiator = match bracketed(initiator)? {
        Some((address, "")) => address,
        Some((_, rest)) => return Err(format!("{rest:?} behind who opens it")),
        None => initiator,
    };
    let (responder, service) = match bracketed(called)? {
        Some((address, "")) => (address, None),
        Some((address, rest)) => {
            let service = rest.strip_prefix(':').ok_or_else(|| format!("{rest:?} is no port"))?;
            (address, Some(service))
        }
        None if called.parse::<IpAddr>().is_ok() => (called, None),
        None => called.rsplit_once(':').map_or((called, None), |(name, service)| (name, Some(service))),
    };
    if initiator.is_empty() || responder.is_empty() {
        return Err("an end has no name".to_owned());
    }
    let (port, protocol) = service.map_or(Ok((None, None)), service_port)?;
    Ok(Edge { initiator: initiator.to_owned(), responder: responder.to_owned(), port, protocol, via })
}

/// Splits `[fd00::2]:80` behind the bracket.
fn bracketed(text: &str) -> Result<Option<(&str, &str)>, String> {
    let Some(inside) = text.strip_prefix('[') else { return Ok(None) };
    let (address, rest) = inside.split_once(']').ok_or("a bracket is not closed")?;
    match address.parse::<Ipv6Addr>() {
        Ok(_) => Ok(Some((address, rest))),
        Err(_) => Err(format!("{address:?} is no IPv6 address")),
    }
}

/// Reads `5432/tcp`, `5432` or `icmp`.
fn service_port(text: &str) -> Result<(Option<Port>, Option<Protocol>), String> {
    let port = |text: &str| match text.parse() {
        Ok(number) if text.bytes().all(|digit| digit.is_ascii_digit()) => Ok(Some(Port(number))),
        Ok(_) | Err(_) => Err(format!("{text:?} is no port")),
    };
    if let Ok(protocol) = text.parse() {
        return Ok((None, Some(protocol)));
    }
    match text.split_once('/') {
        None => Ok((port(text)?, None)),
        Some((number, name)) => {
            let protocol: Protocol = name.parse().map_err(|_| format!("{name:?} is no protocol"))?;
            if protocol.has_ports() {
                Ok((port(number)?, Some(protocol)))
            } else {
                Err(format!("{protocol} has no ports"))
            }
        }
    }
}

fn binding(text: &str) -> Result<String, String> {
    let is_port = |port: &str| matches!(service_port(port), Ok((Some(_), None)));
    let is_binding = text == "ambiguous" || text.strip_prefix("host:").is_some_and(is_port);
    if is_binding { Ok(text.to_owned()) } else { Err(format!("{text:?} is no binding of the host")) }
}

/// As it is read.
impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { initiator, responder, port, protocol, via } = self;
        write!(f, "{initiator} -> ")?;
        let needs_brackets = (port.is_some() || protocol.is_some()) && responder.parse::<Ipv6Addr>().is_ok();
        if needs_brackets {
            write!(f, "[{responder}]")?
        } else {
            f.write_str(responder)?
        }
        match (port, protocol) {
            (None, None) => {}
            (Some(port), None) => write!(f, ":{port}")?,
            (None, Some(protocol)) => write!(f, ":{protocol}")?,
            (Some(port), Some(protocol)) => write!(f, ":{port}/{protocol}")?,
        }
        via.as_ref().map_or(Ok(()), |via| write!(f, " via {via}"))
    }
}

/// Returns whether a workload goes by a name: its service's, with or without the project, or its container's.
pub(crate) fn is_called(workload: &Workload, name: &str) -> bool {
    workload.service == name || workload.container == name || workload.qualified() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_read_as_people_write_it_and_reports_print_it() {
        #[rustfmt::skip]
        let cases = [
            // written                                  initiator         responder  port         protocol              via
            ("reports -> db:5432/tcp",                  "reports",        "db",      Some(5_432), Some(Protocol::TCP),  None),
            ("shop/reports->shop/db",                   "shop/reports",   "shop/db", None,        None,                 None),
            (" batch  ->  metrics:8125 ",               "batch",          "metrics", Some(8_125), None,                 None),
            ("batch -> web:icmp",                       "batch",          "web",     None,        Some(Protocol::ICMP), None),
            ("batch -> web:80/tcp  via host:8080",      "batch",          "web",     Some(80),    Some(Protocol::TCP),  Some("host:8080")),
            ("external -> web:80/tcp via ambiguous",    "external",       "web",     Some(80),    Some(Protocol::TCP),  Some("ambiguous")),
            ("10.0.0.1 -> fd00::2",                     "10.0.0.1",       "fd00::2", None,        None,                 None),
            ("10.0.0.1 -> [fd00::2]:80",                "10.0.0.1",       "fd00::2", Some(80),    None,                 None),
            ("[fd00::1] -> [fd00::2]:53/udp",           "fd00::1",        "fd00::2", Some(53),    Some(Protocol::UDP),  None),
            ("fd00::1 -> [fd00::2]",                    "fd00::1",        "fd00::2", None,        None,                 None),
            ("fd00::1 -> fd00::2:53/udp",               "fd00::1",        "fd00::2", Some(53),    Some(Protocol::UDP),  None),
            ("fd00::1 -> fd00::2:icmp6",                "fd00::1",        "fd00::2", None,        Some(Protocol::ICMPV6), None),
        ];
        for (text, initiator, responder, port, protocol, via) in cases {
            let expected = Edge {
                initiator: initiator.to_owned(),
                responder: responder.to_owned(),
                port: port.map(Port),
                protocol,
                via: via.map(str::to_owned),
            };
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_edge_says_why() {
        #[rustfmt::skip]
        let cases = [
            ("reports db",                     "not an edge"),
            ("a -> b -> c",                    "an edge has one arrow"),
            (" -> db",                         "an end has no name"),
            ("reports ->",                     "an end has no name"),
            ("reports -> :80",                 "an end has no name"),
            ("a -> db:",                       "\"\" is no port"),
            ("a -> db:port",                   "\"port\" is no port"),
            ("a -> db:99999",                  "\"99999\" is no port"),
            ("a -> db:+80",                    "\"+80\" is no port"),
            ("a -> db:5432/tpc",               "\"tpc\" is no protocol"),
            ("a -> db:80/icmp",                "icmp has no ports"),
            ("a -> [fd00::2",                  "a bracket is not closed"),
            ("a -> [db]:80",                   "\"db\" is no IPv6 address"),
            ("a -> [fd00::2]80",               "\"80\" is no port"),
            ("a -> [fd00::2]:",                "\"\" is no port"),
            ("[fd00::1]:80 -> db",             "\":80\" behind who opens it"),
            ("a -> db:80/tcp via nowhere",     "\"nowhere\" is no binding of the host"),
            ("a -> db:80/tcp via host:99999",  "\"host:99999\" is no binding of the host"),
        ];
        for (text, wrong) in cases {
            let said = text.parse::<Edge>().unwrap_err().to_string();
            assert!(said.starts_with(&format!("{text:?}: {wrong}; write '")), "{said}");
        }
    }
}
