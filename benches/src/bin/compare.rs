//! Holds Portolan against other programs and against the least a reader does, on the same captures, taking turns.
//!
//! What is compared is processor time (user and system, all threads) by packet, as minimum, median and maximum, and
//! the ratio of medians: times differ with what else the machine does, ratios within one run hardly. What Portolan
//! prints, findings and all, is held against what the capture is known to hold, in every round.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portolan_benches::captures::{self, Kind, Truth};
use portolan_sys::usage::{Usage, wait_with_usage};
use serde::Deserialize;
use serde::de::IgnoredAny;

const USAGE: &str = "usage: compare [--full] [--rounds N] [--peer-rounds N] [--packets N] [--threads N] [--only KIND]...
               [--portolan PROGRAM] FOLDER

Makes the captures micro, small, imix and syn in FOLDER (once), and measures portolan, the read floor, and what is
there of tcpdump, nfpcapd, softflowd and argus on each.
  --full          5 to 10 million packets a capture instead of 1 million, five rounds of everything
  --rounds        of portolan, the floor and tcpdump: 7
  --peer-rounds   of the others: 2";

/// A program slower than this has no figure.
const LIMIT: Duration = Duration::from_secs(180);

struct Asked {
    packets: Option<u64>,
    is_full: bool,
    rounds: usize,
    peer_rounds: usize,
    threads: Vec<String>,
    kinds: Vec<Kind>,
    portolan: PathBuf,
    folder: PathBuf,
}

fn main() -> io::Result<()> {
    let asked = asked().map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    fs::create_dir_all(&asked.folder)?;
    let mut out = io::stdout();
    let mut wrong = 0;
    for kind in &asked.kinds {
        wrong += compare(*kind, &asked, &mut out)?;
    }
    if wrong > 0 {
        return Err(io::Error::other(format!("{wrong} answers of portolan were not the truth")));
    }
    Ok(())
}

