//! Files that never end in the middle: room on the disk is asked for ahead of what is written.
//!
//! While room is left for a buffer and the last rows, everything in between fits too; where it is not, the recording
//! ends in good order. On file systems that promise no room, a write that fell short is cut back to the last whole
//! piece.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::Errno;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 256 * 1024;
/// Bytes kept free on the disk beyond a full buffer, for what a recording ends with.
const LAST_BYTES: u64 = 64 * 1024;

/// A file that is written in whole pieces: blocks of a capture, lines of a journal.
#[derive(Debug)]
pub(super) struct Pieces {
    file: File,
    buffer: Vec<u8>,
    /// Where each piece in the buffer ends, and how many frames it holds.
    ends: Vec<(usize, u64)>,
    written: u64,
    reserved: u64,
    can_reserve: bool,
}

/// How a piece went.
#[derive(Debug)]
pub(super) enum Room {
    /// It is in the buffer or on the disk.
    Taken,
    /// The disk is full; this piece and so many before it are not in the file, which ends with a whole piece.
    Full {
        /// Frames that found no room, this piece's included.
        lost: u64,
    },
}

impl Pieces {
    /// Makes a file of mode 0600. One that is there already is not touched.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut pieces = Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            ends: Vec::new(),
            written: 0,
            reserved: 0,
            can_reserve: true,
        };
        match pieces.reserve(BUFFER_BYTES) {
            Ok(true) => Ok(pieces),
            refused => {
                // Nothing is in it, and it would be in the way of the next attempt.
                let _ = std::fs::remove_file(path);
                Err(refused.err().unwrap_or_else(|| ErrorKind::StorageFull.into()))
            }
        }
    }

    /// Returns bytes so far, those in the buffer included.
    pub(super) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds a piece that holds so many frames.
    pub(super) fn add(&mut self, piece: &[u8], frames: u64) -> io::Result<Room> {
        if self.buffer.len() + piece.len() > BUFFER_BYTES {
            if let Room::Full { lost } = self.flush()? {
                return Ok(Room::Full { lost: lost + frames });
            }
            // Room for the next buffer, or for this one piece where that is greater.
            if !self.reserve(BUFFER_BYTES.max(piece.len()))? {
                return Ok(Room::Full { lost: frames });
            }
        }
        self.buffer.extend_from_slice(piece);
        self.ends.push((self.buffer.len(), frames));
        Ok(Room::Taken)
    }

    /// Adds one of the last pieces, for which room was kept.
    pub(super) fn add_last(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
        self.ends.push((self.buffer.len(), 0));
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) -> io::Result<Room> {
        let mut done = 0;
        while done < self.buffer.len() {
            match self.file.write(self.buffer.get(done..).unwrap_or_default()) {
                Ok(count) if count > 0 => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) => return self.cut_back(done).map(|lost| Room::Full { lost }),
                Err(error) if is_full(&error) => {
                    return self.cut_back(done).map(|lost| Room::Full { lost });
                }
                Err(error) => {
                    self.cut_back(done)?;
                    return Err(error);
                }
            }
        }
        self.written += done as u64;
        self.buffer.clear();
        self.ends.clear();
        Ok(Room::Taken)
    }

    /// Writes what was gathered, gives back the room that was kept, and makes it last.
    pub(super) fn close(mut self) -> io::Result<Room> {
        let room = self.flush()?;
        ftruncate(&self.file, self.written)?;
        self.file.sync_all()?;
        Ok(room)
    }

    /// Cuts the file behind the last piece that is whole, and returns how many frames are lost.
    fn cut_back(&mut self, done: usize) -> io::Result<u64> {
        let whole = self.ends.iter().take_while(|(end, _)| *end <= done);
        let kept = whole.last().map_or(0, |(end, _)| *end);
        let lost = self.ends.iter().filter(|(end, _)| *end > done).map(|(_, frames)| frames).sum();
        self.written += kept as u64;
        self.buffer.clear();
        self.ends.clear();
        ftruncate(&self.file, self.written)?;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.written))?;
        Ok(lost)
    }

    /// Asks for room for a buffer of `bytes` and the last pieces; false where there is none.
    fn reserve(&mut self, bytes: usize) -> io::Result<bool> {
        let needed = self.written + bytes as u64 + LAST_BYTES;
        if !self.can_reserve || needed <= self.reserved {
            return Ok(true);
        }
        let from = self.reserved.max(self.written);
        match fallocate(self.file.as_fd(), FallocateFlags::KEEP_SIZE, from, needed - from) {
            Ok(()) => self.reserved = needed,
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return Ok(false),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.can_reserve = false,
            Err(Errno::INTR) => return self.reserve(bytes),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_private_whole_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.pcapng");
        let mut pieces = Pieces::create(&path).unwrap();
        let piece = vec![7; 100_000];
        for _ in 0..7 {
            assert!(matches!(pieces.add(&piece, 1).unwrap(), Room::Taken));
        }
        assert_eq!(pieces.bytes(), 700_000);
        pieces.add_last(b"end");
        assert!(matches!(pieces.close().unwrap(), Room::Taken));
        assert_eq!(std::fs::read(&path).unwrap().len(), 700_003);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Pieces::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_write_that_falls_short_is_cut_back_to_the_last_whole_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.pcapng");
        let mut pieces = Pieces::create(&path).unwrap();
        for _ in 0..4 {
            pieces.add(&[7; 10], 1).unwrap();
        }
        pieces.file.write_all(&[7; 25]).unwrap();
        assert_eq!(pieces.cut_back(25).unwrap(), 2);
        assert_eq!(pieces.bytes(), 20);
        pieces.add(&[8; 5], 1).unwrap();
        pieces.close().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [[7; 5], [7; 5], [7; 5], [7; 5], [8; 5]].concat());
    }
}
