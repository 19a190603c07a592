use super::*;

use depthcast::encode::metadata::Metadata;
use depthcast::encode::png::{Encoder, indexed_bound};
use proptest::prelude::*;

/// A PNG of any kind that the crate can write.
fn png_of(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(JET[..].to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    bytes
}

/// As depthcast sends it.
fn depthcasts(index: &[u8], width: usize, height: usize) -> Vec<u8> {
    let about = Metadata {
        seq: 41,
        captured_us: 1_500_000,
        range_mm: Some((0, 1500)),
        valid: Some((1, 2)),
        uid: "u",
        name: "Süd",
    };
    let mut out = vec![0; indexed_bound(width, height)];
    let length = Encoder::new(width, height).indexed(index, &JET, &about.text(), &mut out);
    out.truncate(length);
    out
}

#[test]
fn a_picture_of_depthcast_says_what_it_is() {
    let index: Vec<u8> = (0..=255).collect();
    let picture = Picture::decode(&depthcasts(&index, 16, 16)).unwrap();
    assert_eq!((picture.width, picture.height, picture.format()), (16, 16, "PNG, palette"));
    assert_eq!(picture.rgb, JET);
    let about = picture.about.as_ref().unwrap();
    assert_eq!((about.seq, about.captured, about.range_mm, about.online), (41, 1.5, Some((0, 1500)), true));
    for n in 0..256 {
        assert_eq!(picture.index(n % 16, n / 16), Some((n as u8, true)));
    }
    assert_eq!((picture.index(16, 0), picture.index(0, 16)), (None, None));
    assert_eq!(Picture::decode(&picture.to_png()).unwrap().rgb, picture.rgb);
}

#[test]
fn pictures_of_all_kinds() {
    let grey: Vec<u8> = (0..=255).collect();
    let picture =
        Picture::decode(&png_of(16, 16, png::ColorType::Grayscale, png::BitDepth::Eight, &grey)).unwrap();
    assert_eq!((picture.index(5, 1), picture.format()), (Some((21, true)), "PNG, grey"));
    assert_eq!(picture.rgb[3 * 21..][..3], [21; 3]);
    assert_eq!(picture.about, None);

    // As the Python server sends it: every JET colour is found again, and none that is not one.
    let mut colours = JET.to_vec();
    colours[3..6].copy_from_slice(&[1, 2, 3]);
    let picture =
        Picture::decode(&png_of(256, 1, png::ColorType::Rgb, png::BitDepth::Eight, &colours)).unwrap();
    for n in (0..256).filter(|n| *n != 1) {
        let (index, exact) = picture.index(n, 0).unwrap();
        assert!(exact && JET[3 * usize::from(index)..][..3] == JET[3 * n..][..3], "{n} is taken for {index}");
    }
    assert_eq!(picture.index(1, 0), None);

    let alpha: Vec<u8> = (0..8).flat_map(|n| [n, 2 * n, 3 * n, 128]).collect();
    let picture = Picture::decode(&png_of(4, 2, png::ColorType::Rgba, png::BitDepth::Eight, &alpha)).unwrap();
    assert_eq!(picture.rgb[9..12], [3, 6, 9]);
    let alpha: Vec<u8> = (0..8).flat_map(|n| [n, 128]).collect();
    let picture =
        Picture::decode(&png_of(4, 2, png::ColorType::GrayscaleAlpha, png::BitDepth::Eight, &alpha)).unwrap();
    assert_eq!(picture.index(3, 1), Some((7, true)));
    let wide: Vec<u8> = (0..8).flat_map(|n| [n, 255]).collect();
    let picture =
        Picture::decode(&png_of(4, 2, png::ColorType::Grayscale, png::BitDepth::Sixteen, &wide)).unwrap();
    assert_eq!(picture.rgb.len(), 24);
    let picture =
        Picture::decode(&png_of(8, 1, png::ColorType::Indexed, png::BitDepth::One, &[0b0101_0000])).unwrap();
    assert_eq!(picture.rgb[..6], JET[..6], "a palette of few colours is read as colours");
}

#[test]
fn jpeg_in_colours_and_grey() {
    let (mut colour, mut grey) = (Vec::new(), Vec::new());
    // One JET colour for each block of 16 by 16, so that compression leaves it as it is, nearly.
    let rgb: Vec<u8> = (0..64 * 64)
        .flat_map(|n| JET[3 * (60 + 10 * (n / 64 / 16) + 40 * (n % 64 / 16))..][..3].to_vec())
        .collect();
    jpeg_encoder::Encoder::new(&mut colour, 95).encode(&rgb, 64, 64, jpeg_encoder::ColorType::Rgb).unwrap();
    let picture = Picture::decode(&colour).unwrap();
    assert_eq!((picture.width, picture.height, picture.format()), (64, 64, "JPEG"));
    let (index, exact) = picture.index(8, 8).unwrap();
    assert!(!exact && index.abs_diff(60) < 6, "60 is taken for {index}");
    let luma = [200; 24 * 8];
    jpeg_encoder::Encoder::new(&mut grey, 95).encode(&luma, 24, 8, jpeg_encoder::ColorType::Luma).unwrap();
    let picture = Picture::decode(&grey).unwrap();
    assert_eq!((picture.width, picture.height, picture.rgb.len()), (24, 8, 3 * 24 * 8));
    assert!(picture.rgb.iter().all(|byte| byte.abs_diff(200) < 3));
    for cut in [3, colour.len() / 4] {
        assert!(matches!(Picture::decode(&colour[..cut]), Err(BadPicture::Broken(_))), "{cut}");
    }
}

#[test]
fn what_is_no_picture() {
    assert_eq!(Picture::decode(b""), Err(BadPicture::Empty));
    assert_eq!(Picture::decode(b"GIF89a"), Err(BadPicture::Format));
    assert!(matches!(Picture::decode(b"\x89PNG\r\n\x1a\n"), Err(BadPicture::Broken(_))));
    assert!(matches!(Picture::decode(&[0xff, 0xd8]), Err(BadPicture::Broken(_))));
    let whole = depthcasts(&[7; 256], 16, 16);
    for cut in 0..whole.len() - 12 {
        // Everything before the end of the pixels is needed; the last chunk says nothing.
        if let Ok(picture) = Picture::decode(&whole[..cut]) {
            assert_eq!(picture.rgb[..3], JET[21..24], "{cut}");
            assert!(cut > whole.len() - 24, "{cut} of {}", whole.len());
        }
    }
}

/// A chunk of a PNG with a right checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in kind.iter().chain(data) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], kind, data, &(!crc).to_be_bytes()].concat()
}

