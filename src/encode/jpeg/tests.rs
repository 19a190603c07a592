use super::*;
use crate::colormap::JET;
use proptest::prelude::*;

const ALL: [Subsampling; 3] = [Subsampling::None, Subsampling::Columns, Subsampling::Both];

fn encoded(settings: Settings, size: (usize, usize), index: &[u8], comment: &[u8]) -> Vec<u8> {
    let mut out = vec![0; bound(size.0, size.1, comment.len())];
    let len = Encoder::new(settings, size).encode(index, &JET, comment, &mut out);
    out.truncate(len);
    out
}

/// Marker, start and payload of each segment before the scan.
fn segments(file: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut at, mut found) = (2, Vec::new());
    while file[at + 1] != 0xda {
        assert_eq!(file[at], 0xff, "no marker at {at}");
        let length = usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        found.push((file[at + 1], &file[at + 4..at + 2 + length]));
        at += 2 + length;
    }
    found
}

fn decoded(file: &[u8]) -> (Vec<u8>, (usize, usize)) {
    let mut decoder = jpeg_decoder::Decoder::new(file);
    let pixels = decoder.decode().expect("decodes");
    let info = decoder.info().expect("decoded");
    assert_eq!(info.pixel_format, jpeg_decoder::PixelFormat::RGB24);
    (pixels, (info.width.into(), info.height.into()))
}

