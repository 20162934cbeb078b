//! The command line of a run, and with it the identity of its result.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::definition::{Arm, Engine, Study};

/// One training run of a study.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    pub study: &'a Study,
    pub arm: &'a Arm,
    pub learning_rate: f64,
    pub seed: u64,
}

impl Run<'_> {
    /// Folder of the run below a study's: `<arm>/lr2e-3-s0`.
    pub fn folder(&self) -> String {
        folder(&self.arm.name, self.learning_rate, self.seed)
    }

    /// Learning rate of the head.
    pub fn head_learning_rate(&self) -> f64 {
        let own = self.arm.head_learning_rate;
        own.unwrap_or(self.study.training.head_learning_rate)
    }

    /// File name of the rows that are fitted.
    pub fn fit(&self) -> String {
        match &self.arm.drawn {
            Some(drawn) => drawn.sample.file(self.seed),
            None => self.study.protocol.fit().to_owned(),
        }
    }

    /// Flags that decide the outcome, in the engine's own names. Paths are not among them.
    pub fn flags(&self) -> Result<BTreeMap<String, String>> {
        let training = &self.study.training;
        let sample = self.arm.drawn.as_ref().map(|drawn| drawn.sample);
        let epochs = sample.map(|sample| sample.epochs).or(training.epochs);
        let epochs = epochs.context("no number of epochs")?;
        let mut flags = BTreeMap::from([
            ("method".to_owned(), self.arm.method.clone()),
            ("epochs".to_owned(), epochs.to_string()),
            ("batch-size".to_owned(), training.batch_size.to_string()),
            ("max-length".to_owned(), training.max_length.to_string()),
            ("seed".to_owned(), self.seed.to_string()),
            ("threads".to_owned(), training.threads.to_string()),
            ("warmup".to_owned(), training.warmup.to_string()),
            ("schedule".to_owned(), training.schedule.clone()),
            ("clip".to_owned(), training.clip.to_string()),
            ("weight-decay".to_owned(), training.weight_decay.to_string()),
        ]);
        let (rate, head) = match self.arm.engine {
            Engine::Peft => ("learning-rate", "head-learning-rate"),
            Engine::HfPeft => ("lr", "head-lr"),
        };
        flags.insert(rate.to_owned(), self.learning_rate.to_string());
        flags.insert(head.to_owned(), self.head_learning_rate().to_string());
        if let Some(sample) = sample {
            let every = sample.select_epochs.to_string();
            flags.insert("select-epochs".to_owned(), every);
        }
        add_flags(&mut flags, &self.arm.name, &self.arm.flags)?;
        Ok(flags)
    }

    /// The flags as arguments. `true` is a flag without a value; `false` turns one of ours off, which may
    /// be on by default, and leaves out PEFT's.
    pub fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        for (name, value) in self.flags()? {
            match value.as_str() {
                "true" => arguments.push(format!("--{name}")),
                "false" if self.arm.engine == Engine::Peft => {
                    arguments.push(format!("--{name}=false"));
                }
                "false" => {}
                _ => arguments.extend([format!("--{name}"), value]),
            }
        }
        Ok(arguments)
    }

    /// Why a result that recorded `arguments` is not of this run; `None` when it is.
    pub fn differs(&self, arguments: &Map<String, Value>) -> Result<Option<String>> {
        let find = |name: &str| {
            arguments
                .get(name)
                .or_else(|| arguments.get(&name.replace('-', "_")))
        };
        let protocol = self.study.protocol;
        let fit = self.fit();
        let names = [
            ("fit", fit.as_str()),
            ("select", protocol.select()),
            ("report", protocol.report()),
        ];
        for (name, value) in names {
            let found = find(name).map(text).unwrap_or_default();
            if Path::new(&found).file_name() != Some(value.as_ref()) {
                return Ok(Some(format!(
                    "{name} was {found:?}, the study has {value:?}"
                )));
            }
        }
        for (name, value) in self.flags()? {
            let found = find(&recorded_as(&name)).map(text).unwrap_or_default();
            if !same(&found, &value) {
                return Ok(Some(format!(
                    "{name} was {found:?}, the study has {value:?}"
                )));
            }
        }
        // The reference script's own way to cut a run short.
        if let Some(steps) = find("max-steps").filter(|value| !value.is_null()) {
            return Ok(Some(format!("it stopped every epoch after {steps} steps")));
        }
        Ok(None)
    }
}

/// Folder of a run below a study's: `<arm>/lr2e-3-s0`.
pub fn folder(arm: &str, learning_rate: f64, seed: u64) -> String {
    format!("{arm}/lr{learning_rate:e}-s{seed}")
}

