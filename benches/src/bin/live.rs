//! Holds live taps against each other and against none, taking turns, on traffic through a veth pair, a bridge and
//! another veth pair, all of them made for the purpose.
//!
//! The sender's processor time holds what the traffic pays, as the frames run through the kernel on its account; the
//! tap's is its own. Both are told by frame, as minimum, median and maximum of the rounds.

use std::fs;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use portolan_sys::usage::wait_with_usage;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const USAGE: &str =
    "usage: live [--only frames|pause|bulk|interfaces] [--frames N] [--rounds N] [--portolan PROGRAM]
       live send --frames N      (inside: what the traffic is made with)

  frames      small datagrams of 10,000 flows as fast as one core sends them: 500,000 a round
  pause       the same, with the tap stopped for 300 ms in the middle
  bulk        iperf3 over one TCP connection: frames of up to 64 KiB
  interfaces  frames beside 10, 100, 1000 and 2000 further interfaces";

const SENDER: &str = "10.78.0.2";
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 3);
/// Flows the sender spreads its frames over.
const FLOWS: u16 = 10_000;
/// Ports of the receiver they go to.
const SERVICES: u16 = 100;
const FIRST_PORT: u16 = 20_000;
/// Datagrams handed to the kernel at once.
const BATCH: usize = 64;
/// No step takes longer.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a tap has to be up before, and to take in what came after.
const SETTLING: Duration = Duration::from_millis(700);

struct Asked {
    only: Option<String>,
    frames: u64,
    rounds: usize,
    portolan: PathBuf,
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    let is_sender = arguments.next_if_eq("send").is_some();
    let asked = asked(arguments).map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    if is_sender {
        return send(asked.frames);
    }
    let mut out = io::stdout();
    let wants = |what: &str| asked.only.as_deref().is_none_or(|only| only == what);
    if wants("frames") {
        frames(&asked, false, &mut out)?;
    }
    if wants("pause") {
        frames(&asked, true, &mut out)?;
    }
    if wants("bulk") {
        bulk(&asked, &mut out)?;
    }
    if wants("interfaces") {
        interfaces(&asked, &mut out)?;
    }
    Ok(())
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut asked =
        Asked { only: None, frames: 500_000, rounds: 5, portolan: beside.with_file_name("portolan") };
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"))?;
        let number = |text: &str| text.parse().map_err(|_| format!("{text} is no number\n{USAGE}"));
        match (argument.as_str(), value.as_str()) {
            ("--only", "frames" | "pause" | "bulk" | "interfaces") => asked.only = Some(value),
            ("--frames", text) => asked.frames = number(text)?,
            ("--rounds", text) => asked.rounds = number(text)? as usize,
            ("--portolan", text) => asked.portolan = text.into(),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(asked)
}

/// Sends datagrams: from each of the sender's ports in turn, to each of the receiver's.
fn send(frames: u64) -> io::Result<()> {
    let sockets: Vec<UdpSocket> =
        (0..FLOWS / SERVICES).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<io::Result<_>>()?;
    let payload = [0x55; 18];
    let parts = [IoSlice::new(&payload)];
    let addresses: Vec<SocketAddrAny> =
        (FIRST_PORT..FIRST_PORT + SERVICES).map(|port| SocketAddrV4::new(RECEIVER, port).into()).collect();
    let mut sent = 0;
    let mut services = addresses.iter().cycle();
    for socket in sockets.iter().cycle() {
        if sent >= frames {
            break;
        }
        let mut control: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            (0..BATCH).map(|_| SendAncillaryBuffer::default()).collect();
        let mut batch: Vec<MMsgHdr<'_>> = control
            .iter_mut()
            .zip(&mut services)
            .map(|(control, address)| MMsgHdr::new_with_addr(address, &parts, control))
            .collect();
        // The receiver's answers (nobody listens) come back as errors of the next call: not of interest.
        sent += sendmmsg(socket, &mut batch, SendFlags::empty()).unwrap_or(0) as u64;
    }
    Ok(())
}

/// Three namespaces: a host with a bridge, a sender and a receiver at its ports. Removed when dropped.
struct Ground {
    host: String,
    sender: String,
    receiver: String,
}

impl Ground {
    fn new(place: usize) -> io::Result<Self> {
        let id = std::process::id();
        let name = |what: &str| format!("portolan-{what}-{id}-{place}");
        let ground = Self { host: name("host"), sender: name("from"), receiver: name("to") };
        for name in [&ground.host, &ground.sender, &ground.receiver] {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        ip(&["-n", &ground.host, "link", "add", "br-bench", "type", "bridge"])?;
        ip(&["-n", &ground.host, "addr", "add", "10.78.0.1/24", "dev", "br-bench"])?;
        ip(&["-n", &ground.host, "link", "set", "br-bench", "up"])?;
        let receiver = RECEIVER.to_string();
        for (name, veth, address) in
            [(&ground.sender, "veth0", SENDER), (&ground.receiver, "veth1", receiver.as_str())]
        {
            let host = &ground.host;
            ip(&["-n", host, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name])?;
            ip(&["-n", host, "link", "set", veth, "master", "br-bench", "up"])?;
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
        }
        // A forwarding port learns; the first frames must not be floods.
        let ping = ground.command(&ground.sender, "ping").args(["-c", "2", "-i", "0.2", &receiver]).output();
        drop(ping);
        Ok(ground)
    }

    fn command(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, program]).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Sends frames and returns the processor time they took, in nanoseconds a frame.
    fn send(&self, frames: u64) -> io::Result<f64> {
        let program = std::env::current_exe()?;
        let child = self
            .command(&self.sender, &program.display().to_string())
            .args(["send", "--frames", &frames.to_string()])
            .stdout(Stdio::null())
            .spawn()?;
        let (status, usage) = wait_with_usage(child, LIMIT)?;
        if !status.success() {
            return Err(io::Error::other(format!("the sender ended with {status}")));
        }
        Ok((usage.user + usage.system).as_nanos() as f64 / frames as f64)
    }

