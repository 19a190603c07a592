//! What viewers of `/stream` and `/depth/stream` may ask for.

use super::*;
use crate::source::HEIGHT;

/// The parts of a stream that was heard up to a boundary: their heads and bodies. Every part states its length.
fn parts(heard: &[u8]) -> Vec<(String, Vec<u8>)> {
    let end = heard.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    let mut rest = heard[end..].strip_prefix(&multipart::TAIL[2..]).expect("a boundary");
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|w| w == b"\r\n\r\n").expect("a part's head") + 4;
        let head = String::from_utf8(rest[..end].to_vec()).expect("text");
        let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).expect("a length");
        let (body, behind) = rest[end..].split_at(length.parse().expect("a number"));
        rest = behind.strip_prefix(multipart::TAIL).expect("a boundary");
        parts.push((head, body.to_vec()));
    }
    parts
}

fn field<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")).unwrap_or("(none)")
}

fn watch(rig: &mut Rig, path: &str) -> (TcpStream, Vec<u8>) {
    let mut viewer = rig.say(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
    let heard = rig.hear(&mut viewer, |_| false).0;
    (viewer, heard)
}

#[test]
fn viewers_are_named_in_their_cookie_and_in_the_state() {
    let mut rig = Rig::with(10, "", |s| s.instance = "garage".parse().expect("a tag"));
    let (_plain, heard) = watch(&mut rig, "/stream");
    let text = String::from_utf8_lossy(&heard);
    assert!(
        text.contains("\r\nSet-Cookie: stream_client_garage=0/0000000000000001; path=/; max-age=30\r\n"),
        "{text}"
    );
    let (_named, heard) = watch(&mut rig, "/?action=stream&key=me.7&advance_headers=1&zero_data=yes");
    let text = String::from_utf8_lossy(&heard);
    assert!(
        text.contains("\r\nSet-Cookie: stream_client_garage=me.7/0000000000000002; path=/; max-age=30\r\n")
    );
    let state = rig.response("GET /state HTTP/1.0\r\n\r\n");
    let (_, body) = state.split_once("\r\n\r\n").expect("a head");
    let state: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(state["result"]["instance_id"], "garage");
    let viewers = &state["result"]["stream"]["clients_stat"];
    let (plain, named) = (&viewers["0000000000000001"], &viewers["0000000000000002"]);
    assert_eq!(
        (&plain["key"], &plain["advance_headers"], &plain["zero_data"]),
        (&"0".into(), &false.into(), &false.into())
    );
    assert_eq!(
        (&named["key"], &named["advance_headers"], &named["zero_data"]),
        (&"me.7".into(), &true.into(), &true.into())
    );
    assert_eq!((&named["extra_headers"], &named["dual_final_frames"]), (&false.into(), &false.into()));
}

#[test]
fn no_query_forges_a_field() {
    let mut rig = Rig::new(10, "");
    for path in [
        "/stream?key=a%0d%0aSet-Cookie:%20b=c",
        "/stream?key=a;b",
        "/stream?fps=0",
        "/depth/stream?format=jpeg",
    ] {
        let answer = rig.response(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("Set-Cookie"), "{path}: {answer}");
    }
}

#[test]
fn more_is_told_on_request() {
    let mut rig = Rig::new(10, "");
    let (_viewer, heard) = watch(&mut rig, "/stream?extra_headers=1");
    let (head, _) = &parts(&heard)[0];
    let order: Vec<_> = head.lines().filter_map(|l| Some(l.split_once(':')?.0)).take(5).collect();
    assert_eq!(
        order,
        ["Content-Type", "Content-Length", "X-Timestamp", "X-UStreamer-Online", "X-UStreamer-Dropped"]
    );
    assert_eq!((field(head, "X-UStreamer-Width"), field(head, "X-UStreamer-Height")), ("512", "424"));
    assert!(
        field(head, "X-UStreamer-Latency").parse::<f64>().is_ok_and(|s| (0.0..10.0).contains(&s)),
        "{head}"
    );
}

#[test]
fn heads_in_advance_and_heads_alone() {
    let mut rig = Rig::new(10, "");
    let (mut viewer, mut heard) = watch(&mut rig, "/stream?advance_headers=1&extra_headers=1");
    rig.pass(Duration::from_millis(100));
    heard.extend(rig.hear(&mut viewer, |_| false).0);
    let bodies: Vec<_> = heard.split(|b| *b == 0xff).collect();
    assert!(!bodies.is_empty());
    let text = String::from_utf8_lossy(&heard);
    let advance = "--boundarydonotcross\r\nContent-Type: image/jpeg\r\nX-Timestamp: ";
    assert_eq!((text.matches(advance).count(), text.matches("--boundarydonotcross").count()), (3, 3));
    assert!(
        !text.contains("Content-Length") && !text.contains("X-UStreamer") && !text.contains("X-Depthcast")
    );
    assert!(heard.ends_with(b"\r\n\r\n"), "the head of a frame that is yet to come ends what there is");
    let starts = heard.windows(7).filter(|w| *w == b"\r\n\r\n\xff\xd8\xff").count();
    assert_eq!(starts, 2, "pictures follow their heads");

    let (mut viewer, mut heard) = watch(&mut rig, "/stream?zero_data=1");
    rig.pass(Duration::from_millis(100));
    heard.extend(rig.hear(&mut viewer, |_| false).0);
    let parts = parts(&heard);
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|(_, body)| body.is_empty()));
    assert_eq!(rig.server.world.ring.free(), RING_SLOTS - 1, "a slot is still pinned");
}

