//! What the command line says, to the letter, and how it ends: 0 fine, 1 error, 2 usage, 3 findings,
//! 4 incomplete.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use portolan_daemon::cli::Cli;
use tempfile::TempDir;

/// A folder with a good capture, a roster and a contract, and with everything that can be wrong about such files.
fn desk() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let pcaps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let read = |name: &str| fs::read(pcaps.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let shop = read("shop/capture.pcap");
    let good = read("undocumented-debug-port/capture.pcapng");
    let files: [(&str, &[u8]); 22] = [
        ("good.pcapng", &good),
        ("shop.pcap", &shop),
        ("roster.toml", &read("undocumented-debug-port/roster.toml")),
        ("contract.toml", &read("undocumented-debug-port/contract.toml")),
        ("empty.pcap", b""),
        ("header.pcap", &shop[..12]),
        ("cut.pcap", &shop[..20_000]),
        ("letter.txt", b"Dear reader, this is no capture.\n"),
        ("link.pcap", &read("malformed/x-linktype-147-user.pcap")),
        ("key.roster.toml", b"[[address]]\naddres = \"172.20.0.3\"\n"),
        ("role.roster.toml", b"[[interface]]\nindex = 4\nrole = \"brigde\"\n"),
        ("broken.roster.toml", b"[[address]\n"),
        ("cut.roster.json", b"[{\"Id\": \n"),
        ("empty.roster.toml", b""),
        ("other.roster.toml", &read("port-scan/roster.toml")),
        ("key.contract.toml", b"[[service]]\nservice = \"shop/cart\"\nport = [\"8080/tcp\"]\n"),
        ("port.contract.toml", b"[[service]]\nservice = \"shop/cart\"\nports = [\"8080/tpc\"]\n"),
        ("name.contract.toml", b"[[service]]\nservice = \"shop/crat\"\nports = [\"8080/tcp\"]\n"),
        ("key.config.toml", b"listn = \"127.0.0.1:9414\"\n"),
        ("broken.config.toml", b"[exporter\n"),
        ("new.result", b"{\"portolan_result\":99}\n"),
        ("damaged.result", b"{\"portolan_result\":1,\"assessment\":[]}\n"),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file");
    }
    fs::create_dir(folder.path().join("folder")).expect("a folder");
    folder
}

/// Runs `portolan` there; arguments are separated by blanks, `_` stands for a blank within one.
fn portolan(folder: &TempDir, arguments: &str) -> Output {
    command(folder, arguments).output().expect("portolan starts")
}

