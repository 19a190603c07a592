//! An image of any shape and content comes back from two decoders that share no inflater.
#![no_main]

use depthcast::encode::png::{Encoder, depth_bound, indexed_bound};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[width, spread], pixels)) = data.split_first_chunk() else { return };
    let width = usize::from(width) + 1;
    // Small values are what a real picture has most of; without this, mutations hardly ever reach their code.
    let pixels: Vec<u8> = pixels.iter().map(|&b| if spread < 200 { b % (spread + 1) } else { b }).collect();
    let height = (pixels.len() / width).min(64);
    if height == 0 {
        return;
    }
    let index = &pixels[..width * height];
    let mut encoder = Encoder::new(width, height);
    let mut out = vec![0; indexed_bound(width, height)];
    let length = encoder.indexed(index, &[7; 768], "{}", &mut out);
    assert!(decoded(&out[..length]) == index);
    assert!(inflated(&out[..length], width) == index);

    let depth: Vec<u16> = index.iter().map(|&b| u16::from(b) * 257).collect();
    let mut out = vec![0; depth_bound(width, height)];
    let length = encoder.depth(&depth, "", &mut out);
    let back = decoded(&out[..length]);
    assert!(inflated(&out[..length], 2 * width) == back);
    assert!(back.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).eq(depth));
});

fn decoded(png: &[u8]) -> Vec<u8> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().expect("header");
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    reader.next_frame(&mut pixels).expect("image");
    pixels
}

/// The image data by hand: one IDAT, inflated by the second inflater, every row "Up"; rows of `width` bytes.
fn inflated(png: &[u8], width: usize) -> Vec<u8> {
    let at = png.windows(4).position(|w| w == b"IDAT").expect("image data");
    let length = u32::from_be_bytes(png[at - 4..at].try_into().expect("four bytes")) as usize;
    let rows = miniz_oxide::inflate::decompress_to_vec_zlib(&png[at + 4..at + 4 + length]).expect("zlib");
    let mut pixels: Vec<u8> = Vec::new();
    for row in rows.chunks_exact(width + 1) {
        assert_eq!(row[0], 2);
        let above = pixels.len().checked_sub(width);
        for (x, difference) in row[1..].iter().enumerate() {
            let above = above.map_or(0, |at| pixels[at + x]);
            pixels.push(difference.wrapping_add(above));
        }
    }
    pixels
}
