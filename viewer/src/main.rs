//! Arguments → a window or a plan → exit code; no logic.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use depthcast_view::headless::{self, Failure, Plan};
use depthcast_view::link::{Link, Options, Server};

/// Shows what a depthcast server sees, or the Python server that it replaces.
///
/// Without --frames, --print and --bench it opens a window; `?` there shows the keys. Exit codes: 0 ended as asked, 1 bad
/// usage, 2 could not start, 3 failed while running.
#[derive(Debug, Parser)]
#[command(name = "depthcast-view", version)]
struct Cli {
    /// Where the server is, such as camera.local:8080.
    #[arg(value_name = "ADDR:PORT")]
    server: Server,
    /// Access token, for the distances of a server that wants one; better in the environment as DEPTHCAST_TOKEN, where
    /// other users do not see it. The Python protocol, and so the picture, needs none.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Takes so many pictures, without a window.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Folder for pictures: with --frames 000001.png and so on; in the window what `s` saves, in this folder unless said.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// What is taken: the picture, or lossless depth in millimetres as 16-bit grey PNG, which only depthcast serves.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Prints a line of JSON for each, without a window; until --frames is reached, or for ever.
    #[arg(long)]
    print: bool,
    /// Says how fast they come, without a window; 300 of them unless --frames says otherwise.
    #[arg(long)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
enum Format {
    #[default]
    Png,
    Png16,
}

/// As the server's: `depthcast`'s documented exit codes.
const BAD_USAGE: u8 = 1;
const CANNOT_START: u8 = 2;
const FAILED: u8 = 3;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not mistakes. A terminal that is gone cannot be told anything.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let headless = cli.frames.is_some() || cli.print || cli.bench;
    if cli.format == Format::Png16 && !headless {
        return complain(
            BAD_USAGE,
            "--format is for --frames, --print and --bench; `s` in the window saves both",
        );
    }
    let token = cli.token.or_else(|| std::env::var("DEPTHCAST_TOKEN").ok()).filter(|token| !token.is_empty());
    if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        return complain(BAD_USAGE, "a token is made of letters, digits and signs");
    }
    let depth = !headless || cli.format == Format::Png16;
    let options = Options { server: cli.server, token, depth, retry: !headless };
    if !headless {
        return window(options, cli.save.unwrap_or_else(|| ".".into()));
    }
    let plan = Plan {
        frames: cli.frames.or(cli.bench.then_some(300)),
        save: cli.save,
        depth: cli.format == Format::Png16,
        print: cli.print,
        bench: cli.bench,
    };
    let link = match Link::new(options) {
        Ok((link, _)) => link,
        Err(error) => return complain(CANNOT_START, &error.to_string()),
    };
    match headless::run(link, &plan, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ Failure::CannotStart(_)) => complain(CANNOT_START, &failure.to_string()),
        Err(failure @ Failure::Failed(_)) => complain(FAILED, &failure.to_string()),
    }
}

#[cfg(feature = "window")]
fn window(options: Options, folder: PathBuf) -> ExitCode {
    use depthcast_view::window::{Failure, run};

    match run(options, folder) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(note)) => {
            complain(0, note);
            ExitCode::SUCCESS
        }
        Err(failure @ Failure::CannotStart(_)) => complain(CANNOT_START, &failure.to_string()),
        Err(failure @ Failure::Failed(_)) => complain(FAILED, &failure.to_string()),
    }
}

#[cfg(not(feature = "window"))]
fn window(_: Options, _: PathBuf) -> ExitCode {
    complain(BAD_USAGE, "this build has no window; --frames, --print and --bench need none")
}

fn complain(code: u8, why: &str) -> ExitCode {
    use io::Write;
    // A terminal that is gone cannot be told anything.
    let _ = writeln!(io::stderr(), "depthcast-view: {why}");
    ExitCode::from(code)
}
