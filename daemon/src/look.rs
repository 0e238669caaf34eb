//! `portolan look`: watch for a while, then print the report. No port, no socket.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::{Format, LookArgs};
use crate::config::Config;
use crate::error::Failure;
use crate::live::{Session, SessionOptions, host_name};
use crate::privileges::Privileges;
use crate::replay::Contracts;
use crate::report;
use crate::{result, signals};

/// Watches, settles and prints.
///
/// # Errors
///
/// Returns why nothing can be captured, or why the answer cannot be written.
pub fn look(args: &LookArgs, out: &mut impl Write) -> Result<u8, Failure> {
    let config = Config::load(&args.live)?;
    let contracts = Contracts::read(&config.policy.contracts, &config.policy.compose)?;
    let tick = Duration::from_millis(u64::from(config.daemon.tick_milliseconds));
    let privileges = Privileges::of_look(&config, args);
    let mut session = Session::start(SessionOptions { config, contracts, host: host_name(), privileges })?;
    let (_orders, signals) = signals::listen(session.runtime())?;
    session.seal()?;
    session.privileges().say_what_is_missing();
    let bar = progress_of(Some(args.span), "watching");
    let started = Instant::now();
    while let Some(left) = args.span.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        match signals.recv_timeout(left.min(tick)) {
            Ok(signals::Signal::End | signals::Signal::Grief) => break,
            Ok(signals::Signal::Reload | signals::Signal::Order(_)) | Err(_) => {}
        }
        let pulse = session.tick()?;
        bar.set_position(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        if let Some(failure) = pulse.failure {
            bar.finish_and_clear();
            crate::say(&format!("portolan: {failure}"));
            break;
        }
    }
    bar.finish_and_clear();
    let pulse = session.settle()?;
    let publication = &pulse.publication;
    if let Some(path) = &args.output {
        result::write(path, publication)?;
    }
    let written = match args.print.format {
        Format::Table => {
            let style = crate::style_of(&args.print);
            out.write_all(report::report(publication, &publication.vitals.host, style).as_bytes())
        }
        Format::Json | Format::Ndjson => result::print(out, publication, 1),
    };
    written.map_err(|error| Failure::error(format!("cannot write the report: {error}")))?;
    Ok(match crate::answer_code(publication, args.fail_on, args.require_complete) {
        3 => 3,
        // A tap that failed was told of above; the report holds what it saw until then.
        _ if pulse.failure.is_some() => 1,
        code => code,
    })
}

/// Draws how much of a span is over, or how long something without end has lasted; nothing in a pipe.
pub(crate) fn progress_of(span: Option<Duration>, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match span {
        Some(span) => {
            let length = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            (ProgressBar::new(length), format!("{what}  {{bar:40}}  {{eta}} left"))
        }
        None => (ProgressBar::new_spinner(), format!("{what}  {{elapsed}}, Ctrl-C ends")),
    };
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
