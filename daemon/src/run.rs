//! `portolan run`: the daemon.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use portolan_exporter::events::{self, Event, EventLog, EventSource, EventWriter, StallNews};
use portolan_exporter::http::{GraphForms, OrderDoor, ServeOptions, Served, serve};
use portolan_exporter::snapshots::Snapshots;
use portolan_exporter::{OwnMetrics, Publication, SeriesLimits, escape};
use portolan_flowtable::Timestamp;
use portolan_graphs::{Boxes, Graph, Group, Map};
use portolan_policy::{Alert, AlertState};
use tokio::sync::watch;

use crate::cli::RunArgs;
use crate::config::Config;
use crate::error::Failure;
use crate::keep;
use crate::kept::Kept;
use crate::live::{Session, SessionOptions, clock, host_name};
use crate::means;
use crate::orders::carry_out;
use crate::privileges::Privileges;
use crate::replay::Contracts;
use crate::report;
use crate::signals::{self, Signal};
use crate::watchdog::{self, Beat, Notifier};

/// Longest wait for Docker's first listing before the first lines are printed.
const NAMES_WAIT: Duration = Duration::from_secs(3);
/// Time between two words to the service manager, at most, however long a tick is.
const FED_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for events to be written, and for clients to leave, at the end.
const FAREWELL: Duration = Duration::from_millis(500);

