use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;
use crate::limits::{REPLAY_FILE_MAX, REPLAY_FRAMES_MAX};

#[test]
fn plays_in_the_order_of_names_and_loops() {
    let folder = Folder::new();
    // Written out of order, one with an upper-case ending.
    for (name, mm) in [("b.PNG", 2), ("a.png", 1), ("c.png", 3)] {
        folder.write(name, &grey16(&flat(mm)));
    }
    folder.write("a.txt", b"not looked at");
    folder.write("png", b"an ending, not a name");

    let replay = Replay::open(&folder.0).expect("a good folder");
    assert_eq!(replay.frame_count(), 3);
    let mut depth = flat(0);
    for (n, mm) in [(0, 1), (1, 2), (2, 3), (3, 1), (u64::MAX, 1)] {
        replay.copy_frame(n, &mut depth);
        assert_eq!(depth, flat(mm), "frame {n}");
    }
}

#[test]
fn keeps_every_bit() {
    let depth: Vec<u16> = (0..PIXELS).map(|i| (i * 40_503) as u16).collect();
    let mut back = flat(0);
    decode_frame(&grey16(&depth), &mut back).expect("our own file");
    assert!(back == depth);
}

#[test]
fn a_folder_that_cannot_be_listed() {
    let folder = Folder::new();
    let missing = folder.0.join("nowhere");
    assert_eq!(
        message(&missing),
        format!("{}: no such folder; give the folder of the recording", missing.display())
    );

    folder.write("one.png", &grey16(&flat(1)));
    let file = folder.0.join("one.png");
    assert_eq!(
        message(&file),
        format!("{}: not a folder; give the folder that holds the PNG files", file.display())
    );

    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o000)).expect("our own folder");
    if fs::read_dir(&folder.0).is_ok() {
        eprintln!("SKIPPED: a folder without permissions (this user may read everything)");
    } else {
        assert!(message(&folder.0).contains("cannot be listed"));
    }
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o700)).expect("our own folder");
}

#[test]
fn a_folder_without_pictures() {
    let folder = Folder::new();
    assert!(matches!(Replay::open(&folder.0), Err(Error::Empty(_))));
    folder.write("readme.txt", b"nothing here");
    assert!(message(&folder.0).contains("no *.png in this folder"));
}

#[test]
fn a_folder_too_large_for_memory() {
    let folder = Folder::new();
    // Refused by their number: none is opened, so empty files will do.
    for n in 0..=REPLAY_FRAMES_MAX {
        folder.write(&format!("{n}.png"), b"");
    }
    let message = message(&folder.0);
    assert!(message.contains("2401 frames, but at most 2400"), "{message}");
}

#[test]
fn every_bad_file_is_named_with_its_fault() {
    let good = grey16(&flat(1000));
    let folder = Folder::new();
    folder.write("00-good.png", &good);
    folder.write("01-size.png", &encode(640, 480, ColorType::Grayscale, BitDepth::Sixteen));
    folder.write("02-bits.png", &encode(512, 424, ColorType::Grayscale, BitDepth::Eight));
    folder.write("03-rgb.png", &encode(512, 424, ColorType::Rgb, BitDepth::Sixteen));
    folder.write("04-short.png", &good[..good.len() / 2]);
    folder.write("05-text.png", b"Dear diary");
    folder.write("06-empty.png", b"");
    fs::create_dir(folder.0.join("07-folder.png")).expect("our own folder");
    symlink("nowhere", folder.0.join("08-link.png")).expect("our own folder");
    folder.write("09-big.png", &vec![0; REPLAY_FILE_MAX as usize + 1]);

    let message = message(&folder.0);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "9 of 10 files are not depth frames; mend or remove them:");
    for (line, (name, fault)) in lines[1..].iter().zip([
        ("01-size.png", "640x480 pixels instead of 512x424"),
        ("02-bits.png", "8-bit grey instead of 16-bit grey"),
        ("03-rgb.png", "16-bit RGB instead of 16-bit grey"),
        ("04-short.png", "truncated"),
        ("05-text.png", "not a PNG file"),
        ("06-empty.png", "truncated"),
        ("07-folder.png", "not a regular file"),
        ("08-link.png", "cannot be read"),
        ("09-big.png", "4194305 bytes"),
    ]) {
        assert!(line.contains(name) && line.contains(fault), "{line}: expected {name}, {fault}");
    }
    assert_eq!(lines.len(), 10);
}

#[test]
fn a_file_without_permission() {
    let folder = Folder::new();
    folder.write("a.png", &grey16(&flat(1)));
    let file = folder.0.join("a.png");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("our own file");
    if File::open(&file).is_ok() {
        eprintln!("SKIPPED: a file without permissions (this user may read everything)");
        return;
    }
    assert!(message(&folder.0).contains("a.png: cannot be read"));
}

#[test]
fn a_long_list_of_bad_files_is_cut() {
    let folder = Folder::new();
    for n in 0..13 {
        folder.write(&format!("{n:02}.png"), b"?");
    }
    let message = message(&folder.0);
    assert_eq!(message.lines().count(), 12);
    assert!(message.ends_with("\n  and 3 more"), "{message}");
}

#[test]
fn cut_anywhere_it_is_truncated_and_the_buffer_untouched() {
    let good = grey16(&flat(1000));
    for keep in (0..good.len()).step_by(7).chain(good.len() - 20..good.len()) {
        let mut depth = flat(7);
        assert_eq!(decode_frame(&good[..keep], &mut depth), Err(FrameError::Truncated), "{keep} bytes");
        assert!(depth == flat(7));
    }
}

