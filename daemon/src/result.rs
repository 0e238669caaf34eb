//! Results: a whole publication in a file, for `--from`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use portolan_exporter::{
    BaselineRow, DocumentedEdge, FlowRecord, LifeRow, Publication, Vitals, escape, write_flow,
};
use portolan_graphs::Graph;
use portolan_policy::Assessment;
use portolan_policy::findings::Entry;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// Version of the form. Fields are only ever added within one.
const SCHEMA: u32 = 1;

/// What stands in a result file.
#[derive(Debug, Serialize)]
struct ResultFile<'a> {
    /// Says what the file is, and in which form.
    portolan_result: u32,
    #[serde(flatten)]
    publication: &'a Publication,
}

/// Its form alone. Read apart from the publication: serde cannot read 128-bit numbers of a flattened part.
#[derive(Debug, Deserialize)]
struct Form {
    portolan_result: u32,
}

/// Writes a result beside its place and moves it there, so that no half of one is ever found.
///
/// # Errors
///
/// Returns why it could not be written; what stood there before is untouched.
pub fn write(path: &Path, publication: &Publication) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::cannot_write(path, &error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name =
        path.file_name().ok_or_else(|| Failure::usage(format!("{}: names no file", path.display())))?;
    let beside = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        let mut out = BufWriter::new(File::create(&beside)?);
        serde_json::to_writer(&mut out, &ResultFile { portolan_result: SCHEMA, publication })?;
        out.write_all(b"\n")?;
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // Nothing can be done about a leftover that cannot be removed.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// What stands before the flow records of a printed result.
#[derive(Debug, Serialize)]
struct Head<'a> {
    portolan_result: u32,
    assessment: &'a Assessment,
    graph: &'a Graph,
    vitals: &'a Vitals,
}

/// What stands behind them.
#[derive(Debug, Serialize)]
struct Tail<'a> {
    documented_edges: &'a [DocumentedEdge],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    baseline: &'a [BaselineRow],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    handled: &'a [Entry],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    lifecycle: &'a [LifeRow],
    lifecycle_left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    indicators: &'a Option<portolan_flowtable::indicators::Round>,
}

/// Writes a result as JSON to `out`, which may be a terminal: what would steer it is escaped. With more than one of
/// `threads`, flow records are put into words while the rest is; the bytes are the same.
///
/// # Errors
///
/// Returns the writer's error.
pub fn print(out: &mut impl Write, publication: &Publication, threads: usize) -> std::io::Result<()> {
    let Publication {
        assessment,
        graph,
        vitals,
        flows,
        documented_edges,
        baseline,
        handled,
        lifecycle,
        lifecycle_left_out,
        indicators,
    } = publication;
    let head = Head { portolan_result: SCHEMA, assessment, graph, vitals };
    let lifecycle_left_out = *lifecycle_left_out;
    let tail = Tail { documented_edges, baseline, handled, lifecycle, lifecycle_left_out, indicators };
    std::thread::scope(|scope| {
        let (to, written) = std::sync::mpsc::sync_channel(CHUNKS_WAITING);
        // Where no thread is to be had, this one does it all.
        let beside = (threads > 1 && flows.len() > CHUNK).then(|| {
            let all = move || chunks(flows).try_for_each(|chunk| to.send(chunk));
            std::thread::Builder::new().name("portolan-print".to_owned()).spawn_scoped(scope, all)
        });
        print_head(out, &head)?;
        out.write_all(b",\"flows\":[")?;
        if let Some(Ok(_)) = beside {
            written.iter().try_for_each(|chunk: Vec<u8>| out.write_all(&chunk))?;
        } else {
            chunks(flows).try_for_each(|chunk| out.write_all(&chunk))?;
        }
        out.write_all(b"],")?;
        let tail = serde_json::to_string(&tail)?;
        let within = tail.strip_prefix('{').unwrap_or(&tail);
        out.write_all(escape::json(within).as_bytes())?;
        out.write_all(b"\n")
    })
}

