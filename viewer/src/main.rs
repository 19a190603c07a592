//! Arguments → a window or a plan → exit code; no logic.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use depthcast_view::cli::{Cli, Task};
use depthcast_view::failure::Failure;
use depthcast_view::headless;
use depthcast_view::link::Link;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not mistakes. A terminal that is gone cannot be told anything.
            let _ = error.print();
            let usage = Failure::Usage(String::new());
            return if error.use_stderr() { usage.code().into() } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(note) => {
            if let Some(note) = note {
                say(note);
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&failure.to_string());
            failure.code().into()
        }
    }
}

/// Does what is asked for; returns what is to be said after that, if anything.
fn run(cli: Cli) -> Result<Option<&'static str>, Failure> {
    match cli.task(std::env::var("DEPTHCAST_TOKEN").ok())? {
        #[cfg(feature = "window")]
        (options, Task::Window(folder)) => depthcast_view::window::run(options, folder),
        #[cfg(not(feature = "window"))]
        (_, Task::Window(_)) => {
            Err(Failure::Usage("this build has no window; --frames, --print and --bench need none".into()))
        }
        (options, Task::Headless(plan)) => {
            let (link, _) = Link::new(options).map_err(|error| Failure::CannotStart(error.to_string()))?;
            headless::run(link, &plan, &mut io::stdout().lock()).map(|()| None)
        }
    }
}

fn say(what: &str) {
    use io::Write;
    // A terminal that is gone cannot be told anything.
    let _ = writeln!(io::stderr(), "depthcast-view: {what}");
}