/// A PNG that says it has these sides.
fn bomb(width: u32, height: u32, rest: &[u8]) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n", &chunk(b"IHDR", &header)[..], rest].concat()
}

#[test]
fn bombs_are_defused() {
    for (width, height) in [(u32::MAX >> 1, 1), (60_000, 60_000), (8193, 1), (1, 8193), (8192, 8192)] {
        let error = Picture::decode(&bomb(width, height, &chunk(b"IDAT", &[]))).unwrap_err();
        assert_eq!(error, BadPicture::TooLarge { width, height });
    }
    assert!(Picture::decode(&bomb(0, 4, &[])).is_err());
    // A megabyte of zeros for a picture of one pixel: more than it needs is not unpacked, and it is one pixel.
    let mut zlib = Vec::new();
    {
        let mut inner = Vec::new();
        let mut encoder = png::Encoder::new(&mut inner, 1 << 10, 1 << 10);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&vec![0; 1 << 20]).unwrap();
        writer.finish().unwrap();
        let idat = inner.windows(4).position(|w| w == b"IDAT").unwrap();
        let length = u32::from_be_bytes(inner[idat - 4..idat].try_into().unwrap()) as usize;
        zlib.extend_from_slice(&inner[idat + 4..][..length]);
    }
    let small = bomb(1, 1, &[chunk(b"IDAT", &zlib), chunk(b"IEND", &[])].concat());
    if let Ok(picture) = Picture::decode(&small) {
        assert_eq!(picture.rgb, [0; 3]);
    }
    // A colour profile and a text that unpack to a lot are not unpacked.
    let profile = [b"x\0\0", &zlib[..]].concat();
    let text = [b"Comment\0\0", &zlib[..]].concat();
    let dressed = bomb(
        1 << 10,
        1 << 10,
        &[chunk(b"iCCP", &profile), chunk(b"zTXt", &text), chunk(b"IDAT", &zlib), chunk(b"IEND", &[])]
            .concat(),
    );
    assert_eq!(Picture::decode(&dressed).unwrap().about, None);
    // JPEG says its sides in two bytes each.
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 50).encode(&[0; 64], 8, 8, jpeg_encoder::ColorType::Luma).unwrap();
    let sof = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[sof + 5..sof + 9].fill(0xff);
    assert!(Picture::decode(&jpeg).is_err());
    jpeg[sof + 5..sof + 9].copy_from_slice(&[0x1f, 0xff, 0x1f, 0xff]);
    assert!(matches!(Picture::decode(&jpeg), Err(BadPicture::TooLarge { .. })));
}

#[test]
fn a_comment_of_somebody_else_is_none_of_ours() {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.add_text_chunk("Comment".into(), r#"{"seq":1}"#.into()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[9]).unwrap();
    assert_eq!(Picture::decode(&bytes).unwrap().about, None);
}

proptest! {
    #[test]
    fn one_wrong_byte(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let index: Vec<u8> = (0..=255).collect();
        let mut bytes = depthcasts(&index, 16, 16);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(picture) = Picture::decode(&bytes) {
            prop_assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
        }
    }
}