#[test]
fn a_pace_skips_frames_and_queues_none() {
    let mut rig = Rig::new(20, "");
    let (mut viewer, mut heard) = watch(&mut rig, "/stream?fps=5&format=png");
    for _ in 0..20 {
        rig.pass(Duration::from_millis(100));
        heard.extend(rig.hear(&mut viewer, |_| false).0);
    }
    let parts = parts(&heard);
    assert!((10..=11).contains(&parts.len()), "{} parts in two seconds", parts.len());
    let seqs: Vec<u64> =
        parts.iter().map(|(head, _)| field(head, "X-Depthcast-Seq").parse().expect("a number")).collect();
    for (pair, (head, _)) in seqs.windows(2).zip(&parts[1..]) {
        assert_eq!(field(head, "X-Depthcast-Dropped"), (pair[1] - pair[0] - 1).to_string());
        assert!(
            field(head, "X-Depthcast-Age-Ms").parse::<u64>().is_ok_and(|ms| ms <= 60),
            "an old frame: {head}"
        );
    }
    assert!(rig.made(Form::Png) <= 11, "pictures that nobody was sent");
}

#[test]
fn the_last_picture_comes_again_after_a_second_and_depth_does_not() {
    let mut rig = Rig::new(1, "stall@0.5+60");
    let (mut plain, mut heard) = watch(&mut rig, "/stream?format=png");
    let (mut dual, mut doubled) = watch(&mut rig, "/stream?format=png&dual_final_frames=1");
    let (mut depth, mut once) = watch(&mut rig, "/depth/stream?format=raw");
    for _ in 0..19 {
        rig.pass(Duration::from_millis(100));
        heard.extend(rig.hear(&mut plain, |_| false).0);
        doubled.extend(rig.hear(&mut dual, |_| false).0);
        once.extend(rig.hear(&mut depth, |_| false).0);
    }
    let (first, again) = (&parts(&heard)[0], &parts(&heard)[1]);
    assert_eq!((first.1 == again.1, parts(&heard).len()), (true, 2));
    for name in ["X-Timestamp", "X-Depthcast-Seq", "X-Depthcast-Online", "X-Depthcast-Dropped"] {
        assert_eq!(field(&first.0, name), field(&again.0, name));
    }
    assert_eq!(field(&again.0, "X-Depthcast-Age-Ms"), "1000", "it says how old it is");
    let doubled = parts(&doubled);
    assert!(doubled.len() == 3 && doubled[1].1 == doubled[0].1 && doubled[2].1 == doubled[0].1);
    assert_eq!(field(&doubled[1].0, "X-Depthcast-Age-Ms"), "250");
    assert_eq!(parts(&once).len(), 1, "a measurement does not get newer by being sent again");
    // Then the source counts as gone.
    rig.pass(Duration::from_millis(500));
    let more = rig.hear(&mut plain, |_| false).0;
    assert!(String::from_utf8_lossy(&more).contains("X-Depthcast-Online: false"));
    assert_eq!(rig.hear(&mut depth, |_| false).0, b"", "there is no depth to be had");
    let answer = rig.response("GET /depth/stream HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
}

#[test]
fn depth_is_streamed_losslessly_with_the_pictures_numbers() {
    let mut rig = Rig::new(10, "");
    let paths =
        ["/depth/stream?format=raw", "/depth/stream?format=rvl", "/depth/stream", "/stream?format=png"];
    let mut viewers = paths.map(|path| watch(&mut rig, path));
    for _ in 0..3 {
        rig.pass(Duration::from_millis(100));
        for (viewer, heard) in &mut viewers {
            rig.follow(viewer, heard);
        }
    }
    let [raw, rvl, png, pictures] = viewers.map(|(_, heard)| parts(&heard));
    assert_eq!([raw.len(), rvl.len(), png.len(), pictures.len()], [4; 4]);
    for n in 0..4 {
        let seqs =
            [&raw, &rvl, &png, &pictures].map(|parts| field(&parts[n].0, "X-Depthcast-Seq").to_owned());
        assert!(seqs.iter().all(|seq| *seq == (n + 1).to_string()), "{seqs:?}");
        let wanted: Vec<_> = raw[n].1.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        let mut depth = vec![0; PIXELS];
        crate::encode::rvl::decode(&rvl[n].1, &mut depth).expect("depth");
        assert_eq!(depth, wanted);
        let mut reader = png::Decoder::new(std::io::Cursor::new(&png[n].1[..])).read_info().expect("a PNG");
        let mut pixels = vec![0; 2 * PIXELS];
        reader.next_frame(&mut pixels).expect("pixels");
        assert_eq!(
            pixels.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect::<Vec<_>>(),
            wanted
        );
    }
    assert_eq!(field(&raw[0].0, "Content-Type"), "application/octet-stream");
    assert_eq!(field(&png[0].0, "Content-Type"), "image/png");
    let made = [Form::Raw, Form::Rvl, Form::DepthPng, Form::Index].map(|form| rig.made(form));
    assert_eq!(made, [4; 4], "each once a frame");
}

/// The pixels of a grey picture.
fn grey(png: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().expect("a PNG");
    let mut pixels = vec![0; PIXELS];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Grayscale, png::BitDepth::Eight));
    pixels
}

