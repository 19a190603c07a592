//! A configuration that is good means the same when what `check` prints of it is read again.
#![no_main]

use clap::Parser;
use depthcast::config::{Action, Cli, Config};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let cli = Cli::try_parse_from(["depthcast", "demo"]).expect("good");
    let Action::Serve(command) = cli.action else { unreachable!("demo serves") };
    if let Ok(file) = Config::parse(text, "fuzz.toml")
        && let Ok(config) = Config::decide(&command, file)
    {
        let printed = config.to_string();
        let again = Config::parse(&printed, "printed.toml").expect("what check prints is good");
        assert_eq!(Config::decide(&command, again).expect("and means something").to_string(), printed);
    }
});
