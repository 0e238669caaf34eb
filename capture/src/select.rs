//! Selecting frames of a capture by a filter expression (pcap-filter(7)).

use std::collections::BTreeMap;

use pcap::{BpfProgram, Capture, Linktype};

use crate::error::TapError;
use crate::frame::{Frame, LinkType};

/// A filter expression, compiled once for each link type it meets.
///
/// `len`, `less` and `greater` see the captured length of a frame.
pub struct Selection {
    expression: String,
    programs: BTreeMap<LinkType, Program>,
}

/// A program, or the fact that the expression means nothing on this link type (`vlan` on raw IP).
enum Program {
    Compiled(BpfProgram),
    Refused,
}

impl Selection {
    /// Checks an expression.
    ///
    /// # Errors
    ///
    /// Returns libpcap's reason if the expression is wrong on both Ethernet and cooked frames.
    pub fn new(expression: &str) -> Result<Self, TapError> {
        let on_ethernet = compile(expression, LinkType::ETHERNET);
        // `ifindex` and `inbound` mean something on cooked frames only.
        let on_cooked = compile(expression, LinkType::LINUX_SLL2);
        let mut programs = BTreeMap::new();
        for (link, compiled) in [(LinkType::LINUX_SLL2, &on_cooked), (LinkType::ETHERNET, &on_ethernet)] {
            if let (Err(error), true) = (compiled, on_cooked.is_err() && on_ethernet.is_err()) {
                return Err(TapError::Filter {
                    expression: expression.to_owned(),
                    link: link.to_string(),
                    reason: error.to_string(),
                });
            }
        }
        programs.insert(LinkType::ETHERNET, on_ethernet.map_or(Program::Refused, Program::Compiled));
        programs.insert(LinkType::LINUX_SLL2, on_cooked.map_or(Program::Refused, Program::Compiled));
        Ok(Self { expression: expression.to_owned(), programs })
    }

    /// Returns whether the expression selects a frame. On a link type on which it means nothing it selects none.
    pub fn selects(&mut self, frame: &Frame<'_>) -> bool {
        let expression = &self.expression;
        let program = self
            .programs
            .entry(frame.link)
            .or_insert_with(|| compile(expression, frame.link).map_or(Program::Refused, Program::Compiled));
        match program {
            Program::Compiled(program) => program.filter(frame.bytes),
            Program::Refused => false,
        }
    }

    /// Returns the link types met on which the expression means nothing, so that none of their frames was selected.
    pub fn refused(&self) -> impl Iterator<Item = LinkType> {
        self.programs.iter().filter_map(|(link, program)| match program {
            Program::Refused => Some(*link),
            Program::Compiled(_) => None,
        })
    }
}

fn compile(expression: &str, link: LinkType) -> Result<BpfProgram, pcap::Error> {
    Capture::dead(linktype(link))?.compile(expression, true)
}

/// Returns libpcap's name for a link type; three numbers differ between its interface and its files.
fn linktype(link: LinkType) -> Linktype {
    const DLT_RAW: i32 = 12;
    match link {
        LinkType::RAW => Linktype(DLT_RAW),
        LinkType(number) => Linktype(i32::try_from(number).unwrap_or(i32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::{Direction, InterfaceId, Timestamp};

    use super::*;

    #[test]
    fn an_expression_selects_by_what_a_frame_holds() {
        let arp = [[0xff; 12].as_slice(), &[0x08, 0x06], &[0; 28]].concat();
        #[rustfmt::skip]
        let cases = [
            ("arp",               true),
            ("not arp",           false),
            ("",                  true),
            ("ether broadcast",   true),
            ("tcp port 80",       false),
        ];
        for (expression, expected) in cases {
            let mut selection = Selection::new(expression).unwrap();
            assert_eq!(selection.selects(&frame(&arp, LinkType::ETHERNET)), expected, "{expression:?}");
        }
    }

    #[test]
    fn a_wrong_expression_is_named_with_the_reason() {
        let error = Selection::new("prot 80").err().unwrap().to_string();
        assert!(error.starts_with("filter \"prot 80\" on link type"), "{error}");
        assert!(error.contains("syntax error") || error.contains("unknown host"), "{error}");
    }

    #[test]
    fn raw_ip_of_files_and_of_the_library_are_the_same() {
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[9] = 17;
        let mut selection = Selection::new("udp").unwrap();
        assert!(selection.selects(&frame(&ip, LinkType::RAW)));
        ip[9] = 6;
        assert!(!selection.selects(&frame(&ip, LinkType::RAW)));
    }

    #[test]
    fn an_expression_that_means_nothing_on_a_link_type_is_said_to() {
        let mut selection = Selection::new("ether broadcast").unwrap();
        assert!(!selection.selects(&frame(&[0x45; 20], LinkType::RAW)));
        assert!(selection.refused().any(|link| link == LinkType::RAW));
    }

    fn frame(bytes: &[u8], link: LinkType) -> Frame<'_> {
        Frame {
            bytes,
            link,
            at: Timestamp(0),
            beyond_seconds: 0,
            is_timed: true,
            number: 1,
            interface: InterfaceId(0),
            direction: Direction::Unstated,
            original_bytes: u32::try_from(bytes.len()).unwrap(),
        }
    }
}