/// Adds an arm's own flags to those that the study sets.
pub fn add_flags(
    flags: &mut BTreeMap<String, String>,
    arm: &str,
    own: &BTreeMap<String, toml::Value>,
) -> Result<()> {
    for (name, value) in own {
        let value = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                value.to_string()
            }
            _ => bail!("arm {arm}: flag {name} must be text, a number or a truth value"),
        };
        if flags.insert(name.clone(), value).is_some() {
            bail!("arm {arm}: {name} is set by the study, not among an arm's flags");
        }
    }
    Ok(())
}

/// The name under which a result records a flag: `fit`, `select` and `report` are its files.
pub fn recorded_as(flag: &str) -> String {
    if ["fit", "select", "report"].contains(&flag) {
        format!("method-{flag}")
    } else {
        flag.to_owned()
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `16` and `16.0` are the same setting, whatever wrote them.
fn same(left: &str, right: &str) -> bool {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::definition_tests::{EXAMPLE, sampled};

    #[test]
    fn recorded_arguments_identify_a_run() {
        let study = Study::parse(EXAMPLE).unwrap();
        let run = Run {
            study: &study,
            arm: &study.arms[0],
            learning_rate: 2e-3,
            seed: 1,
        };
        assert_eq!(run.folder(), "lora/lr2e-3-s1");
        let mut recorded: Map<String, Value> = run
            .flags()
            .unwrap()
            .into_iter()
            .map(|(name, value)| (name.replace('-', "_"), Value::String(value)))
            .collect();
        recorded.insert("fit".into(), "/somewhere/fit_small.csv".into());
        recorded.insert("select".into(), "select_small.csv".into());
        recorded.insert("report".into(), "report.csv".into());
        recorded.insert("clip".into(), 1.0.into());
        assert_eq!(run.differs(&recorded).unwrap(), None);
        recorded.insert("rank".into(), 4.into());
        assert!(
            run.differs(&recorded)
                .unwrap()
                .unwrap()
                .starts_with("rank was \"4\"")
        );
        recorded.insert("rank".into(), 8.into());
        recorded.insert("fit".into(), "fit.csv".into());
        assert!(
            run.differs(&recorded)
                .unwrap()
                .unwrap()
                .starts_with("fit was")
        );
    }

    #[test]
    fn a_sample_has_a_file_and_passes_of_its_own() {
        let study = Study::parse(&sampled()).unwrap();
        let run = Run {
            study: &study,
            arm: &study.arms[1],
            learning_rate: 2e-3,
            seed: 7,
        };
        assert_eq!(run.folder(), "lora-n4/lr2e-3-s7");
        assert_eq!(run.fit(), "fit_4_s7.csv");
        let flags = run.flags().unwrap();
        assert_eq!((&*flags["epochs"], &*flags["select-epochs"]), ("2", "1"));
    }

    #[test]
    fn a_flag_may_have_the_name_of_a_file() {
        let text = EXAMPLE.replacen("rank = 8", "rank = 8, select = \"energy\"", 1);
        let study = Study::parse(&text).unwrap();
        let run = Run {
            study: &study,
            arm: &study.arms[0],
            learning_rate: 2e-3,
            seed: 1,
        };
        let flags = run.flags().unwrap().into_iter();
        let mut recorded: Map<String, Value> = flags
            .map(|(name, value)| (recorded_as(&name), Value::String(value)))
            .collect();
        for (name, file) in [
            ("fit", "fit_small.csv"),
            ("select", "select_small.csv"),
            ("report", "report.csv"),
        ] {
            recorded.insert(name.into(), file.into());
        }
        assert_eq!(run.differs(&recorded).unwrap(), None);
        recorded.insert("method-select".into(), "random".into());
        let said = run.differs(&recorded).unwrap().unwrap();
        assert!(said.starts_with("select was \"random\""), "{said}");
    }

    #[test]
    fn flags_of_truth_carry_no_value() {
        let text = EXAMPLE.replacen("rank = 8", "rank = 8, rslora = true, dora = false", 1);
        let study = Study::parse(&text).unwrap();
        let run = Run {
            study: &study,
            arm: &study.arms[0],
            learning_rate: 2e-3,
            seed: 1,
        };
        let arguments = run.arguments().unwrap().join(" ");
        assert!(
            arguments.contains("--rslora --schedule linear"),
            "{arguments}"
        );
        assert!(arguments.contains("--dora=false"), "{arguments}");
        let mut theirs = study.clone();
        theirs.arms[0].engine = Engine::HfPeft;
        let run = Run {
            study: &theirs,
            arm: &theirs.arms[0],
            ..run
        };
        let arguments = run.arguments().unwrap().join(" ");
        assert!(!arguments.contains("dora"), "{arguments}");
    }
}
