use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use depthcast::camera::TEXT_LEN;
use depthcast::proto::pickle::{HEADER_LEN, Style, message, message_bound};
use proptest::prelude::*;

use super::*;

/// Pickles of one picture by real numpy, by name; the same serve the fuzzer as seeds.
fn recorded() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/view_pickle");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files
        .map(|path| (name(&path), fs::read(path).unwrap()))
        .filter(|(name, _)| name.contains("-protocol"))
        .collect()
}

fn refused(pickle: &[u8]) -> What {
    array(pickle).expect_err("refused").what
}

#[test]
fn every_protocol_of_both_numpys_and_both_shapes_gives_the_same_picture() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 20);
    let picture = array(&recorded["old-protocol3-n"]).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n\x1a\n") && picture.ends_with(b"IEND\xaeB`\x82"));
    for (name, pickle) in &recorded {
        assert_eq!(array(pickle).unwrap_or_else(|e| panic!("{name}: {e}")), picture, "{name}");
        let copied = matches!(array(pickle).unwrap(), Cow::Owned(_));
        assert_eq!(copied, name.contains(['0', '1', '2']) && !name.contains(['3', '4', '5']), "{name}");
    }
}

#[test]
fn what_python_servers_sent() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/seed-golden/wire");
    let Ok(files) = fs::read_dir(folder) else {
        eprintln!("SKIPPED: no recorded messages in {folder}");
        return;
    };
    let mut seen = 0;
    for path in files.map(|entry| entry.unwrap().path()) {
        let bytes = fs::read(&path).unwrap();
        let picture = array(&bytes[HEADER_LEN..]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(picture.starts_with(b"\x89PNG"), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn numbers_with_an_l_are_numbers() {
    let text = recorded()["old-protocol0-n1"].clone();
    let picture = array(&text).unwrap().into_owned();
    // Python 3.6 wrote `L0L` where later ones write `I0`; truths stay `I00` and `I01`.
    let mut old = Vec::new();
    let data = text.windows(2).rposition(|w| w == b"(V").unwrap();
    for line in text[..data].split_inclusive(|b| *b == b'\n') {
        let at = line
            .iter()
            .position(|b| *b == b'I')
            .filter(|_| !line.ends_with(b"I00\n") && !line.ends_with(b"I01\n"));
        match at.filter(|at| line[at + 1..line.len() - 1].iter().all(|b| b.is_ascii_digit() || *b == b'-')) {
            Some(at) => old.extend([&line[..at], b"L", &line[at + 1..line.len() - 1], b"L\n"].concat()),
            None => old.extend_from_slice(line),
        }
    }
    old.extend_from_slice(&text[data..]);
    assert!(old.len() > text.len() + 5, "some numbers were found");
    assert_eq!(array(&old).unwrap(), picture);
}

#[test]
fn nothing_is_run() {
    let name = |pickle: &[u8]| match refused(pickle) {
        What::Name(name) => name,
        other => panic!("{other:?}"),
    };
    // What `pickle.dumps` gives for an object whose `__reduce__` says `os.system, ('id',)`, by protocol.
    assert_eq!(name(b"cposix\nsystem\np0\n(Vid\np1\ntp2\nRp3\n."), "posix.system");
    assert_eq!(name(b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."), "posix.system");
    assert_eq!(name(b"cbuiltins\neval\n(Vx\ntR."), "builtins.eval");
    // Modules of the known names have other names in them.
    assert_eq!(name(b"cnumpy\nload\n."), "numpy.load");
    assert_eq!(name(b"c_codecs\nlookup\n."), "_codecs.lookup");
    assert_eq!(name(b"cnumpy.core.multiarray\nfromfile\n."), "numpy.core.multiarray.fromfile");
    assert_eq!(name(b"cnumpy\x1b[2J\nx\n."), "numpy?[2J.x");
    for (opcode, pickle) in [
        (b'i', &b"(Vid\nios\nsystem\n."[..]),
        (b'o', b"(cnumpy\nndarray\no."),
        (0x81, b"\x80\x02cnumpy\nndarray\n)\x81."),
        (0x92, b"\x80\x04cnumpy\nndarray\n)N\x92."),
        (b'P', b"Pevil\n."),
        (b'Q', b"NQ."),
        (0x82, b"\x82\x01."),
        (b'}', b"}."),
        (b']', b"]."),
        (b'S', b"S'id'\n."),
        (b'0', b"N0."),
        (0xff, b"\xff"),
    ] {
        let error = array(pickle).unwrap_err();
        assert_eq!(error.what, What::Opcode(opcode));
        assert_eq!(pickle[error.at], opcode, "it says where");
    }
    let shown = array(b"(Vid\nios\nsystem\n.").unwrap_err().to_string();
    assert_eq!(shown, "the pickle is no picture: at byte 5 it wants the opcode 0x69 (INST)");
}

#[test]
fn calls_and_states_that_numpy_does_not_make() {
    let head =
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntc_codecs\nencode\n(Vb\nVlatin1\ntRtR";
    let with = |rest: &str| refused(format!("{head}{rest}").as_bytes());
    assert_eq!(with("."), What::NoArray, "an array without data");
    assert_eq!(with("Nb."), What::State);
    assert_eq!(with("(I1\ntb."), What::State);
    let kind = |code: &str| format!("cnumpy\ndtype\n(V{code}\nI00\nI01\ntR(I3\nV|\nNNNI-1\nI-1\nI0\ntb");
    let data = "c_codecs\nencode\n(Vabc\nVlatin1\ntR";
    let whole = |shape: &str, code: &str| format!("{head}(I1\n({shape}t{}I00\n{data}tb.", kind(code));
    assert_eq!(&*array(whole("I3\n", "u1").as_bytes()).unwrap(), b"abc");
    assert_eq!(&*array(whole("I3\nI1\n", "u1").as_bytes()).unwrap(), b"abc");
    for shape in [
        "I2\n",
        "I4\n",
        "I-3\n",
        "I3\nI3\n",
        "I1\nI3\n",
        "I3\nI1\nI1\n",
        "",
        "I01\n",
        "I9223372036854775807\n",
    ] {
        assert_eq!(
            refused(format!("{head}{}", &whole(shape, "u1")[head.len()..]).as_bytes()),
            What::Shape,
            "{shape}"
        );
    }
    for code in ["f8", "u2", "O", "i1"] {
        assert_eq!(refused(whole("I3\n", code).as_bytes()), What::Shape, "{code}");
    }
    assert_eq!(refused(b"c_codecs\nencode\n(Vabc\nVutf-8\ntR."), What::Call);
    assert_eq!(refused(b"c_codecs\nencode\n(Nt(tR."), What::Call);
    assert_eq!(refused(b"Vabc\n)R."), What::Call, "text cannot be called");
    assert_eq!(refused(b"c_codecs\nencode\n(V\\u0100\nVlatin1\ntR."), What::Text);
    assert_eq!(refused(b"c_codecs\nencode\n(V\\u00+1\nVlatin1\ntR."), What::Text);
    assert_eq!(refused(b"c_codecs\nencode\n(V\\u00\nVlatin1\ntR."), What::Text);
    assert_eq!(
        refused(b"\x80\x02c_codecs\nencode\nX\x03\0\0\0\xe2\x82\xacX\x06\0\0\0latin1\x86R."),
        What::Text
    );
}

#[test]
fn limits_hold() {
    assert_eq!(refused(&b"(".repeat(1000)), What::Limit("things on its stack"));
    assert_eq!(refused(&b"N".repeat(1000)), What::Limit("things on its stack"));
    assert_eq!(refused(&b"(t)\x86".repeat(1000)), What::Limit("things on its stack"));
    assert_eq!(refused(&[b"N", &b"\x85".repeat(1000)[..]].concat()), What::Limit("values"));
    assert_eq!(refused(b"Np1000000000\n."), What::Limit("places in its memo"));
    assert_eq!(refused(b"Nr\xff\xff\xff\xff."), What::Limit("places in its memo"));
    assert_eq!(refused(&[b"I", &b"1".repeat(500)[..], b"\n"].concat()), What::Limit("characters in a line"));
    assert_eq!(refused(b"B\xff\xff\xff\xffxx"), What::Ended);
    assert_eq!(refused(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffxx"), What::Ended);
    assert_eq!(refused(b"\x95\xff\xff\xff\xff\xff\xff\xff\xff"), What::Ended);
    assert_eq!(refused(b"\x80\x06"), What::Protocol(6));
    assert_eq!(refused(b"\x80\x05\x97."), What::OutOfBand);
    assert_eq!(refused(b"g0\n."), What::Stack);
    assert_eq!(refused(b"Np-1\n."), What::Value);
    assert_eq!(refused(b"N(R."), What::Stack, "not across a mark");
    assert_eq!(refused(b"t."), What::Stack);
    assert_eq!(refused(b"N."), What::NoArray);
    assert_eq!(refused(b"I1x\n."), What::Value);
    assert_eq!(refused(b"\x8a\x09123456789."), What::Value);
    assert_eq!(refused(b""), What::Ended);
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let mut pickle = recorded()["new-protocol5-n"].clone();
    let length = pickle.len();
    pickle.push(b'.');
    assert_eq!(array(&pickle), Err(Refused { at: length, what: What::Behind(1) }));
}

#[test]
fn every_cut_of_every_form_is_an_end_in_the_middle() {
    for (name, pickle) in recorded() {
        for cut in 0..pickle.len() {
            let what = refused(&pickle[..cut]);
            assert!(matches!(what, What::Ended), "{name} cut at {cut}: {what:?}");
        }
    }
}

proptest! {
    /// Both forms that depthcast writes, of any bytes.
    #[test]
    fn what_depthcast_writes_is_read(png in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\\'), Just(b'u'), Just(b'\n')], 0..400)) {
        for style in [Style::Protocol0, Style::Compact] {
            let mut out = vec![0; message_bound(style, png.len())];
            let length = message(style, &[0; TEXT_LEN], &png, &mut out);
            prop_assert_eq!(&array(&out[HEADER_LEN..length]).unwrap()[..], &png[..]);
        }
    }

    #[test]
    fn backslashes_are_read_as_python_does(
        pieces in prop::collection::vec(prop_oneof![Just("\\"), Just("u"), Just("U"), Just("00"), Just("0041"), Just("x")], 0..12),
    ) {
        let text = pieces.concat();
        if let Ok(bytes) = unescape(text.as_bytes()) {
            prop_assert!(bytes.len() <= text.len());
            if !text.contains('\\') {
                prop_assert_eq!(&*bytes, text.as_bytes());
            }
        }
    }

    /// A byte changed anywhere gives a picture of the same size, or a reason; never a panic.
    #[test]
    fn one_wrong_byte(which in 0usize..20, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let recorded = recorded();
        let mut pickle = recorded.values().nth(which).unwrap().clone();
        let at = at.index(pickle.len());
        pickle[at] = byte;
        match array(&pickle) {
            Ok(bytes) => prop_assert!(bytes.len() <= pickle.len()),
            Err(refused) => prop_assert!(refused.at <= pickle.len() && !refused.to_string().contains(char::is_control)),
        }
    }
}