#[test]
fn infrared_is_turned_and_hidden_as_depth_is() {
    let masks = vec![vec![[0, 0], [200, 0], [200, 423], [0, 423]]];
    let spec = Spec { flip: crate::view::Flip::X, clip_mm: Some(3000), masks, ..Spec::default() };
    let mut rig = Rig::seen(10, "", &spec, |_| {});
    let (mut viewer, mut heard) = watch(&mut rig, "/stream?view=ir&format=png");
    for _ in 0..3 {
        rig.pass(Duration::from_millis(100));
        heard.extend(rig.hear(&mut viewer, |_| false).0);
    }
    let shown = parts(&heard);
    assert!(shown.len() >= 2, "{} infrared pictures", shown.len());
    let mut demo = Demo::new(1);
    let (mut depth, mut infrared) = (vec![0; PIXELS], vec![0; PIXELS]);
    for (head, picture) in &shown {
        let n: u64 = field(head, "X-Depthcast-Seq").parse().expect("a number");
        assert_eq!(
            (field(head, "X-Depthcast-Online"), field(head, "X-Depthcast-Min-Mm")),
            ("true", "(none)")
        );
        demo.render(n - 1, Duration::from_millis(100 * (n - 1)), &mut depth);
        demo.infrared(n - 1, &mut infrared);
        let picture = grey(picture);
        let mut bright = 0;
        for (at, grey) in picture.iter().enumerate() {
            let (x, y) = (at % WIDTH, at / WIDTH);
            let source = y * WIDTH + WIDTH - 1 - x;
            let hidden = x <= 200 || !(1..=3000).contains(&depth[source]);
            let light = (f64::from(infrared[source]) / 4500.0).min(1.0);
            let curve = if light < 0.0031308 { 12.92 * light } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 };
            let wanted = if hidden { 0.0 } else { 255.0 * curve };
            assert!((f64::from(*grey) - wanted).abs() <= 0.6, "pixel {x},{y}: {grey}, not {wanted}");
            bright += usize::from(*grey > 20);
        }
        assert!(bright > 5000, "{bright} pixels to be seen");
    }
    // Whoever asks once more finds the same picture made already.
    let made = rig.server.world.renderer.made();
    let answer = rig.response("GET /ir.png HTTP/1.0\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nContent-Type: image/png\r\n"),
        "{answer}"
    );
    assert_eq!(rig.server.world.renderer.made(), made);
    let made = [Form::InfraredPng, Form::Index, Form::Png].map(|form| rig.made(form));
    assert_eq!(made, [shown.len() as u64, 0, 0]);
}