/// Runs until it is told to end.
///
/// # Errors
///
/// Returns why it cannot start, or why it cannot go on.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    // What it writes (socket, events) is nobody else's to read.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let config = Config::load_run(args)?;
    let contracts = Contracts::read(&config.policy.contracts, &config.policy.compose)?;
    let pending = pending_of(&config)?;
    let serving = serve_options(&config)?;
    if args.print_config {
        let text = toml::to_string(&config)
            .map_err(|error| Failure::error(format!("cannot print the configuration: {error}")))?;
        return print(&text);
    }
    if args.check {
        if !config.baseline.file.as_os_str().is_empty() {
            keep::baseline(&config.baseline.file, config.baseline.enough())?;
        }
        for path in [&config.baseline.file, &config.findings.file] {
            if !path.as_os_str().is_empty() {
                keep::must_be_writable(path)?;
            }
        }
        serving.check().map_err(|error| Failure::error(error.to_string()))?;
        return print(&format!("configuration fine, {}\n", contracts_in_words(&config.policy.contracts)));
    }
    let serving = ServeOptions { patience: means::check(&config)?, ..serving };
    let host = host_name();
    let own = OwnMetrics::default();
    let manager = Notifier::open();
    let privileges = Privileges::of_run(&config, args);
    let options = SessionOptions { config: config.clone(), contracts, host: host.clone(), privileges };
    let mut session = Session::start(options)?;
    session.set_pending(pending);
    let mut kept = Kept::load(&config, session.started_at(), &mut session)?;
    let events = event_writer(&config.events.file, &host, &own)?;
    // Asked while that is still allowed.
    let own_uid = rustix::process::geteuid().as_raw();
    let (orders, signals) = signals::listen(session.runtime())?;
    // Whoever is not there any more takes no orders.
    let serving = ServeOptions {
        orders: Some(OrderDoor::new(move |order| drop(orders.send(Signal::Order(order))))),
        ..serving
    };
    let beat = Beat::start(session.runtime());
    let first = Publication::empty(&host, env!("CARGO_PKG_VERSION"), session.started_at());
    let (publisher, readers) = watch::channel(Arc::new(first));
    let (stop, stopped) = watch::channel(false);
    let served = session
        .runtime()
        .block_on(serve(serving, readers, graph_forms(), own.clone(), stopped))
        .map_err(|error| Failure::error(error.to_string()))?;
    session.seal()?;
    session.wait_for_names(NAMES_WAIT);

    let tick = Duration::from_millis(u64::from(config.daemon.tick_milliseconds));
    let mut source = EventSource::new(config.events.heartbeat_seconds);
    source.after_gap(session.chart_mut().docket().and_then(|docket| docket.gap().cloned()));
    let sandbox = session.privileges().to_string();
    let mut news = News { is_first: true, served: &served, config: &config, sandbox };
    let mut due = Instant::now();
    let mut tell = |publication: Publication, alerts: &[Alert]| {
        for alert in alerts.iter().filter(|alert| alert.state == AlertState::Raised) {
            let since = publication.assessment.snapshot.at.since(alert.finding.first_at);
            own.raised_after(Timestamp(since.max(0)).as_seconds());
        }
        if let Some(writer) = &events {
            writer.offer(source.turn(&publication, alerts));
        }
        news.tell(&publication, alerts);
        // Nobody may be reading; the next reader finds the latest.
        publisher.send_replace(Arc::new(publication));
    };
    let _last = LastWords(&publisher);
    let (mut is_known, mut published_at) = (false, Instant::now());
    let mut said: Vec<Alert> = Vec::new();
    let end = loop {
        crate::fault::point("session");
        let mut pulse = match session.tick() {
            Ok(pulse) => pulse,
            Err(failure) => break End::Broken(failure),
        };
        // What people said since the last tick happened before it.
        pulse.alerts.splice(0..0, said.drain(..));
        let silent = published_at.elapsed();
        published_at = Instant::now();
        let at = pulse.publication.assessment.snapshot.at;
        // Whoever was told of a finding must not be told again after a restart.
        kept.save(session.chart_mut(), clock(), false);
        tell(pulse.publication, &pulse.alerts);
        if silent >= watchdog::stalls_after(tick) {
            tell_stall(silent, pulse.waited, at, events.as_ref(), &own);
        }
        if pulse.failure.is_some() {
            break End::Settled(pulse.failure);
        }
        if !std::mem::replace(&mut is_known, true) {
            manager.tell("READY=1");
        }
        due += tick;
        // After a stop of the whole process ticks are not made up for.
        due = due.max(Instant::now());
        let is_ended = loop {
            // Fed by who just had the tap's answer, as long as the control threads move too.
            if beat.age() < watchdog::stalls_after(tick) {
                manager.tell("WATCHDOG=1");
            }
            let left = due.saturating_duration_since(Instant::now());
            match signals.recv_timeout(left.min(FED_EVERY)) {
                Ok(Signal::End | Signal::Grief) => break true,
                Ok(Signal::Reload) => reload(&mut session, &config, args, events.as_ref()),
                Ok(Signal::Order(order)) => {
                    let now = clock();
                    let chart = session.chart_mut();
                    let carried = carry_out(chart, order, own_uid, now, |chart| kept.write(chart, now));
                    said.extend(carried.alerts);
                    if let (Some(writer), Some(baseline)) = (&events, carried.baseline) {
                        writer.offer(vec![Event { at: now, news: events::News::Baseline { baseline } }]);
                    }
                }
                Err(RecvTimeoutError::Timeout) if left > FED_EVERY => {}
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        if is_ended {
            break End::Settled(None);
        }
    };
    manager.tell("STOPPING=1");
    let settled = match end {
        End::Settled(failure) => {
            // What the last turn raised is written down before it is told.
            let last = session.settle_and_keep(|chart| kept.save(chart, clock(), true));
            last.map(|(last, ())| (last, failure))
        }
        End::Broken(failure) => {
            kept.save(session.chart_mut(), clock(), true);
            session.abandon();
            Err(failure)
        }
    };
    let (line, ended) = match settled {
        Ok((mut last, failure)) => {
            let line = farewell(&last.publication);
            last.alerts.splice(0..0, said);
            tell(last.publication, &last.alerts);
            (line, failure.map_or(Ok(()), |failure| Err(Failure::error(failure))))
        }
        // The accounts as far as they exist.
        Err(failure) => (broken_off(&publisher.borrow()), Err(failure)),
    };
    // Whoever closed the output misses the line, and nothing else.
    let printed = print(&line);
    // Clients still connected are cut off when the process ends.
    let _ = stop.send(true);
    if let Some(writer) = events {
        let counts = writer.close(FAREWELL);
        if counts.lost > 0 {
            crate::say(&format!("portolan: {} events could not be written", counts.lost));
        }
    }
    ended.and(printed)
}

/// The accounts of the last tick, where this thread panics.
struct LastWords<'a>(&'a watch::Sender<Arc<Publication>>);

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody to tell if that fails too.
            let _ = print(&broken_off(&self.0.borrow()));
        }
    }
}

