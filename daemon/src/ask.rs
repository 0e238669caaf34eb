//! Questions: `graph` and `status`, of the daemon or of a result or capture.

use std::io::Write;
use std::path::{Path, PathBuf};

use portolan_exporter::{Publication, client};

use crate::cli::{AskArgs, AskedArgs, Format, KnowledgeArgs, ReadArgs};
use crate::error::Failure;
use crate::picture;
use crate::replay::{self, Knowledge, Request};
use crate::report;

/// Reads a result, a snapshot or a saved publication, or replays a capture.
///
/// # Errors
///
/// Returns why neither can be done.
pub fn from_file(path: &Path, knowledge: &KnowledgeArgs) -> Result<Publication, Failure> {
    if let Some(publication) = picture::read(path)? {
        if !knowledge.roster.is_empty() || !knowledge.contract.is_empty() || !knowledge.compose.is_empty() {
            return Err(Failure::usage(format!(
                "{}: a result is already named and judged; --roster, --contract and --compose go with a capture",
                path.display()
            )));
        }
        return Ok(publication);
    }
    let knowledge = Knowledge::read(knowledge)?;
    let files = [path.to_owned()];
    let read = ReadArgs::unasked();
    let request = Request {
        files: &files,
        knowledge: &knowledge,
        read: &read,
        conversations: None,
        shows_progress: false,
        each_turn: None,
    };
    let replayed = replay::replay(&request)?;
    for note in replayed.notes.iter().chain(&replayed.warnings) {
        crate::say(&format!("portolan: {}", portolan_exporter::escape::terminal(note)));
    }
    if let Some(damage) = replayed.damage.first() {
        crate::say(&format!("portolan: {damage}"));
    }
    Ok(replayed.publication)
}

/// `portolan status`.
///
/// # Errors
///
/// Returns why there is no answer.
pub fn status(args: &AskArgs, out: &mut impl Write) -> Result<(), Failure> {
    let publication = publication_of(&args.asked)?;
    match args.print.format {
        Format::Table => print(out, report::status(&publication, crate::style_of(&args.print))),
        Format::Json | Format::Ndjson => print_json(out, &portolan_exporter::http::Status::of(&publication)),
    }
}

pub(crate) fn publication_of(asked: &AskedArgs) -> Result<Publication, Failure> {
    match &asked.from {
        Some(path) => from_file(path, &asked.knowledge),
        None => of_daemon(asked, "/api/v1/publication"),
    }
}

/// Asks the daemon for a publication.
pub(crate) fn of_daemon(asked: &AskedArgs, path: &str) -> Result<Publication, Failure> {
    let AskedArgs { server, knowledge, ca_file, password_file, .. } = asked;
    if !knowledge.roster.is_empty() || !knowledge.contract.is_empty() || !knowledge.compose.is_empty() {
        return Err(Failure::usage(
            "--roster, --contract and --compose go with --from CAPTURE; the daemon has its own",
        ));
    }
    let answer = client_of(server, ca_file.as_ref(), password_file.as_ref())?
        .get(path)
        .map_err(|error| Failure::error(error.to_string()))?;
    serde_json::from_str(&answer.body).map_err(|error| {
        Failure::error(format!("the daemon at {server} answers in another version's words: {error}"))
    })
}

/// Returns who asks the daemon at `server`.
pub(crate) fn client_of(
    server: &str,
    ca_file: Option<&PathBuf>,
    password_file: Option<&PathBuf>,
) -> Result<client::Client, Failure> {
    let address: client::Server =
        server.parse().map_err(|error: client::UnknownServer| Failure::usage(error.to_string()))?;
    let password = match password_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::cannot_read(path, &error))?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => None,
    };
    Ok(client::Client { ca_file: ca_file.cloned(), password, ..client::Client::new(address) })
}

/// Writes an answer; a reader that stopped reading is no error.
pub(crate) fn print(out: &mut impl Write, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::error(format!("cannot write the answer: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(crate) fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::error(format!("cannot write the answer as JSON: {error}")))?;
    print(out, portolan_exporter::escape::json(&text).as_bytes())?;
    print(out, "\n")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_daemons_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head =
                BufReader::new(&stream).lines().map(Result::unwrap).take_while(|line| !line.is_empty());
            assert!(head.count() > 0);
            let body = "{\"error\":\"no snapshot was kept at 09:00 or before\"}\n";
            let length = body.len();
            let head = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nConnection: close";
            write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        });
        let asked = AskedArgs { server: path.display().to_string(), ..AskedArgs::default() };
        let told = of_daemon(&asked, "/api/v1/publication?at=09:00").unwrap_err().message;
        assert!(told.ends_with(" refused: no snapshot was kept at 09:00 or before"), "{told}");
        daemon.join().unwrap();
    }
}
