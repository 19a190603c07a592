//! Writes the manual pages and the shell completions of the command line, for packages: `manual FOLDER`.

use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::Shell;
use depthcast::config::Cli;

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("say which folder to write to"));
    };
    fs::create_dir_all(&folder)?;
    // A page for `help` would only say how to get the others.
    let mut command = Cli::command().disable_help_subcommand(true);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "depthcast", &folder)?;
    }
    // `--version` says more than a page's footer has room for.
    clap_mangen::generate_to(command.version(env!("CARGO_PKG_VERSION")), &folder)
}
