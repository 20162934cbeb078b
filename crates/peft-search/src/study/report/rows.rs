//! Trials as rows of tables.

use std::collections::BTreeSet;

use super::{Columns, duration, short, state};
use crate::study::Study;
use crate::{Configuration, Origin, Outcome, Space, Trial, Value};

/// A trial in words.
pub struct Row {
    pub trial: u64,
    pub state: &'static str,
    pub front: bool,
    pub values: Vec<String>,
    pub more: Vec<String>,
    pub resource: String,
    pub seconds: String,
    pub origin: &'static str,
    pub configuration: String,
    pub reason: String,
}

/// A value in words.
pub fn text(value: &Value) -> String {
    match value {
        Value::Flag(flag) => if *flag { "on" } else { "off" }.into(),
        Value::Integer(integer) => integer.to_string(),
        Value::Number(number) => short(*number),
        Value::Choice(choice) => choice.clone(),
    }
}

/// A configuration in words: sizes and choices by name, of flags those that are on, numbered ones in one.
pub fn words(space: &Space, configuration: &Configuration) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut group: Option<(String, Vec<String>)> = None;
    let close = |group: &mut Option<(String, Vec<String>)>, parts: &mut Vec<String>| {
        if let Some((stem, numbers)) = group.take() {
            parts.push(format!("{stem} {}", numbers.join(" ")));
        }
    };
    for (name, value) in space.values(configuration) {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = &name[stem.len()..];
        match value {
            Value::Flag(false) => {}
            Value::Flag(true) if !number.is_empty() => {
                let stem = stem.trim_end_matches('_').to_owned();
                match &mut group {
                    Some((open, numbers)) if *open == stem => numbers.push(number.to_owned()),
                    _ => {
                        close(&mut group, &mut parts);
                        group = Some((stem, vec![number.to_owned()]));
                    }
                }
            }
            Value::Flag(true) => {
                close(&mut group, &mut parts);
                parts.push(name.to_owned());
            }
            value => {
                close(&mut group, &mut parts);
                parts.push(format!("{name} {}", text(&value)));
            }
        }
    }
    close(&mut group, &mut parts);
    parts.join(", ")
}

fn row(study: &Study, trial: &Trial, front: bool) -> Row {
    let problem = study.problem();
    let last = trial.reports.last_key_value();
    let none = Vec::new();
    let measured = match &trial.outcome {
        Some(Outcome::Complete { measured }) => measured,
        Some(Outcome::Pruned) => last.map_or(&none, |(_, values)| values),
        _ => &none,
    };
    let scores = problem.scores(&trial.known, measured);
    let values = problem
        .objectives()
        .iter()
        .zip(scores)
        .map(|(objective, score)| short(objective.value(score)))
        .collect();
    let ended = study
        .timing(trial.number)
        .filter(|timing| timing.ended.is_some());
    Row {
        trial: trial.number,
        state: state(trial.outcome.as_ref()),
        front,
        values,
        more: Vec::new(),
        resource: last.map_or_else(String::new, |(last, _)| last.to_string()),
        seconds: ended.map_or_else(String::new, |timing| duration(timing.seconds(None))),
        origin: match trial.origin {
            Origin::Enqueued => "enqueued",
            Origin::Initial => "initial",
            Origin::Random => "random",
            Origin::Model => "model",
        },
        configuration: words(problem.space(), &trial.configuration),
        reason: match &trial.outcome {
            Some(Outcome::Failed { reason } | Outcome::Diverged { reason }) => reason.clone(),
            _ => String::new(),
        },
    }
}

/// The front, best in its first objective first.
pub fn front(study: &Study, columns: &Columns) -> Vec<Row> {
    let mut front = study.history().front(study.problem());
    front.sort_by(|a, b| b.1[0].total_cmp(&a.1[0]).then(a.0.number.cmp(&b.0.number)));
    front
        .into_iter()
        .map(|(trial, _)| {
            let known = columns.values.get(&trial.number);
            let text = |column: usize| known.and_then(|texts| texts.get(column)).cloned();
            Row {
                more: (0..columns.names.len())
                    .map(|column| text(column).unwrap_or_else(|| "–".into()))
                    .collect(),
                ..row(study, trial, true)
            }
        })
        .collect()
}

/// All trials by number.
pub fn all(study: &Study) -> Vec<Row> {
    let front = study.history().front(study.problem());
    let front: BTreeSet<u64> = front.iter().map(|(trial, _)| trial.number).collect();
    let trials = study.history().trials().iter();
    trials
        .map(|trial| row(study, trial, front.contains(&trial.number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AutoPeft;

    #[test]
    fn configurations_are_told_in_few_words() {
        let space = AutoPeft::BERT_BASE.space().unwrap();
        let configuration = AutoPeft::BERT_BASE.published()[4].clone();
        let expected = "serial 48, parallel 0, prefix 0, leave_out 0 1 2 3 4 5";
        assert_eq!(words(&space, &configuration), expected);
    }
}
