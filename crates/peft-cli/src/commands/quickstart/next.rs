//! What to try next: commands that work as they are pasted.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The closing words after a classifier was adapted.
pub fn classifier(model: &Path, output: &Path) -> Result<String> {
    let peft = program()?;
    let [lora, merged, all_linear] =
        ["lora", "merged", "all-linear"].map(|name| path(&output.join(name)));
    let [fit, held_out] =
        ["fit.csv", "held-out.csv"].map(|name| path(&output.join("data").join(name)));
    let model = path(model);
    Ok(steps([
        (
            "Ask the merged model about a sentence of yours",
            format!(
                "echo '{{\"text\": \"what a lovely day\"}}' | {peft} predict --model {merged} --data -"
            ),
        ),
        (
            "Measure the adapter on its base",
            format!("{peft} eval --model {model} --adapter {lora} --data {held_out}"),
        ),
        (
            "Adapt every linear layer instead; give a file of yours to --data",
            format!(
                "{peft} train --model {model} --data {fit} --target-modules all-linear --epochs 2 \
                 --output {all_linear}"
            ),
        ),
        inspect(&peft, &lora),
    ]))
}

/// The closing words after a language model was adapted.
pub fn language(model: &Path, output: &Path) -> Result<String> {
    let peft = program()?;
    let [lora, merged, all_linear] =
        ["lora", "merged", "all-linear"].map(|name| path(&output.join(name)));
    let [fit, held_out] =
        ["fit.jsonl", "held-out.jsonl"].map(|name| path(&output.join("data").join(name)));
    let model = path(model);
    Ok(steps([
        (
            "Give the adapted model a problem of yours",
            format!(
                "{peft} generate --model {model} --adapter {lora} --chat --prompt \
                 'A pen costs 3 dollars. How much do 4 pens cost?'"
            ),
        ),
        (
            "Measure the adapter on its base",
            format!("{peft} eval --model {model} --adapter {lora} --data {held_out}"),
        ),
        (
            "Adapt every linear layer instead; give conversations of yours to --data",
            format!(
                "{peft} train --model {model} --data {fit} --task causal-lm --target-modules all-linear \
                 --max-length 256 --batch-size 8 --epochs 1 --output {all_linear}"
            ),
        ),
        (
            "Write the adapter into the model, as a folder that transformers loads",
            format!("{peft} merge --model {model} --adapter {lora} --output {merged}"),
        ),
        inspect(&peft, &lora),
    ]))
}

fn inspect(peft: &str, adapter: &str) -> (&'static str, String) {
    (
        "See what an adapter holds",
        format!("{peft} inspect {adapter}"),
    )
}

fn steps<const N: usize>(steps: [(&str, String); N]) -> String {
    let mut text = String::from("\nTo try next:\n");
    for (what, command) in steps {
        text += &format!("  # {what}\n  {command}\n");
    }
    text
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// How this binary is called from here: by name if the search path leads to it.
fn program() -> Result<String> {
    let own = env::current_exe().context("the path of this binary is not known")?;
    let name = own.file_name().unwrap_or_default();
    let same = |path: &Path| path.canonicalize().ok() == own.canonicalize().ok();
    let searched = env::var_os("PATH").unwrap_or_default();
    let first = env::split_paths(&searched)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if first.is_some_and(|path| same(&path)) {
        return Ok(quoted(&name.to_string_lossy()));
    }
    let here = env::current_dir().ok();
    let inside = here.and_then(|here| own.strip_prefix(here).map(Path::to_owned).ok());
    let shown = match inside {
        // A bare name would be looked for in the search path.
        Some(path) if path.components().count() == 1 => PathBuf::from(".").join(path),
        Some(path) => path,
        None => own,
    };
    Ok(quoted(&shown.to_string_lossy()))
}

/// A word of a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_that_a_shell_would_take_apart_are_quoted() {
        assert_eq!(quoted("out/a-b_c.1"), "out/a-b_c.1");
        assert_eq!(quoted("my out"), "'my out'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted("~/out"), "'~/out'");
        assert_eq!(quoted(""), "''");
    }
}
