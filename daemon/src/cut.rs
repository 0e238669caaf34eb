//! `portolan cut`: the packets of one edge or finding, out of captures.
//!
//! The captures are replayed twice and read once more. The first replay gives the answer, and which flows an edge or
//! finding rests on; the second, which is its equal, says for each frame in which of the flows it was counted; the
//! last reading copies. So nothing is guessed from addresses and ports but what metering does not count: sightings
//! at further interfaces, and which flow an ICMP error speaks of.

mod marks;
mod subject;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use portolan_capture::select::Selection;
use portolan_capture::write::{Captured, FRAME_BYTES_MAX, NewInterface, PcapngWriter, Section};
use portolan_capture::{FileInterface, Frame, LinkType, ParseOptions, Polled, Tap, parse};
use portolan_exporter::escape;
use portolan_flowtable::InterfaceId;
use portolan_flowtable::units::grouped;
use portolan_policy::{Beside, ScanLimits};

use crate::cli::CutArgs;
use crate::edge::{Edge, UnknownEdge};
use crate::error::Failure;
use crate::journal::Journal;
use crate::keep;
use crate::replay::{Knowledge, Request, is_selected, journal_of, open, replay_watched};
use marks::{Marks, Ties, Wanted};
pub(crate) use subject::{edge_members, short_id};

/// Cuts.
///
/// # Errors
///
/// Returns why nothing was cut; then no file is left behind. Damage of a capture is an error too, after everything
/// before it was cut.
pub fn cut(args: &CutArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let edge: Option<Edge> = args.edge.as_deref().map(str::parse).transpose().map_err(no_edge)?;
    let journal = journal_of(&args.files, &args.read)?;
    must_be_writable(args, journal.as_deref())?;
    let mut knowledge = Knowledge::read(&args.knowledge)?;
    if let Some(path) = &args.baseline {
        knowledge.baseline = Some(keep::existing_baseline(path)?);
    }
    let request = Request {
        files: &args.files,
        knowledge: &knowledge,
        read: &args.read,
        conversations: None,
        shows_progress: true,
        each_turn: None,
    };
    let mut ties = Ties::default();
    let replayed = replay_watched(&request, Some(&mut ties))?;
    for note in &replayed.notes {
        crate::say(&format!("portolan: {}", escape::terminal(note)));
    }
    for warning in knowledge.notes.iter().chain(&replayed.warnings) {
        crate::say(&format!("portolan: warning: {}", escape::terminal(warning)));
    }
    let publication = &replayed.publication;
    // With a journal the last turn is one of those there were live, and none of them was the end of all traffic.
    let limits = if journal.is_some() { ScanLimits::default() } else { ScanLimits::at_end() };
    let subject = match (&edge, &args.finding) {
        (Some(edge), _) => subject::edge(edge, publication)?,
        (None, Some(finding)) => {
            let beside = Beside { baseline: replayed.baseline.as_ref(), rhythm: Some(&replayed.rhythm) };
            subject::finding(finding, publication, &replayed.contract, &limits, beside)?
        }
        (None, None) => return Err(Failure::usage("say what to cut: --edge or --finding")),
    };
    let flows = ties.flows(&subject.conversations);
    let count = flows.len();
    let mut marks = Marks::new(flows);
    replay_watched(&request, Some(&mut marks))?;
    let interfaces = marks.interfaces().to_vec();
    let copying = Copying {
        args,
        request: &request,
        interfaces: &interfaces,
        wanted: marks.finish(),
        title: &subject.title,
    };
    let copied = copying.write(out)?;
    crate::say(&format!(
        "wrote {} of {}, {}, to {}\nwireshark: {}",
        grouped(copied.written),
        counted(copied.read, "frame"),
        counted(count as u64, "flow"),
        if is_stdout(&args.write) { "standard output".to_owned() } else { args.write.display().to_string() },
        escape::terminal(&subject.filter),
    ));
    if copied.before_1970 > 0 {
        let frames = counted(copied.before_1970, "frame");
        crate::say(&format!(
            "portolan: warning: {frames} of before 1970: pcapng has no such time, 1970 was written"
        ));
    }
    if copied.shortened > 0 {
        let frames = counted(copied.shortened, "frame");
        let most = grouped(FRAME_BYTES_MAX as u64);
        crate::say(&format!("portolan: warning: {frames} cut to the {most} bytes that readers take"));
    }
    if replayed.damage.is_empty() { Ok(0) } else { Err(Failure::error(replayed.damage.join("\nportolan: "))) }
}