/// Writes the head but for its closing bracket.
fn print_head(out: &mut impl Write, head: &Head<'_>) -> std::io::Result<()> {
    let mut escaping = Escaping { out, waiting: Vec::with_capacity(2 * ESCAPED_TOGETHER) };
    serde_json::to_writer(&mut escaping, head)?;
    // The last character always waits.
    escaping.waiting.pop();
    escaping.pass(escaping.waiting.len())
}

/// Flow records written at once: a third of a megabyte or so.
const CHUNK: usize = 512;
/// Chunks in words that wait to be written, so that a reader that is slow costs no memory.
const CHUNKS_WAITING: usize = 8;

/// Puts flow records into words, separated by commas.
fn chunks(flows: &[FlowRecord]) -> impl Iterator<Item = Vec<u8>> {
    flows.chunks(CHUNK).enumerate().map(|(number, flows)| {
        let mut text = Vec::with_capacity(flows.len() * 800);
        for (place, flow) in flows.iter().enumerate() {
            if number + place > 0 {
                text.push(b',');
            }
            write_flow(flow, &mut text);
        }
        text
    })
}

/// Bytes escaped together. A result may be large, and is not held twice.
const ESCAPED_TOGETHER: usize = 64 * 1024;

/// Escapes JSON on its way.
struct Escaping<'o, W> {
    out: &'o mut W,
    waiting: Vec<u8>,
}

impl<W: Write> Escaping<'_, W> {
    /// Hands on what is waiting, up to a place between two characters.
    fn pass(&mut self, until: usize) -> std::io::Result<()> {
        let whole = self.waiting.get(..until).unwrap_or_default();
        let text = std::str::from_utf8(whole).map_err(std::io::Error::other)?;
        self.out.write_all(escape::json(text).as_bytes())?;
        self.waiting.drain(..until);
        Ok(())
    }

    /// Hands on what is waiting but the character it ends with, which may go on.
    #[inline(never)]
    fn pass_whole(&mut self) -> std::io::Result<()> {
        // What is no beginning of a character continues one.
        let is_within = |byte: &u8| byte & 0xc0 == 0x80;
        let last = self.waiting.iter().rposition(|byte| !is_within(byte)).unwrap_or(0);
        self.pass(last)
    }
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    /// What a serializer calls for every bracket and every word.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= ESCAPED_TOGETHER { self.pass_whole() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// What a result begins with.
const BEGINS: &[u8] = b"{\"portolan_result\"";

