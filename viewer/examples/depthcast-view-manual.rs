//! Writes the manual page and the shell completions of the viewer, for packages: `depthcast-view-manual FOLDER`.

use std::io::Write;
use std::path::PathBuf;
use std::{env, fs, io};

use clap::CommandFactory;
use clap_complete::Shell;
use depthcast_view::cli::Cli;
use depthcast_view::ui::HELP;

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("say which folder to write to"));
    };
    fs::create_dir_all(&folder)?;
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "depthcast-view", &folder)?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    writeln!(page, ".SH KEYS")?;
    for (key, what) in HELP {
        writeln!(page, ".TP\n\\fB{key}\\fR\n{what}")?;
    }
    writeln!(
        page,
        ".SH ENVIRONMENT\n.TP\n\\fBDEPTHCAST_TOKEN\\fR\nAccess token, as with \\fB\\-\\-token\\fR."
    )?;
    writeln!(page, ".SH SEE ALSO\n\\fBdepthcast\\fR(1)")?;
    fs::write(folder.join("depthcast-view.1"), page)
}
