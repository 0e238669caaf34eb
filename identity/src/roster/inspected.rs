//! Roster files that are the output of `docker inspect`.

use serde_json::{Deserializer, Value};

use super::{RosterError, RosterFile, line_and_column};
use crate::inventory::{DockerObject, read_object};

/// How the Docker command line begins the lines it mixes in where standard error was redirected too.
const COMPLAINTS: [&str; 4] =
    ["Error: No such ", "Error response from daemon", "error: no such ", "WARNING:"];

/// Byte order mark.
const MARK: char = '\u{feff}';

/// Returns whether the text begins with such a line.
pub(super) fn begins_with_a_complaint(text: &str) -> bool {
    COMPLAINTS.iter().any(|complaint| text.trim_start().starts_with(complaint))
}

/// Reads any concatenation of objects and arrays of objects.
pub(super) fn read(name: &str, text: &str) -> Result<RosterFile, RosterError> {
    let mut file = RosterFile { name: name.to_owned(), ..RosterFile::default() };
    let mut others = 0_u64;
    let mut at = 0;
    // The byte order mark of a file that was concatenated stands between values.
    let unread =
        |at: usize| text[at..].trim_start_matches(|letter: char| letter.is_whitespace() || letter == MARK);
    while !unread(at).is_empty() {
        at = text.len() - unread(at).len();
        if begins_with_a_complaint(&text[at..]) {
            let line = text[at..].lines().next().unwrap_or_default();
            file.notes.push(format!("{name}: docker inspect said: {}", line.trim().escape_debug()));
            at += line.len();
            continue;
        }
        let mut values = Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return Err(wrong(name, text, at, &error)),
            None => break,
        };
        at += values.byte_offset();
        let objects = match value {
            Value::Array(objects) => objects,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                vec![value]
            }
        };
        for object in objects {
            match object.as_object().map(read_object) {
                Some(DockerObject::Container(container)) => file.containers.push(container),
                Some(DockerObject::Network(network)) => file.networks.push(network),
                Some(DockerObject::Image(image)) => file.images.push(image),
                Some(DockerObject::Other) | None => others += 1,
            }
        }
    }
    if others > 0 {
        file.notes.push(format!("{name}: {others} objects are neither container, network nor image"));
    }
    if others > 0 && file.containers.is_empty() && file.networks.is_empty() && file.images.is_empty() {
        return Err(RosterError::Wrong {
            place: format!("{name}:1:1"),
            message: "valid JSON, but no container, network or image of docker inspect; \
                      write one with: docker inspect $(docker ps -q) $(docker network ls -q)"
                .to_owned(),
        });
    }
    Ok(file)
}

/// Turns the position `serde_json` gives, which counts from the start of one value, into one of the file.
fn wrong(name: &str, text: &str, start: usize, error: &serde_json::Error) -> RosterError {
    let (line, column) = line_and_column(text, start);
    let place = if error.line() <= 1 {
        (line, column + error.column().saturating_sub(1))
    } else {
        (line + error.line() - 1, error.column().max(1))
    };
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    RosterError::Wrong {
        place: format!("{name}:{}:{}", place.0, place.1),
        message: if error.is_eof() {
            format!("cut off in the middle: {message}; collect the roster again")
        } else {
            format!("no output of docker inspect: {message}")
        },
    }
}
