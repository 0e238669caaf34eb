//! Writes one of the captures that speed is measured on, and prints what it holds.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use portolan_benches::captures::{self, Kind};

const USAGE: &str = "usage: traffic micro|small|imix|syn PACKETS FILE [FLOWS [SEED]]
       traffic roster|contract FILE
  FLOWS is for small and imix; unsaid, a hundredth of the packets. roster and contract are those of micro.
example: traffic micro 1000000 micro.pcap";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, USAGE);
    match arguments.as_slice() {
        [what, path] if what == "roster" => return std::fs::write(path, captures::roster()),
        [what, path] if what == "contract" => return std::fs::write(path, captures::contract()),
        _ => {}
    }
    let [kind, packets, path, rest @ ..] = arguments.as_slice() else { return Err(usage()) };
    let kind = Kind::named(kind).ok_or_else(usage)?;
    let number = |text: &String| text.parse::<u64>().map_err(|_| usage());
    let packets = number(packets)?;
    let flows = rest.first().map_or(Ok(packets / 100), number)?;
    let seed = rest.get(1).map_or(Ok(captures::SEED), number)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let truth = captures::write(kind, packets, flows, seed, &mut out)?;
    out.flush()?;
    let captures::Truth { packets, bytes, biflows, uniflows, edges } = truth;
    writeln!(
        io::stdout(),
        "{packets} packets, {bytes} bytes, {biflows} biflows, {uniflows} uniflows, {edges} edges"
    )
}
