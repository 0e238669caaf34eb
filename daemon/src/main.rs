//! `portolan`: the chart of who talks to whom on a Docker host, and of what should not be talking.

use std::process::ExitCode;

fn main() -> ExitCode {
    portolan_daemon::main()
}
