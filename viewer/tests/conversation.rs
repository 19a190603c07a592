//! The program itself against servers of the test: well-behaved, cut off, and hostile.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use depthcast::proto::pickle::HEADER_LEN;

/// Runs the program against a server that `serve` plays for each connection in turn; what it heard is returned.
fn run(arguments: &[&str], serve: impl Fn(TcpStream) -> Vec<u8> + Send + 'static) -> (Output, Vec<u8>) {
    let (address, server) = server(1, serve);
    let output = view(&address, arguments);
    let heard = server.join().expect("the server played its part");
    (output, heard)
}

fn server(
    connections: usize,
    serve: impl Fn(TcpStream) -> Vec<u8> + Send + 'static,
) -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = thread::spawn(move || {
        (0..connections).flat_map(|_| serve(listener.accept().expect("a viewer").0)).collect()
    });
    (address, server)
}

fn view(address: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_depthcast-view"));
    command.arg(address).args(arguments).env_remove("DEPTHCAST_TOKEN").output().expect("runs")
}

/// A message with a pickle that numpy wrote.
fn message() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/view_pickle/old-protocol0-n1");
    with(&fs::read(path).expect("a seed"))
}

fn with(payload: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER_LEN];
    message[..4].copy_from_slice(&u32::try_from(payload.len()).expect("short").to_be_bytes());
    message[4..40].copy_from_slice(b"Cam_Info_List\n        -Name: garage\n");
    message.extend_from_slice(payload);
    message
}

/// A message with a picture of this size.
fn sized(width: u32, height: u32) -> Vec<u8> {
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().expect("memory");
    writer.write_image_data(&vec![7; (3 * width * height) as usize]).expect("memory");
    writer.finish().expect("memory");
    with(&pickled(&picture))
}

/// A pickle as depthcast's compact form has it.
fn pickled(picture: &[u8]) -> Vec<u8> {
    let length = u32::try_from(picture.len()).expect("short").to_le_bytes();
    [b"cnumpy\nfrombuffer\n(B", &length[..], picture, b"VB\ntR."].concat()
}

/// Answers each `0` with `message`, in segments of `cut` bytes, until something else comes; all that was heard.
fn answer(socket: TcpStream, message: &[u8], cut: usize) -> Vec<u8> {
    take_turns(socket, &[message], cut)
}

/// The same with several messages, over and over.
fn take_turns(mut socket: TcpStream, messages: &[&[u8]], cut: usize) -> Vec<u8> {
    let mut messages = messages.iter().cycle();
    socket.set_nodelay(true).expect("a socket");
    let mut heard = Vec::new();
    let mut byte = [0; 2];
    // Two bytes at once, as the Python server reads: two requests in one segment would show.
    while let Ok(count @ 1..) = socket.read(&mut byte) {
        heard.extend_from_slice(&byte[..count]);
        if byte[..count] != *b"0" {
            break;
        }
        for segment in messages.next().expect("one at least").chunks(cut) {
            if socket.write_all(segment).is_err() {
                return heard;
            }
        }
    }
    heard
}

fn stdout(output: &Output) -> Vec<serde_json::Value> {
    let lines = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn complaint(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("depthcast-view-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn arg(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn one_at_a_time_and_a_goodbye() {
    let (output, heard) = run(&["--frames", "3", "--print"], |socket| answer(socket, &message(), 100_000));
    assert_eq!(complaint(&output, 0), "");
    assert_eq!(heard, b"00001", "the next is asked for while one is shown, and taken before the goodbye");
    let lines = stdout(&output);
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[2]["frame"], &lines[2]["width"], &lines[2]["height"]),
        (&3.into(), &16.into(), &12.into())
    );
    assert_eq!(lines[0]["text"]["Cam_Info_List"]["Name"], "garage");
    assert_eq!((&lines[0]["format"], &lines[0]["seq"]), (&"PNG, colour".into(), &serde_json::Value::Null));
    assert_eq!(lines[0]["payload_bytes"], message().len() - HEADER_LEN);
}

#[test]
fn a_message_in_single_bytes() {
    let (output, heard) = run(&["--frames", "2", "--print"], |socket| answer(socket, &message(), 1));
    assert_eq!(complaint(&output, 0), "");
    assert_eq!((heard.last(), stdout(&output).len()), (Some(&b'1'), 2));
}

#[test]
fn pictures_may_change_their_size() {
    let sizes = [(16, 12), (40, 30), (1, 1), (12, 16), (512, 424)];
    let folder = Folder::new("sizes");
    let (output, heard) = run(&["--frames", "10", "--print", "--save", folder.arg()], move |socket| {
        let messages = sizes.map(|(width, height)| sized(width, height));
        take_turns(socket, &messages.each_ref().map(|message| &message[..]), 1000)
    });
    assert_eq!(complaint(&output, 0), "");
    assert_eq!(heard.last(), Some(&b'1'), "on one connection");
    let lines = stdout(&output);
    assert_eq!(lines.len(), 10);
    for (n, (line, (width, height))) in lines.iter().zip(sizes.iter().cycle()).enumerate() {
        assert_eq!((&line["width"], &line["height"]), (&(*width).into(), &(*height).into()));
        let file = fs::File::open(folder.0.join(format!("{:06}.png", n + 1))).expect("saved");
        let reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
        assert_eq!((reader.info().width, reader.info().height), (*width, *height));
    }
}

