//! `portolan record`: the engine of `run`, and everything it is fed written to a capture and its journal.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use portolan_capture::keep::Keep;
use portolan_exporter::events::{EventSource, EventWriter};
use portolan_exporter::{OwnMetrics, escape};
use portolan_flowtable::units::grouped;
use portolan_graphs::{Graph, Group};

use crate::cli::{KeepArg, RecordArgs};
use crate::config::Config;
use crate::error::Failure;
use crate::journal;
use crate::live::{Session, SessionOptions, host_name};
use crate::privileges::Privileges;
use crate::recording::{Choice, Recorded, Recording, RecordingOptions, recorder};
use crate::replay::Contracts;
use crate::report::{self, Style};
use crate::run::event_writer;
use crate::signals::{self, Signal};
use crate::{ask, result};

/// Longest wait for events to be written at the end.
const FAREWELL: Duration = Duration::from_millis(500);
/// Bytes kept of a frame where payload is asked for: the greatest IP packet and its cooked header.
const PAYLOAD_SNAPLEN: u32 = 65_535;
/// Bytes kept of a frame where the start of a conversation is asked for: a DNS message, a TLS hello.
const HELLO_SNAPLEN: u32 = 4_096;

/// Records until it is told to end, the time is over, or there is no more room.
///
/// # Errors
///
/// Returns why nothing can be captured, or why the recording ended early: what was recorded until then is whole.
pub fn record(args: &RecordArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let mut config = Config::load(&args.live)?;
    let keep = keep(args);
    config.capture.snaplen = args.live.snaplen.unwrap_or(match keep {
        Keep { payload: true, .. } => PAYLOAD_SNAPLEN,
        Keep { dns: true, .. } | Keep { tls_hello: true, .. } => HELLO_SNAPLEN,
        Keep { .. } => config.capture.snaplen,
    });
    // What is not recorded must not be learned: a replay has to give the same.
    config.capture.dns_names &= keep.dns || keep.payload;
    let choice = choice(args)?;
    if let Some(events) = &args.events {
        config.events.file.clone_from(events);
    }
    let contracts = Contracts::read(&config.policy.contracts, &config.policy.compose)?;
    let (host, own) = (host_name(), OwnMetrics::default());
    let events_file = config.events.file.clone();
    let privileges = Privileges::of_record(&config, args);
    let tick = Duration::from_millis(u64::from(config.daemon.tick_milliseconds));
    let heartbeat = config.events.heartbeat_seconds;
    let recording_options = RecordingOptions {
        capture: args.write.clone(),
        keep,
        snaplen: config.capture.snaplen.saturating_add(portolan_capture::live::COOKED_HEADER_BYTES),
        bytes_max: args.max_bytes,
        rotate_bytes: args.rotate,
        choice: choice.clone(),
    };
    check_free(&recording_options, args.output.as_deref())?;

    let (recorder, notes, feed) = recorder();
    let options = SessionOptions { config, contracts, host: host.clone(), privileges };
    let mut session = Session::start_recorded(options, Some((recorder, notes)))?;
    let events = event_writer(&events_file, &host, &own)?;
    let begin = session.begin(choice.to_string(), kept_in_words(keep));
    let recording = Recording::start(recording_options, begin, feed)?;
    let (_orders, signals) = signals::listen(session.runtime())?;
    session.seal()?;
    session.privileges().say_what_is_missing();
    let bar = crate::look::progress_of(args.span, "recording");
    let mut source = EventSource::new(heartbeat);
    let started = Instant::now();
    let mut failure = None;
    loop {
        let left = args.span.map_or(tick, |span| span.saturating_sub(started.elapsed()));
        if left.is_zero() {
            break;
        }
        match signals.recv_timeout(left.min(tick)) {
            Ok(Signal::End | Signal::Grief) => break,
            Ok(Signal::Reload) => reload(&mut session, args, events.as_ref()),
            // It serves no socket, and takes no orders.
            Ok(Signal::Order(_)) | Err(_) => {}
        }
        let pulse = session.tick()?;
        bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        if let Some(writer) = &events {
            writer.offer(source.turn(&pulse.publication, &pulse.alerts));
        }
        failure = pulse.failure;
        if failure.is_some() || recording.cause().is_some() {
            break;
        }
    }
    bar.finish_and_clear();
    let pulse = session.settle()?;
    let recorded = recording.finish();
    if let Some(writer) = events {
        writer.offer(source.turn(&pulse.publication, &pulse.alerts));
        let counts = writer.close(FAREWELL);
        if counts.lost > 0 {
            crate::say(&format!("portolan: {} events could not be written", counts.lost));
        }
    }
    let publication = &pulse.publication;
    let printed = if args.quiet {
        Ok(())
    } else {
        let style = Style { is_coloured: crate::is_coloured(), ..Style::default() };
        ask::print(out, report::report(publication, &publication.vitals.host, style))
    };
    // A writer that came to grief says nothing of files; what was answered stands.
    let recorded = recorded?;
    // What was recorded is said, whatever else fails.
    crate::say(&in_words(&recorded, &args.write));
    write_graph(&args.write, &pulse.publication)?;
    printed?;
    if let Some(path) = &args.output {
        result::write(path, publication)?;
    }
    if recorded.is_failed {
        return Err(Failure::error(format!(
            "the recording ended early: {}\n  what it holds is whole, and replays",
            recorded.cause
        )));
    }
    if let Some(failure) = failure {
        return Err(Failure::error(failure));
    }
    Ok(crate::answer_code(publication, args.fail_on, args.require_complete))
}

