//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum, ValueHint};

use crate::failure::Failure;
use crate::headless::Plan;
use crate::link::{Options, Server};

/// Shows what a depthcast server sees, or the Python server that it replaces.
///
/// Without --frames, --print and --bench it opens a window; `?` there shows the keys. Exit codes: 0 ended as asked, 1 bad
/// usage, 2 could not start, 3 failed while running.
#[derive(Debug, Parser)]
#[command(name = "depthcast-view", version)]
pub struct Cli {
    /// Where the server is, such as camera.local:8080.
    #[arg(value_name = "ADDR:PORT", default_value = "127.0.0.1:8080", value_hint = ValueHint::Hostname)]
    pub server: Server,
    /// Access token, for the distances of a server that wants one; better in the environment as DEPTHCAST_TOKEN, where
    /// other users do not see it. The Python protocol, and so the picture, needs none.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Takes so many pictures, without a window.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub frames: Option<u64>,
    /// Folder for pictures: with --frames 000001.png and so on; in the window what `s` saves, in this folder unless said.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub save: Option<PathBuf>,
    /// What is taken: the picture, or lossless depth in millimetres as 16-bit grey PNG, which only depthcast serves.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Prints a line of JSON for each, without a window; until --frames is reached, or for ever.
    #[arg(long)]
    pub print: bool,
    /// Says how fast they come, without a window; 300 of them unless --frames says otherwise.
    #[arg(long)]
    pub bench: bool,
}

/// What is taken without a window.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// The picture.
    #[default]
    Png,
    /// Lossless depth.
    Png16,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// A window that saves into this folder.
    Window(PathBuf),
    /// Pictures without one.
    Headless(Plan),
}

impl Cli {
    /// The server and what is wanted of it.
    ///
    /// * `token`: that of the environment, for a command line that has none.
    ///
    /// # Errors
    /// [`Failure::Usage`].
    pub fn task(self, token: Option<String>) -> Result<(Options, Task), Failure> {
        let headless = self.frames.is_some() || self.print || self.bench;
        let depth = self.format == Format::Png16;
        if depth && !headless {
            let why = "--format is for --frames, --print and --bench; `s` in the window saves both";
            return Err(Failure::Usage(why.into()));
        }
        let token = self.token.or(token).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Failure::Usage("a token is made of letters, digits and signs".into()));
        }
        let options = Options { server: self.server, token, depth: depth || !headless, retry: !headless };
        let task = if headless {
            let frames = self.frames.or(self.bench.then_some(300));
            Task::Headless(Plan { frames, save: self.save, depth, print: self.print, bench: self.bench })
        } else {
            Task::Window(self.save.unwrap_or_else(|| ".".into()))
        };
        Ok((options, task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(arguments: &[&str], token: Option<&str>) -> Result<(Options, Task), Failure> {
        let arguments = ["depthcast-view"].iter().chain(arguments);
        Cli::try_parse_from(arguments).expect("parses").task(token.map(Into::into))
    }

    #[test]
    fn a_window_unless_something_else_is_asked_for() {
        let (options, Task::Window(folder)) = task(&[], None).unwrap() else { panic!("no window") };
        assert_eq!((options.server.to_string(), folder), ("127.0.0.1:8080".into(), ".".into()));
        assert!(options.depth && options.retry && options.token.is_none());
        let (options, Task::Headless(plan)) = task(&["c:1", "--bench"], None).unwrap() else {
            panic!("a window")
        };
        assert_eq!((options.server.to_string(), plan.frames, plan.depth), ("c:1".into(), Some(300), false));
        assert!(!options.depth && !options.retry, "what is not looked at is not asked for");
        let (options, Task::Headless(plan)) = task(&["--print", "--format", "png16"], None).unwrap() else {
            panic!("a window")
        };
        assert_eq!((options.depth, plan.depth, plan.frames), (true, true, None));
        assert_eq!(task(&["--format", "png16"], None).unwrap_err().code(), 1);
    }

    #[test]
    fn the_token_of_the_command_line_comes_first() {
        let token =
            |arguments: &[&str], environment| task(arguments, environment).map(|(options, _)| options.token);
        assert_eq!(token(&["--token", "a"], Some("b")), Ok(Some("a".into())));
        assert_eq!(token(&[], Some("b")), Ok(Some("b".into())));
        assert_eq!(token(&[], Some("")), Ok(None), "a variable that is empty is none");
        assert_eq!(token(&[], Some("a\r\nb")).unwrap_err().code(), 1);
    }

    #[test]
    fn clap_finds_no_fault_with_it() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
