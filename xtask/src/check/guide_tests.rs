//! What the guide and the READMEs quote and link to is there.

use std::fs;
use std::path::{Path, PathBuf};

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
