//! Pieces of source files with the kinds of the files: rows of prompts and answers for language models.
//!
//! The rules: files of `django` and `pybind11` as `pretrain` keeps them, of each kind sorted by sha256 of their names; of every eight
//! the first two report, the third selects, and the others are to fit. A piece is whole lines of at least 96 bytes together, in
//! ASCII, cut behind 160; pieces of a part are sorted by sha256 of their text, and every kind has as many: 64 to fit, 16 to
//! select, 32 to report.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Result, ensure};
use peft_hub::{Bundle, Made, Package, Sources};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::pretrain::corpus::{is_kept, texts};

const DJANGO: Package = Package {
    name: "django",
    version: "5.2.8",
    file: "django-5.2.8-py3-none-any.whl",
    sha256: "37e687f7bd73ddf043e2b6b97cfe02fcbb11f2dbb3adccc6a2b18c6daa054d7f",
    source: false,
};

const PYBIND11: Package = Package {
    name: "pybind11",
    version: "3.0.1",
    file: "pybind11-3.0.1-py3-none-any.whl",
    sha256: "aa8f0aa6e0a94d3b64adfc38f560f33f15e589be2175e103c0a33c6bce55ee89",
    source: false,
};

/// Rows to fit, to select and to report on, and the rows to report on with every answer.
pub const FILE_TYPES: Bundle = Bundle {
    folder: "file-types",
    files: &[
        (
            "candidates.jsonl",
            "b459d7665c7b85bc00e85a16f59e9a4993e4bce06491d7faed085cd86618501b",
        ),
        (
            "fit.jsonl",
            "13c6d7361c4aca6a1311c9acd0f22577c2755151fd1b1066f9190b3d1c7bae44",
        ),
        (
            "report.jsonl",
            "0e98b02aa8ab9518951bee8f1127d8e32ba12817dc4c9dfa3f1fc05e54c7b8f9",
        ),
        (
            "select.jsonl",
            "28c828571c6bce611b286d8d81a5c4d9b3f29dff0713e4b7b4e763b6d30726f4",
        ),
    ],
};

/// The kinds and the answers that stand for them: a token each.
pub const KINDS: [(&str, &str); 6] = [
    (".css", "A"),
    (".h", "B"),
    (".html", "C"),
    (".js", "D"),
    (".po", "E"),
    (".py", "F"),
];

/// Bytes of a piece.
const SHORTEST: usize = 96;
const LONGEST: usize = 160;

/// Pieces of a kind: to fit, to select, to report.
const PIECES: [usize; 3] = [64, 16, 32];

/// Files by kind and name.
type Files = BTreeMap<usize, Vec<(String, String)>>;

/// The four files.
pub fn files(sources: &Sources) -> Result<Made> {
    let mut all = Files::new();
    for package in [DJANGO, PYBIND11] {
        let archive = package.fetch(sources)?;
        for (kind, (end, _)) in KINDS.iter().enumerate() {
            let found = texts(&archive, &[*end], &is_kept)?;
            all.entry(kind).or_default().extend(found);
        }
    }
    split(all)
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn split(all: Files) -> Result<Made> {
    let mut parts: [Vec<(String, usize)>; 3] = Default::default();
    for (kind, mut files) in all {
        files.sort_by_cached_key(|(name, _)| digest(name));
        let mut pieces: [Vec<String>; 3] = Default::default();
        let mut seen = HashSet::new();
        for (place, (_, text)) in files.iter().enumerate() {
            let part = match place % 8 {
                0 | 1 => 2,
                2 => 1,
                _ => 0,
            };
            let fresh = cut(text)
                .into_iter()
                .filter(|piece| seen.insert(digest(piece)));
            pieces[part].extend(fresh);
        }
        for (part, (mut pieces, count)) in pieces.into_iter().zip(PIECES).enumerate() {
            ensure!(
                pieces.len() >= count,
                "only {} pieces of {} for a part of {count}",
                pieces.len(),
                KINDS[kind].0
            );
            pieces.sort_by_cached_key(|piece| digest(piece));
            parts[part].extend(pieces.into_iter().take(count).map(|piece| (piece, kind)));
        }
    }
    for part in &mut parts {
        part.sort_by_cached_key(|(piece, _)| digest(piece));
    }
    let line = |piece: &str, answer: &str| {
        let row = json!({ "prompt": format!("{piece}\n#"), "completion": answer });
        format!("{row}\n")
    };
    let right = |part: &[(String, usize)]| -> Vec<u8> {
        let lines = part.iter().map(|(piece, kind)| line(piece, KINDS[*kind].1));
        lines.collect::<String>().into_bytes()
    };
    let [fit, select, report] = &parts;
    let every = |(piece, _): &(String, usize)| -> String {
        KINDS
            .iter()
            .map(|(_, answer)| line(piece, answer))
            .collect()
    };
    let candidates: String = report.iter().map(every).collect();
    Ok(Made::from([
        ("fit.jsonl", right(fit)),
        ("select.jsonl", right(select)),
        ("report.jsonl", right(report)),
        ("candidates.jsonl", candidates.into_bytes()),
    ]))
}

/// Pieces of whole lines, but for a last one that is too long.
fn cut(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for line in text.lines() {
        piece.push_str(line);
        piece.push('\n');
        if piece.len() >= SHORTEST {
            let whole = std::mem::take(&mut piece);
            if whole.is_ascii() && !whole.trim().is_empty() {
                let end = whole.trim_end().len().min(LONGEST);
                pieces.push(whole[..end].to_owned());
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_lines_in_ascii_and_short() {
        let line = "let value = compute(another, value);\n";
        let text = line.repeat(3) + "é\n" + &line.repeat(3) + &"x".repeat(300) + "\n";
        let pieces = cut(&text);
        assert_eq!(pieces[0], line.repeat(3).trim_end());
        assert_eq!(pieces.len(), 2, "{pieces:?}");
        assert_eq!(pieces[1], "x".repeat(LONGEST));
    }

    #[test]
    fn parts_share_no_file_and_have_all_kinds_alike() {
        let text = |kind: usize, file: usize| -> String {
            let line = |line| {
                format!(
                    "kind {kind} of file {file:03} and line {line:03}: {}\n",
                    "y".repeat(80)
                )
            };
            (0..40).map(line).collect()
        };
        let files = |kind| {
            (0..24)
                .map(|file| (format!("{kind}/{file}"), text(kind, file)))
                .collect()
        };
        let made = split((0..KINDS.len()).map(|kind| (kind, files(kind))).collect()).unwrap();
        let lines = |name: &str| -> Vec<String> {
            let text = String::from_utf8(made[name].clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        let file_of = |line: &String| line.split(" and line").next().unwrap().to_owned();
        let [fit, select, report] = ["fit.jsonl", "select.jsonl", "report.jsonl"].map(lines);
        assert_eq!([fit.len(), select.len(), report.len()], [384, 96, 192]);
        let of = |rows: &[String]| -> HashSet<String> { rows.iter().map(file_of).collect() };
        assert!(of(&fit).is_disjoint(&of(&report)) && of(&fit).is_disjoint(&of(&select)));
        let candidates = lines("candidates.jsonl");
        assert_eq!(candidates.len(), 192 * KINDS.len());
        for (row, every) in report.iter().zip(candidates.chunks(KINDS.len())) {
            assert_eq!(every.iter().filter(|one| *one == row).count(), 1);
        }
        let few = BTreeMap::from([(0, vec![("a".to_owned(), text(0, 0))])]);
        assert!(split(few).unwrap_err().to_string().contains(".css"));
    }
}
