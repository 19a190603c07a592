//! Pictures as a server may send them: PNG in grey, colours or a palette, and JPEG, within limits.

use std::fmt;
use std::io::Cursor;
use std::sync::LazyLock;

use depthcast::colormap::JET;
use serde_json::Value;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::limits::{COMMENT_MAX, PIXELS_MAX, PNG_MEMORY_MAX, SIDE_MAX};

/// A decoded picture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Picture {
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// R, G, B of each pixel, row-major.
    pub rgb: Vec<u8>,
    /// What it was before, and what follows for the index under a pixel.
    pub kind: Kind,
    /// What it says of itself, if it is depthcast's.
    pub about: Option<About>,
}

/// How the pixels came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// PNG with a palette: the index of each pixel.
    Indexed(Vec<u8>),
    /// PNG in grey; the index is the grey.
    Grey,
    /// PNG in colours; the index is that of OpenCV's JET colour, if it is one.
    Colour,
    /// JPEG: colours are near what they were.
    Jpeg,
}

/// The JSON that depthcast puts into its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Sequence number of the frame.
    pub seq: u64,
    /// Wall clock of the server at capture, seconds since 1970.
    pub captured: f64,
    /// False for the placeholder.
    pub online: bool,
    /// Depths at the ends of the palette, in millimetres; `None` where colours are no depths.
    pub range_mm: Option<(u16, u16)>,
}

impl Eq for About {}

impl Picture {
    /// Decodes a picture.
    ///
    /// # Errors
    /// [`BadPicture`] for all that is not one, is too large, or takes too much memory to find out.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadPicture> {
        match bytes {
            [] => Err(BadPicture::Empty),
            [0x89, b'P', b'N', b'G', ..] => png(bytes),
            [0xff, 0xd8, ..] => jpeg(bytes),
            _ => Err(BadPicture::Format),
        }
    }

    /// The index of the colour of a pixel, 0 near to 255 far, and whether it is the very one.
    ///
    /// `None` outside the picture, and for a colour that is not on the palette.
    pub fn index(&self, x: usize, y: usize) -> Option<(u8, bool)> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = y * self.width + x;
        let rgb = self.rgb[3 * at..].first_chunk()?;
        match &self.kind {
            Kind::Indexed(index) => index.get(at).map(|index| (*index, true)),
            Kind::Grey => Some((rgb[0], true)),
            Kind::Colour => {
                nearest(rgb).filter(|(_, distance)| *distance == 0).map(|(index, _)| (index, true))
            }
            // As far as quality 90 moves most colours; beyond it is text or the edge of something.
            Kind::Jpeg => {
                nearest(rgb).filter(|(_, distance)| *distance <= 3 * 40 * 40).map(|(index, _)| (index, false))
            }
        }
    }

    /// What it was, in words.
    pub fn format(&self) -> &'static str {
        match self.kind {
            Kind::Indexed(_) => "PNG, palette",
            Kind::Grey => "PNG, grey",
            Kind::Colour => "PNG, colour",
            Kind::Jpeg => "JPEG",
        }
    }

    /// The picture as a PNG in colours, for one that came as something else.
    ///
    /// # Panics
    /// Never: a decoded picture has as many pixels as it says.
    pub fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Sides are below SIDE_MAX.
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().expect("memory takes all");
        writer.write_image_data(&self.rgb).expect("three bytes a pixel");
        writer.finish().expect("memory takes all");
        bytes
    }
}

/// Why bytes are not shown as a picture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BadPicture {
    /// There are none.
    Empty,
    /// Neither PNG nor JPEG.
    Format,
    /// More pixels than are taken.
    TooLarge {
        /// Columns it says it has.
        width: u32,
        /// Rows it says it has.
        height: u32,
    },
    /// The decoder's words.
    Broken(String),
}

impl fmt::Display for BadPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the picture is empty"),
            Self::Format => write!(f, "the picture is neither PNG nor JPEG"),
            Self::TooLarge { width, height } => {
                write!(f, "a picture of {width}x{height} pixels is not taken")
            }
            Self::Broken(why) => write!(f, "the picture cannot be decoded: {why}"),
        }
    }
}

impl std::error::Error for BadPicture {}

impl About {
    fn parse(comment: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(comment).ok()?;
        let mm = |key: &str| json[key].as_u64().and_then(|mm| u16::try_from(mm).ok());
        Some(Self {
            seq: json["seq"].as_u64()?,
            captured: json["captured"].as_f64()?,
            online: json["online"].as_bool()?,
            range_mm: mm("min_mm").zip(mm("max_mm")),
        })
    }
}