    /// Sends TCP as fast as it goes for a second and a half, and returns gigabits a second.
    fn bulk(&self) -> io::Result<f64> {
        let mut server =
            self.command(&self.receiver, "iperf3").args(["-s", "-1"]).stdout(Stdio::null()).spawn()?;
        sleep(Duration::from_millis(300));
        let said = self
            .command(&self.sender, "iperf3")
            .args(["-c", &RECEIVER.to_string(), "-t", "1.5", "-J"])
            .stdout(Stdio::piped())
            .output();
        server.kill()?;
        server.wait()?;
        let said: Value = serde_json::from_slice(&said?.stdout)?;
        Ok(said["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for name in [&self.host, &self.sender, &self.receiver] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let Output { status, stderr, .. } = Command::new("ip").args(arguments).output()?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr).into_owned();
    Err(io::Error::other(format!("ip {}: {said}", arguments.join(" "))))
}

/// What listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tap {
    Nobody,
    Ring,
    Library,
    Tcpdump,
}

impl Tap {
    const ALL: [Self; 4] = [Self::Nobody, Self::Ring, Self::Library, Self::Tcpdump];

    fn name(self) -> &'static str {
        match self {
            Self::Nobody => "no tap",
            Self::Ring => "portolan --tap ring",
            Self::Library => "portolan --tap pcap",
            Self::Tcpdump => "tcpdump -i any",
        }
    }
}

/// A tap at work.
struct Listening {
    tap: Tap,
    child: Option<Child>,
    answer: PathBuf,
    has_traffic: bool,
}

/// What a tap took, saw and missed.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    processor: Duration,
    /// Of which the thread that reads the socket, where it has a name.
    reader: Duration,
    frames: u64,
    dropped: u64,
}

impl Listening {
    fn start(tap: Tap, ground: &Ground, asked: &Asked) -> io::Result<Self> {
        let answer = std::env::temp_dir().join(format!("portolan-live-{}.txt", std::process::id()));
        let host = &ground.host;
        let portolan = |how: &str| -> io::Result<Child> {
            ground
                .command(host, &asked.portolan.display().to_string())
                .args(["look", "--for", "100s", "--format", "json", "--sandbox", "off", "--tap", how])
                .args(["--docker-socket", "/nonexistent/docker.sock"])
                // Not Docker's: its ports count as containers all the same.
                .env("PORTOLAN_IDENTITY__BRIDGES", "[\"br-bench\"]")
                .stdout(fs::File::create(&answer)?)
                .spawn()
        };
        let child = match tap {
            Tap::Nobody => None,
            Tap::Ring => Some(portolan("ring")?),
            Tap::Library => Some(portolan("pcap")?),
            // The same ring and the same bytes of each frame, and nothing done with them.
            Tap::Tcpdump => Some(
                ground
                    .command(host, "tcpdump")
                    .args(["-i", "any", "-y", "LINUX_SLL2", "-B", "65536", "-s", "276", "-w", "/dev/null"])
                    .stderr(fs::File::create(&answer)?)
                    .spawn()?,
            ),
        };
        sleep(SETTLING);
        Ok(Self { tap, child, answer, has_traffic: true })
    }