fn keep(args: &RecordArgs) -> Keep {
    Keep {
        payload: args.payload,
        dns: args.keep.contains(&KeepArg::Dns),
        tls_hello: args.keep.contains(&KeepArg::Tls),
    }
}

fn kept_in_words(keep: Keep) -> String {
    let more = [(keep.dns, "dns"), (keep.tls_hello, "tls hello"), (keep.payload, "payload")];
    let more = more.iter().filter(|(is_kept, _)| *is_kept).map(|(_, word)| *word);
    std::iter::once("headers").chain(more).collect::<Vec<_>>().join(", ")
}

fn choice(args: &RecordArgs) -> Result<Choice, Failure> {
    match (&args.edge, &args.service) {
        (Some(edge), None) => edge.parse().map_err(|error| Failure::usage(format!("--edge {error}"))),
        (None, Some(service)) => Ok(Choice::Service(service.clone())),
        (None, None) | (Some(_), Some(_)) => Ok(Choice::All),
    }
}

/// Says what is in the way before anything is captured.
fn check_free(options: &RecordingOptions, output: Option<&Path>) -> Result<(), Failure> {
    if options.capture.extension().is_none_or(|ending| ending != "pcapng") {
        return Err(Failure::usage(format!(
            "-w {}: a recording is a pcapng file; call it {}.pcapng",
            options.capture.display(),
            options.capture.with_extension("").display()
        )));
    }
    let folder = options.capture.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Failure::usage(format!(
            "-w {}: there is no folder {}",
            options.capture.display(),
            folder.display()
        )));
    }
    let mut wanted = vec![journal::place(&options.capture), journal::graph_place(&options.capture)];
    match options.rotate_bytes {
        Some(_) => wanted.extend(journal::parts_there(&options.capture)),
        None => wanted.push(options.capture.clone()),
    }
    for path in wanted {
        // A link to nowhere is in the way too.
        if std::fs::symlink_metadata(&path).is_ok() {
            return Err(Failure::error(format!(
                "{}: is there already, and recordings are not overwritten; remove it or choose another name",
                path.display()
            )));
        }
    }
    if let Some(folder) = output.and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty())
        && !folder.is_dir()
    {
        return Err(Failure::usage(format!("--output: there is no folder {}", folder.display())));
    }
    Ok(())
}

fn reload(session: &mut Session, args: &RecordArgs, events: Option<&EventWriter>) {
    if let Some(writer) = events {
        writer.reopen();
    }
    let read = Config::load(&args.live)
        .and_then(|fresh| Contracts::read(&fresh.policy.contracts, &fresh.policy.compose));
    match read {
        Ok(contracts) => session.set_contract(Some(contracts)),
        Err(failure) => {
            session.set_contract(None);
            crate::say(&format!("portolan: {}\n  what was read before stays in force", failure.message));
        }
    }
}

/// Writes the graph beside the capture, for this user alone.
fn write_graph(capture: &Path, publication: &portolan_exporter::Publication) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = journal::graph_place(capture);
    let text = Graph::draw(&publication.assessment, Group::Service)
        .to_json()
        .map_err(|error| Failure::error(format!("cannot write the graph as JSON: {error}")))?;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::File::open(crate::cut::folder_of(&path))?.sync_all())
        .map_err(|error| Failure::cannot_write(&path, &error))
}

fn in_words(recorded: &Recorded, capture: &Path) -> String {
    let files = match recorded.files.as_slice() {
        [one] => one.display().to_string(),
        many => {
            format!("{} files, {} first", many.len(), many.first().unwrap_or(&capture.to_owned()).display())
        }
    };
    let mut text = format!(
        "recorded  {} frames, {} bytes with the journal, in {}",
        grouped(recorded.frames),
        grouped(recorded.bytes),
        escape::terminal(&files)
    );
    if recorded.not_selected.frames > 0 {
        text.push_str(&format!(
            "\nleft out  {} frames that were not asked for",
            grouped(recorded.not_selected.frames)
        ));
    }
    if recorded.is_nobody {
        text.push_str("\nnobody    is called what was asked for; portolan status lists the names there are");
    }
    if recorded.unrecorded.frames > 0 {
        text.push_str(&format!(
            "\n{}  {} frames were counted and are not in the recording: the replay will lack them",
            if recorded.cause.is_empty() || recorded.is_failed { "lost    " } else { "later   " },
            grouped(recorded.unrecorded.frames)
        ));
    }
    if !recorded.cause.is_empty() {
        text.push_str(&format!("\nended     {}", escape::terminal(&recorded.cause)));
    }
    let names: Vec<String> = recorded.files.iter().map(|file| file.display().to_string()).collect();
    let names = if names.len() > 4 { format!("{} ...", names[..2].join(" ")) } else { names.join(" ") };
    text.push_str(&format!("\nreplay    portolan replay {}", escape::terminal(&names)));
    text
}