#[test]
fn baseline_jfif_with_the_comment_right_behind() {
    let index: Vec<u8> = (0..64 * 40).map(|i| (i / 12) as u8).collect();
    for subsampling in ALL {
        let file = encoded(Settings { subsampling, quality: 90 }, (64, 40), &index, b"{\"seq\":7}");
        assert!(file.starts_with(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"));
        assert!(file.ends_with(b"\xff\xd9"));
        let found = segments(&file);
        assert_eq!(found[1], (0xfe, &b"{\"seq\":7}"[..]));
        let mut kinds: Vec<u8> = found.iter().map(|s| s.0).collect();
        assert_eq!(kinds[..2], [0xe0, 0xfe]);
        // The others may come in any order.
        kinds.sort_unstable();
        assert_eq!(kinds, [0xc0, 0xc4, 0xc4, 0xc4, 0xc4, 0xdb, 0xdb, 0xe0, 0xfe]);
        let frame = found.iter().find(|s| s.0 == 0xc0).expect("a frame").1;
        let factors = match subsampling {
            Subsampling::None => 0x11,
            Subsampling::Columns => 0x21,
            Subsampling::Both => 0x22,
        };
        assert_eq!(frame[7], factors, "{subsampling:?}");
        let ends = file.windows(2).filter(|w| *w == b"\xff\xd9").count();
        assert_eq!(ends, 1, "a grabber would cut the picture short");
    }
}

/// Of one size, with and without flat units, and parts over the right and the lower edge.
fn scene() -> ((usize, usize), Vec<u8>) {
    let (width, height) = (61, 43);
    let pixel = |n: usize| match (n % width, n / width) {
        (x, y) if x < 35 && y < 20 => 200,
        (x, y) => (x * 5 + y * 3) as u8 ^ (x * y % 7) as u8,
    };
    ((width, height), (0..width * height).map(pixel).collect())
}

#[test]
fn bytes_are_libjpegs() {
    // Made by OpenCV's imencode from the same picture in colour, with libjpeg-turbo 3.1.
    let golden: [(_, _, &[u8]); 3] = [
        (Subsampling::None, 97, include_bytes!("../../../tests/golden/libjpeg_turbo_444_q97.jpg")),
        (Subsampling::Columns, 25, include_bytes!("../../../tests/golden/libjpeg_turbo_422_q25.jpg")),
        (Subsampling::Both, 80, include_bytes!("../../../tests/golden/libjpeg_turbo_420_q80.jpg")),
    ];
    let (size, index) = scene();
    for (subsampling, quality, file) in golden {
        let ours = encoded(Settings { subsampling, quality }, size, &index, b"");
        let apart = ours.iter().zip(file).position(|(a, b)| a != b);
        assert!(
            ours == file,
            "{subsampling:?}: {} and {} bytes, apart from {apart:?} on",
            ours.len(),
            file.len()
        );
    }
}

#[test]
fn a_comment_changes_nothing_else() {
    let (size, index) = scene();
    let plain = encoded(Settings::default(), size, &index, b"");
    let mut with = encoded(Settings::default(), size, &index, b"four");
    assert_eq!(with.splice(START.len()..START.len() + 8, []).collect::<Vec<_>>(), b"\xff\xfe\0\x06four");
    assert_eq!(with, plain);
}

#[test]
fn one_encoder_makes_one_picture_after_the_other() {
    let (size, index) = scene();
    let mut encoder = Encoder::new(Settings::default(), size);
    let mut out = vec![0; bound(size.0, size.1, 0)];
    let first = encoder.encode(&index, &JET, b"", &mut out);
    let first = out[..first].to_vec();
    let other: Vec<u8> = index.iter().rev().copied().collect();
    encoder.encode(&other, &JET, b"", &mut out);
    let again = encoder.encode(&index, &JET, b"", &mut out);
    assert_eq!(first, out[..again]);
}

#[test]
fn a_large_palette_of_greys_is_grey() {
    let mut greys = [0; 768];
    for (n, grey) in greys.chunks_exact_mut(3).enumerate() {
        grey.fill(n as u8);
    }
    let (size, index) = scene();
    let mut out = vec![0; bound(size.0, size.1, 0)];
    let settings = Settings { quality: 100, subsampling: Subsampling::Both };
    let len = Encoder::new(settings, size).encode(&index, &greys, b"", &mut out);
    for (pixel, grey) in decoded(&out[..len]).0.chunks_exact(3).zip(&index) {
        assert!(pixel.iter().all(|sample| sample.abs_diff(*grey) <= 3), "{pixel:?} for {grey}");
    }
}

#[test]
fn colours_are_those_of_the_palette() {
    // Flat, so that no filter of anybody's mixes colours: what is lost then is rounding.
    for (index, subsampling) in (0..=255).zip(ALL.into_iter().cycle()) {
        let file = encoded(Settings { quality: 100, subsampling }, (16, 16), &[index; 256], b"");
        for pixel in decoded(&file).0.chunks_exact(3) {
            for (have, want) in pixel.iter().zip(&JET[3 * usize::from(index)..]) {
                assert!(have.abs_diff(*want) <= 2, "{pixel:?} for {index}, {subsampling:?}");
            }
        }
    }
}

#[test]
fn quality_trades_bytes() {
    let index: Vec<u8> = (0..512 * 424).map(|i| (i % 512 / 2 + i / 512 / 3) as u8 ^ (i % 3) as u8).collect();
    let sizes = [1, 50, 80, 95, 100]
        .map(|quality| encoded(Settings { quality, ..Settings::default() }, (512, 424), &index, b"").len());
    assert!(sizes.is_sorted() && sizes[0] < sizes[4], "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// The room that is set aside is enough for noise, and what comes out is a picture of that size.
    #[test]
    fn any_picture_fits(
        width in 1usize..70, height in 1usize..70, seed in any::<u64>(), quality in 1u8..=100,
        subsampling in prop::sample::select(&ALL[..]), comment in prop::collection::vec(0x20u8..0x7f, 0..300),
    ) {
        let mut state = seed | 1;
        let index: Vec<u8> = (0..width * height).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // Mostly the two ends of the palette: the strongest coefficients there are.
            match state >> 62 { 0 => (state >> 32) as u8, 1 => 0, _ => 255 }
        }).collect();
        let settings = Settings { quality, subsampling };
        let file = encoded(settings, (width, height), &index, &comment);
        prop_assert_eq!(decoded(&file).1, (width, height));
        let mut out = vec![0xee; bound(width, height, comment.len())];
        let len = Encoder::new(settings, (width, height)).encode_plainly(&index, &JET, &comment, &mut out);
        prop_assert!(file == out[..len], "wider vectors give other bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// At the best quality little is lost, whatever the picture is and wherever its edges are.
    #[test]
    fn pixels_come_back(
        width in 1usize..70, height in 1usize..70, slopes in (-3i32..4, -3i32..4, any::<u8>()),
        flat in (0usize..70, 0usize..70), subsampling in prop::sample::select(&ALL[..]),
    ) {
        let greys: Vec<u8> = (0..768).map(|n| (n / 3) as u8).collect();
        let greys = greys.first_chunk().expect("768");
        let index: Vec<u8> = (0..width * height).map(|n| {
            let (x, y) = ((n % width).max(flat.0), (n / width).max(flat.1));
            (i32::from(slopes.2) + slopes.0 * x as i32 + slopes.1 * y as i32).clamp(0, 255) as u8
        }).collect();
        let mut out = vec![0; bound(width, height, 0)];
        let settings = Settings { quality: 100, subsampling };
        let len = Encoder::new(settings, (width, height)).encode(&index, greys, b"", &mut out);
        let (pixels, size) = decoded(&out[..len]);
        prop_assert_eq!(size, (width, height));
        for (pixel, grey) in pixels.chunks_exact(3).zip(&index) {
            prop_assert!(pixel.iter().all(|sample| sample.abs_diff(*grey) <= 3), "{:?} for {}", pixel, grey);
        }
    }
}

#[test]
fn quality_scales_as_libjpegs() {
    assert_eq!(scaled(&STEPS[0], 50), STEPS[0]);
    assert_eq!(scaled(&STEPS[0], 100), [1; 64]);
    assert_eq!(scaled(&STEPS[1], 1), [255; 64]);
    assert_eq!(scaled(&STEPS[0], 80)[..8], [6, 4, 4, 6, 10, 16, 20, 24]);
}
