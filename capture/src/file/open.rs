//! Opening a capture file: where its bytes come from, how they are compressed, and what else it might be.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use crate::error::TapError;
use crate::file::blocks::Blocks;
use crate::file::classic::Classic;
use crate::file::window::Window;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Bytes that tell a capture or a compression. No more are waited for: a live pipe may take long to bring them.
const MAGIC_BYTES: usize = 4;
/// Bytes looked at to say what a file is that is no capture.
const HEAD_BYTES: usize = 512;
/// Largest zstd window taken: 2^27 bytes, what `zstd` itself takes without `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// A stream, a count of the bytes read from its file, and the file's length.
type Stream = (Window, Arc<AtomicU64>, Option<u64>);

/// Opens a path, or standard input for `-`, and undoes one compression.
pub(super) fn stream(path: &str) -> Result<Stream, TapError> {
    let name = shown(path);
    let (file, length) = open(path, &name)?;
    let count = Arc::new(AtomicU64::new(0));
    let mut counted = Counted { inner: file, count: Arc::clone(&count) };
    let head = first_bytes(&mut counted).map_err(|source| TapError::Open { path: name.clone(), source })?;
    if head.is_empty() {
        return Err(TapError::Empty { path: name });
    }
    let compression = Compression::of(&head);
    let whole = Cursor::new(head).chain(counted);
    let source: Box<dyn Read + Send> = match compression {
        None => Box::new(whole),
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(whole)),
        Some(Compression::Zstd) => {
            let decoder = zstd::stream::read::Decoder::new(whole).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            });
            Box::new(decoder.map_err(|source| TapError::Open { path: name, source })?)
        }
    };
    Ok((Window::new(source), count, length))
}

/// Returns the first four bytes after decompression, which must be those of a capture.
pub(super) fn magic(name: &str, window: &mut Window) -> Result<[u8; 4], TapError> {
    window.fill(MAGIC_BYTES).map_err(|damage| damage.of(name, 0))?;
    let magic = window.bytes().first_chunk().copied().unwrap_or([0; MAGIC_BYTES]);
    if Classic::is_magic(magic) || Blocks::is_magic(magic) {
        return Ok(magic);
    }
    let available = window.fill(HEAD_BYTES).map_err(|damage| damage.of(name, 0))?;
    let head = window.bytes().get(..available.min(HEAD_BYTES)).unwrap_or_default();
    if head.is_empty() {
        return Err(TapError::Foreign {
            path: name.to_owned(),
            looks_like: "its compressed content is empty".into(),
        });
    }
    let looks_like = match Compression::of(head) {
        Some(_) => "it is compressed twice; decompress it once".to_owned(),
        None => format!("it looks like {}", guess(head)),
    };
    Err(TapError::Foreign { path: name.to_owned(), looks_like })
}

/// Returns a path as it may be printed: a file's name may hold anything.
pub(super) fn shown(path: &str) -> String {
    if path == "-" {
        return "standard input".to_owned();
    }
    path.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

fn open(path: &str, name: &str) -> Result<(File, Option<u64>), TapError> {
    let failed = |source: io::Error| {
        let path = name.to_owned();
        let kind = source.kind();
        if kind == io::ErrorKind::NotFound {
            TapError::Missing { path }
        } else if kind == io::ErrorKind::PermissionDenied {
            TapError::Unreadable { path }
        } else {
            TapError::Open { path, source }
        }
    };
    let file = if path == "-" {
        // A duplicate, so that closing the tap does not close standard input, and reads are as large as ours.
        File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
    } else {
        File::open(path).map_err(failed)?
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(TapError::Directory { path: name.to_owned() });
    }
    let length = metadata.is_file().then_some(metadata.len());
    Ok((file, length))
}

fn first_bytes(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(MAGIC_BYTES);
    source.take(MAGIC_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Compression {
    Gzip,
    Zstd,
}

impl Compression {
    fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(GZIP) {
            Some(Self::Gzip)
        } else if head.starts_with(ZSTD) {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// Says what a file looks like, for the one sentence that refuses it.
fn guess(head: &[u8]) -> &'static str {
    const SIGNATURES: &[(&[u8], &str)] = &[
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"\xfd7zXZ\0", "xz data; decompress it first:  xz -d"),
        (b"BZh", "bzip2 data; decompress it first:  bzip2 -d"),
        (b"\x04\x22\x4d\x18", "lz4 data; decompress it first:  lz4 -d"),
        (b"snoop\0\0\0", "a Solaris snoop capture; convert it:  editcap -F pcapng"),
        (b"GMBU", "a Microsoft Network Monitor capture; convert it:  editcap -F pcapng"),
        (b"RTSS", "a Microsoft Network Monitor capture; convert it:  editcap -F pcapng"),
        (b"\x7fELF", "a program"),
        (b"{", "JSON"),
        (b"[", "JSON"),
    ];
    if let Some((_, what)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return what;
    }
    let is_text = std::str::from_utf8(head)
        .map_or_else(|error| error.valid_up_to() + 4 > head.len(), |_| true)
        && !head.iter().any(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace());
    if is_text { "text" } else { "binary data of another kind" }
}

/// Counts what is read from the file, for a progress bar.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
