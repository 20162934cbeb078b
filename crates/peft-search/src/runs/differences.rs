//! What a study was begun with otherwise, in the words of who began it.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{FRONT, FrontEntry, RunsError};
use crate::study::{DESCRIPTION, Description, Place};
use crate::{SearchError, Settings};

/// The key of the rows that only report in what trials depend on.
const REPORT_ROWS: &str = "report_rows";
/// Differences that are told.
const MOST_TOLD: usize = 5;

/// Compare the study that is at a place, if any, with the one that is to be begun there. Rows that only report may be
/// others as long as none were scored: the study has these from now on.
///
/// # Errors
/// If it differs in another setting than these and its budget.
pub fn reconcile(place: &Place, folder: &Path, now: &Description) -> Result<(), RunsError> {
    // A store makes its folder, and one that is refused leaves none.
    if let Some(own) = place.folder()
        && !own.join(DESCRIPTION).exists()
    {
        return Ok(());
    }
    let scored = folder.join(FRONT).exists() && {
        let front = FrontEntry::read(folder)?;
        front.iter().any(|entry| entry.report.is_some())
    };
    place.store()?.describe(&mut |there| {
        let Some(there) = there.filter(|there| there.name == now.name) else {
            return Ok(None);
        };
        let renewed = match scored {
            true => there.clone(),
            false => with_rows_of(&there, now),
        };
        if renewed.differences(now).is_empty() {
            return Ok((renewed != there).then_some(renewed));
        }
        let mut told = told(&renewed, now);
        let more = told.len().saturating_sub(MOST_TOLD);
        told.truncate(MOST_TOLD);
        told.extend((more > 0).then(|| format!("{more} more differ")));
        // What has no name among the settings is told as it is written.
        if told.is_empty() {
            return Ok(None);
        }
        Err(SearchError::Study {
            reason: format!(
                "`{place}` holds another one: {}; continue with the settings it was begun with, or choose another place",
                told.join("; ")
            ),
        })
    })?;
    Ok(())
}

/// What two have otherwise, but for their budgets and the rows that only report.
pub fn beside_rows(one: &Description, other: &Description) -> Vec<String> {
    with_rows_of(one, other).differences(other)
}

fn with_rows_of(there: &Description, now: &Description) -> Description {
    let mut renewed = there.clone();
    match now.context.get(REPORT_ROWS) {
        Some(rows) => renewed.context.insert(REPORT_ROWS.to_owned(), rows.clone()),
        None => renewed.context.shift_remove(REPORT_ROWS),
    };
    renewed
}

/// The settings that differ.
fn told(there: &Description, now: &Description) -> Vec<String> {
    let (was, is) = (settings(there), settings(now));
    let mut names: Vec<&String> = is.keys().chain(was.keys()).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let shown = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "not given".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => {
            let all = all.iter().map(|one| match one.as_str() {
                Some(text) => text.to_owned(),
                None => one.to_string(),
            });
            match all.collect::<Vec<_>>().join(",") {
                text if text.is_empty() => "not given".to_owned(),
                text => text,
            }
        }
        Some(value) => value.to_string(),
    };
    let mut differing: Vec<&str> = names
        .into_iter()
        .filter(|name| was.get(*name) != is.get(*name))
        .map(String::as_str)
        .collect();
    // What follows from others says nothing beside them.
    if differing.contains(&"sampler") {
        differing.retain(|name| !["initial", "surrogate"].contains(name));
    }
    let follows = |name: &&str| ["contents", "reference"].contains(name);
    if !differing.iter().all(follows) {
        differing.retain(|name| !follows(name));
    }
    let words = |name: &str| match name {
        "contents" => "the contents of the model or the data are others".to_owned(),
        "given" => "the parameters of the space are others".to_owned(),
        name => format!(
            "the setting `{name}` was {}, is {}",
            shown(was.get(name)),
            shown(is.get(name))
        ),
    };
    differing.into_iter().map(words).collect()
}

/// All that a user gives, by the names of flags.
fn settings(of: &Description) -> Map<String, Value> {
    let mut all = Map::new();
    let context = |key: &str| of.context.get(key).cloned().unwrap_or_default();
    for key in ["space", "methods", "given"] {
        all.insert(key.into(), context(key));
    }
    let model = match &of.settings {
        Settings::Bayes(bayes) => json!(bayes),
        other => json!(other),
    };
    let sampler = match &of.settings {
        Settings::Bayes(bayes) if bayes.transform == crate::Bayes::autopeft().transform => {
            json!("autopeft")
        }
        other => json!(other)["sampler"].clone(),
    };
    all.insert("sampler".into(), sampler);
    let initial = model.get("initial").or(model.get("population")).cloned();
    all.insert("initial".into(), initial.unwrap_or_default());
    all.insert("surrogate".into(), model["surrogate"].clone());
    all.insert("search_seed".into(), json!(of.seed));
    all.insert("attempts".into(), json!(of.attempts));
    all.insert(
        "no_pruning".into(),
        json!(of.full.is_some_and(|full| full > 1) && of.pruning.is_none()),
    );
    all.insert("reference".into(), json!(of.reference.get(1)));
    all.insert("minimize".into(), context("cost"));
    if let Value::Object(run) = context("run") {
        all.extend(run);
    }
    all.insert("eval_data".into(), context(REPORT_ROWS));
    all.insert("contents".into(), context("contents"));
    all
}
