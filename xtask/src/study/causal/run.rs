//! One training run: its command lines, and carrying it out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::batches;
use super::definition::{Arm, Study};
use super::outcome::{Outcome, RowLosses, Settings};
use super::rows::Files;
use crate::bench::Machine;
use crate::study::definition::Engine;
use crate::study::median;
use crate::study::ours::version;
use crate::study::settings::{add_flags, folder};
use crate::{files, process, python};

const WEIGHTS: &str = "adapter_model.safetensors";

/// Programs and folders a study runs with.
pub struct Tools {
    pub peft: PathBuf,
    pub python: PathBuf,
    pub model: PathBuf,
    /// What results call it.
    pub model_name: String,
    pub rows: Files,
    /// Logs and adapters, outside the repository.
    pub work: PathBuf,
    /// `docs/studies/NAME`, where results are committed.
    pub docs: PathBuf,
    pub contended: bool,
}

#[derive(Clone, Debug)]
pub struct Run<'a> {
    pub study: &'a Study,
    pub arm: &'a Arm,
    pub learning_rate: f64,
    pub seed: u64,
}

/// What is written beside an adapter when its training has ended.
#[derive(Deserialize, Serialize)]
struct Trained {
    #[serde(flatten)]
    settings: Settings,
    #[serde(default)]
    machine: Option<Machine>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    contended: bool,
}