#[test]
fn infrared_is_made_only_while_somebody_wants_it() {
    let mut rig = Rig::new(10, "vanish@20+60");
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.made(Form::Infrared), 0);
    for path in ["/snapshot?view=ir", "/ir.png", "/snapshot.png?view=ir"] {
        let mut stream = rig.say(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        rig.pass(Duration::from_millis(200));
        let heard = rig.hear(&mut stream, |_| false).0;
        assert!(heard.starts_with(b"HTTP/1.1 200 "), "{path}");
    }
    rig.pass(Duration::from_secs(6));
    let made = rig.made(Form::Infrared);
    assert!((30..=50).contains(&made), "{made} in the three seconds after the last one asked");
    rig.pass(Duration::from_secs(15));
    assert_eq!(rig.made(Form::Infrared), made);
    // Without a sensor it is the placeholder that everybody sees, made once.
    for path in ["/ir.png", "/snapshot.png", "/stream?view=ir"] {
        assert!(
            rig.response(&format!("GET {path} HTTP/1.0\r\n\r\n")).contains("X-Depthcast-Online: false"),
            "{path}"
        );
    }
    assert_eq!((rig.made(Form::Png), rig.made(Form::InfraredPng)), (1, 2));
}

#[test]
fn a_source_without_infrared_says_so() {
    let folder = std::env::temp_dir().join(format!("depthcast-no-infrared-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut encoder = crate::encode::png::Encoder::new(WIDTH, HEIGHT);
    let mut out = vec![0; crate::encode::png::depth_bound(WIDTH, HEIGHT)];
    let len = encoder.depth(&vec![1000; PIXELS], "", &mut out);
    std::fs::write(folder.join("0.png"), &out[..len]).expect("written");
    let source = Source::open_replay(&folder).expect("good");
    std::fs::remove_dir_all(&folder).expect("removed");
    let mut rig =
        Rig::of(Feed::new(source, 10, std::iter::empty().collect(), START), &Spec::default(), |_| {});
    for path in ["/ir.png", "/stream?view=ir", "/snapshot?view=ir"] {
        let answer = rig.response(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.contains("this source has no infrared"),
            "{path}: {answer}"
        );
    }
    let config = rig.response("GET /config.json HTTP/1.0\r\n\r\n");
    assert!(config.contains(r#""infrared":false,"intrinsics":null,"#), "{config}");
}

#[test]
fn viewers_are_told_the_lens_of_the_picture_they_get() {
    let spec = Spec { flip: crate::view::Flip::X, ..Spec::default() };
    let mut rig = Rig::seen(10, "", &spec, |_| {});
    let answer = rig.response("GET /config.json HTTP/1.0\r\n\r\n");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let config: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(config["infrared"], true);
    let number = |name: &str| config["intrinsics"][name].as_f64().expect("a number");
    let wanted = crate::source::demo::INTRINSICS;
    assert!((number("fx") - wanted.fx).abs() < 1e-4 && (number("k2") - wanted.k2).abs() < 1e-6);
    assert!((number("cx") - (511.0 - wanted.cx)).abs() < 1e-4 && (number("cy") - wanted.cy).abs() < 1e-4);
}

#[test]
fn pictures_may_be_embedded_and_the_rest_may_not() {
    let mut rig = Rig::new(10, "");
    for (path, policy) in [
        ("/snapshot", "cross-origin"),
        ("/stream", "cross-origin"),
        ("/stream?view=ir", "cross-origin"),
        ("/depth.raw", "same-origin"),
        ("/depth/stream", "same-origin"),
        ("/state", "same-origin"),
        ("/config.json", "same-origin"),
        ("/", "same-origin"),
        ("/nowhere", "same-origin"),
    ] {
        for method in ["GET", "HEAD"] {
            let answer = rig.response(&format!("{method} {path} HTTP/1.0\r\n\r\n"));
            assert_eq!(field(&answer, "Cross-Origin-Resource-Policy"), policy, "{method} {path}");
            assert!(!answer.contains("X-Frame-Options") && !answer.contains("frame-ancestors"), "{path}");
        }
    }
}