/// How a run comes to its end.
enum End {
    /// The accounts can be settled: it was told to end, or the tap failed for this reason.
    Settled(Option<String>),
    /// The tap's thread is gone or does not answer.
    Broken(Failure),
}

/// Tells that nothing was published for a while.
fn tell_stall(silent: Duration, tap: Duration, at: Timestamp, log: Option<&EventWriter>, own: &OwnMetrics) {
    own.stalls.inc();
    let (seconds, tap_seconds) = (silent.as_secs_f64(), tap.as_secs_f64());
    crate::say(&format!(
        "portolan: nothing was published for {seconds:.1} s; the tap's thread took {tap_seconds:.1} s of them to answer"
    ));
    if let Some(writer) = log {
        let stall = StallNews { seconds, tap_seconds };
        writer.offer(vec![Event { at, news: events::News::Stall { stall } }]);
    }
}

/// What is printed while it runs: who and where first, then one line a finding.
struct News<'a> {
    is_first: bool,
    served: &'a Served,
    config: &'a Config,
    sandbox: String,
}

impl News<'_> {
    fn tell(&mut self, publication: &Publication, alerts: &[Alert]) {
        if std::mem::take(&mut self.is_first) {
            // Whoever closed the output does not want to read on; the daemon goes on all the same.
            let _ = print(&self.greeting(publication));
        }
        for alert in alerts {
            let finding = &alert.finding;
            let state = match (alert.state, finding.complete) {
                (AlertState::Raised, _) => "",
                (AlertState::Updated, Some(false)) => "  (updated; frames are missing)",
                (AlertState::Updated, Some(true) | None) => "  (graver than before)",
                (AlertState::Cleared, _) => "  (cleared)",
                (AlertState::Ended, _) => "  (ended: its containers are gone)",
                (AlertState::Acknowledged, _) => "  (acknowledged)",
                (AlertState::Suppressed, _) => "  (suppressed)",
                (AlertState::Reopened, _) => "  (reopened)",
            };
            let line = format!(
                "{}  {:<6}  {:<17}  {} -> {}{}   {}   {}{state}\n",
                report::time_of_day(finding.first_at, false),
                finding.severity.name(),
                finding.kind.words(),
                escape::terminal(&finding.initiator),
                escape::terminal(&finding.responder),
                finding.port.map_or(String::new(), |port| format!(":{port}")),
                escape::terminal(&finding.summary),
                escape::terminal(&finding.against),
            );
            let _ = print(&line);
        }
    }

    fn greeting(&self, publication: &Publication) -> String {
        let vitals = &publication.vitals;
        let mut out = format!(
            "portolan {} on {}: {} containers, {} observable, {} matched to their veth{}\n",
            vitals.version,
            escape::terminal(&vitals.host),
            vitals.containers,
            vitals.containers_observable,
            vitals.containers_matched,
            if vitals.identity_by.is_empty() { String::new() } else { format!(" by {}", vitals.identity_by) },
        );
        if let Some(stale) = &publication.assessment.snapshot.stale {
            out.push_str(&format!("names     {}\n", escape::terminal(stale)));
        }
        for (name, reason) in &vitals.unobservable {
            out.push_str(&format!("not seen  {}, {}\n", escape::terminal(name), escape::terminal(reason)));
        }
        let scheme = if self.served.is_tls { "https" } else { "http" };
        if let Some(address) = self.served.addresses.first() {
            out.push_str(&format!("map       {scheme}://{address}/   metrics  {scheme}://{address}/metrics"));
            out.push_str(&format!("   socket  {}\n", self.config.exporter.socket.display()));
        }
        let guards = match self.served.guards.as_slice() {
            [] => "without a token".to_owned(),
            guards => format!("by {}", guards.join(", ")),
        };
        let plain = if self.served.is_tls { "" } else { ", not encrypted" };
        for address in self.served.addresses.iter().filter(|address| !address.ip().is_loopback()) {
            out.push_str(&format!("open      {address} serves other machines, {guards}{plain}\n"));
        }
        out.push_str(&format!("contract  {}\n", escape::terminal(&publication.assessment.contract)));
        out.push_str(&format!("sandbox   {}\n", escape::terminal(&self.sandbox)));
        out
    }
}

