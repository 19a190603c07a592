//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a new file: beside its name first, and by its name only once it is whole.
///
/// # Errors
/// As the system says; nothing is left of the file then. Half a file is worth nothing, and may be what filled the disk.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let written = File::options()
        .write(true)
        .create_new(true)
        .open(&part)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // What could not be made cannot be removed either.
        let _ = fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("depthcast-files-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("taken")).expect("made");
        write_whole(&folder.join("a"), b"whole").expect("written");
        assert_eq!(fs::read(folder.join("a")).expect("read"), b"whole");
        write_whole(&folder.join("taken"), b"lost").expect_err("a folder has this name");
        let mut names: Vec<_> =
            fs::read_dir(&folder).expect("read").map(|e| e.expect("one").file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "taken"]);
        fs::remove_dir_all(&folder).expect("removed");
    }
}
