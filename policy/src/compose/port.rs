//! Ports as compose files write them.
//!
//! # Sources
//!
//! The Compose Specification, services, `ports` and `expose`; docker-compose 1.29 and Compose 2 by their `config`.

use std::net::IpAddr;

use portolan_flowtable::{Port, Protocol};
use serde::{Deserialize, Serialize};

/// A port, or several, of a service in a compose file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct ComposePort {
    /// First port in the container.
    pub first: Port,
    /// Last one, inclusive.
    pub last: Port,
    /// Protocol.
    pub protocol: Protocol,
    /// Where it is mapped onto the host; `None` where it is only exposed to other containers.
    pub published: Option<Published>,
    /// Line in the file, from 1.
    pub line: usize,
}

/// Where a port is mapped onto the host.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Published {
    /// Address; `None` for all.
    pub host_ip: Option<IpAddr>,
    /// First and last port; `None` where Docker chooses.
    pub host: Option<(Port, Port)>,
}

type Ports = (Port, Port);

/// Reads the short form of `ports`: `[[ADDRESS:]HOST[-HOST]:]CONTAINER[-CONTAINER][/PROTOCOL]`.
pub(super) fn short(text: &str, line: usize) -> Result<ComposePort, String> {
    let (rest, protocol) = protocol_of(text.trim())?;
    let (before, container) = match rest.rsplit_once(':') {
        Some((before, container)) => (Some(before), container),
        None => (None, rest),
    };
    let (first, last) = range(container, text)?;
    let (host_ip, host) = match before {
        None => (None, None),
        Some(before) => match before.strip_prefix('[') {
            // [::1]:8080:80
            Some(bracketed) => {
                let (address, host) = bracketed.split_once(']').ok_or_else(|| bad(text))?;
                (Some(address), host.strip_prefix(':').or(Some(host)))
            }
            None => match before.rsplit_once(':') {
                Some((address, host)) => (Some(address), Some(host)),
                // 127.0.0.1::80 has gone above; 8080:80, or an address alone.
                None => (None, Some(before)),
            },
        },
    };
    let host_ip = host_ip.map(|address| address.parse().map_err(|_| bad(text))).transpose()?;
    let host = host.filter(|host| !host.is_empty()).map(|host| range(host, text)).transpose()?;
    // One container port may be given a range of the host's to choose from.
    if let Some((host_first, host_last)) = host
        && first != last
        && host_last.0 - host_first.0 != last.0 - first.0
    {
        return Err(format!("port {text:?}: the ranges are not equally long"));
    }
    Ok(ComposePort { first, last, protocol, published: Some(Published { host_ip, host }), line })
}

/// Reads an element of `expose`: `CONTAINER[-CONTAINER][/PROTOCOL]`.
pub(super) fn exposed(text: &str, line: usize) -> Result<ComposePort, String> {
    let (rest, protocol) = protocol_of(text.trim())?;
    let (first, last) = range(rest, text)?;
    Ok(ComposePort { first, last, protocol, published: None, line })
}

fn protocol_of(text: &str) -> Result<(&str, Protocol), String> {
    let Some((rest, name)) = text.split_once('/') else { return Ok((text, Protocol::TCP)) };
    Ok((rest, protocol(name).ok_or_else(|| format!("port {text:?}: unknown protocol {name:?}"))?))
}

/// Reads the name of a protocol with ports.
pub(super) fn protocol(name: &str) -> Option<Protocol> {
    name.to_ascii_lowercase().parse::<Protocol>().ok().filter(|protocol| protocol.has_ports())
}

/// Reads `8080` or `8080-8090`.
pub(super) fn range(text: &str, whole: &str) -> Result<Ports, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| {
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| is_plain && *port > 0).map(Port)
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(_), Some(_)) => Err(format!("port {whole:?}: the range ends before it begins")),
        (None, _) | (_, None) => Err(bad(whole)),
    }
}

fn bad(text: &str) -> String {
    format!("{text:?} is no port: expected as in \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"80\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(port: &ComposePort) -> String {
        let ComposePort { first, last, protocol, published, line: _ } = port;
        let host = published.as_ref().map_or("-".to_owned(), |published| {
            let ip = published.host_ip.map_or("*".to_owned(), |ip| ip.to_string());
            let port = published.host.map_or("?".to_owned(), |(first, last)| format!("{first}-{last}"));
            format!("{ip} {port}")
        });
        format!("{first}-{last}/{protocol} on {host}")
    }

    #[test]
    fn every_plain_form_is_read() {
        #[rustfmt::skip]
        let cases = [
            ("80",                        Ok("80-80/tcp on * ?")),
            ("8080:80",                   Ok("80-80/tcp on * 8080-8080")),
            ("8000-8010:80",              Ok("80-80/tcp on * 8000-8010")),
            ("8000-8002:80-82",           Ok("80-82/tcp on * 8000-8002")),
            ("3000-3005",                 Ok("3000-3005/tcp on * ?")),
            ("127.0.0.1:8080:80",         Ok("80-80/tcp on 127.0.0.1 8080-8080")),
            ("127.0.0.1::80",             Ok("80-80/tcp on 127.0.0.1 ?")),
            ("127.0.0.1:5000-5002:5000-5002", Ok("5000-5002/tcp on 127.0.0.1 5000-5002")),
            ("[::1]:8080:80",             Ok("80-80/tcp on ::1 8080-8080")),
            ("[::1]::80",                 Ok("80-80/tcp on ::1 ?")),
            ("::1:8080:80",               Ok("80-80/tcp on ::1 8080-8080")),
            ("53:53/udp",                 Ok("53-53/udp on * 53-53")),
            ("53:53/UDP",                 Ok("53-53/udp on * 53-53")),
            ("8000-8001:80-82",           Err("port \"8000-8001:80-82\": the ranges are not equally long")),
            ("90-80",                     Err("port \"90-80\": the range ends before it begins")),
            ("80/icmp",                   Err("port \"80/icmp\": unknown protocol \"icmp\"")),
            ("0",                         Err("\"0\" is no port: expected as in \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"80\"")),
            ("70000:80",                  Err("\"70000:80\" is no port: expected as in \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"80\"")),
            ("host:80:80",                Err("\"host:80:80\" is no port: expected as in \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"80\"")),
            ("+80",                       Err("\"+80\" is no port: expected as in \"8080:80\", \"127.0.0.1:8080:80/udp\" or \"80\"")),
        ];
        for (text, expected) in cases {
            let read = short(text, 1).map(|port| told(&port));
            assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert_eq!(exposed("53/udp", 1).map(|port| told(&port)), Ok("53-53/udp on -".to_owned()));
    }
}