/// Reads configuration and contract again; what is bad is named, and what was good before stays in force.
fn reload(session: &mut Session, config: &Config, args: &RunArgs, events: Option<&EventWriter>) {
    if let Some(writer) = events {
        writer.reopen();
    }
    let read = Config::load_run(args).and_then(|fresh| {
        let contracts = Contracts::read(&fresh.policy.contracts, &fresh.policy.compose)?;
        let pending = pending_of(&fresh)?;
        Ok((fresh, contracts, pending))
    });
    match read {
        Ok((fresh, contracts, pending)) => {
            session.set_pending(pending);
            session.set_contract(Some(contracts));
            let is_other = Config { policy: config.policy.clone(), ..fresh.clone() } != *config;
            let rest = if is_other { "; other changes need a restart" } else { "" };
            crate::say(&format!(
                "portolan: {} read again{rest}",
                contracts_in_words(&fresh.policy.contracts)
            ));
        }
        Err(failure) => {
            session.set_contract(None);
            crate::say(&format!("portolan: {}\n  what was read before stays in force", failure.message));
        }
    }
}

/// Reads the contracts that are tried, where there are some.
fn pending_of(config: &Config) -> Result<Option<Contracts>, Failure> {
    let pending = &config.policy.pending;
    if pending.is_empty() { Ok(None) } else { Contracts::read(pending, &config.policy.compose).map(Some) }
}

fn contracts_in_words(paths: &[PathBuf]) -> String {
    match paths {
        [] => "no contract".to_owned(),
        [one] => one.display().to_string(),
        many => format!("{} contracts", many.len()),
    }
}

fn farewell(publication: &Publication) -> String {
    let ledger = &publication.assessment.snapshot.ledger;
    let vitals = &publication.vitals;
    // None, once the tap is settled; anything else would be a residual of its own.
    let left = match vitals.in_ring_max.unwrap_or(0) {
        0 => String::new(),
        left => format!(", {left} left in its ring"),
    };
    format!(
        "ended: {} frames delivered, {} dropped by the kernel{left}, {} in flows; residual {} frames, {} bytes; {}\n",
        ledger.delivered.frames,
        publication.assessment.snapshot.kernel_dropped.unwrap_or(0),
        ledger.metered.frames,
        vitals.residual_frames,
        vitals.residual_bytes,
        publication.assessment.snapshot.completeness.word(),
    )
}

/// What is known of a run that could not be settled.
fn broken_off(last: &Publication) -> String {
    let ledger = &last.assessment.snapshot.ledger;
    format!(
        "broken off: at the last tick, {}, {} frames were delivered, {} dropped by the kernel, {} in flows; what came \
         later is not known\n",
        report::time_of_day(last.assessment.snapshot.at, false),
        ledger.delivered.frames,
        last.assessment.snapshot.kernel_dropped.unwrap_or(0),
        ledger.metered.frames,
    )
}