    fn id(&self) -> Option<Pid> {
        self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?))
    }

    /// Stops the tap for a while, and lets it go on.
    fn pause(&self, pause: Duration) -> io::Result<()> {
        let Some(id) = self.id() else { return Ok(()) };
        kill_process(id, Signal::STOP)?;
        sleep(pause);
        Ok(kill_process(id, Signal::CONT)?)
    }

    /// Ends the tap and reads its answer.
    fn end(self) -> io::Result<Took> {
        sleep(SETTLING);
        let id = self.id();
        let (Some(child), Some(id)) = (self.child, id) else { return Ok(Took::default()) };
        let reader = thread_time(child.id(), "portolan-tap").unwrap_or_default();
        kill_process(id, Signal::INT)?;
        let (status, usage) = wait_with_usage(child, LIMIT)?;
        let text = fs::read_to_string(&self.answer)?;
        fs::remove_file(&self.answer)?;
        let (frames, dropped) = match self.tap {
            Tap::Nobody => (0, 0),
            Tap::Tcpdump => (number(&text, " packets captured"), number(&text, " packets dropped by kernel")),
            Tap::Ring | Tap::Library => {
                if !status.success() {
                    return Err(io::Error::other(format!("{} ended with {status}", self.tap.name())));
                }
                let said: Value = serde_json::from_str(&text)?;
                let snapshot = &said["assessment"]["snapshot"];
                if said["vitals"]["residual_frames"] != 0 {
                    return Err(io::Error::other(format!("{} leaves a residual", self.tap.name())));
                }
                let count = |value: &Value| value.as_u64().unwrap_or(0);
                if self.has_traffic && count(&snapshot["ledger"]["metered"]["frames"]) == 0 {
                    return Err(io::Error::other(format!(
                        "{} counts nothing of the traffic",
                        self.tap.name()
                    )));
                }
                (count(&snapshot["ledger"]["delivered"]["frames"]), count(&snapshot["kernel_dropped"]))
            }
        };
        Ok(Took { processor: usage.user + usage.system, reader, frames, dropped })
    }
}

/// Returns the processor time of a process's thread of this name (`/proc/PID/task/TID/schedstat`, proc(5)).
fn thread_time(process: u32, name: &str) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let task = tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name))?;
    let spent = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Duration::from_nanos(spent.split_whitespace().next()?.parse().ok()?))
}

