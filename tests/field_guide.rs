//! docs/field-guide.md tells of everything that the program can say: each reason why there is no picture, each reason
//! for which a peer is turned away, each line of the log. The sources are scanned, so that it stays true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use depthcast::proto::Close;

#[test]
fn every_reason_without_a_picture_is_in_the_guide_and_none_that_is_not() {
    let mut reasons = BTreeSet::new();
    for file in ["src/source/mod.rs", "src/source/life.rs", "kinect2/src/driver/trouble.rs"] {
        let text = read(file);
        let body = text.split("fn word(self)").nth(1).expect("a word for each reason");
        let body = body.split("\n    }\n").next().expect("its end");
        reasons.extend(literals(body));
    }
    assert!(reasons.len() > 25, "the scan sees only {reasons:?}: it looks in the wrong place");
    assert_eq!(first_cells("## Why there is no picture"), reasons);
}

#[test]
fn every_reason_to_turn_a_peer_away_is_in_the_guide_and_none_that_is_not() {
    let words: BTreeSet<_> = Close::WORDS.iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(first_cells("## Why a peer was turned away"), words);
}

#[test]
fn every_line_of_the_log_is_in_the_guide() {
    let guide = in_one_line(&read("docs/field-guide.md")).replace('"', "'");
    let mut seen = 0;
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).expect("readable");
        let text = text.split("\n#[cfg(test)]\nmod tests").next().expect("the first part");
        for level in ["log::error!(", "log::warn!(", "log::info!("] {
            for call in text.split(level).skip(1) {
                let line = literals(call).into_iter().next().expect("a text");
                let Some(part) = longest_part(&line) else { continue };
                seen += 1;
                assert!(guide.contains(&part), "{}: {part:?} is not in docs/field-guide.md", file.display());
            }
        }
    }
    assert!(seen > 25, "the scan sees only {seen} lines: it looks in the wrong place");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).expect("readable")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs")
            && path.file_name().is_some_and(|n| n != "tests.rs")
        {
            files.push(path);
        }
    }
    files
}

/// What stands in the first column of the table below a heading, without its back ticks, one word each.
fn first_cells(heading: &str) -> BTreeSet<String> {
    let guide = read("docs/field-guide.md");
    let part = guide.split(&format!("{heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let part = part.split("\n## ").next().expect("its end");
    let rows = part.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.split(',')).map(|word| word.trim().trim_matches('`').to_owned()).collect()
}

/// The texts between quotes, in order, with `\`-newlines taken out and quotes inside as `'`.
fn literals(source: &str) -> Vec<String> {
    source
        .replace("\\\"", "'")
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|text| in_one_line(&text.replace("\\\n", " ")))
        .collect()
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The longest piece that stands in every such line; `None` if it says nothing by itself.
fn longest_part(line: &str) -> Option<String> {
    let pieces = line.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, text)| text));
    let longest = pieces.max_by_key(|piece| piece.len()).unwrap_or_default();
    let longest = longest.trim_matches(|c: char| c == ':' || c.is_whitespace());
    (longest.len() > 3).then(|| longest.to_owned())
}
