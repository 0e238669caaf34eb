//! Arguments of `portolan top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse_span;

/// `portolan top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// Show rows with all of these words: shop db 5432 undocumented
    #[arg(value_name = "WORD")]
    pub filter: Vec<String>,
    /// Ask again so often: 500ms, 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_pause)]
    pub every: Duration,
    /// Ask the daemon here: a socket's path, http://host:port or https://host:port
    #[arg(long, env = "PORTOLAN_SERVER", value_name = "ADDRESS", default_value = crate::config::SOCKET)]
    pub server: String,
    /// Trust servers certified by the authorities in this PEM file instead of the system's
    #[arg(long, env = "PORTOLAN_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Ask with the name:password in this file
    #[arg(long, env = "PORTOLAN_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// Reads a pause; a daemon has something else to do than answering without end.
fn parse_pause(text: &str) -> Result<Duration, String> {
    let pause = parse_span(text)?;
    if pause < Duration::from_millis(100) {
        Err(format!("{text} is too short: at least 100ms"))
    } else {
        Ok(pause)
    }
}