fn counted(count: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Checks what can be known before hours of reading.
fn must_be_writable(args: &CutArgs, journal: Option<&Path>) -> Result<(), Failure> {
    if args.files.iter().any(|path| is_stdout(path)) {
        return Err(Failure::usage(
            "standard input can be read once, and cutting reads three times; write it to a file first",
        ));
    }
    if is_stdout(&args.write) {
        if io::stdout().is_terminal() {
            return Err(Failure::usage("-w -: a capture is nothing for a terminal; pipe it:  | tshark -r -"));
        }
        return Ok(());
    }
    let folder = folder_of(&args.write);
    if !folder.is_dir() {
        return Err(Failure::error(format!(
            "{}: cannot be written: {} is no folder",
            args.write.display(),
            folder.display()
        )));
    }
    let Ok(there) = fs::metadata(&args.write) else { return Ok(()) };
    if there.is_dir() {
        return Err(Failure::usage(format!("-w {}: is a directory", args.write.display())));
    }
    // By what they are, not by what they are called: there are links.
    let is_it = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()))
    };
    let refused = |input: &Path, why: &str| {
        let (write, input) = (args.write.display(), input.display());
        Err(Failure::usage(format!("-w {write}: is {input}, {why}; write to another file")))
    };
    let beside = journal.map(Path::to_owned);
    let knowledge =
        args.knowledge.roster.iter().chain(&args.knowledge.contract).chain(&args.baseline).chain(&beside);
    if let Some(input) = args.files.iter().chain(knowledge).find(|path| is_it(path)) {
        return refused(input, "which is read");
    }
    // A part that is not asked for belongs to the recording all the same.
    let names = journal.map(Journal::parts).transpose()?.unwrap_or_default();
    let folders: BTreeSet<&Path> =
        args.files.iter().map(PathBuf::as_path).chain(journal).map(folder_of).collect();
    let mut parts = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    match parts.find(is_it) {
        Some(part) => refused(&part, "which is part of the recording"),
        None => Ok(()),
    }
}

fn no_edge(error: UnknownEdge) -> Failure {
    Failure::usage(format!("--edge {error}"))
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The last reading.
struct Copying<'a> {
    args: &'a CutArgs,
    request: &'a Request<'a>,
    interfaces: &'a [FileInterface],
    wanted: Wanted,
    title: &'a str,
}

/// What was copied.
#[derive(Debug, Default)]
struct Copied {
    written: u64,
    read: u64,
    shortened: u64,
    before_1970: u64,
}

