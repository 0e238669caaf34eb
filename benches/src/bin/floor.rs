//! The least a program that reads a classic capture does: `read` of 256 KiB at a time, and a walk over the records'
//! headers. Prints packets and their bytes.

use std::fs::File;
use std::io::{self, Read, Write};

const READ_BYTES: usize = 256 * 1024;
const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;

fn main() -> io::Result<()> {
    let Some(path) = std::env::args_os().nth(1) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: floor CAPTURE"));
    };
    let mut file = File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut packets, mut bytes, mut filled, mut skip) = (0_u64, 0_u64, 0, FILE_HEADER);
    loop {
        let count = file.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if count == 0 {
            break;
        }
        filled += count;
        let mut at = skip.min(filled);
        skip -= at;
        while skip == 0
            && let Some(header) = buffer.get(at..filled).and_then(<[u8]>::first_chunk::<RECORD_HEADER>)
        {
            let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = *header;
            let length = u32::from_le_bytes([a, b, c, d]);
            packets += 1;
            bytes += u64::from(length);
            let next = at + RECORD_HEADER + length as usize;
            skip = next.saturating_sub(filled);
            at = next.min(filled);
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
    writeln!(io::stdout(), "{packets} packets, {bytes} bytes")
}