/// Returns the number that stands before some words.
fn number(text: &str, words: &str) -> u64 {
    let before = text.split(words).next().unwrap_or_default();
    before.rsplit(char::is_whitespace).next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What a tap takes while nothing happens, so that start and end do not count as frames.
fn idle(tap: Tap, ground: &Ground, asked: &Asked, for_how_long: Duration) -> io::Result<Duration> {
    let listening = Listening { has_traffic: false, ..Listening::start(tap, ground, asked)? };
    sleep(for_how_long);
    Ok(listening.end()?.processor)
}

/// One measurement of one tap.
#[derive(Clone, Copy, Debug)]
struct Run {
    sender: f64,
    by_frame: f64,
    reader_by_frame: f64,
    frames: u64,
    dropped: u64,
}

fn run(tap: Tap, ground: &Ground, asked: &Asked, is_paused: bool) -> io::Result<Run> {
    let listening = Listening::start(tap, ground, asked)?;
    let began = Instant::now();
    let sender = std::thread::scope(|scope| {
        let sending = scope.spawn(|| ground.send(asked.frames));
        if is_paused {
            sleep(Duration::from_millis(500));
            listening.pause(Duration::from_millis(300))?;
        }
        sending.join().unwrap_or_else(|_| Err(io::Error::other("the sender panicked")))
    })?;
    let lasted = began.elapsed();
    let took = listening.end()?;
    let idle = if tap == Tap::Nobody { Duration::ZERO } else { idle(tap, ground, asked, lasted)? };
    let processor = took.processor.saturating_sub(idle).as_nanos() as f64;
    Ok(Run {
        sender,
        by_frame: processor / took.frames.max(1) as f64,
        reader_by_frame: took.reader.as_nanos() as f64 / took.frames.max(1) as f64,
        frames: took.frames,
        dropped: took.dropped,
    })
}

fn frames(asked: &Asked, is_paused: bool, out: &mut impl Write) -> io::Result<()> {
    let ground = Ground::new(0)?;
    let taps = if is_paused { &[Tap::Ring, Tap::Library][..] } else { &Tap::ALL };
    let mut runs: Vec<Vec<Run>> = taps.iter().map(|_| Vec::new()).collect();
    for _ in 0..asked.rounds {
        for (tap, runs) in taps.iter().zip(&mut runs) {
            runs.push(run(*tap, &ground, asked, is_paused)?);
        }
    }
    let title = if is_paused { "the tap stopped for 300 ms" } else { "frames" };
    writeln!(out, "\n{title}: {} datagrams of {FLOWS} flows, {} rounds", asked.frames, asked.rounds)?;
    table(taps, &runs, out)
}

fn table(taps: &[Tap], runs: &[Vec<Run>], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<22} {:>28} {:>8} {:>20} {:>16} {:>12} {:>9}",
        "", "sender cpu ns min/med/max", "paid", "tap cpu ns/frame", "its reader", "frames", "dropped"
    )?;
    let none = taps.iter().zip(runs).find(|(tap, _)| **tap == Tap::Nobody);
    let none = none.map(|(_, runs)| spread(runs.iter().map(|run| run.sender)).1);
    for (tap, runs) in taps.iter().zip(runs) {
        let (least, middle, most) = spread(runs.iter().map(|run| run.sender));
        let by_frame = spread(runs.iter().map(|run| run.by_frame));
        let paid = none.map_or(String::new(), |none| format!("{:+.1} %", (middle / none - 1.0) * 100.0));
        let reader = spread(runs.iter().map(|run| run.reader_by_frame));
        let told = |(least, middle, most): (f64, f64, f64)| format!("{least:.0}/{middle:.0}/{most:.0}");
        let (tapped, read, frames, dropped) = if *tap == Tap::Nobody {
            Default::default()
        } else {
            (
                told(by_frame),
                if reader.2 == 0.0 { String::new() } else { told(reader) },
                runs.iter().map(|run| run.frames).sum::<u64>().to_string(),
                runs.iter().map(|run| run.dropped).sum::<u64>().to_string(),
            )
        };
        writeln!(
            out,
            "{:<22} {:>28} {paid:>8} {tapped:>20} {read:>16} {frames:>12} {dropped:>9}",
            tap.name(),
            format!("{least:.0}/{middle:.0}/{most:.0}"),
        )?;
    }
    out.flush()
}