fn png(bytes: &[u8]) -> Result<Picture, BadPicture> {
    let broken = |error: png::DecodingError| BadPicture::Broken(error.to_string());
    let mut decoder =
        png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: PNG_MEMORY_MAX });
    // A colour profile is compressed, and nothing here looks at it.
    decoder.set_ignore_iccp_chunk(true);
    let info = decoder.read_header_info().map_err(broken)?;
    let (width, height) = sides(info.width, info.height)?;
    let indexed = info.color_type == png::ColorType::Indexed && info.bit_depth == png::BitDepth::Eight;
    let transformations = png::Transformations::EXPAND | png::Transformations::STRIP_16;
    decoder.set_transformations(if indexed { png::Transformations::IDENTITY } else { transformations });
    let mut reader = decoder.read_info().map_err(broken)?;
    let size = reader.output_buffer_size().filter(|size| *size <= 4 * width * height);
    let mut pixels = vec![0; size.ok_or_else(|| BadPicture::Broken("more bytes than pixels".into()))?];
    let frame = reader.next_frame(&mut pixels).map_err(broken)?;
    pixels.truncate(frame.buffer_size());
    let (rgb, kind) = match frame.color_type {
        png::ColorType::Indexed => {
            let palette = reader.info().palette.as_deref().unwrap_or_default();
            // An index beyond the palette is black, as decoders have it.
            let mut colours = [[0; 3]; 256];
            for (colour, entry) in colours.iter_mut().zip(palette.chunks_exact(3)) {
                colour.copy_from_slice(entry);
            }
            (pixels.iter().flat_map(|index| colours[usize::from(*index)]).collect(), Kind::Indexed(pixels))
        }
        png::ColorType::Grayscale => (pixels.iter().flat_map(|grey| [*grey; 3]).collect(), Kind::Grey),
        png::ColorType::GrayscaleAlpha => {
            (pixels.chunks_exact(2).flat_map(|pixel| [pixel[0]; 3]).collect(), Kind::Grey)
        }
        png::ColorType::Rgb => (pixels, Kind::Colour),
        png::ColorType::Rgba => {
            (pixels.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(), Kind::Colour)
        }
    };
    let comments = &reader.info().uncompressed_latin1_text;
    let comment = comments.iter().find(|text| text.keyword == "Comment" && text.text.len() <= COMMENT_MAX);
    let about = comment.and_then(|comment| About::parse(&comment.text));
    whole(Picture { width, height, rgb, kind, about })
}

fn jpeg(bytes: &[u8]) -> Result<Picture, BadPicture> {
    let broken = |error: zune_jpeg::errors::DecodeErrors| BadPicture::Broken(error.to_string());
    let options = DecoderOptions::default()
        .set_max_width(SIDE_MAX as usize)
        .set_max_height(SIDE_MAX as usize)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(bytes), options);
    decoder.decode_headers().map_err(broken)?;
    let info = decoder.info().ok_or_else(|| BadPicture::Broken("no head".into()))?;
    let (width, height) = sides(info.width.into(), info.height.into())?;
    let rgb = decoder.decode().map_err(broken)?;
    whole(Picture { width, height, rgb, kind: Kind::Jpeg, about: None })
}

/// Sides within the limits.
fn sides(width: u32, height: u32) -> Result<(usize, usize), BadPicture> {
    let pixels = u64::from(width) * u64::from(height);
    if width > SIDE_MAX || height > SIDE_MAX || pixels > PIXELS_MAX as u64 {
        return Err(BadPicture::TooLarge { width, height });
    }
    if pixels == 0 {
        return Err(BadPicture::Empty);
    }
    Ok((width as usize, height as usize))
}

/// Decoders are programs of others; that their pixels are as many as they said is checked once.
fn whole(picture: Picture) -> Result<Picture, BadPicture> {
    if picture.rgb.len() == 3 * picture.width * picture.height {
        Ok(picture)
    } else {
        Err(BadPicture::Broken("another number of pixels than it says".into()))
    }
}

/// The JET colour nearest to this one, and the square of the distance.
fn nearest(rgb: &[u8; 3]) -> Option<(u8, u32)> {
    static COLOURS: LazyLock<Vec<[i32; 3]>> =
        LazyLock::new(|| JET.chunks_exact(3).map(|c| [c[0].into(), c[1].into(), c[2].into()]).collect());
    let distance = |colour: &[i32; 3]| -> u32 {
        colour.iter().zip(rgb).map(|(a, b)| (a - i32::from(*b)).pow(2).cast_unsigned()).sum()
    };
    (0..=255).zip(COLOURS.iter()).map(|(index, colour)| (index, distance(colour))).min_by_key(|(_, d)| *d)
}

#[cfg(test)]
mod tests;