fn asked() -> Result<Asked, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut asked = Asked {
        packets: None,
        is_full: false,
        rounds: 7,
        peer_rounds: 2,
        threads: vec!["1".to_owned()],
        kinds: Vec::new(),
        portolan: beside.with_file_name("portolan"),
        folder: PathBuf::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number\n{USAGE}"));
        match argument.as_str() {
            "--full" => (asked.is_full, asked.peer_rounds) = (true, 5),
            "--rounds" => asked.rounds = number(value()?)?,
            "--peer-rounds" => asked.peer_rounds = number(value()?)?,
            "--packets" => asked.packets = Some(number(value()?)? as u64),
            "--threads" => asked.threads = value()?.split(',').map(str::to_owned).collect(),
            "--portolan" => asked.portolan = value()?.into(),
            "--only" => {
                let name = value()?;
                asked.kinds.push(Kind::named(&name).ok_or_else(|| format!("no capture {name}\n{USAGE}"))?);
            }
            folder if !folder.starts_with('-') && asked.folder.as_os_str().is_empty() => {
                asked.folder = folder.into();
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if asked.folder.as_os_str().is_empty() {
        return Err(USAGE.to_owned());
    }
    if asked.kinds.is_empty() {
        asked.kinds = Kind::ALL.into();
    }
    Ok(asked)
}

/// Returns how many packets a capture gets, and how many flows.
fn size(kind: Kind, asked: &Asked) -> (u64, u64) {
    let full = if kind == Kind::Small { 10_000_000 } else { 5_000_000 };
    let packets = asked.packets.unwrap_or(if asked.is_full { full } else { 1_000_000 });
    (packets, packets / 100)
}

/// Makes a capture, unless it is there in this size.
fn capture(kind: Kind, asked: &Asked) -> io::Result<(PathBuf, Truth)> {
    let (packets, flows) = size(kind, asked);
    let path = asked.folder.join(format!("{}-{packets}.pcap", kind.name()));
    let noted = path.with_extension("truth");
    if let Ok(text) = fs::read_to_string(&noted)
        && let Ok(numbers) = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()
        && let [packets, bytes, biflows, uniflows, edges] = *numbers
    {
        return Ok((path, Truth { packets, bytes, biflows, uniflows, edges }));
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    let truth = captures::write(kind, packets, flows, captures::SEED, &mut out)?;
    out.flush()?;
    let Truth { packets, bytes, biflows, uniflows, edges } = truth;
    fs::write(noted, format!("{packets} {bytes} {biflows} {uniflows} {edges}\n"))?;
    Ok((path, truth))
}

/// A program, and what it took in each round.
struct Entrant {
    name: String,
    command: Vec<String>,
    is_portolan: bool,
    is_peer: bool,
    runs: Vec<(Usage, Duration)>,
    failure: Option<String>,
    answer: String,
}

fn entrants(capture: &Path, asked: &Asked) -> Vec<Entrant> {
    let file = capture.display().to_string();
    let scratch = asked.folder.join("peers");
    let beside = |name: &str| asked.portolan.with_file_name(name).display().to_string();
    let entrant = |name: &str, is_peer: bool, command: &[&str]| Entrant {
        name: name.to_owned(),
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        is_portolan: false,
        is_peer,
        runs: Vec::new(),
        failure: None,
        answer: String::new(),
    };
    let mut all = vec![entrant("read floor", false, &[&beside("floor"), &file])];
    for threads in &asked.threads {
        let program = asked.portolan.display().to_string();
        let command = [&program, "replay", "--threads", threads, "--format", "json", &file];
        let name = format!("portolan --threads {threads}");
        all.push(Entrant { is_portolan: true, ..entrant(&name, false, &command) });
    }
    all.push(entrant("tcpdump -w /dev/null", false, &["tcpdump", "-r", &file, "-w", "/dev/null"]));
    if asked.peer_rounds > 0 {
        let folder = scratch.display().to_string();
        let records = scratch.join("argus.out").display().to_string();
        all.push(entrant("nfpcapd", true, &["nfpcapd", "-r", &file, "-l", &folder]));
        // Nobody listens there; version 9 for IPv6, and room for every flow, without which it makes room by force.
        all.push(entrant(
            "softflowd",
            true,
            &["softflowd", "-r", &file, "-n", "127.0.0.1:9", "-v", "9", "-m", "10000000"],
        ));
        all.push(entrant("argus", true, &["argus", "-X", "-r", &file, "-w", &records]));
    }
    all
}

fn compare(kind: Kind, asked: &Asked, out: &mut impl Write) -> io::Result<usize> {
    let (path, truth) = capture(kind, asked)?;
    let mut entrants = entrants(&path, asked);
    let mut wrong = 0;
    for round in 0..asked.rounds.max(asked.peer_rounds) {
        for entrant in &mut entrants {
            let rounds = if entrant.is_peer { asked.peer_rounds } else { asked.rounds };
            if round >= rounds || entrant.failure.is_some() {
                continue;
            }
            let scratch = asked.folder.join("peers");
            fs::create_dir_all(&scratch)?;
            run(entrant, &asked.folder.join("answer.json"))?;
            // Their records are asked for nothing, and would fill the disk.
            fs::remove_dir_all(&scratch)?;
            if entrant.is_portolan && entrant.failure.is_none() {
                let (is_true, said) = answer(&asked.folder.join("answer.json"), kind, &truth)?;
                wrong += usize::from(!is_true);
                entrant.answer = said;
            }
        }
    }
    table(kind, &truth, &entrants, out)?;
    Ok(wrong)
}

fn run(entrant: &mut Entrant, answer: &Path) -> io::Result<()> {
    let Some((program, arguments)) = entrant.command.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    // Where Debian puts what only root runs.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command.stdout(if entrant.is_portolan { Stdio::from(File::create(answer)?) } else { Stdio::null() });
    let began = Instant::now();
    match command.spawn() {
        Err(error) => entrant.failure = Some(error.to_string()),
        Ok(child) => {
            let (status, usage) = wait_with_usage(child, LIMIT)?;
            if status.success() {
                entrant.runs.push((usage, began.elapsed()));
            } else {
                entrant.failure = Some(format!("{status}"));
            }
        }
    }
    Ok(())
}

/// What is read of portolan's result.
#[derive(Deserialize)]
struct Answer {
    assessment: Assessment,
    vitals: Vitals,
}

#[derive(Deserialize)]
struct Assessment {
    snapshot: Snapshot,
    judged: Vec<Judged>,
    findings: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Snapshot {
    ledger: Ledger,
}

#[derive(Deserialize)]
struct Judged {
    conversation: Conversation,
}

#[derive(Deserialize)]
struct Conversation {
    sent: Tally,
    received: Tally,
}

#[derive(Deserialize)]
struct Ledger {
    metered: Tally,
    overflow: Tally,
    flows_opened: u64,
    flows_evicted: u64,
}

#[derive(Default, Deserialize, Eq, PartialEq)]
struct Tally {
    frames: u64,
    bytes: u64,
}

#[derive(Deserialize, Eq, PartialEq)]
struct Vitals {
    residual_frames: i64,
    residual_bytes: i64,
}

/// Holds what portolan printed against what the capture holds. Of a flood there are more flows than slots: what has
/// no room is counted, and all sums must hold.
fn answer(path: &Path, kind: Kind, truth: &Truth) -> io::Result<(bool, String)> {
    // Read piece by piece: a child is said to have held at least what its parent held when it was started.
    let whole: Answer = serde_json::from_reader(BufReader::new(File::open(path)?))?;
    let Ledger { flows_opened: opened, flows_evicted: evicted, metered, overflow } =
        whole.assessment.snapshot.ledger;
    let mut sum = Tally::default();
    for Judged { conversation: Conversation { sent, received } } in &whole.assessment.judged {
        sum.frames += sent.frames + received.frames;
        sum.bytes += sent.bytes + received.bytes;
    }
    let offered = Tally { frames: metered.frames + overflow.frames, bytes: metered.bytes + overflow.bytes };
    let is_balanced = sum == metered
        && offered == Tally { frames: truth.packets, bytes: truth.bytes }
        && whole.vitals == Vitals { residual_frames: 0, residual_bytes: 0 };
    let is_true = is_balanced
        && match kind {
            Kind::Syn => opened + overflow.frames == truth.biflows,
            Kind::Small | Kind::Imix | Kind::Micro => opened == truth.biflows && overflow.frames == 0,
        };
    let said = format!(
        "{opened} flows, {} packets, {} bytes; {evicted} evicted, {} overflow; {} findings: {}",
        metered.frames,
        metered.bytes,
        overflow.frames,
        whole.assessment.findings.len(),
        if is_true { "true" } else { "WRONG" }
    );
    Ok((is_true, said))
}

fn table(kind: Kind, truth: &Truth, entrants: &[Entrant], out: &mut impl Write) -> io::Result<()> {
    let Truth { packets, bytes, biflows, uniflows, edges } = truth;
    writeln!(
        out,
        "\n{}: {packets} packets, {bytes} bytes, {biflows} biflows, {uniflows} uniflows, {edges} edges",
        kind.name()
    )?;
    writeln!(
        out,
        "{:<22} {:>4} {:>26} {:>10} {:>9} {:>8} {:>8}",
        "", "runs", "cpu ns/packet min/med/max", "/ portolan", "/ floor", "wall s", "peak MB"
    )?;
    let of = |entrant: &Entrant| spread(entrant, *packets);
    let median = |is_it: &dyn Fn(&Entrant) -> bool| {
        entrants.iter().find(|entrant| is_it(entrant)).and_then(of).map(|(_, median, _)| median)
    };
    let ours = median(&|entrant| entrant.is_portolan);
    let floor = median(&|entrant| entrant.name == "read floor");
    for entrant in entrants {
        let Some((least, middle, most)) = of(entrant) else {
            writeln!(out, "{:<22} {}", entrant.name, entrant.failure.as_deref().unwrap_or("not run"))?;
            continue;
        };
        let ratio = |to: Option<f64>| to.map_or(String::new(), |to| format!("{:.2}", middle / to));
        let mut walls: Vec<f64> = entrant.runs.iter().map(|(_, wall)| wall.as_secs_f64()).collect();
        walls.sort_by(f64::total_cmp);
        let wall = walls.get(walls.len() / 2).copied().unwrap_or(0.0);
        let peak = entrant.runs.iter().map(|(usage, _)| usage.peak_bytes).max().unwrap_or(0);
        writeln!(
            out,
            "{:<22} {:>4} {:>26} {:>10} {:>9} {:>8.2} {:>8}",
            entrant.name,
            entrant.runs.len(),
            format!("{least:.1}/{middle:.1}/{most:.1}"),
            ratio(ours),
            ratio(floor),
            wall,
            peak / 1_000_000,
        )?;
        if entrant.is_portolan {
            writeln!(out, "  {}", entrant.answer)?;
        }
    }
    out.flush()
}

/// Returns the least, the middle and the most processor time by packet, in nanoseconds.
fn spread(entrant: &Entrant, packets: u64) -> Option<(f64, f64, f64)> {
    let by_packet =
        |(usage, _): &(Usage, Duration)| (usage.user + usage.system).as_nanos() as f64 / packets as f64;
    let mut all: Vec<f64> = entrant.runs.iter().map(by_packet).collect();
    all.sort_by(f64::total_cmp);
    Some((*all.first()?, *all.get(all.len() / 2)?, *all.last()?))
}