fn command(folder: &TempDir, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.current_dir(folder.path()).env_clear().stdin(Stdio::null());
    command.args(arguments.split_whitespace().map(|argument| argument.replace('_', " ")));
    command
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn bad_input_is_named_and_answered_with_a_remedy() {
    const LINKS: &str = "link type 147 cannot be read; portolan reads Ethernet, Linux cooked (SLL, SLL2), raw IP, NULL, LOOP and PPP";
    let links = format!("portolan: {LINKS}");
    #[rustfmt::skip]
    let cases: [(&str, i32, &str); 43] = [
        // Captures.
        ("replay none.pcap", 1, "portolan: none.pcap: no such file"),
        ("replay empty.pcap", 1, "portolan: empty.pcap: the file is empty; a capture without packets still has a header"),
        ("replay header.pcap", 1, "portolan: header.pcap: truncated in the middle of its header (file ends at byte 12)"),
        ("replay cut.pcap", 1, "portolan: cut.pcap: truncated in the middle of packet 212 (file ends at byte 20,000); everything before it was counted"),
        ("replay letter.txt", 1, "portolan: letter.txt: not a capture file: it looks like text; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        ("replay folder", 1, "portolan: folder: is a directory, not a capture file; name the files in it:  folder/*.pcap*"),
        ("replay link.pcap", 1, &links),
        ("replay good.pcapng none.pcap", 1, "portolan: none.pcap: no such file"),
        // Rosters.
        ("replay good.pcapng --roster none.toml", 1, "portolan: cannot read roster none.toml: No such file or directory (os error 2)"),
        ("replay good.pcapng --roster empty.roster.toml", 1, "portolan: roster empty.roster.toml is empty; write one with: docker inspect $(docker ps -q) $(docker network ls -q) > empty.roster.toml"),
        ("replay good.pcapng --roster good.pcapng", 1, "portolan: roster good.pcapng is neither TOML nor the output of docker inspect: it is not text"),
        ("replay good.pcapng --roster key.roster.toml", 1, "portolan: key.roster.toml:2:1: unknown key \"addres\"; did you mean \"address\"?"),
        ("replay good.pcapng --roster role.roster.toml", 1, "portolan: role.roster.toml:3:8: unknown role \"brigde\"; did you mean \"bridge\"?"),
        ("replay good.pcapng --roster cut.roster.json", 1, "portolan: cut.roster.json:2:1: cut off in the middle: EOF while parsing a value; collect the roster again"),
        // Contracts.
        ("replay good.pcapng --contract none.toml", 1, "portolan: none.toml: cannot be read: No such file or directory (os error 2)"),
        ("replay good.pcapng --contract key.contract.toml", 1, "portolan: key.contract.toml:3:1: unknown key \"port\" in a service: expected service, image, label, network, project, ports, initiators, rule, mode; did you mean \"ports\"?"),
        ("replay good.pcapng --contract port.contract.toml", 1, "portolan: port.contract.toml:3:10: unknown protocol \"tpc\" in port \"8080/tpc\": expected tcp, udp or sctp; did you mean \"8080/tcp\"?"),
        ("replay good.pcapng --compose none.yaml", 1, "portolan: none.yaml: cannot be read: No such file or directory (os error 2)"),
        ("replay good.pcapng --compose shop=roster.toml", 1, "portolan: roster.toml:3:1: a compose file is a map, not a list"),
        // Policy.
        ("policy check none.toml", 1, "portolan: none.toml: cannot be read: No such file or directory (os error 2)"),
        ("policy diff contract.toml folder", 1, "portolan: folder: no *.toml in this folder"),
        ("policy test contract.toml --against good.pcapng", 1, "portolan: good.pcapng: nobody says which address belongs to which service: contracts judge nothing\n  give a roster:  --roster inspect.json"),
        ("why nonsense --from good.pcapng", 2, "portolan: \"nonsense\": not an edge; write 'reports -> db:5432', 'shop/reports -> shop/db:5432/tcp' or '10.0.0.1 -> [fd00::2]:80'"),
        // Configuration.
        ("run --check --config none.toml", 1, "portolan: none.toml: cannot be read: No such file or directory (os error 2)"),
        ("run --check --contract key.contract.toml", 1, "portolan: key.contract.toml:3:1: unknown key \"port\" in a service: expected service, image, label, network, project, ports, initiators, rule, mode; did you mean \"ports\"?"),
        ("run --check --listen nonsense", 2, "portolan: --listen \"nonsense\": not an address and port; write 127.0.0.1:9414 or [::1]:9414"),
        ("run --check --baseline none/baseline.toml", 1, "portolan: none/baseline.toml: cannot be written: there is no folder none"),
        ("run --check --findings folder", 1, "portolan: folder: cannot be written: it is a folder"),
        ("cut good.pcapng --finding F-7c21e0 -w out.pcapng --baseline none.toml", 1, "portolan: none.toml: there is no such file"),
        // What is asked for.
        ("replay good.pcapng --filter tcp_prt_80", 1, "portolan: filter \"tcp prt 80\" on link type LINUX_SLL2: libpcap error: can't parse filter expression: syntax error"),
        ("replay good.pcapng -o none/good.result", 1, "portolan: none/good.result: cannot be written: No such file or directory (os error 2)"),
        ("replay good.pcapng -o folder", 1, "portolan: folder: cannot be written: Is a directory (os error 21)"),
        ("replay good.pcapng --conversations none/plain", 1, "portolan: none/plain: cannot be written: No such file or directory (os error 2)"),
        // Questions.
        ("findings --from none", 1, "portolan: none: cannot be read: No such file or directory (os error 2)"),
        ("findings --from letter.txt", 1, "portolan: letter.txt: not a capture file: it looks like text; expected pcap or pcapng, plain or compressed by gzip or zstd"),
        ("flows --from new.result", 1, "portolan: new.result: a result of form 99, this portolan reads form 1"),
        ("graph --from new.result", 1, "portolan: new.result: a result of form 99, this portolan reads form 1"),
        ("status --from cut.pcap", 0, "portolan: cut.pcap: truncated in the middle of packet 212 (file ends at byte 20,000); everything before it was counted"),
        ("findings --roster roster.toml", 2, "portolan: --roster, --contract and --compose go with --from CAPTURE; the daemon has its own"),
        ("flows --from good.pcapng --to-port 5432/foo", 2, "portolan: --to-port 5432/foo: write 5432 or 5432/tcp"),
        ("flows --server ftp://here", 2, "portolan: \"ftp://here\" names no daemon: give a socket file or http://HOST:PORT, or https:// likewise"),
        ("flows --server /none/portolan.sock", 1, "portolan: no daemon answers at /none/portolan.sock: start one with: sudo portolan run"),
        ("graph --server /none/portolan.sock", 1, "portolan: no daemon answers at /none/portolan.sock: start one with: sudo portolan run"),
    ];
    let folder = desk();
    let mut wrong = Vec::new();
    for (arguments, code, message) in cases {
        let output = portolan(&folder, arguments);
        let said = said(&output);
        if output.status.code() != Some(code) || said.trim_end() != message {
            wrong
                .push(format!("portolan {arguments}\n  {}: {said}  wanted {code}: {message}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn longer_messages_begin_with_file_and_place() {
    #[rustfmt::skip]
    let cases = [
        ("replay good.pcapng --roster broken.roster.toml", "portolan: broken.roster.toml:1:", "no TOML"),
        ("run --check --config key.config.toml", "portolan: key.config.toml:1:1: ", "unknown field `listn`"),
        ("run --check --config broken.config.toml", "portolan: broken.config.toml:1:", ""),
        ("flows --from damaged.result", "portolan: damaged.result: damaged result, or one of another version", "make it anew:  portolan replay CAPTURE -o damaged.result"),
    ];
    let folder = desk();
    for (arguments, start, part) in cases {
        let output = portolan(&folder, arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.starts_with(start) && said.contains(part), "{arguments}: {said}");
    }
}

#[test]
fn nothing_counted_before_the_damage_is_lost() {
    let folder = desk();
    let output = portolan(&folder, "replay cut.pcap");
    let first = printed(&output).lines().next().map(str::to_owned);
    assert!(first.as_deref().is_some_and(|line| line.starts_with("incomplete: ")), "{first:?}");
    assert!(printed(&output).contains("211 frames"), "{}", printed(&output));
}

#[test]
fn usage_is_told_from_error() {
    let folder = desk();
    for arguments in [
        "",
        "replay",
        "frobnicate",
        "replay good.pcapng --format yaml",
        "replay good.pcapng --fail-on grave",
        "replay good.pcapng --since yesterday",
        "look --for 1d",
        "replay good.pcapng --threads 0",
        "replay good.pcapng --threads 65",
        "cut good.pcapng -w out.pcapng",
        "cut good.pcapng --edge a_->_b",
        "cut good.pcapng --edge a_->_b --finding F-7c21e0 -w out.pcapng",
        "graph --from good.pcapng --group planet",
        "run --check --tick 10ms",
    ] {
        let output = portolan(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "portolan {arguments}: {}", said(&output));
        assert!(printed(&output).is_empty(), "portolan {arguments}: {}", printed(&output));
        assert!(said(&output).contains("Usage") || said(&output).contains("--help"), "{}", said(&output));
    }
}

#[test]
fn fail_on_ends_with_3_from_that_severity_on() {
    let folder = desk();
    let good = "replay good.pcapng --roster roster.toml --contract contract.toml --quiet";
    for (severity, code) in [("info", 3), ("low", 3), ("medium", 3), ("high", 0)] {
        let output = portolan(&folder, &format!("{good} --fail-on {severity}"));
        assert_eq!(output.status.code(), Some(code), "{severity}");
    }
    assert_eq!(portolan(&folder, good).status.code(), Some(0), "without --fail-on findings are no failure");
    let damaged = portolan(&folder, "replay cut.pcap --quiet --fail-on info");
    assert_eq!(damaged.status.code(), Some(1), "an error goes before findings");
}

#[test]
fn require_complete_ends_with_4_where_something_was_missed_or_nobody_knows() {
    let folder = desk();
    let known = "--roster roster.toml --contract contract.toml";
    let cases = [
        ("replay good.pcapng --require-complete", 0),
        (&*format!("replay good.pcapng {known} --require-complete --fail-on low"), 3),
        (&*format!("replay good.pcapng {known} --require-complete --fail-on high"), 0),
        ("replay shop.pcap --require-complete", 4),
        ("replay shop.pcap --require-complete --fail-on low", 4),
        ("replay shop.pcap", 0),
        ("replay cut.pcap --require-complete", 1),
    ];
    for (arguments, code) in cases {
        let output = portolan(&folder, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {}", said(&output));
        assert!(!output.stdout.is_empty(), "{arguments}: the answer is printed whatever was missed");
    }
}

#[test]
fn quiet_does_the_work_and_says_only_errors() {
    let folder = desk();
    let arguments =
        "replay shop.pcap --roster other.roster.toml --contract name.contract.toml --quiet -o out.result";
    let output = portolan(&folder, arguments);
    assert_eq!((printed(&output), said(&output)), (String::new(), String::new()));
    assert!(folder.path().join("out.result").is_file(), "the work was not done");
    let output = portolan(&folder, "replay cut.pcap --quiet");
    assert!(printed(&output).is_empty());
    assert!(said(&output).starts_with("portolan: cut.pcap: truncated"), "{}", said(&output));
}

#[test]
fn a_roster_of_another_host_is_remarked_upon() {
    let folder = desk();
    let output = portolan(&folder, "replay good.pcapng --roster other.roster.toml");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        said(&output),
        "portolan: warning: none of the roster's addresses occur in this capture: is it a roster of another host?\n"
    );
}

#[test]
fn a_service_the_host_does_not_have_is_a_warning() {
    let folder = desk();
    let output = portolan(&folder, "replay good.pcapng --roster roster.toml --contract name.contract.toml");
    assert_eq!(output.status.code(), Some(0));
    let warning =
        "warning: name.contract.toml:1:1: no service \"shop/crat\" on this host; did you mean \"shop/cart\"?";
    assert!(printed(&output).lines().any(|line| line == warning), "{}", printed(&output));
}

#[test]
fn a_result_answers_like_its_capture() {
    let folder = desk();
    let known = "--roster roster.toml --contract contract.toml";
    let made = portolan(&folder, &format!("replay good.pcapng {known} --quiet -o good.result"));
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    for question in [
        "findings",
        "findings --format json",
        "findings --format ndjson",
        "flows",
        "flows --format json",
        "flows --format ndjson",
        "graph",
        "graph --format dot",
        "graph --format mermaid --group container",
        "graph --group project",
        "graph --group network",
        "status --format json",
    ] {
        let of_result = portolan(&folder, &format!("{question} --from good.result"));
        let of_capture = portolan(&folder, &format!("{question} --from good.pcapng {known}"));
        assert_eq!(of_result.status.code(), Some(0), "{question}: {}", said(&of_result));
        assert!(!of_result.stdout.is_empty(), "{question}: no answer");
        assert_eq!(printed(&of_result), printed(&of_capture), "{question}");
    }
    let again = portolan(&folder, "findings --from good.result --roster roster.toml");
    assert_eq!(
        (again.status.code(), said(&again).as_str()),
        (
            Some(2),
            "portolan: good.result: a result is already named and judged; --roster, --contract and --compose go with a capture\n"
        )
    );
}

#[test]
fn two_graphs_are_compared_by_file_and_by_folder() {
    let desk = desk();
    let made = portolan(&desk, "replay good.pcapng --roster roster.toml --quiet -o good.result");
    assert!(made.status.success(), "{}", said(&made));
    #[rustfmt::skip]
    let cases = [
        // command                                                        code  said
        ("graph diff good.result good.result",                            0, " 0 added, 0 removed, 0 changed, "),
        ("graph diff good.result good.result --exit-code",                0, "the same"),
        ("graph diff shop.pcap good.result --exit-code",                  3, "+ "),
        ("graph diff shop.pcap good.result --format json",                0, "{\"from\":"),
        ("graph diff shop.pcap good.result --output json",                0, "{\"from\":"),
        ("graph diff shop.pcap good.result -o json",                      0, "{\"from\":"),
        ("graph --from good.result --at 5m",                              2, "name the folder of snapshots"),
        ("graph --from folder --at 5m",                                   1, "folder: holds no snapshot of "),
        ("graph diff good.result nonsense --from folder",                 2, "is neither a file nor a time"),
        ("graph --from good.result --format svg --group project",         2, "leave --group out"),
        ("graph --from good.result --format svg --group container",       0, "<svg "),
        ("graph --from good.result --format html",                        0, "<!doctype html>"),
        ("graph --from good.result --format graphml",                     0, "<graphml "),
        ("graph --from good.result --format cytoscape",                   0, "\"elements\""),
    ];
    for (arguments, code, expected) in cases {
        let output = portolan(&desk, arguments);
        let text = format!("{}{}", printed(&output), said(&output));
        assert_eq!(output.status.code(), Some(code), "{arguments}: {text:.300}");
        assert!(format!(" {text}").contains(expected), "{arguments}: {text:.300}");
    }
}

#[test]
fn a_result_that_cannot_be_replaced_stays() {
    let folder = desk();
    let path = folder.path().join("kept.result");
    fs::write(&path, "before").expect("a file");
    let output = portolan(&folder, "replay none.pcap -o kept.result");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&path).expect("a file"), "before");
}

#[test]
fn json_is_json_and_ndjson_a_value_a_line() {
    let folder = desk();
    for question in ["replay good.pcapng", "findings --from good.pcapng", "flows --from good.pcapng"] {
        let known = "--roster roster.toml --contract contract.toml";
        let json = portolan(&folder, &format!("{question} {known} --format json"));
        assert!(serde_json::from_slice::<serde_json::Value>(&json.stdout).is_ok(), "{question}");
        let lines = printed(&portolan(&folder, &format!("{question} {known} --format ndjson")));
        assert!(!lines.is_empty(), "{question}: no line");
        for line in lines.lines() {
            assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{question}: {line}");
        }
    }
}

/// Neither colours nor a progress bar go into a pipe, whatever the environment says of the terminal.
#[test]
fn a_pipe_gets_plain_text_alone() {
    let folder = desk();
    for arguments in [
        "replay shop.pcap",
        "findings --from shop.pcap",
        "flows --from shop.pcap",
        "--help",
        "replay --help",
        "frobnicate",
    ] {
        for no_colour in ["", "1"] {
            let mut command = command(&folder, arguments);
            command.env("TERM", "xterm-256color").env("NO_COLOR", no_colour).env("COLORTERM", "truecolor");
            let output = command.output().expect("portolan starts");
            for (stream, bytes) in [("output", &output.stdout), ("errors", &output.stderr)] {
                let odd = bytes.iter().find(|byte| **byte < b' ' && **byte != b'\n');
                assert_eq!(odd, None, "portolan {arguments}: control byte in {stream}");
            }
            if arguments.starts_with("replay shop") {
                assert_eq!(said(&output), "", "progress in a pipe");
            }
        }
    }
}

/// `portolan ... | head -1` ends quietly.
#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let folder = desk();
    let mut wrong = Vec::new();
    for arguments in [
        "replay good.pcapng",
        "replay shop.pcap --format json",
        "replay shop.pcap --format ndjson",
        "findings --from good.pcapng",
        "flows --from shop.pcap --format ndjson",
        "graph --from good.pcapng --format dot",
        "status --from good.pcapng",
        "run --check",
        "run --print-config",
        "completions bash",
        "completions zsh",
        "completions fish",
        "man",
        "--help",
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command(&folder, arguments).stdout(writer).output().expect("portolan starts");
        if output.status.code() != Some(0) || !output.stderr.is_empty() {
            let said = said(&output);
            wrong.push(format!(
                "portolan {arguments}: {}: {}",
                output.status,
                said.lines().next().unwrap_or("")
            ));
        }
    }
    let mut child = command(&folder, "flows --from shop.pcap --format ndjson")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("portolan starts");
    let mut first = [0; 1];
    child.stdout.take().expect("a pipe").read_exact(&mut first).expect("a byte");
    let output = child.wait_with_output().expect("portolan ends");
    if output.status.code() != Some(0) || !output.stderr.is_empty() {
        wrong.push(format!("stopped after a byte: {}: {}", output.status, said(&output)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_command_has_an_example() {
    let folder = desk();
    let command = <Cli as clap::CommandFactory>::command();
    let names = command.get_subcommands().map(|command| command.get_name().to_owned());
    let mut wrong = Vec::new();
    for name in names.chain([String::new()]) {
        let output = portolan(&folder, &format!("{name} --help"));
        assert_eq!(output.status.code(), Some(0), "portolan {name} --help");
        if !printed(&output)
            .lines()
            .any(|line| line.trim_start().contains(&format!("portolan {name}")) && line.starts_with("  "))
            || !printed(&output).contains("Examples:")
        {
            wrong.push(format!("portolan {name} --help has no example"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn examples_of_the_help_are_commands_there_are() {
    let folder = desk();
    let command = <Cli as clap::CommandFactory>::command();
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut checked = 0;
    for name in names.iter().map(String::as_str).chain([""]) {
        let help = printed(&portolan(&folder, &format!("{name} --help")));
        let examples = help.split_once("Examples:").map_or("", |(_, examples)| examples);
        for line in examples.lines().filter(|line| line.starts_with("  ")) {
            // What stands before two blanks, a pipe or a redirection.
            let line = line.trim().trim_start_matches("sudo ");
            let line = line.find("portolan ").map_or("", |at| &line[at..]);
            let end = ["  ", " | ", " > ", " || "].iter().filter_map(|mark| line.find(mark)).min();
            let words: Vec<String> = unquoted(&line[..end.unwrap_or(line.len())]);
            if words.is_empty() {
                continue;
            }
            checked += 1;
            let parsed = <Cli as clap::Parser>::try_parse_from(&words);
            assert!(
                parsed.is_ok(),
                "{words:?}: {}",
                parsed.err().map_or(String::new(), |error| error.to_string())
            );
        }
    }
    assert!(checked >= 20, "only {checked} examples were found");
}

/// Splits at blanks outside single quotes.
fn unquoted(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

#[test]
fn completions_and_the_manual_page_know_every_command() {
    let folder = desk();
    let command = <Cli as clap::CommandFactory>::command();
    for (arguments, start) in [
        ("completions bash", "_portolan() {"),
        ("completions zsh", "#compdef portolan"),
        ("completions fish", "# Print an optspec"),
        ("man", ".ie \\n(.g .ds Aq \\(aq"),
    ] {
        let output = portolan(&folder, arguments);
        assert_eq!(output.status.code(), Some(0), "portolan {arguments}");
        let text = printed(&output);
        assert!(text.starts_with(start), "portolan {arguments}: {}", text.lines().next().unwrap_or(""));
        for subcommand in command.get_subcommands() {
            assert!(
                text.contains(subcommand.get_name()),
                "portolan {arguments}: no {}",
                subcommand.get_name()
            );
        }
        assert!(arguments == "man" || text.contains("fail-on"), "portolan {arguments}: no options");
    }
    assert_eq!(portolan(&folder, "completions tcsh").status.code(), Some(2));
}