/// Reads a result; `None` where the text is something else.
///
/// # Errors
///
/// Returns why a text that is a result cannot be read: another version, or damage.
pub fn parse(path: &Path, text: &[u8]) -> Result<Option<Publication>, Failure> {
    if !text.starts_with(BEGINS) {
        return Ok(None);
    }
    let damaged = |error: serde_json::Error| {
        Failure::error(format!(
            "{}: damaged result, or one of another version of portolan: {error}\n  make it anew:  portolan replay CAPTURE -o {}",
            path.display(),
            path.display()
        ))
    };
    let Form { portolan_result } = serde_json::from_slice(text).map_err(damaged)?;
    if portolan_result != SCHEMA {
        return Err(Failure::error(format!(
            "{}: a result of form {portolan_result}, this portolan reads form {SCHEMA}",
            path.display(),
        )));
    }
    serde_json::from_slice(text).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use portolan_flowtable::Timestamp;
    use portolan_flowtable::indicators::Round;

    use super::*;

    #[test]
    fn a_result_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.result");
        let mut publication = Publication::empty("web-03", "0.1.0", Timestamp(7));
        publication.vitals.residual_frames = -1;
        write(&path, &publication).unwrap();
        assert_eq!(parse(&path, &std::fs::read(&path).unwrap()).unwrap(), Some(publication));
    }

    #[test]
    fn a_printed_result_is_escaped_wherever_a_character_falls() {
        for length in ESCAPED_TOGETHER - 700..ESCAPED_TOGETHER - 300 {
            let name = format!("{}\u{202e}\u{1f980}é\u{7f}|", "x".repeat(length));
            let publication = Publication::empty(&name, "0.1.0", Timestamp(7));
            let whole =
                serde_json::to_string(&ResultFile { portolan_result: SCHEMA, publication: &publication })
                    .unwrap();
            let mut printed = Vec::new();
            print(&mut printed, &publication, 1).unwrap();
            let printed = String::from_utf8(printed).unwrap();
            assert!(printed == format!("{}\n", escape::json(&whole)), "{length}");
            assert!(printed.contains("\\u202e\u{1f980}é\\u007f|"), "{length}");
        }
    }

    #[test]
    fn a_printed_result_is_what_serialization_gives_for_any_number_of_threads() {
        let flow = r#"{"flow_id":1,"community_id":"1:a","proto":"udp","src":{"ip":"10.0.0.1","port":5,"service":"web",
            "container":"web\u202e-1","image":""},"dest":{"ip":"::1","port":null,"service":"external","container":"",
            "image":"","names":["cdn.example"]},"network":"shop","evidence":"exchange","claim":"own",
            "outcome":"answered","sent":{"frames":1,"bytes":84},"received":{"frames":1,"bytes":269},
            "first_at":"2026-11-20T00:00:00Z","last_at":"2026-11-20T00:00:00.01838Z","first_frame":1,"last_frame":9,
            "rtt":null,"ended":"closed"}"#;
        let flow: FlowRecord = serde_json::from_str(flow).unwrap();
        let life = r#"{"number":1,"at":"2026-11-20T00:00:00Z","container_id":"c","container":"web\u202e","service":"web",
            "image":"web","action":"start","times":1}"#;
        let mut publication = Publication::empty("web\u{202e}-03", "0.1.0", Timestamp(7));
        for length in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let number = |flow_id| FlowRecord { flow_id, ..flow.clone() };
            publication.flows = (1..=length as u64).map(number).collect();
            let result = ResultFile { portolan_result: SCHEMA, publication: &publication };
            let whole = serde_json::to_string(&result).unwrap();
            for threads in [1, 2] {
                let mut printed = Vec::new();
                print(&mut printed, &publication, threads).unwrap();
                let printed = String::from_utf8(printed).unwrap();
                assert!(
                    printed == format!("{}\n", escape::json(&whole)),
                    "{length} flows, {threads} threads"
                );
            }
            publication.lifecycle_left_out = 3;
            publication.indicators = Some(Round { unanswered: 1, ..Round::default() });
            publication.lifecycle = vec![serde_json::from_str(life).unwrap()];
        }
    }

    #[test]
    fn a_writer_that_refuses_ends_the_printing() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::BrokenPipe)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let flow = r#"{"flow_id":1,"community_id":"","proto":"udp","src":{"ip":"10.0.0.1","port":5,"service":"web",
            "container":"","image":""},"dest":{"ip":"::1","port":null,"service":"","container":"","image":""},
            "network":"","evidence":"exchange","claim":"own","outcome":"answered","sent":{"frames":1,"bytes":84},
            "received":{"frames":1,"bytes":269},"first_at":"2026-11-20T00:00:00Z","last_at":"2026-11-20T00:00:00Z",
            "first_frame":1,"last_frame":9,"rtt":null,"ended":null}"#;
        let flow: FlowRecord = serde_json::from_str(flow).unwrap();
        let mut publication = Publication::empty("web-03", "0.1.0", Timestamp(7));
        publication.flows = vec![flow; 40 * CHUNK];
        for threads in [1, 2] {
            let error = print(&mut Full(1_000_000), &publication, threads).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn a_result_of_another_form_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.result");
        std::fs::write(&path, "{\"portolan_result\":9}").unwrap();
        let failure = parse(&path, &std::fs::read(&path).unwrap()).unwrap_err();
        assert!(
            failure.message.contains("a result of form 9, this portolan reads form 1"),
            "{}",
            failure.message
        );
    }
}
