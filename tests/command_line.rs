//! What the program says and exits with, run as a user runs it.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder of its own for a test; removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("depthcast-command-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program, behind `DEPTHCAST_RUNNER` if that is set: what runs programs for another processor.
fn program() -> Vec<OsString> {
    let runner = std::env::var_os("DEPTHCAST_RUNNER");
    runner.into_iter().chain([env!("CARGO_BIN_EXE_depthcast").into()]).collect()
}

fn depthcast(arguments: &[&str]) -> Command {
    let program = program();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String) {
    told(&depthcast(arguments).output().expect("started"))
}

/// Exit code and everything that was said.
fn told(output: &Output) -> (i32, String) {
    let said = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().expect("it exited"), String::from_utf8_lossy(&said).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn check_reads_a_recording_as_run_would() {
    let folder = Folder::new("check");
    let config = folder.file("c.toml", "");
    let recording = folder.0.join("recording");
    let source = format!("replay:{}", text(&recording));
    let check = || run(&["check", "--config", text(&config), "--source", &source]);
    let (code, said) = check();
    assert!(code == 1 && said.contains(text(&recording)), "no folder: {said}");
    fs::create_dir(&recording).expect("made");
    assert_eq!(check().0, 1, "an empty folder");
    let bad = recording.join("1.png");
    fs::write(&bad, "no picture").expect("written");
    let (code, said) = check();
    assert!(code == 1 && said.contains(text(&bad)), "{said}");
    fs::remove_file(&bad).expect("removed");
    fs::remove_dir(&recording).expect("removed");
    assert_eq!(run(&["record", "-o", text(&recording), "--source", "demo", "--frames", "1"]).0, 0);
    let (code, said) = check();
    assert!(code == 0 && said.contains(&format!("source = \"{source}\"")), "{said}");
}

#[test]
fn a_configuration_may_come_through_a_pipe() {
    let mut check = depthcast(&["check", "--config", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut pipe = check.stdin.take().expect("a pipe");
    for part in ["source = \"demo\"\n", "fps = 7\n"] {
        pipe.write_all(part.as_bytes()).expect("written");
    }
    drop(pipe);
    let (code, said) = told(&check.wait_with_output().expect("ended"));
    assert!(code == 0 && said.contains("\nfps = 7\n"), "{said}");
}

#[test]
fn convert_leaves_no_half_file_and_says_whether_it_had_begun() {
    let folder = Folder::new("convert");
    let [pictures, raw] = ["pictures", "raw"].map(|name| folder.0.join(name));
    assert_eq!(run(&["record", "-o", text(&pictures), "--source", "demo", "--frames", "1"]).0, 0);
    let convert = ["convert", text(&pictures), text(&raw)];
    // Files of at most 200 blocks of 512 or 1024 bytes: p0.bin is larger.
    let limited = Command::new("sh")
        .args(["-c", "ulimit -f 200; trap '' XFSZ; exec \"$@\"", "sh"])
        .args(program())
        .args(convert)
        .output();
    let (code, said) = told(&limited.expect("started"));
    assert!(code == 3 && said.contains("cannot be written"), "{code}: {said}");
    assert_eq!(fs::read_dir(&raw).expect("made").count(), 0, "half a file is left");
    let (code, said) = run(&convert);
    assert!(code == 0 && said.contains("1 frames written"), "{code}: {said}");
    let (code, said) = run(&convert);
    assert!(code == 2 && said.contains("is not empty"), "{code}: {said}");
    let (_, help) = run(&["convert", "--help"]);
    assert!(help.contains("Exit codes: 0 converted, "), "{help}");
}

#[test]
fn the_log_says_when_the_picture_is_back() {
    let mut demo = depthcast(&["demo", "--listen", "127.0.0.1:0", "--fault", "stall@0.5+1.5"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let lines = BufReader::new(demo.stderr.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    let told: Vec<_> = lines.filter(|line| line.contains("picture")).take(2).collect();
    demo.kill().expect("it still runs");
    demo.wait().expect("ended");
    assert!(told[0].contains("demo: no picture: "), "{told:?}");
    assert!(told[1].ends_with("demo: the picture is back"), "{told:?}");
}