#[test]
fn bytes_after_the_end_are_ignored() {
    let mut file = grey16(&flat(1000));
    file.extend_from_slice(b"left behind by a recorder");
    let mut depth = flat(0);
    assert_eq!(decode_frame(&file, &mut depth), Ok(()));
    assert!(depth == flat(1000));
}

#[test]
fn what_says_nothing_about_depth_is_skipped() {
    for kind in [b"tEXt", b"eXIf", b"abCd"] {
        let mut depth = flat(0);
        assert_eq!(decode_frame(&with_chunk(kind, 4 << 10), &mut depth), Ok(()), "{}", kind.escape_ascii());
        assert!(depth == flat(1000));
    }
}

#[test]
fn a_large_chunk_that_must_be_held_is_refused() {
    // Kept whole by the decoder, so its memory would be the file's to choose.
    assert_eq!(decode_frame(&with_chunk(b"eXIf", 3 << 20), &mut flat(0)), Err(FrameError::TooLarge));
    assert_eq!(decode_frame(&with_chunk(b"zTXt", 3 << 20), &mut flat(0)), Ok(()));
}

#[test]
fn a_damaged_byte_is_found() {
    let mut file = grey16(&flat(1000));
    // Within the image data, which starts at byte 41 and is guarded by its checksum.
    file[60] ^= 0x10;
    assert!(matches!(decode_frame(&file, &mut flat(0)), Err(FrameError::Damaged(_))));
}

#[test]
fn an_animation_is_refused() {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, WIDTH as u32, HEIGHT as u32);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Sixteen);
    encoder.set_animated(2, 0).expect("two frames");
    let mut writer = encoder.write_header().expect("into memory");
    for _ in 0..2 {
        writer.write_image_data(&vec![0; PIXELS * 2]).expect("into memory");
    }
    writer.finish().expect("into memory");
    assert_eq!(decode_frame(&file, &mut flat(0)), Err(FrameError::Animated));
}

#[test]
fn a_huge_picture_is_refused_by_its_header() {
    // The claim of the header alone: 2³¹ - 1 squared, 16-bit grey; its checksum is right.
    let mut file = SIGNATURE.to_vec();
    file.extend_from_slice(b"\0\0\0\x0dIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x10\0\0\0\0");
    let checksum = crc32(&file[12..]);
    file.extend_from_slice(&checksum.to_be_bytes());
    assert_eq!(
        decode_frame(&file, &mut flat(0)),
        Err(FrameError::Size { width: 0x7fff_ffff, height: 0x7fff_ffff })
    );
}

#[test]
fn real_recordings_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/depth");
    if !folder.is_dir() {
        eprintln!("SKIPPED: real recordings ({} is absent)", folder.display());
        return;
    }
    let replay = Replay::open(&folder).expect("114 good files");
    assert_eq!(replay.frame_count(), 114);
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), signed: bool) {
        let mut file = if signed { SIGNATURE.to_vec() } else { Vec::new() };
        file.extend(bytes);
        prop_assert!(decode_frame(&file, &mut flat(0)).is_err());
    }

    #[test]
    fn mutated_files_never_panic(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        header in any::<Option<[u8; 13]>>(),
    ) {
        let mut file = grey16(&flat(1000));
        // A new header with a right checksum gets past the first gate.
        if let Some(header) = header {
            file[16..29].copy_from_slice(&header);
            let checksum = crc32(&file[12..29]);
            file[29..33].copy_from_slice(&checksum.to_be_bytes());
        }
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let _ = decode_frame(&file, &mut flat(0));
    }
}

/// The message for a folder that must be refused.
fn message(folder: &Path) -> String {
    Replay::open(folder).expect_err("must be refused").to_string()
}

fn flat(mm: u16) -> Vec<u16> {
    vec![mm; PIXELS]
}

fn grey16(depth: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = depth.iter().flat_map(|mm| mm.to_be_bytes()).collect();
    encode_bytes(WIDTH, HEIGHT, ColorType::Grayscale, BitDepth::Sixteen, &bytes)
}

fn encode(width: usize, height: usize, colour: ColorType, bits: BitDepth) -> Vec<u8> {
    let bytes = width * height * colour.samples() * (bits as usize / 8);
    encode_bytes(width, height, colour, bits, &vec![0; bytes])
}

fn encode_bytes(width: usize, height: usize, colour: ColorType, bits: BitDepth, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
    encoder.set_color(colour);
    encoder.set_depth(bits);
    let mut writer = encoder.write_header().expect("into memory");
    writer.write_image_data(bytes).expect("into memory");
    writer.finish().expect("into memory");
    file
}

/// A good file with one more chunk after its header.
fn with_chunk(kind: &[u8; 4], bytes: u32) -> Vec<u8> {
    let mut chunk = bytes.to_be_bytes().to_vec();
    chunk.extend_from_slice(kind);
    chunk.extend_from_slice(b"Comment\0");
    chunk.resize(8 + bytes as usize, b'x');
    let checksum = crc32(&chunk[4..]);
    chunk.extend_from_slice(&checksum.to_be_bytes());
    let mut file = grey16(&flat(1000));
    file.splice(33..33, chunk);
    file
}

/// The checksum of PNG chunks, bit by bit (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A folder of its own, removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("depthcast-replay-{}-{n}", std::process::id()));
        fs::create_dir(&path).expect("a folder for temporary files");
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).expect("our own folder");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
