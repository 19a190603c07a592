use proptest::prelude::*;

use super::*;
use crate::limits::{CAMERA_TEXT_MAX, CONFIG_FILE_MAX, UNIX_PATH_MAX};
use crate::source::{PIXELS, WIDTH};

fn config(line: &str) -> Result<Config, String> {
    let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?;
    Config::new(&serving(cli)).map_err(|e| e.to_string())
}

/// The command, which is one that serves.
fn serving(cli: Cli) -> Command {
    match cli.action {
        Action::Serve(command) => command,
        other => panic!("{other:?} has no such options"),
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let demo = config("depthcast demo").expect("good");
    assert_eq!(demo.source, SourceSpec::Demo);
    assert_eq!(demo.listen[0].to_string(), "127.0.0.1:8080");
    assert_eq!((demo.range.min_mm(), demo.range.max_mm(), demo.fps), (0, 4500, 30));
    let run =
        config("depthcast run --source replay:frames --listen [::]:1 --listen unix:/tmp/x").expect("good");
    assert_eq!(run.source, SourceSpec::Replay("frames".into()));
    assert_eq!((run.range.max_mm(), run.listen.len()), (1500, 2));
    assert_eq!(config("depthcast run").expect("good").source, SourceSpec::Kinect(None));
    let one = config("depthcast run --source kinect:001234567890").expect("good");
    assert_eq!(one.source, SourceSpec::Kinect(Some("001234567890".into())));
    assert_eq!(one.source.to_string(), "kinect:001234567890");
}

#[test]
fn probe_and_record_take_what_run_would() {
    let action = |line: &str| Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.action);
    let Ok(Action::Probe(probe)) = action("depthcast probe --json --source kinect:12 --sysfs /s --devfs /d")
    else {
        panic!("no probe")
    };
    let config = probe.decide().expect("good");
    assert_eq!(config.source, SourceSpec::Kinect(Some("12".into())));
    assert_eq!(config.roots, Roots { sys: "/s".into(), dev: "/d".into() });
    assert!(probe.json);
    let Ok(Action::Probe(probe)) = action("depthcast probe --source demo") else { panic!("no probe") };
    assert!(probe.decide().expect_err("no sensor").to_string().contains("add --source kinect"));

    let Ok(Action::Record(record)) = action("depthcast record -o x --frames 9 --source demo --fps 15") else {
        panic!("no recording")
    };
    assert_eq!((record.frames, record.seconds, record.decide().expect("good").fps), (Some(9), None, 15));
    assert_eq!(record.decide().expect("good").roots, Roots::default());
    for line in
        ["record", "record -o x --frames 1 --seconds 1", "record -o x --frames 0", "record -o x --fps 0"]
    {
        assert!(action(&format!("depthcast {line}")).is_err(), "{line}");
    }
}

