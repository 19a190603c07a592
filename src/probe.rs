//! What stands in the way of a sensor, for people and for programs.

use std::fmt::Write as _;

use kinect2::diagnosis::{Finding, Severity};

/// Whether frames may come: nothing that was found keeps a sensor from working.
pub fn is_fine(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.severity < Severity::Error)
}

/// The findings as a table, each with its remedy below it, and a last line that sums up.
///
/// * `columns`: wrapped on words at this width, as far as words are short enough.
pub fn table(findings: &[Finding], columns: usize) -> String {
    let mut out = String::new();
    for Finding { kind, severity, text, remedy } in findings {
        // Writing to a String does not fail.
        let _ = write!(out, "{:<8} {:<11}", severity.to_string(), kind.word());
        wrap(&mut out, text, columns);
        if !remedy.is_empty() {
            out.push_str(&" ".repeat(INDENT - REMEDY.len()));
            out.push_str(REMEDY);
            wrap(&mut out, remedy, columns);
        }
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let _ = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => writeln!(out, "\nNothing is in the way of a sensor."),
        (0, warnings) => writeln!(out, "\nFrames will come, perhaps not all of them: {warnings} to look at."),
        (errors, _) => writeln!(out, "\nNo frame will come: {errors} in the way."),
    };
    out
}

/// The findings as one JSON object on a line: `{"ok":BOOL,"findings":[{"kind","severity","text","remedy"},...]}`.
pub fn json(findings: &[Finding]) -> String {
    let list: Vec<_> = findings
        .iter()
        .map(|Finding { kind, severity, text, remedy }| {
            serde_json::json!({
                "kind": kind.word(), "severity": severity.to_string(), "text": text, "remedy": remedy
            })
        })
        .collect();
    format!("{}\n", serde_json::json!({ "ok": is_fine(findings), "findings": list }))
}

/// Ends the line that was begun with `text`, and goes on below it, indented.
fn wrap(out: &mut String, text: &str, columns: usize) {
    let room = columns.saturating_sub(INDENT).max(LEAST_COLUMNS);
    let mut used = 0;
    for word in text.split(' ') {
        // What a device says of itself is not to reach a terminal as it is.
        let word: String = word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let length = word.chars().count();
        if used > 0 && used + 1 + length > room {
            out.push('\n');
            out.push_str(&" ".repeat(INDENT));
            used = 0;
        } else if used > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(&word);
        used += length;
    }
    out.push('\n');
}

/// Where texts begin: behind severity and kind.
const INDENT: usize = 20;
/// Before a remedy.
const REMEDY: &str = "remedy: ";
/// However narrow a terminal is.
const LEAST_COLUMNS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use kinect2::diagnosis::Kind;

    fn findings() -> Vec<Finding> {
        let finding = |kind, severity, text: &str, remedy: &str| Finding {
            kind,
            severity,
            text: text.into(),
            remedy: remedy.into(),
        };
        vec![
            finding(Kind::Usbfs, Severity::Ok, "the kernel has USB", ""),
            finding(Kind::Power, Severity::Warning, "it may be \"suspended\"", "echo on > control"),
            finding(Kind::Link, Severity::Error, &"slow \u{1b}[1m ".repeat(12), "plug it elsewhere"),
        ]
    }

    #[test]
    fn the_table_has_each_finding_with_its_remedy_and_fits_the_terminal() {
        let table = table(&findings(), 72);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "ok       usbfs      the kernel has USB");
        assert_eq!(lines[1], "warning  power      it may be \"suspended\"");
        assert_eq!(lines[2], "            remedy: echo on > control");
        assert!(lines[3].starts_with("error    link       slow"), "{table}");
        assert!(lines.iter().all(|line| line.chars().count() <= 72), "{table}");
        assert_eq!(lines.last(), Some(&"No frame will come: 1 in the way."));
        assert!(!table.contains('\u{1b}'), "a control character reaches the terminal");
    }

    #[test]
    fn the_sum_is_what_the_worst_finding_says() {
        let findings = findings();
        assert!(!is_fine(&findings));
        assert!(is_fine(&findings[..2]) && is_fine(&[]));
        assert!(
            table(&findings[..2], 80).ends_with("Frames will come, perhaps not all of them: 1 to look at.\n")
        );
        assert!(table(&findings[..1], 80).ends_with("Nothing is in the way of a sensor.\n"));
    }

    #[test]
    fn programs_get_the_same_as_one_line_of_json() {
        let text = json(&findings());
        assert_eq!(text.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["ok"], false);
        assert_eq!(value["findings"].as_array().map(Vec::len), Some(3));
        assert_eq!(value["findings"][1]["severity"], "warning");
        assert_eq!(value["findings"][1]["remedy"], "echo on > control");
        assert_eq!(value["findings"][2]["kind"], "link");
    }
}