impl Copying<'_> {
    /// Writes beside the place and moves there, so that no half of a capture is ever found; what is no file is
    /// written as it goes.
    fn write(&self, out: &mut impl Write) -> Result<Copied, Failure> {
        let path = &self.args.write;
        let failed = |error: io::Error| Failure::cannot_write(path, &error);
        if is_stdout(path) {
            return self.copy(BufWriter::new(out));
        }
        if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
            return self.copy(BufWriter::new(File::create(path).map_err(failed)?));
        }
        let name =
            path.file_name().ok_or_else(|| Failure::usage(format!("{}: names no file", path.display())))?;
        let beside = folder_of(path).join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        // Never what lies there already: it may be a link to elsewhere. For this user alone, as recordings are.
        let created = File::options().write(true).create_new(true).mode(0o600).open(&beside);
        let file = created.map_err(|error| Failure::cannot_write(&beside, &error))?;
        let copied = self.copy(BufWriter::new(&file)).and_then(|copied| {
            // The bytes, then the name, then the folder that holds it: no loss of power leaves a name without bytes.
            let named = file.sync_all().and_then(|()| fs::rename(&beside, path));
            named.and_then(|()| File::open(folder_of(path))?.sync_all()).map_err(failed)?;
            Ok(copied)
        });
        if copied.is_err() {
            // Nothing can be done about a leftover that cannot be removed.
            let _ = fs::remove_file(&beside);
        }
        copied
    }

    fn copy(&self, out: impl Write) -> Result<Copied, Failure> {
        let failed = |error: &io::Error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Failure::error("whoever reads the capture stopped reading");
            }
            Failure::cannot_write(&self.args.write, error)
        };
        let mut tap = open(self.request)?;
        let mut filter = self.args.read.filter.as_deref().map(Selection::new).transpose()?;
        let mut copier = Copier::new(out, self).map_err(|error| failed(&error))?;
        let mut written = Ok(());
        loop {
            let polled = tap.poll(&mut |frame| {
                copier.copied.read += 1;
                if written.is_ok()
                    && is_selected(&self.args.read, &mut filter, frame)
                    && self.is_wanted(frame)
                {
                    written = copier.frame(frame);
                }
            });
            std::mem::replace(&mut written, Ok(())).map_err(|error| failed(&error))?;
            match polled {
                Ok(Polled::Frames(_)) => {}
                Ok(Polled::Idle | Polled::End) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if copier.copied.written == 0 {
            return Err(Failure::error(format!(
                "no frame was counted for {}: nothing is written",
                self.title
            )));
        }
        copier.finish().map_err(|error| failed(&error))
    }

    fn is_wanted(&self, frame: &Frame<'_>) -> bool {
        if self.wanted.is_counted_in(frame.number) {
            return true;
        }
        let options = ParseOptions { innermost: self.args.read.innermost, fingerprint: false };
        parse(frame, &options).is_ok_and(|seen| self.wanted.is_about(&seen, self.args.every_sighting))
    }
}

/// Writes frames, describing interfaces as they are met.
struct Copier<'a, W: Write> {
    writer: PcapngWriter<W>,
    interfaces: &'a [FileInterface],
    paths: &'a [PathBuf],
    /// Bytes kept of frames of any interface: libpcap reads a file only where they agree.
    snaplen: u32,
    numbers: BTreeMap<(InterfaceId, LinkType), u32>,
    copied: Copied,
}

impl<'a, W: Write> Copier<'a, W> {
    fn new(out: W, copying: &Copying<'a>) -> io::Result<Self> {
        let section = Section {
            application: concat!("portolan ", env!("CARGO_PKG_VERSION")),
            comment: copying.title,
            ..Section::default()
        };
        let snaplens = copying.interfaces.iter().map(|interface| interface.snaplen);
        let is_unlimited = snaplens.clone().any(|snaplen| snaplen == 0);
        Ok(Self {
            writer: PcapngWriter::new(out, &section)?,
            interfaces: copying.interfaces,
            paths: &copying.args.files,
            snaplen: if is_unlimited { 0 } else { snaplens.max().unwrap_or(0) },
            numbers: BTreeMap::new(),
            copied: Copied::default(),
        })
    }

    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        let interface = self.interface(frame)?;
        let bytes = frame.bytes.get(..FRAME_BYTES_MAX).unwrap_or(frame.bytes);
        self.copied.shortened += u64::from(bytes.len() < frame.bytes.len());
        self.copied.written += 1;
        self.writer.frame(&Captured {
            interface,
            at: frame.at,
            bytes,
            original_bytes: frame.original_bytes,
            direction: frame.direction,
        })
    }

    fn interface(&mut self, frame: &Frame<'_>) -> io::Result<u32> {
        let (id, link) = (frame.interface, frame.link);
        if let Some(number) = self.numbers.get(&(id, link)) {
            return Ok(*number);
        }
        let described = self.interfaces.iter().find(|interface| interface.id == id);
        let file = described.and_then(|interface| self.paths.get(interface.file));
        let file = file.filter(|_| self.paths.len() > 1).map(|path| path.display().to_string());
        let number = self.writer.add_interface(&NewInterface {
            link,
            snaplen: self.snaplen,
            name: described.and_then(|interface| interface.name.as_deref()).unwrap_or_default(),
            description: &[described.and_then(|it| it.description.as_deref()), file.as_deref()]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        })?;
        self.numbers.insert((id, link), number);
        Ok(number)
    }

    fn finish(mut self) -> io::Result<Copied> {
        self.copied.before_1970 = self.writer.times_before_1970();
        self.writer.into_inner().flush()?;
        Ok(self.copied)
    }
}