#[test]
fn errors_name_the_option_and_the_remedy() {
    for (line, part) in [
        ("depthcast run --source webcam", "the sources of this version are kinect, kinect:SERIAL"),
        ("depthcast run --source replay:", "demo and replay:PATH"),
        ("depthcast run --source kinect:", "kinect:SERIAL (letters and digits)"),
        ("depthcast run --source kinect:../../etc", "kinect:SERIAL (letters and digits)"),
        ("depthcast run --fault stall@1+1", "--fault: plays on demo and replay, not on a sensor"),
        ("depthcast demo --min-mm 4500", "--min-mm and --max-mm: the range from 4500 to 4500 mm is empty"),
        ("depthcast demo --max-mm 70000", "--max-mm"),
        ("depthcast demo --fps=-1", "--fps"),
        ("depthcast demo --fps 1000", "0..=240"),
        ("depthcast demo --listen 8080", "give an address and a port"),
        ("depthcast demo --fault melt@1+1", "stall, vanish, torn"),
        ("depthcast demo --pickle xml", "protocol0, compact"),
    ] {
        let error = config(line).expect_err(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

const RUN: &str = "depthcast run --source demo";

fn command(line: &str) -> Command {
    serving(Cli::try_parse_from(line.split_whitespace()).expect(line))
}

fn with_file(line: &str, text: &str) -> Result<Config, String> {
    let file = Config::parse(text, "c.toml").map_err(|e| e.to_string())?;
    Config::decide(&command(line), file).map_err(|e| e.to_string())
}

#[test]
fn without_file_and_options_all_is_as_documented() {
    let config = config(RUN).expect("good");
    assert_eq!(
        config,
        Config {
            source: SourceSpec::Demo,
            listen: vec![Address::Tcp(([127, 0, 0, 1], 8080).into())],
            range: Range::PYTHON,
            fps: 30,
            faults: Plan::default(),
            view: view::Spec {
                rotate_180: false,
                flip: Flip::None,
                clip_mm: None,
                masks: vec![],
                overlay: false
            },
            camera: Camera {
                uid: "camera0x11".into(),
                name: "camera01".into(),
                kind: "3D Depth Camera".into(),
                location: "Underground Parking(B2)".into(),
            },
            viewers_max: 64,
            stall: Duration::from_secs(10),
            allow: vec![],
            jpeg: jpeg::Settings { quality: 80, subsampling: Subsampling::Both },
            pickle: pickle::Style::Protocol0,
            shutdown_from: ["127.0.0.0/8", "::1", "unix"].map(|n| n.parse().expect("a network")).to_vec(),
            rules: Rules::default(),
            instance: Tag::NONE,
            kinect: kinect::Settings {
                packets: 8,
                transfers: 60,
                min_mm: 500,
                max_mm: 4500,
                bilateral: true,
                edge: true,
                offset_mm: 0,
            },
            pipeline: Pipeline::Auto,
            roots: Roots { sys: "/sys".into(), dev: "/dev".into() },
            log_level: log::LevelFilter::Info,
        }
    );
    assert_eq!(with_file(RUN, "").as_ref(), Ok(&config), "an empty file changes nothing");
}

/// Every key set to something else than its default.
const FULL: &str = r#"
source = "replay:/srv/frames"
fps = 0
rotate = 180
flip = "y"
overlay = true
masks = [[[0, 0], [100, 0], [100, 424]], [[512, 424], [511, 0], [500, 1], [3, 4]]]
listen = ["[::]:8080", "unix:/run/depthcast/http.sock"]
range = { min_mm = 500, max_mm = 8_000, clip_mm = 0x1000 }
camera.uid = 'a "quoted" \ uid'
camera.name = "Tor 3"
camera.type = "Tiefe"
camera.location = "Tiefgarage Süd 🚗"
[viewers]
max = 4096
stall_s = 3600
allow = ["192.168.0.0/16", "fd00::/8", "10.0.0.7", "unix"]
[jpeg]
quality = 95
subsampling = "4:4:4"
[legacy]
pickle = "compact"
shutdown_from = []
[http]
tokens = ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
allow_origin = "https://panel.example"
names = ["garage.example"]
instance = "cam-1"
[kinect]
packets = 3
transfers = 160
min_mm = 300
max_mm = 8000
bilateral = false
edge = false
offset_mm = -24
[libfreenect2]
pipeline = "raw"

[log]
level = "trace"
"#;

#[test]
fn every_key_arrives() {
    let config = with_file("depthcast run", FULL).expect("good");
    assert_eq!(config.source, SourceSpec::Replay("/srv/frames".into()));
    assert_eq!((config.range.min_mm(), config.range.max_mm(), config.fps), (500, 8000, 0));
    assert!(config.view.rotate_180 && config.view.overlay);
    assert_eq!((config.view.flip, config.view.clip_mm), (Flip::Y, Some(4096)));
    assert_eq!(config.view.masks[0], [[0, 0], [100, 0], [100, 424]]);
    assert_eq!(config.view.masks[1].len(), 4);
    assert_eq!(config.camera.uid, r#"a "quoted" \ uid"#);
    assert_eq!((config.camera.name.as_str(), config.camera.kind.as_str()), ("Tor 3", "Tiefe"));
    assert_eq!(config.camera.location, "Tiefgarage Süd 🚗");
    assert_eq!((config.viewers_max, config.stall.as_secs(), config.allow.len()), (4096, 3600, 4));
    assert_eq!((config.pickle, config.log_level), (pickle::Style::Compact, log::LevelFilter::Trace));
    assert!(config.shutdown_from.is_empty() && config.listen.len() == 2);
    assert_eq!((config.kinect.packets, config.kinect.transfers, config.kinect.offset_mm), (3, 160, -24));
    let decode = config.kinect.decode();
    assert_eq!((decode.min_mm, decode.max_mm, decode.bilateral, decode.edge), (300, 8000, false, false));
    assert_eq!(config.jpeg, jpeg::Settings { quality: 95, subsampling: Subsampling::None });
    let settings = config.settings();
    assert_eq!((settings.viewers_max, settings.stall, settings.pickle), (4096, config.stall, config.pickle));
    assert!(settings.shutdown_from.is_empty() && settings.listen == config.listen);
}

#[test]
fn options_override_the_file_and_the_file_the_defaults() {
    let line = "depthcast run --source demo --listen 127.0.0.1:9 --min-mm 1 --max-mm 2 --rotate 0 --flip x \
                --fps 5 --pickle protocol0 --log-level warn";
    let config = with_file(line, FULL).expect("good");
    assert_eq!((&config.source, config.listen.len()), (&SourceSpec::Demo, 1));
    assert_eq!((config.range.min_mm(), config.range.max_mm(), config.fps), (1, 2, 5));
    assert_eq!((config.view.rotate_180, config.view.flip), (false, Flip::X));
    assert_eq!((config.pickle, config.log_level), (pickle::Style::Protocol0, log::LevelFilter::Warn));
    assert_eq!(config.camera.name, "Tor 3", "what no option names stays");

    let demo = with_file("depthcast demo", FULL).expect("good");
    assert_eq!(demo.source, SourceSpec::Demo, "the command itself overrides the file's source");
    assert_eq!(demo.range.max_mm(), 8000);
    assert_eq!(with_file("depthcast demo", "").expect("good").range.max_mm(), DEMO_MAX_MM);
    let kinect = "source = \"kinect:001234567890\"";
    let kinect_only = with_file("depthcast run", kinect).expect("good");
    assert_eq!(kinect_only.source, SourceSpec::Kinect(Some("001234567890".into())));
    assert_eq!(with_file(RUN, kinect).expect("good").source, SourceSpec::Demo);
}

#[test]
fn bad_files_are_refused_with_line_key_and_remedy() {
    for (text, problems) in [
        ("\nviewers.max = 0", &["c.toml:2: viewers.max: 0 is not between 1 and 4096"][..]),
        ("[viewers]\nmax = 4097", &["c.toml:2: viewers.max: 4097 is not between 1 and 4096"]),
        ("viewers.max = 99999999999999999999", &["viewers.max: 99999999999999999999 is not between"]),
        ("viewers.max = -1", &["viewers.max: -1 is not between 1 and 4096"]),
        (
            "viewers.max = '9'",
            &["c.toml:1: viewers.max: expected a whole number from 1 to 4096, found a text"],
        ),
        ("viewers.max = 9.5", &["found a number with a fraction"]),
        ("viewers.max.x = 1", &["viewers.max: expected a whole number from 1 to 4096, found a section"]),
        (
            "\n\n[viewer]\nmax = 3",
            &[
                "c.toml:4: unknown key viewer.max; did you mean viewers.max? (keys of [viewers]: max, stall_s, allow)",
            ],
        ),
        ("[viewers]\nstalls = 3", &["c.toml:2: unknown key viewers.stalls; did you mean viewers.stall_s?"]),
        (
            "max_mm = 3",
            &["unknown key max_mm; did you mean range.max_mm? (keys of [range]: min_mm, max_mm, clip_mm)"],
        ),
        ("[range]\nfoo = 3", &["unknown key range.foo (keys of [range]: min_mm, max_mm, clip_mm)"]),
        (
            "colour = 3",
            &["unknown key colour (keys at the top: source, fps, rotate", "sections: [range], [camera]"],
        ),
        ("[colour]", &["c.toml:1: unknown key colour"]),
        ("'viewers.max' = 3", &["unknown key viewers.max"]),
        ("'a\u{1b}[1m' = 3", &["not TOML"]),
        ("\"a\\u001b[1m\" = 3", &["unknown key a\u{fffd}[1m"]),
        ("[[viewers]]\nmax = 3", &["viewers: this is a section, [viewers] with keys; found a list"]),
        ("range = 3", &["c.toml:1: range: this is a section, [range] with keys; found a whole number"]),
        (
            "source = 'webcam'",
            &["c.toml:1: source: 'webcam': the sources of this version are kinect, kinect:SERIAL"],
        ),
        ("source = 'kinect:'", &["the sources of this version"]),
        ("source = 3", &["source: expected a text in quotes, found a whole number"]),
        ("fps = 241", &["fps: 241 is not between 0 and 240"]),
        ("rotate = 90", &["rotate: 90 is neither 0 nor 180"]),
        ("rotate = 99999999999999999999", &["is neither 0 nor 180"]),
        ("rotate = '180'", &["rotate: expected 0 or 180, found a text"]),
        ("flip = 'z'", &["flip: 'z' is none of \"none\", \"x\", \"y\""]),
        ("flip = true", &["flip: expected one of \"none\", \"x\", \"y\", found true or false"]),
        ("overlay = 'on'", &["overlay: expected true or false, found a text"]),
        ("listen = '127.0.0.1:80'", &["listen: expected a list of texts in quotes, found a text"]),
        ("listen = []", &["listen: an empty list would serve nobody"]),
        ("listen = [\n'[::]:80',\n'8080']", &["c.toml:3: listen: '8080': give an address and a port"]),
        ("listen = ['[::]:80', '[::]:80']", &["listen: [::]:80 is listed twice"]),
        ("listen = ['unix:']", &["give an address and a port"]),
        ("listen = [8080]", &["listen: expected a text in quotes, found a whole number"]),
        (
            "[range]\nmin_mm = 9\nmax_mm = 9",
            &["c.toml:3: range.min_mm and range.max_mm: the range from 9 to 9 mm is empty"],
        ),
        ("[range]\nmax_mm = 65536", &["range.max_mm: 65536 is not between 1 and 65535"]),
        ("range.clip_mm = 0", &["range.clip_mm: 0 is not between 1 and 65535"]),
        (
            "\nrange.min_mm = 1500",
            &["--min-mm and --max-mm: c.toml:2 has one of them: the range from 1500 to 1500"],
        ),
        ("masks = [[0, 0], [1, 1]]", &["masks: polygon 1: 2 points are not between 3 and 32 points"]),
        ("masks = [[[0,0],\n[1,1,1],\n[2,0]]]", &["c.toml:2: masks: polygon 1: 3 numbers are no [x, y]"]),
        (
            "masks = [[[0,0],[513,1],[2,425]]]",
            &["polygon 1: x: 513 is not between 0 and 512", "y: 425 is not between 0 and 424"],
        ),
        ("masks = [[[0,0],[1,1],[2,2]]]", &["polygon 1: its points lie on one line"]),
        ("masks = [[[1,1],[1,1],[1,1]]]", &["polygon 1: its points lie on one line"]),
        ("masks = [3]", &["masks: polygon 1: expected a list of [x, y], found a whole number"]),
        ("masks = 3", &["masks: expected a list of polygons, each a list of [x, y], found a whole number"]),
        ("masks = [[1, 2, 3]]", &["masks: polygon 1: expected [x, y], found a whole number"]),
        ("camera.name = \"a\\nb\"", &["camera.name: control characters and line breaks"]),
        ("viewers.stall_s = 0", &["viewers.stall_s: 0 is not between 1 and 3600"]),
        (
            "viewers.allow = ['10.0.0.0/33']",
            &["viewers.allow: '10.0.0.0/33': a network is an address with a prefix"],
        ),
        ("jpeg.quality = 101", &["jpeg.quality: 101 is not between 1 and 100"]),
        (
            "[jpeg]\nsubsampling = '4:1:1'",
            &["c.toml:2: jpeg.subsampling: '4:1:1' is none of \"4:4:4\", \"4:2:2\", \"4:2:0\""],
        ),
        ("legacy.pickle = 'xml'", &["legacy.pickle: 'xml' is none of \"protocol0\", \"compact\""]),
        ("legacy.shutdown_from = ['localhost']", &["legacy.shutdown_from: 'localhost': a network is"]),
        (
            "log.level = 'loud'",
            &["log.level: 'loud' is none of \"error\", \"warn\", \"info\", \"debug\", \"trace\""],
        ),
        ("[http]\ntokens = [\"secret\"]", &["c.toml:2: http.tokens", "`depthcast token` prints"]),
        ("[http]\nallow_origin = \"http://a/b\"", &["http.allow_origin", "an origin is http://"]),
        ("[http]\ninstance = \"x y\"", &["c.toml:2: http.instance", "letters, digits"]),
        ("[http]\ntoken = []", &["unknown key http.token", "did you mean http.tokens?"]),
        ("kinect.packets = 0", &["c.toml:1: kinect.packets: 0 is not between 1 and 128"]),
        ("[kinect]\npackets = 129", &["c.toml:2: kinect.packets: 129 is not between 1 and 128"]),
        ("kinect.transfers = 1025", &["kinect.transfers: 1025 is not between 1 and 1024"]),
        (
            "\nkinect.packets = 1",
            &["c.toml:2: kinect.packets and kinect.transfers: 1 times 60 are 60 packets"],
        ),
        (
            "[kinect]\ntransfers = 60\npackets = 128",
            &[
                "c.toml:3: kinect.packets and kinect.transfers: 128 times 60 are 7680 packets in the queue, not 64 to 4096",
            ],
        ),
        ("kinect.min_mm = 0", &["kinect.min_mm: 0 is not between 1 and 18750"]),
        ("kinect.max_mm = 18751", &["kinect.max_mm: 18751 is not between 1 and 18750"]),
        (
            "kinect.max_mm = 499",
            &["c.toml:1: kinect.min_mm and kinect.max_mm: 500 to 499 must lie within 1 to 18750"],
        ),
        ("kinect.bilateral = 'on'", &["kinect.bilateral: expected true or false, found a text"]),
        ("kinect.offset_mm = -501", &["kinect.offset_mm: -501 is not a whole number from -500 to 500"]),
        (
            "kinect.offset_mm = 2.5",
            &["kinect.offset_mm: expected a whole number from -500 to 500, found a number with"],
        ),
        ("kinect.offset = 1", &["unknown key kinect.offset; did you mean kinect.offset_mm?"]),
        ("libfreenect2.pipeline = 'gpu'", &["libfreenect2.pipeline: 'gpu' is none of \"auto\", \"cuda\""]),
        ("fps = 30\nfps = 30", &["c.toml:2:1: this is not TOML: duplicate key"]),
        ("fps = 30\n  ä = 1", &["c.toml:2:3: this is not TOML"]),
        (
            "fps = 999\nflip = 3\n[viewer]\nmax = 1\nother = 2\n[camera]\nuid = 3",
            &[
                "c.toml:1: fps",
                "\nc.toml:2: flip",
                "\nc.toml:4: unknown key viewer.max",
                "\nc.toml:5: unknown key viewer.other",
                "\nc.toml:7: camera.uid",
            ],
        ),
    ] {
        let error = with_file(RUN, text).expect_err(text);
        for problem in problems {
            assert!(error.contains(problem), "{text}\n  gives {error}\n  without {problem}");
        }
    }
}

#[test]
fn limits_hold() {
    let many = |n: usize, item: &str| vec![item; n].join(", ");
    let triangle = "[[0,0],[9,0],[0,9]]";
    for (good, bad, why) in [
        (many(16, triangle), many(17, triangle), "17 are more than 16 polygons"),
        (
            format!("[{}, [9, 0], [0, 9]]", many(30, "[0, 0]")),
            format!("[{}]", many(33, "[0, 0]")),
            "33 points",
        ),
    ] {
        assert_eq!(with_file(RUN, &format!("masks = [{good}]")).err(), None);
        assert!(with_file(RUN, &format!("masks = [{bad}]")).expect_err("too many").contains(why));
    }
    let listen = (1..=17).map(|n| format!("'[::]:{n}'")).collect::<Vec<_>>().join(", ");
    assert!(with_file(RUN, &format!("listen = [{listen}]")).expect_err("17").contains("17 entries"));
    let options = (1..=17).map(|n| format!(" --listen [::]:{n}")).collect::<String>();
    assert!(config(&(RUN.to_owned() + &options)).expect_err("17").contains("at most 16 addresses"));
    let twice = format!("{RUN} --listen [::]:1 --listen [::]:1");
    assert!(config(&twice).expect_err("twice").contains("--listen: [::]:1 is given twice"));
    let any = format!("{RUN} --listen [::]:0 --listen [::]:0");
    assert!(config(&any).is_ok(), "the system chooses two different ports");
    let longest = |n| format!("camera.uid = '{}'", "x".repeat(n));
    assert_eq!(with_file(RUN, &longest(CAMERA_TEXT_MAX)).err(), None);
    assert!(with_file(RUN, &longest(CAMERA_TEXT_MAX + 1)).is_err());
    let path = |n| format!("listen = ['unix:/{}']", "x".repeat(n - 1));
    assert_eq!(with_file(RUN, &path(UNIX_PATH_MAX)).err(), None);
    assert!(with_file(RUN, &path(UNIX_PATH_MAX + 1)).is_err());
}

#[test]
fn a_file_full_of_problems_gives_a_screenful() {
    let text = (0..5000).map(|n| format!("x{n} = 1\n")).collect::<String>();
    let error = with_file(RUN, &text).expect_err("bad");
    assert_eq!(error.lines().count(), 51);
    assert!(error.ends_with("and 4950 more problems"), "{error}");
}

#[test]
fn files_that_cannot_be_read_are_named_with_the_reason() {
    let folder = std::env::temp_dir().join(format!("depthcast-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("c.toml");
    let run = || config(&format!("{RUN} --config {}", path.display()));
    let missing = run().expect_err("missing");
    assert!(
        missing.contains("cannot read the configuration") && missing.contains("c.toml: No such file"),
        "{missing}"
    );
    for (bytes, why) in [
        (vec![b'#'; CONFIG_FILE_MAX + 1], "c.toml: larger than 64 KiB"),
        (b"fps = 1\n# \xff".to_vec(), "c.toml:2:3: this is not UTF-8 text"),
        (b"fps = 1\nfps".to_vec(), "c.toml:2:"),
    ] {
        std::fs::write(&path, bytes).expect("written");
        let error = run().expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    std::fs::write(&path, "fps = 7").expect("written");
    assert_eq!(run().expect("good").fps, 7);
    let directory = config(&format!("{RUN} --config {}", folder.display())).expect_err("a folder");
    assert!(directory.contains("cannot read"), "{directory}");
    std::fs::remove_dir_all(&folder).expect("removed");
    assert!(config("depthcast check").expect_err("no file").contains("--config"));
}

#[test]
fn a_build_without_libfreenect2_says_so() {
    let result = config("depthcast run --source libfreenect2:0012");
    match crate::source::LIBFREENECT2 {
        Some(_) => {
            let source = result.expect("good").source;
            assert_eq!(source, SourceSpec::Libfreenect2(Some("0012".into())));
            assert_eq!(source.to_string(), "libfreenect2:0012");
        }
        None => assert!(result.expect_err("built without").contains("--features libfreenect2")),
    }
    let record = Cli::try_parse_from(["depthcast", "record", "-o", "x", "--source", "libfreenect2"]);
    let Ok(Action::Record(record)) = record.map(|cli| cli.action) else {
        panic!("not taken for a recording")
    };
    let why = record.decide().expect_err("not recorded").to_string();
    assert!(why.contains("libfreenect2"), "{why}");
}

#[test]
fn changes_name_their_keys() {
    let old = config(RUN).expect("good");
    assert_eq!(old.changes(&old), (vec![], vec![]));
    let new = with_file("depthcast run", FULL).expect("good");
    let (at_once, restart) = old.changes(&new);
    assert_eq!(
        restart,
        [
            "source",
            "fps",
            "listen",
            "viewers.max",
            "kinect.packets",
            "kinect.transfers",
            "libfreenect2.pipeline"
        ]
    );
    let kept = old.keeping(new.clone());
    assert_eq!(kept.changes(&new), (vec![], restart.clone()), "what needs a restart stays to be told");
    // FULL changes every key, so that together they are the keys of a file.
    let mut all: Vec<String> = at_once.iter().chain(&restart).map(ToString::to_string).collect();
    all.sort();
    assert_eq!(all, keys());
    let louder = Config { log_level: log::LevelFilter::Debug, ..old.clone() };
    assert_eq!(old.changes(&louder), (vec!["log.level"], vec![]));
}

/// All keys of a file, sorted.
fn keys() -> Vec<String> {
    let dotted = |section: &str, key: &str| format!("{section}.{key}").trim_start_matches('.').to_owned();
    let mut keys: Vec<_> =
        file::SECTIONS.iter().flat_map(|(s, keys)| keys.iter().map(|k| dotted(s, k))).collect();
    keys.sort();
    keys
}

#[test]
fn the_example_documents_every_key_with_its_default() {
    let text = include_str!("../../deploy/config.toml");
    let packaged = with_file("depthcast check --config -", text).expect("good");
    assert_eq!(packaged.source, SourceSpec::Kinect(None));
    assert_eq!(packaged.listen, ["[::]:8080".parse().expect("an address")]);
    assert_eq!(packaged.shutdown_from, []);
    // Commented keys state the defaults, but for the clip, which has none to state.
    let commented = text.replace("\n#clip_mm", "\n# clip_mm");
    let uncommented: String = commented
        .lines()
        .map(|l| {
            let key = l.strip_prefix('#').filter(|l| l.starts_with(char::is_alphabetic));
            format!("{}\n", key.unwrap_or(l))
        })
        .collect();
    assert_eq!(with_file("depthcast check --config -", &uncommented).as_ref(), Ok(&packaged));
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned() + ".";
        }
        let key = line.trim_start_matches('#').split_once(" = ").map(|(key, _)| key);
        found.extend(key.filter(|k| k.starts_with(char::is_alphabetic)).map(|k| section.clone() + k));
    }
    found.sort();
    assert_eq!(found, keys());
}

#[test]
fn the_mask_of_the_example_hides_as_many_columns_as_it_says() {
    let text = include_str!("../../deploy/config.toml");
    let example = text.lines().find_map(|line| line.strip_prefix("#     masks = ")).expect("an example");
    let config = with_file(RUN, &format!("masks = {example}")).expect("good");
    let mut depth = vec![1000; PIXELS];
    view::View::new(&config.view).apply(&mut depth);
    assert!(text.contains("the left 100 columns"), "another example");
    for (at, mm) in depth.iter().enumerate() {
        assert_eq!(*mm == 0, at % WIDTH < 100, "column {}", at % WIDTH);
    }
}

fn again(config: &Config) -> Config {
    with_file("depthcast check --config -", &config.to_string()).expect("what was written is good")
}

#[test]
fn what_check_writes_means_the_same() {
    for config in [config(RUN), with_file("depthcast run", FULL)] {
        let config = config.expect("good");
        assert_eq!(again(&config), config, "{config}");
    }
}

#[test]
fn what_can_be_read_only_once_is_not_taken_for_an_empty_file() {
    let command = |path: &str| {
        serving(Cli::try_parse_from(["depthcast", "run", "--config", path]).expect("good usage"))
    };
    assert!(Config::new(&command("/dev/null")).is_ok(), "at start it may be anything that can be read");
    let why = Config::again(&command("/dev/null")).expect_err("a device").to_string();
    assert!(why.starts_with("/dev/null: no regular file") && why.contains("restart"), "{why}");
    assert!(
        Config::again(&command("/nowhere/c.toml")).expect_err("no file").to_string().contains("No such file")
    );
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/config.toml");
    assert_eq!(
        Config::again(&command(packaged)).expect("good"),
        Config::new(&command(packaged)).expect("good")
    );
}

proptest! {
    #[test]
    fn any_good_configuration_survives_being_written(
        names in proptest::array::uniform4("\\PC{0,40}"),
        numbers in (0..=240u32, 0..9000u16, 1..=4096usize, 1..=3600u64),
        points in proptest::collection::vec((0..=512u16, 0..=424u16), 1..30),
        ip in any::<std::net::IpAddr>(),
    ) {
        let mut config = config(RUN).expect("good");
        let [uid, name, kind, location] = names;
        config.camera = Camera { uid, name, kind, location };
        let clip;
        (config.fps, clip, config.viewers_max, config.stall) =
            (numbers.0, numbers.1, numbers.2, Duration::from_secs(numbers.3));
        config.view.clip_mm = (clip > 0).then_some(clip);
        let corners = points.into_iter().map(|(x, y)| [x, y]).chain([[0, 0], [1, 0]]);
        config.view.masks = vec![corners.chain([[0, 1]]).take(32).collect()];
        config.listen = vec![Address::Tcp((ip, 1).into())];
        config.allow = vec![Network::Ip { address: ip, bits: 7 }];
        prop_assume!(!config.camera.uid.is_empty());
        let fits = [&config.camera.uid, &config.camera.name, &config.camera.kind, &config.camera.location];
        prop_assume!(fits.iter().all(|t| t.len() <= CAMERA_TEXT_MAX));
        prop_assert_eq!(again(&config), config);
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _either_way = with_file(RUN, &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_toml_like_text_is_parsed_or_refused(text in "([a-z]{1,3}|range|masks|viewers|max|[0-9.\\[\\]{}=,'\"\n \\\\#-]){0,60}") {
        let _either_way = with_file(RUN, &text);
    }

    #[test]
    fn damaged_files_are_parsed_or_refused(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<char>()), 1..6),
    ) {
        let mut text: Vec<char> = FULL.chars().collect();
        for (at, from, other) in edits {
            let (at, from) = (at.index(text.len()), from.index(text.len()));
            match u32::from(other) % 3 {
                0 => text[at] = other,
                1 => text[at] = text[from],
                _ => drop(text.drain(at.min(from)..(at.min(from) + 5).min(text.len()))),
            }
        }
        let text: String = text.into_iter().collect();
        match with_file("depthcast run", &text) {
            Ok(config) => prop_assert_eq!(again(&config), config),
            Err(why) => prop_assert!(why.contains("c.toml"), "{}", why),
        }
    }
}
