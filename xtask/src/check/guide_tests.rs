//! What the guide and the READMEs quote and link to is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace;

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Rust sources with the line breaks inside of strings taken out.
fn sources() -> String {
    let crates = workspace::root().join("crates");
    let mut text = String::new();
    for folder in fs::read_dir(crates).unwrap().flatten() {
        for file in files(&folder.path().join("src"), ".rs") {
            let source = fs::read_to_string(file).unwrap();
            let mut parts = source.split("\\\n");
            text += parts.next().unwrap_or_default();
            parts.for_each(|part| text += part.trim_start());
        }
    }
    text
}

#[test]
fn quoted_messages_are_in_the_sources() {
    let page = workspace::root().join("docs/guide/src/troubleshooting.md");
    let page = fs::read_to_string(page).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let sources = sources();
    let mut quoted = 0;
    for pair in lines.windows(2).filter(|pair| pair[1].starts_with(": ")) {
        let message = pair[0].trim_matches('`');
        assert!(
            sources.contains(message),
            "no source has the message {message:?}"
        );
        quoted += 1;
    }
    assert!(quoted > 20, "{quoted} messages were found in the page");
}

/// The lines between `// ANCHOR: name` and `// ANCHOR_END: name`, without what all of them are indented by.
fn region(source: &str, anchor: &str) -> Option<String> {
    let at = |mark: &str| {
        let mark = format!("// {mark}: {anchor}");
        source.lines().position(|line| line.trim() == mark)
    };
    let (first, last) = (at("ANCHOR")? + 1, at("ANCHOR_END")?);
    let lines: Vec<&str> = source.lines().skip(first).take(last - first).collect();
    let indents = lines.iter().filter(|line| !line.is_empty());
    let indent = indents
        .map(|line| line.len() - line.trim_start().len())
        .min()?;
    let lines = lines
        .iter()
        .map(|line| line.get(indent..).unwrap_or_default());
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// Code of the guide stands in its pages, and is that of tests that run.
#[test]
fn code_of_the_guide_is_that_of_tests() {
    let root = workspace::root();
    let mut compared = 0;
    for page in files(&root.join("docs/guide/src"), ".md") {
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            !text.contains("{{#include"),
            "{}: a page that is read elsewhere than in the book shows no code",
            page.display()
        );
        for rest in text.split("<!-- ").skip(1) {
            let Some((mark, rest)) = rest.split_once(" -->\n```rust,ignore\n") else {
                continue;
            };
            let (file, anchor) = mark.split_once(": ").unwrap();
            let shown = rest.split("\n```").next().unwrap();
            let source = fs::read_to_string(root.join(file)).unwrap();
            let region = region(&source, anchor);
            assert_eq!(region.as_deref(), Some(shown), "{}: {mark}", page.display());
            compared += 1;
        }
    }
    assert!(compared >= 8, "{compared} pieces of code were compared");
}

/// Whoever copies the lines of `Cargo.toml` gets the features that this workspace is built with.
#[test]
fn burns_features_are_those_of_the_workspace() {
    let root = workspace::root();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let line = manifest.lines().find(|line| line.starts_with("burn = "));
    let line = line.unwrap();
    for page in ["README.md", "docs/guide/src/burn-model.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        assert!(
            text.lines().any(|shown| shown == line),
            "{page}: expected {line}"
        );
    }
}

/// What the guide says of a study is what the study's claims say: every interval that it quotes is one of theirs.
#[test]
fn intervals_of_the_guide_are_those_of_claims() {
    let folder = workspace::root().join("docs/guide/src");
    let page = fs::read_to_string(folder.join("method.md")).unwrap();
    let found = page.split("## What our studies found").nth(1).unwrap();
    let mut compared = 0;
    for item in found.split("\n- ").skip(1) {
        let mut claims = String::new();
        for link in item
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let study = fs::read_to_string(folder.join(link)).unwrap();
            let section = study.split("## Claims").nth(1).unwrap_or_default();
            claims += section.split("\n## ").next().unwrap_or_default();
        }
        let words: Vec<&str> = item.split_whitespace().collect();
        for at in (1..words.len().saturating_sub(1)).filter(|at| words[*at] == "…") {
            let number = |word: &str| word.trim_matches(['(', ')', ',', ';', ':', '.']).to_owned();
            let interval = format!("{} … {}", number(words[at - 1]), number(words[at + 1]));
            assert!(
                claims.contains(&interval),
                "{interval}: no claim of a study has it: {item}"
            );
            compared += 1;
        }
        for word in [" level", "hardly", " ahead of "] {
            assert!(
                !item.contains(word),
                "`{word}` is no verdict of a claim: {item}"
            );
        }
    }
    assert!(compared >= 15, "{compared} intervals were compared");
}

#[test]
fn links_and_includes_lead_to_files() {
    let root = workspace::root();
    let mut pages = files(&root.join("docs"), ".md");
    pages.push(root.join("README.md"));
    for folder in fs::read_dir(root.join("crates")).unwrap().flatten() {
        pages.push(folder.path().join("README.md"));
    }
    let mut followed = 0;
    for page in pages {
        let Ok(text) = fs::read_to_string(&page) else {
            panic!("{} is missing", page.display());
        };
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let includes = text.split("{{#include ").skip(1).filter_map(|rest| {
            let (path, anchor) = rest.split("}}").next()?.split_once(':')?;
            let file = page.parent()?.join(path);
            let source = fs::read_to_string(&file).unwrap_or_default();
            assert!(
                source.contains(&format!("ANCHOR: {anchor}\n")),
                "{}: {anchor}",
                file.display()
            );
            Some(path)
        });
        for link in links.chain(includes) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = page.parent().unwrap().join(path);
            assert!(target.exists(), "{} links to {link}", page.display());
            followed += 1;
        }
    }
    assert!(followed > 10, "{followed} links were found");
}

/// A shell reads a script to its end only while running it: one that does not parse would fail on a machine of CI.
#[test]
fn shell_scripts_parse() {
    let root = workspace::root();
    let folders = [".ci", "benches", "crates", "xtask"];
    let mut paths = vec![root.join("fuzz/run")];
    paths.extend(folders.iter().flat_map(|name| files(&root.join(name), "")));
    let mut parsed = 0;
    for path in paths {
        let first = fs::read(&path).unwrap_or_default();
        let first = first
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        if !first.starts_with(b"#!") || !first.ends_with(b"sh") {
            continue;
        }
        let told = Command::new("bash").arg("-n").arg(&path).output().unwrap();
        assert!(
            told.status.success() && told.stderr.is_empty(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&told.stderr)
        );
        parsed += 1;
    }
    assert!(parsed >= 4, "{parsed} scripts were parsed");
}