fn serve_options(config: &Config) -> Result<ServeOptions, Failure> {
    let exporter = &config.exporter;
    let mut listen = Vec::new();
    for address in &exporter.listen {
        let parsed: SocketAddr = address.parse().map_err(|_| {
            Failure::usage(format!(
                "--listen {address:?}: not an address and port; write 127.0.0.1:9414 or [::1]:9414"
            ))
        })?;
        listen.push(parsed);
    }
    let token = match exporter.token_file.as_os_str().is_empty() {
        true => None,
        false => {
            let text = std::fs::read_to_string(&exporter.token_file)
                .map_err(|error| Failure::cannot_read(&exporter.token_file, &error))?;
            Some(text.trim().to_owned())
        }
    };
    let snapshots = match config.snapshots.options() {
        Some(options) => {
            let directory = options.directory.clone();
            let opened =
                Snapshots::open(options).map_err(|error| Failure::cannot_write(&directory, &error))?;
            Some(Arc::new(opened))
        }
        None => None,
    };
    if let Some(folder) = exporter.socket.parent() {
        make_private(folder)?;
    }
    Ok(ServeOptions {
        listen,
        is_open: exporter.open,
        token,
        web_config: Some(exporter.web_config.clone()).filter(|path| !path.as_os_str().is_empty()),
        notice: crate::say,
        hosts: exporter.host_names.clone(),
        socket: Some(exporter.socket.clone()),
        stalls_after: watchdog::stalls_after(Duration::from_millis(u64::from(
            config.daemon.tick_milliseconds,
        ))),
        snapshots,
        // Containers that ended are named for another minute; their series end with that.
        series: SeriesLimits { edges_max: exporter.series_max, linger_seconds: 0, ..SeriesLimits::default() },
        ..ServeOptions::default()
    })
}

/// Makes the socket's folder, for this user alone, where there is none.
fn make_private(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.as_os_str().is_empty() || folder.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::cannot_write(folder, &error))
}

/// Opens the event log; `None` where none is asked for.
pub(crate) fn event_writer(
    path: &Path,
    host: &str,
    own: &OwnMetrics,
) -> Result<Option<EventWriter>, Failure> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let log = if path == Path::new("-") {
        EventLog::to_stream(Box::new(std::io::stdout()), host, own.clone())
    } else {
        EventLog::to_file(path, host, own.clone())
            .map_err(|error| Failure::error(format!("{error}: {}", error.source)))?
    };
    EventWriter::start(log)
        .map(Some)
        .map_err(|error| Failure::error(format!("cannot start the events' thread: {error}")))
}

/// The exporter serves graphs; drawing them is the graphs room's.
fn graph_forms() -> GraphForms {
    Arc::new(|publication, group, format| {
        crate::fault::point("http");
        let group = match group {
            "service" => Group::Service,
            "container" => Group::Container,
            "project" => Group::Project,
            "network" => Group::Network,
            other => return Err(format!("unknown group {other:?}: service, container, project or network")),
        };
        let graph = Graph::draw(&publication.assessment, group);
        match format {
            "json" => graph
                .to_json()
                .map(|text| ("application/json".to_owned(), text))
                .map_err(|error| error.to_string()),
            "dot" => Ok(("text/vnd.graphviz; charset=utf-8".to_owned(), graph.to_dot())),
            "mermaid" => Ok(("text/plain; charset=utf-8".to_owned(), graph.to_mermaid())),
            "graphml" => Ok(("application/xml; charset=utf-8".to_owned(), graph.to_graphml())),
            "svg" | "cytoscape" if !matches!(group, Group::Service | Group::Container) => {
                Err(format!("{format} shows services or containers: group=service or group=container"))
            }
            "svg" => {
                let map = Map::of(graph, &publication.assessment, Boxes::Project);
                Ok(("image/svg+xml".to_owned(), map.to_svg(publication.vitals.containers_unseen())))
            }
            "cytoscape" => Map::of(graph, &publication.assessment, Boxes::Project)
                .to_cytoscape()
                .map(|text| ("application/json".to_owned(), text))
                .map_err(|error| error.to_string()),
            "grafana" => portolan_exporter::frames::grafana(&graph)
                .map(|text| ("application/json".to_owned(), text))
                .map_err(|error| error.to_string()),
            other => Err(format!(
                "unknown format {other:?}: json, dot, mermaid, graphml, svg, cytoscape or grafana"
            )),
        }
    })
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::error(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
