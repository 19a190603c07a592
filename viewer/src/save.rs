//! Files: pictures as they came, depth as 16-bit grey PNG.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, io};

use depthcast::camera::LocalClock;
use depthcast::encode::png;

use crate::depth::Depth;
use crate::link::Frame;
use crate::picture::Kind;

/// Writes a file that is not there yet, whole or not at all, and gives its path.
///
/// # Errors
/// The system's; [`io::ErrorKind::AlreadyExists`] when there is such a file.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let path = folder.join(name);
    let part = folder.join(format!("{name}.part"));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Err(error) = fs::write(&part, bytes) {
        // A disk that is full had better not keep half a file. There may be none.
        let _ = fs::remove_file(&part);
        return Err(named(error));
    }
    // Unlike `rename`, a link is never made over what is there.
    let linked = match fs::hard_link(&part, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // Some file systems have no links.
        Err(_) if !path.exists() => return fs::rename(&part, &path).map(|()| path.clone()).map_err(named),
        done => done,
    };
    fs::remove_file(&part).map_err(named)?;
    linked.map_err(named)?;
    Ok(path)
}

/// The picture as a PNG file: as it came, if it came as one.
pub fn png(frame: &Frame) -> Cow<'_, [u8]> {
    match frame.picture.kind {
        Kind::Jpeg => frame.picture.to_png().into(),
        _ => (&frame.file[..]).into(),
    }
}

/// Depth as a 16-bit grey PNG in millimetres, which `depthcast run --source replay:FOLDER` can play.
pub fn png16(depth: &Depth) -> Vec<u8> {
    let mut file = vec![0; png::depth_bound(depth.width, depth.height)];
    let us = depth.head.captured_us;
    let comment = format!(
        r#"{{"seq":{},"captured":{}{}.{:06}}}"#,
        depth.head.seq,
        if us < 0 { "-" } else { "" },
        us.unsigned_abs() / 1_000_000,
        us.unsigned_abs() % 1_000_000
    );
    let length = png::Encoder::new(depth.width, depth.height).depth(&depth.mm, &comment, &mut file);
    file.truncate(length);
    file
}

/// A name for files of a camera: its own and the local time, in characters that no file system minds.
pub fn stem(camera: &str, at: SystemTime, clock: &LocalClock) -> String {
    let us = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let at = clock.civil(i64::try_from(us).unwrap_or(i64::MAX));
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let camera: String = camera.chars().map(|c| if fine(c) { c } else { '_' }).take(40).collect();
    format!(
        "{}-{:04}{:02}{:02}-{:02}{:02}{:02}.{:03}",
        if camera.is_empty() { "camera" } else { &camera },
        at.year,
        at.month,
        at.day,
        at.hour,
        at.minute,
        at.second,
        at.millis
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use depthcast::proto::websocket::DepthHead;

    #[test]
    fn depth_comes_back_from_its_file() {
        let mm: Vec<u16> = (0..6).map(|n| n * 13_000).collect();
        let head = DepthHead { seq: 7, captured_us: -1_500_000, age_ms: 0, length: 0 };
        let file = png16(&Depth { head, width: 3, height: 2, mm: mm.clone() });
        let mut reader = ::png::Decoder::new(io::Cursor::new(&file)).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        assert_eq!((info.width, info.height, info.bit_depth), (3, 2, ::png::BitDepth::Sixteen));
        let back: Vec<u16> = bytes.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
        assert_eq!(back, mm);
        assert_eq!(reader.info().uncompressed_latin1_text[0].text, r#"{"seq":7,"captured":-1.500000}"#);
    }

    #[test]
    fn names_are_fit_for_files() {
        let at = UNIX_EPOCH + std::time::Duration::from_millis(1_605_016_534_007);
        assert_eq!(stem("Süd/../a b", at, &LocalClock::utc()), "Süd____a_b-20201110-135534.007");
        assert_eq!(stem("", UNIX_EPOCH, &LocalClock::utc()), "camera-19700101-000000.000");
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let folder = std::env::temp_dir().join(format!("depthcast-view-save-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = write(&folder, "a.png", b"first").unwrap();
        let again = write(&folder, "a.png", b"second").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(again.to_string().contains("a.png"));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left lying about");
        assert!(write(&folder.join("none"), "a.png", b"").is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