impl Run<'_> {
    /// Folder of the run below a study's: `<arm>/lr2e-3-s0`.
    pub fn folder(&self) -> String {
        folder(&self.arm.name, self.learning_rate, self.seed)
    }

    /// Flags that decide the outcome. Paths and threads are not among them.
    pub fn flags(&self) -> Result<BTreeMap<String, String>> {
        let training = &self.study.training;
        let mut flags = BTreeMap::from(
            [
                ("method", self.arm.method.clone()),
                ("steps", training.steps.to_string()),
                ("batch-size", training.batch_size.to_string()),
                ("max-length", training.max_length.to_string()),
                ("seed", self.seed.to_string()),
                ("warmup", training.warmup.to_string()),
                ("schedule", training.schedule.clone()),
                ("clip", training.clip.to_string()),
                ("weight-decay", training.weight_decay.to_string()),
                ("learning-rate", self.learning_rate.to_string()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if self.arm.method == "head" {
            // It has no adapters: what it trains goes at the head's rate.
            let rate = self.learning_rate.to_string();
            flags.insert("head-learning-rate".to_owned(), rate);
        }
        add_flags(&mut flags, &self.arm.name, &self.arm.flags)?;
        Ok(flags)
    }

    /// What a result of this run records.
    pub fn settings(&self, tools: &Tools) -> Result<Settings> {
        Ok(Settings {
            model: tools.model_name.clone(),
            rows: tools.rows.sha256.clone(),
            flags: self.flags()?,
        })
    }

    /// Arguments of `peft train`, or of the reference script.
    pub fn arguments(&self, tools: &Tools) -> Result<Vec<String>> {
        let folder = tools.work.join(self.folder());
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let start = self.study.is_against_reference().then(|| self.start(tools));
        let mut arguments = match self.arm.engine {
            Engine::Peft => ["train", "--task", "causal-lm"].map(str::to_owned).to_vec(),
            Engine::HfPeft => vec![text(&python::scripts().join("hf_causal.py"))],
        };
        let threads = self.study.training.threads.to_string();
        let adapter = folder.join("adapter");
        let mut push = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        push("model", text(&tools.model));
        push("output", text(&adapter));
        push("threads", threads);
        let mut flags = self.flags()?;
        match self.arm.engine {
            Engine::Peft => {
                push("data", text(&tools.rows.fit));
                push("select-data", text(&tools.rows.select));
                if let Some(start) = start {
                    push("adapter", text(&start));
                    // They come with the adapter.
                    flags.retain(|name, _| !self.arm.flags.contains_key(name) && name != "method");
                }
            }
            Engine::HfPeft => {
                push("batches", text(&self.batches(tools)));
                push("start", text(&self.start(tools)));
                flags.retain(|name, _| {
                    !["method", "seed", "batch-size", "max-length", "schedule"].contains(&&**name)
                });
            }
        }
        for (name, value) in flags {
            match value.as_str() {
                "true" => arguments.push(format!("--{name}")),
                "false" => arguments.push(format!("--{name}=false")),
                _ => arguments.extend([format!("--{name}"), value]),
            }
        }
        Ok(arguments)
    }

    /// The adapter that both engines begin with, and the batches that both see.
    fn start(&self, tools: &Tools) -> PathBuf {
        tools.work.join(format!("start-s{}", self.seed))
    }

    fn batches(&self, tools: &Tools) -> PathBuf {
        tools.work.join(format!("batches-s{}.json", self.seed))
    }

    /// Makes what both engines share.
    fn prepare(&self, tools: &Tools) -> Result<()> {
        if !self.study.is_against_reference() {
            return Ok(());
        }
        let training = &self.study.training;
        batches::write(
            &tools.model,
            &tools.rows,
            training,
            self.seed,
            &self.batches(tools),
        )?;
        let start = self.start(tools);
        // What of the settings decides about it.
        let mut own = self.flags()?;
        own.retain(|name, _| self.arm.flags.contains_key(name));
        let own = serde_json::to_string(&(&tools.model_name, &own))?;
        let told = start.with_extension("json");
        if start.join(WEIGHTS).is_file() && told.is_file() && files::read(&told)? == own {
            return Ok(());
        }
        files::remove_folder(&start)?;
        let mut command = Command::new(&tools.python);
        command.arg(python::scripts().join("hf_causal.py"));
        command.arg("--model").arg(&tools.model);
        command.arg("--make-start").arg(&start);
        command.args(["--seed", &self.seed.to_string()]);
        for (name, value) in self.flags()? {
            if self.arm.flags.contains_key(&name) {
                command.args([format!("--{name}"), value]);
            }
        }
        process::run_measured(&mut command, &start.with_extension("log"))?;
        files::write_atomic(&told, own.as_bytes())
    }

    /// Trains where that is not done, and with `report` measures the report rows.
    pub fn execute(&self, tools: &Tools, report: bool) -> Result<Outcome> {
        let folder = tools.work.join(self.folder());
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let trained = match self.trained(tools, &folder)? {
            Some(trained) => trained,
            None => self.train(tools, &folder)?,
        };
        let mut outcome = self.outcome(tools, &folder, trained)?;
        if report {
            outcome.report = Some(match self.arm.engine {
                Engine::HfPeft => {
                    RowLosses::parse(&files::read(&folder.join("adapter/report.jsonl"))?)?
                }
                Engine::Peft => measure(tools, Some(&folder.join("adapter/last")))?,
            });
        }
        Ok(outcome)
    }

    fn trained(&self, tools: &Tools, folder: &Path) -> Result<Option<Trained>> {
        let path = folder.join("trained.json");
        if !path.is_file() || !folder.join("adapter").join(WEIGHTS).is_file() {
            return Ok(None);
        }
        let trained: Trained = serde_json::from_str(&files::read(&path)?)
            .with_context(|| format!("{} is broken", path.display()))?;
        let same = trained.settings == self.settings(tools)?;
        if !same {
            eprintln!("{} does not count: it is of other settings", path.display());
        }
        Ok(same.then_some(trained))
    }

    fn train(&self, tools: &Tools, folder: &Path) -> Result<Trained> {
        self.prepare(tools)?;
        // What a run that was cut off left would otherwise be taken for a run to continue.
        files::remove_folder(&folder.join("adapter"))?;
        let machine = Machine::look();
        let program = match self.arm.engine {
            Engine::Peft => &tools.peft,
            Engine::HfPeft => &tools.python,
        };
        process::run_measured(
            Command::new(program).args(self.arguments(tools)?),
            &folder.join("train.log"),
        )?;
        let version = match self.arm.engine {
            Engine::Peft => Some(version(&tools.peft)?),
            Engine::HfPeft => None,
        };
        let trained = Trained {
            settings: self.settings(tools)?,
            machine: Some(machine),
            version,
            contended: tools.contended,
        };
        let text = serde_json::to_string_pretty(&trained)?;
        files::write_atomic(&folder.join("trained.json"), text.as_bytes())?;
        Ok(trained)
    }

    fn outcome(&self, tools: &Tools, folder: &Path, trained: Trained) -> Result<Outcome> {
        let adapter = folder.join("adapter");
        let log = Log::parse(&files::read(&adapter.join("metrics.jsonl"))?)
            .with_context(|| format!("in {}", adapter.display()))?;
        ensure!(
            log.losses.len() == self.study.training.steps as usize,
            "{}: {} steps are logged",
            adapter.display(),
            log.losses.len()
        );
        let weights = adapter.join(WEIGHTS);
        let bytes = fs::metadata(&weights).with_context(|| format!("no {}", weights.display()))?;
        let mut versions = log.versions;
        versions.extend(trained.version.map(|version| ("peft".to_owned(), version)));
        Ok(Outcome {
            arm: self.arm.name.clone(),
            engine: self.arm.engine.name().to_owned(),
            seed: self.seed,
            learning_rate: self.learning_rate,
            settings: self.settings(tools)?,
            trainable_parameters: log.trainable,
            adapter_bytes: bytes.len(),
            losses: log.losses,
            selection_loss: log.selection_loss,
            report: None,
            step_time_s: median(&log.times),
            peak_rss_bytes: log.peak,
            contended: trained.contended,
            machine: trained.machine,
            versions,
        })
    }
}

/// The report rows by a model with an adapter, or as it is.
pub fn measure(tools: &Tools, adapter: Option<&Path>) -> Result<RowLosses> {
    let mut command = Command::new(&tools.peft);
    command.args(["eval", "--each-row", "--task", "causal-lm", "--model"]);
    command
        .arg(&tools.model)
        .arg("--data")
        .arg(&tools.rows.report);
    // Few rows at once: the batch changes no bit, and the machine may have little memory.
    command.args(["--batch-size", "8"]);
    if let Some(adapter) = adapter {
        command.arg("--adapter").arg(adapter);
    }
    let output = command.output().context("cannot start peft eval")?;
    ensure!(
        output.status.success(),
        "peft eval ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let rows = RowLosses::parse(&String::from_utf8_lossy(&output.stdout))?;
    match &tools.rows.answers {
        Some(answers) => rows.answered(answers.count, &answers.right),
        None => Ok(rows),
    }
}

/// What is taken from `metrics.jsonl`, which both engines write.
#[derive(Debug, Default)]
struct Log {
    trainable: u64,
    losses: Vec<f64>,
    times: Vec<f64>,
    selection_loss: Option<f64>,
    peak: Option<u64>,
    versions: BTreeMap<String, String>,
}

impl Log {
    fn parse(text: &str) -> Result<Self> {
        let mut log = Self::default();
        for (line, text) in text.lines().enumerate() {
            let event: Value = serde_json::from_str(text)
                .with_context(|| format!("line {} is not JSON", line + 1))?;
            let number = |name: &str| {
                event[name]
                    .as_f64()
                    .with_context(|| format!("line {}: no number {name}", line + 1))
            };
            match event["event"].as_str() {
                Some("plan") => {
                    // What is trained whole counts as a head.
                    let whole = event["head_parameters"].as_u64().unwrap_or(0);
                    log.trainable = number("trainable_parameters")? as u64 + whole;
                    let versions = event["versions"].as_object().into_iter().flatten();
                    let text = |(name, value): (&String, &Value)| {
                        Some((name.clone(), value.as_str()?.to_owned()))
                    };
                    log.versions = versions.filter_map(text).collect();
                }
                Some("step") => {
                    log.losses.push(number("loss")?);
                    log.times.push(number("step_time_s")?);
                    log.peak = log.peak.max(event["peak_memory"].as_u64());
                }
                Some("eval")
                    if event["split"]
                        .as_str()
                        .is_some_and(|split| split.starts_with("select")) =>
                {
                    log.selection_loss = Some(number("loss")?);
                }
                _ => {}
            }
        }
        ensure!(!log.losses.is_empty(), "there is no `step` event");
        Ok(log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::causal::definition::EXAMPLE;

    #[test]
    fn flags_are_those_of_the_study_and_the_arm() {
        let study = Study::parse(EXAMPLE).unwrap();
        let run = Run {
            study: &study,
            arm: &study.arms[0],
            learning_rate: 2e-3,
            seed: 1,
        };
        assert_eq!(run.folder(), "lora/lr2e-3-s1");
        let flags = run.flags().unwrap();
        assert_eq!(
            (
                &*flags["learning-rate"],
                &*flags["clip"],
                &*flags["use-rslora"]
            ),
            ("0.002", "1", "true")
        );
        let text = EXAMPLE.replacen("rank = 8", "seed = 8", 1);
        let study = Study::parse(&text).unwrap();
        let run = Run {
            study: &study,
            arm: &study.arms[0],
            learning_rate: 2e-3,
            seed: 1,
        };
        assert!(run.flags().unwrap_err().to_string().contains("seed"));
    }

    #[test]
    fn a_log_has_losses_and_the_last_selection() {
        let text = r#"{"event":"plan","trainable_parameters":7,"head_parameters":3}
{"event":"step","step":1,"loss":3.0,"step_time_s":0.1,"peak_memory":7}
{"event":"eval","step":1,"split":"selection","loss":2.5}
{"event":"step","step":2,"loss":2.0,"step_time_s":0.3,"peak_memory":9}
{"event":"eval","step":2,"split":"selection","loss":2.25}"#;
        let log = Log::parse(text).unwrap();
        assert_eq!(log.losses, [3.0, 2.0]);
        assert_eq!(
            (log.trainable, log.selection_loss, log.peak),
            (10, Some(2.25), Some(9))
        );
        assert!(Log::parse("{\"event\":\"plan\",\"trainable_parameters\":1}").is_err());
    }
}
