//! The subject alternative names of a certificate (RFC 5280, section 4.2.1.6), as texts.
//!
//! rustls checks the chain and the signatures; it has no door to e-mail addresses, and matches host names by
//! wildcard, where the list of allowed names asks for equality. So the one extension is read here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
/// `[3] EXPLICIT`, the extensions among a certificate's fields.
const EXTENSIONS: u8 = 0xa3;
/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// rfc822Name, dNSName, uniformResourceIdentifier, iPAddress, context-tagged.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

/// Returns the DNS, e-mail, URI and IP names, or none where the certificate is not DER. Names of other kinds are left
/// out.
pub(super) fn subject_names(certificate: &[u8]) -> Option<Vec<String>> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) = expect(certificate, SEQUENCE)?;
    let mut names = Vec::new();
    while !fields.is_empty() {
        let (tag, value, rest) = element(fields)?;
        fields = rest;
        if tag != EXTENSIONS {
            continue;
        }
        let (mut extensions, _) = expect(value, SEQUENCE)?;
        while !extensions.is_empty() {
            let (extension, rest) = expect(extensions, SEQUENCE)?;
            extensions = rest;
            let (identifier, rest) = expect(extension, OBJECT_IDENTIFIER)?;
            if identifier == SUBJECT_ALT_NAME {
                names.extend(general_names(rest)?);
            }
        }
    }
    Some(names)
}

/// Reads what follows the extension's identifier: perhaps a boolean, then the names.
fn general_names(mut rest: &[u8]) -> Option<Vec<String>> {
    let octets = loop {
        let (tag, value, after) = element(rest)?;
        if tag == OCTET_STRING {
            break value;
        }
        rest = after;
    };
    let (mut general, _) = expect(octets, SEQUENCE)?;
    let mut names = Vec::new();
    while !general.is_empty() {
        let (tag, value, after) = element(general)?;
        general = after;
        match tag {
            EMAIL | DNS | URI => names.push(String::from_utf8(value.to_vec()).ok()?),
            IP => names.push(address(value)?.to_string()),
            _ => {}
        }
    }
    Some(names)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4.or_else(|_| v6()).ok()
}

fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = element(bytes)?;
    (found == tag).then_some((value, rest))
}

/// Splits off one element: tag, value, rest (X.690, definite lengths).
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (octets, after) = rest.split_at_checked(count)?;
        rest = after;
        octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_read_as_they_stand() {
        let names = vec![
            SanType::DnsName("*.shop.example".try_into().unwrap()),
            SanType::Rfc822Name("ann@shop.example".try_into().unwrap()),
            SanType::URI("spiffe://shop/scraper".try_into().unwrap()),
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
        ];
        let expected =
            ["*.shop.example", "ann@shop.example", "spiffe://shop/scraper", "192.0.2.7", "2001:db8::7"];
        assert_eq!(subject_names(&certificate(names)).unwrap(), expected);
        assert_eq!(subject_names(&certificate(Vec::new())).unwrap(), [""; 0]);
    }

    #[test]
    fn no_byte_and_no_length_breaks_the_reader() {
        let whole = certificate(vec![SanType::DnsName("a.example".try_into().unwrap())]);
        for length in 0..whole.len() {
            assert_eq!(subject_names(&whole[..length]), None, "{length} bytes of {}", whole.len());
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                // Any answer will do.
                let _ = subject_names(&damaged);
            }
        }
    }
}
