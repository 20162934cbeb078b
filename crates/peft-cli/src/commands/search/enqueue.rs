//! `peft search enqueue`.

use std::process::ExitCode;

use anyhow::{Error, Result, anyhow, bail, ensure};
use peft_search::{
    Configuration, SearchError, Space,
    study::{Place, words},
};
use serde_json::json;

use crate::commands::say;

/// Put a configuration in the queue of the study at a place.
pub fn enqueue(place: &Place, values: &[String]) -> Result<ExitCode> {
    let mut study = place.look()?;
    let space = study.problem().space().clone();
    let mut given = Vec::with_capacity(values.len());
    for text in values {
        let Some((name, value)) = text.split_once('=') else {
            bail!("{text}: expected a value such as method=lora");
        };
        let known = space.parameters().iter().find(|one| one.name == name);
        let Some(parameter) = known else {
            let names = space.parameters().iter().map(|one| one.name.as_str());
            bail!(
                "{name}: the space has no such parameter; it has {}",
                names.collect::<Vec<_>>().join(", ")
            );
        };
        ensure!(
            given.iter().all(|(other, _)| *other != name),
            "{name}: it is given twice; leave one of the two out"
        );
        given.push((name, parameter.parse(value).map_err(in_words)?));
    }
    let named = given.len();
    for parameter in space.parameters() {
        let is_given = given.iter().any(|(name, _)| *name == parameter.name);
        if let Some(value) = parameter.neutral().filter(|_| !is_given) {
            given.push((&parameter.name, value));
        }
    }
    let configuration = space.configuration(&given).map_err(in_words)?;
    for (name, _) in &given[..named] {
        expect_active(&space, &configuration, name)?;
    }
    let words = words(&space, &configuration);
    study
        .enqueue(configuration)
        .map_err(|error| in_words(error).context(format!("`{words}`")))?;
    say(&json!({ "enqueued": words, "queue": study.history().queue().len() }).to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Refuse a value of what does not count beside the other values.
fn expect_active(space: &Space, configuration: &Configuration, name: &str) -> Result<()> {
    let Some(index) = space
        .index(name)
        .filter(|index| !space.is_active(configuration, *index))
    else {
        return Ok(());
    };
    let condition = space.parameters()[index].condition.as_ref();
    let parent = condition.and_then(|condition| space.index(&condition.parent));
    let Some((condition, parent)) = condition.zip(parent) else {
        return Ok(());
    };
    let parameter = &space.parameters()[parent];
    let wanted = condition
        .levels
        .iter()
        .map(|level| parameter.value(*level).to_string());
    let wanted = wanted.collect::<Vec<_>>().join(", ");
    match space.is_active(configuration, parent) {
        true => bail!(
            "{name}: it does not count with {} {}, only with {wanted}; leave it out",
            parameter.name,
            parameter.value(configuration.0[parent])
        ),
        false => bail!(
            "{name}: it counts only with {} {wanted}, which does not count here; leave it out",
            parameter.name
        ),
    }
}

/// An error without the numbers that a study has for values.
fn in_words(error: SearchError) -> Error {
    match error {
        SearchError::Parameter { parameter, reason } => anyhow!("{parameter}: {reason}"),
        SearchError::Configuration { reason, .. } => anyhow!("{reason}"),
        other => other.into(),
    }
}
