//! `metrics.jsonl`, read back.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{RunError, event::fault};

/// What happened in a run. Of a step that a continued run took a second time the later one counts.
#[derive(Debug, Default)]
pub struct Log {
    /// The plan.
    pub plan: Map<String, Value>,
    /// Every step.
    pub steps: BTreeMap<u64, StepFigures>,
    /// Evaluations by split and step.
    pub evaluations: BTreeMap<String, BTreeMap<u64, Map<String, Value>>>,
    /// What was said at the end; empty before.
    pub last: Map<String, Value>,
}

/// The figures of a step, as in [`Event::Step`](crate::Event::Step).
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct StepFigures {
    pub loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub gradient_norm: Option<f64>,
    pub tokens_per_s: Option<f64>,
    pub step_time_s: Option<f64>,
    pub peak_memory: Option<u64>,
}

impl Log {
    /// Read a log; lines that are no events are passed over.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let file = File::open(path).map_err(|error| fault(path, &error))?;
        let mut log = Self::default();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|error| fault(path, &error))?;
            if let Ok(event) = serde_json::from_str(&line) {
                log.add(event);
            }
        }
        Ok(log)
    }

    fn add(&mut self, event: Map<String, Value>) {
        let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
        let step = event.get("step").and_then(Value::as_u64);
        match (text("event"), step) {
            ("plan", _) => self.plan = event,
            ("step", Some(step)) => {
                if let Ok(figures) = serde_json::from_value(Value::Object(event)) {
                    self.steps.insert(step, figures);
                }
            }
            ("eval", Some(step)) => {
                let split = self.evaluations.entry(text("split").to_owned());
                split.or_default().insert(step, event);
            }
            ("final", _) => self.last = event,
            _ => {}
        }
    }

    /// A figure of every step that has it.
    pub fn curve(&self, figure: impl Fn(&StepFigures) -> Option<f64>) -> Vec<(f64, f64)> {
        let figures = self.steps.iter();
        let points = figures.filter_map(|(step, one)| Some((*step as f64, figure(one)?)));
        points.collect()
    }

    /// A figure of the plan.
    pub fn planned(&self, key: &str) -> u64 {
        self.plan.get(key).and_then(Value::as_u64).unwrap_or(0)
    }

    /// A figure of the evaluations of a split, by step.
    pub fn evaluated(&self, split: &str, figure: &str) -> Vec<(f64, f64)> {
        let evaluations = self.evaluations.get(split).into_iter().flatten();
        let figures = evaluations.filter_map(|(step, event)| {
            let value = event.get(figure).and_then(Value::as_f64)?;
            Some((*step as f64, value))
        });
        figures.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_to_the_last_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let lines = [
            r#"{"event":"plan","rows":5}"#,
            r#"{"event":"step","step":1,"loss":2.0}"#,
            r#"{"event":"step","step":2,"loss":3.0}"#,
            r#"{"event":"step","step":2,"loss":1.0}"#,
            r#"{"event":"eval","step":2,"split":"selection","loss":0.5,"f1":0.25}"#,
            r#"[1]"#,
            r#"{"event":"step","ste"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let log = Log::read(&path).unwrap();
        assert_eq!(log.planned("rows"), 5);
        assert_eq!(log.curve(|step| step.loss), [(1.0, 2.0), (2.0, 1.0)]);
    }

    #[test]
    fn evaluations_are_found_by_split() {
        let mut log = Log::default();
        let line = r#"{"event":"eval","step":2,"split":"selection","loss":0.5,"f1":0.25}"#;
        log.add(serde_json::from_str(line).unwrap());
        assert_eq!(log.evaluated("selection", "f1"), [(2.0, 0.25)]);
        assert!(log.evaluated("selection", "accuracy").is_empty());
        assert!(log.evaluated("report", "f1").is_empty());
    }
}