#[test]
fn pictures_are_saved_as_they_came_and_never_over_others() {
    let folder = Folder::new("save");
    let arguments = ["--frames", "2", "--save", folder.arg(), "--format", "png"];
    let (output, _) = run(&arguments, |socket| answer(socket, &message(), 100_000));
    assert_eq!(complaint(&output, 0), "");
    let file = fs::read(folder.0.join("000002.png")).expect("saved");
    assert_eq!(file, &*depthcast_view::pickle::array(&message()[HEADER_LEN..]).expect("a picture"));
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 2);
    let (output, _) = run(&arguments, |socket| answer(socket, &message(), 100_000));
    assert!(complaint(&output, 2).contains("000001.png"));
}

#[test]
fn lossless_depth_is_refused_where_there_is_none() {
    let folder = Folder::new("png16");
    let arguments = ["--frames", "1", "--save", folder.arg(), "--format", "png16"];
    let (output, heard) = run(&arguments, |socket| answer(socket, &message(), 100_000));
    assert!(complaint(&output, 2).contains("only depthcast serves"));
    assert_eq!(heard, b"001", "not a byte that the Python server would not know");
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 0);
}

#[test]
fn figures_at_the_end() {
    let (output, _) = run(&["--bench", "--frames", "20"], |socket| answer(socket, &message(), 100_000));
    complaint(&output, 0);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let bytes = message().len();
    assert!(text.starts_with("frames             20 in ") && text.contains(" a second, "), "{text}");
    assert!(
        text.contains(&format!("bytes a frame      median {bytes}, 95 % {bytes}, most {bytes}\n")),
        "{text}"
    );
    assert!(text.contains("request to last ms median "), "{text}");
}

#[test]
fn a_server_that_stops_in_the_middle() {
    let whole = message();
    for cut in [0, 1, 4, 283, 284, 300, whole.len() - 1] {
        let part = whole[..cut].to_vec();
        let (output, _) = run(&["--frames", "1"], move |mut socket| {
            let mut byte = [0];
            let _ = socket.read(&mut byte);
            let _ = socket.write_all(&part);
            let _ = socket.shutdown(Shutdown::Both);
            byte.to_vec()
        });
        let why = complaint(&output, 2);
        assert!(why.contains("the server closed the connection"), "{why}");
        assert_eq!(why.contains("in the middle of a picture"), cut > 0, "{cut}: {why}");
    }
    // After a picture the same is a failure while running.
    let (output, _) = run(&["--frames", "5", "--print"], move |mut socket| {
        let mut byte = [0];
        let _ = socket.read(&mut byte);
        let _ = socket.write_all(&message());
        let _ = socket.read(&mut byte);
        Vec::new()
    });
    assert!(complaint(&output, 3).contains("closed"));
    assert_eq!(stdout(&output).len(), 1);
}

#[test]
fn a_pickle_that_would_run_a_command() {
    let folder = Folder::new("command");
    let command = format!("cposix\nsystem\n(Vtouch {}\ntR.", folder.arg());
    let (output, _) =
        run(&["--frames", "1"], move |socket| answer(socket, &with(command.as_bytes()), 100_000));
    let why = complaint(&output, 2);
    assert!(why.contains("it wants posix.system, and nothing of it was done"), "{why}");
    assert!(!folder.0.exists());
}

#[test]
fn four_gigabytes_are_not_waited_for() {
    let (output, _) = run(&["--frames", "1"], |socket| answer(socket, &[0xff; 400], 100_000));
    assert!(complaint(&output, 2).contains("4294967295 bytes was announced"));
}

#[test]
fn a_picture_that_unpacks_to_more_than_memory_holds() {
    // IHDR says 60,000 x 60,000; its checksum is right.
    let header = [0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60, 8, 0, 0, 0, 0];
    let mut crc = u32::MAX;
    for byte in b"IHDR".iter().chain(&header) {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let png = [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", &header[..], &(!crc).to_be_bytes()].concat();
    let (output, _) = run(&["--frames", "1"], move |socket| answer(socket, &with(&pickled(&png)), 100_000));
    assert!(complaint(&output, 2).contains("60000x60000 pixels is not taken"));
}

#[test]
fn nobody_there() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let why = complaint(&view(&address, &["--frames", "1"]), 2);
    assert_eq!(why, "depthcast-view: no connection: Connection refused\n");
    for (bad, named) in [
        (&["--frames", "0"][..], "--frames"),
        (&["--format", "png16"], "--format is for --frames"),
        (&["--format", "gif"], "gif"),
        (&["--token", "a b"], "a token is made of"),
        (&["--what"], "--what"),
    ] {
        let why = complaint(&view(&address, bad), 1);
        assert!(why.contains(named), "{bad:?}: {why}");
    }
    let why = complaint(&view("nowhere", &["--frames", "1"]), 1);
    assert!(why.contains("an address and a port are needed"), "{why}");
    complaint(&view(&address, &["--help"]), 0);
}

#[test]
fn whoever_stops_reading_ends_it_well() {
    let (address, server) = server(1, |socket| answer(socket, &message(), 100_000));
    let mut command = Command::new(env!("CARGO_BIN_EXE_depthcast-view"));
    let mut child =
        command.arg(&address).arg("--print").stdout(std::process::Stdio::piped()).spawn().expect("runs");
    let mut first = [0; 10];
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut first).expect("a line");
    drop(stdout);
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert_eq!(server.join().expect("played").last(), Some(&b'1'));
}

#[test]
fn a_server_that_says_nothing_is_waited_for() {
    // The Python server serves one viewer; the others wait in its queue until that one has left.
    let (output, heard) = run(&["--frames", "1", "--print"], |socket| {
        thread::sleep(Duration::from_millis(1500));
        answer(socket, &message(), 100_000)
    });
    assert_eq!(complaint(&output, 0), "");
    assert!(stdout(&output)[0]["waited_ms"].as_f64().expect("a number") > 1000.0);
    assert_eq!(heard, b"001");
}
