//! What was found and default LoRA, trained anew and read on held-out rows, as arms of an ordinary study.

use std::collections::BTreeMap;

use anyhow::Result;

use super::definition::Study;
use super::front::Found;
use super::run::Tools;
use crate::files;
use crate::study::definition::{Arm, Engine, Protocol, Rates, Study as Arms};
use crate::study::runner::{self, Progress, progress};
use crate::study::summary::{Finding, found_between};
use crate::study::verdict;

/// Names of the arms.
pub const DEFAULT: &str = "lora-default";
pub const FOUND: &str = "found";

/// By how much an arm may be worse and still count as equal at least: a point.
pub const AT_MOST_WORSE: f64 = 0.01;

/// Factors on the rate of either arm that compete on the first data.
const RATES: [f64; 3] = [0.5, 1.0, 2.0];

/// Runs of both arms on one data set.
pub struct Finals {
    pub arms: Arms,
    tools: runner::Tools,
}

impl Finals {
    /// On the data that was searched on, each arm at three rates; then on the other, at the rates that were best there. The second
    /// is missing while these are not known.
    pub fn both(study: &Study, found: &Found, tools: &Tools) -> Result<Vec<Self>> {
        let rates = [study.default.learning_rate, found.learning_rate];
        let first = Self::new(study, found, tools, (&study.data, Rates::Sweep), rates)?;
        let chosen: Vec<f64> = first
            .progress()?
            .iter()
            .filter_map(|one| one.rate)
            .collect();
        let second = match chosen[..] {
            [default, found_rate] => Some(Self::new(
                study,
                found,
                tools,
                (&study.transfer, Rates::Fixed),
                [default, found_rate],
            )?),
            _ => None,
        };
        Ok([first].into_iter().chain(second).collect())
    }

    fn new(
        study: &Study,
        found: &Found,
        tools: &Tools,
        (data, kind): (&str, Rates),
        [default, own]: [f64; 2],
    ) -> Result<Self> {
        let arm = |name: &str, method: &str, rate: f64, flags| Arm {
            name: name.to_owned(),
            engine: Engine::Peft,
            method: method.to_owned(),
            learning_rate: rate,
            learning_rates: RATES.map(|factor| factor * rate).to_vec(),
            head_learning_rate: None,
            widen: 1,
            flags,
            drawn: None,
        };
        let work = tools.work.join(data);
        let file = found.file();
        files::write_atomic(&work.join(&file), found.settings.as_bytes())?;
        let flags = BTreeMap::from([("config".to_owned(), toml::Value::String(file))]);
        let arms = Arms {
            name: study.name.clone(),
            title: study.title.clone(),
            question: study.question.clone(),
            protocol: Protocol::Small,
            model: study.model.clone(),
            data: data.to_owned(),
            rates: kind,
            seeds: study.seeds.clone(),
            training: study.training.clone(),
            samples: Vec::new(),
            arms: vec![
                arm(DEFAULT, &study.default.method, default, BTreeMap::new()),
                arm(FOUND, &found.method, own, flags),
            ],
            claims: Vec::new(),
        };
        let tools = runner::Tools {
            peft: tools.peft.clone(),
            python: "python3".into(),
            data: tools.data.clone(),
            work,
            docs: tools.docs.join(data),
            contended: tools.contended,
        };
        Ok(Self { arms, tools })
    }

    pub fn progress(&self) -> Result<Vec<Progress<'_>>> {
        self.arms
            .arms
            .iter()
            .map(|arm| progress(&self.arms, arm, &self.tools))
            .collect()
    }

    /// Carries out the next run, if there is one and it is allowed, of the arm that has least; whether it did.
    pub fn next(&self, left: &mut usize) -> Result<bool> {
        let mut standing = self.progress()?;
        standing.retain(|one| !one.open.is_empty());
        standing.sort_by_key(|one| (one.rate.is_some(), one.swept.len() + one.outcomes.len()));
        let Some(progress) = standing.first().filter(|_| *left > 0) else {
            return Ok(false);
        };
        let Some(run) = progress.open.first() else {
            return Ok(false);
        };
        *left -= 1;
        eprintln!("{} {}: running", self.arms.data, run.folder());
        // The report split plays no part in the choice of the rate, and is read after it.
        let outcome = self.tools.execute(run, progress.rate.is_some())?;
        let report = outcome.report.as_ref().map_or_else(String::new, |report| {
            format!(", report {:.4} (last)", report.report_accuracy_last)
        });
        eprintln!(
            "{} {}: selection {:.4}{report}",
            self.arms.data,
            run.folder(),
            outcome.selection_accuracy()
        );
        Ok(true)
    }

    /// Whether what was found is as good as default LoRA, a point aside; `None` while runs are missing.
    pub fn finding(&self, standing: &[Progress]) -> Result<Option<Finding>> {
        let of = |name: &str| standing.iter().find(|one| one.arm.name == name);
        let (Some(found), Some(default)) = (of(FOUND), of(DEFAULT)) else {
            return Ok(None);
        };
        let complete = |one: &Progress| one.outcomes.len() == self.arms.seeds.len();
        if !complete(found) || !complete(default) {
            return Ok(None);
        }
        let judge = |means: &[f64]| verdict::above(means, -AT_MOST_WORSE);
        found_between(found, default, Default::default(), judge).map(Some)
    }
}
