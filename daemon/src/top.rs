//! `portolan top`: who talks to whom as it happens, on a terminal.
//!
//! It asks a running daemon once a round and draws the answer. [`picture`] is what was answered, [`table`] what of it is
//! shown in which order, [`view`] how; none of them touches a terminal.

pub mod picture;
pub mod table;
pub mod view;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use portolan_exporter::client::Client;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::ask;
use crate::cli::top::TopArgs;
use crate::error::Failure;
use picture::Picture;
use table::{Step, Top};

/// Shows it until `q`.
///
/// # Errors
///
/// Returns that there is no terminal, or no daemon to begin with; one that goes away later is waited for.
pub fn top(args: &TopArgs) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "portolan top draws on a terminal; for pipes and files ask: portolan graph, portolan findings",
        ));
    }
    let client = ask::client_of(&args.server, args.ca_file.as_ref(), args.password_file.as_ref())?;
    let mut state = Top::new(args.filter.join(" "), crate::is_coloured());
    state.take(ask(&client)?);
    let mut terminal = ratatui::try_init()
        .map_err(|error| Failure::error(format!("cannot draw on this terminal: {error}")))?;
    let ended = follow(&mut terminal, &client, &mut state, args.every);
    let restored = ratatui::try_restore();
    ended?;
    restored
        .map_err(|error| Failure::error(format!("the terminal could not be put back: {error}: type reset")))
}

fn follow(
    terminal: &mut DefaultTerminal,
    client: &Client,
    state: &mut Top,
    every: Duration,
) -> Result<(), Failure> {
    let lost =
        |error: std::io::Error| Failure::error(format!("cannot go on drawing on this terminal: {error}"));
    let mut due = Instant::now() + every;
    loop {
        terminal.draw(|frame| view::draw(frame, state)).map_err(lost)?;
        if event::poll(due.saturating_duration_since(Instant::now())).map_err(lost)? {
            match event::read().map_err(lost)? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match state.key(key) {
                    Step::Stay => {}
                    Step::End => return Ok(()),
                },
                Event::Key(_)
                | Event::Resize(..)
                | Event::FocusGained
                | Event::FocusLost
                | Event::Mouse(_)
                | Event::Paste(_) => {}
            }
        }
        if Instant::now() >= due {
            due = Instant::now() + every;
            if !state.is_paused() {
                match ask(client) {
                    Ok(picture) => state.take(picture),
                    Err(failure) => state.miss(&failure.message),
                }
            }
        }
    }
}

fn ask(client: &Client) -> Result<Picture, Failure> {
    let get = |path: &str| {
        let answer = client.get(path).map_err(|error| Failure::error(error.to_string()))?;
        Ok::<String, Failure>(answer.body)
    };
    Picture::read(&get("/api/v1/graph")?, &get("/api/v1/findings")?, &get("/api/v1/status")?).map_err(
        |error| {
            Failure::error(format!(
                "the daemon at {} answers in another version's words: {error}",
                client.server
            ))
        },
    )
}