fn bulk(asked: &Asked, out: &mut impl Write) -> io::Result<()> {
    let ground = Ground::new(0)?;
    let taps = [Tap::Nobody, Tap::Ring, Tap::Library];
    let mut runs: Vec<Vec<(f64, Took)>> = taps.iter().map(|_| Vec::new()).collect();
    for _ in 0..asked.rounds {
        for (tap, runs) in taps.iter().zip(&mut runs) {
            let listening = Listening::start(*tap, &ground, asked)?;
            let speed = ground.bulk()?;
            runs.push((speed, listening.end()?));
        }
    }
    writeln!(out, "\nbulk: iperf3 over one TCP connection for 1.5 s, {} rounds", asked.rounds)?;
    writeln!(
        out,
        "{:<22} {:>26} {:>10} {:>16} {:>12} {:>9}",
        "", "Gbit/s min/med/max", "/ no tap", "tap cpu ns/frame", "frames", "dropped"
    )?;
    let none = runs.first().map_or(0.0, |runs| spread(runs.iter().map(|(speed, _)| *speed)).1);
    for (tap, runs) in taps.iter().zip(&runs) {
        let (least, middle, most) = spread(runs.iter().map(|(speed, _)| *speed));
        let by_frame =
            spread(runs.iter().map(|(_, took)| took.processor.as_nanos() as f64 / took.frames.max(1) as f64));
        let total = |of: fn(&Took) -> u64| runs.iter().map(|(_, took)| of(took)).sum::<u64>();
        writeln!(
            out,
            "{:<22} {:>26} {:>10.2} {:>16.0} {:>12} {:>9}",
            tap.name(),
            format!("{least:.1}/{middle:.1}/{most:.1}"),
            middle / none,
            by_frame.1,
            total(|took| took.frames),
            total(|took| took.dropped),
        )?;
    }
    out.flush()
}

fn interfaces(asked: &Asked, out: &mut impl Write) -> io::Result<()> {
    let counts = [10, 100, 1_000, 2_000];
    let grounds: Vec<Ground> = counts
        .iter()
        .enumerate()
        .map(|(place, count)| {
            let ground = Ground::new(place)?;
            idle_interfaces(&ground, *count)?;
            Ok(ground)
        })
        .collect::<io::Result<_>>()?;
    let mut runs: Vec<Vec<Run>> = counts.iter().map(|_| Vec::new()).collect();
    for _ in 0..asked.rounds {
        for (ground, runs) in grounds.iter().zip(&mut runs) {
            runs.push(run(Tap::Ring, ground, asked, false)?);
        }
    }
    writeln!(
        out,
        "\ninterfaces: {} datagrams beside idle interfaces, {} rounds",
        asked.frames, asked.rounds
    )?;
    writeln!(
        out,
        "{:>10} {:>28} {:>28} {:>6} {:>9}",
        "beside", "sender cpu ns min/med/max", "tap cpu ns/frame", "/ 10", "dropped"
    )?;
    let of = |runs: &[Run]| spread(runs.iter().map(|run| run.by_frame));
    let first = runs.first().map_or(1.0, |runs| of(runs).1);
    for (count, runs) in counts.iter().zip(&runs) {
        let sender = spread(runs.iter().map(|run| run.sender));
        let by_frame = of(runs);
        writeln!(
            out,
            "{count:>10} {:>28} {:>28} {:>6.2} {:>9}",
            format!("{:.0}/{:.0}/{:.0}", sender.0, sender.1, sender.2),
            format!("{:.0}/{:.0}/{:.0}", by_frame.0, by_frame.1, by_frame.2),
            by_frame.1 / first,
            runs.iter().map(|run| run.dropped).sum::<u64>(),
        )?;
    }
    out.flush()
}

/// Adds pairs of interfaces that nothing goes through.
fn idle_interfaces(ground: &Ground, count: usize) -> io::Result<()> {
    let mut batch =
        Command::new("ip").args(["-n", &ground.host, "-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut orders) = batch.stdin.take() {
        for number in 0..count / 2 {
            writeln!(orders, "link add idle{number} type veth peer name eldi{number}")?;
            writeln!(orders, "link set idle{number} up")?;
            writeln!(orders, "link set eldi{number} up")?;
        }
    }
    let status = batch.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip -batch ended with {status}"))) }
}

/// Returns the least, the middle and the most.
fn spread(all: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut all: Vec<f64> = all.collect();
    all.sort_by(f64::total_cmp);
    let at = |place: usize| all.get(place).copied().unwrap_or(0.0);
    (at(0), at(all.len() / 2), at(all.len().saturating_sub(1)))
}
