//! The result as JSON and as Markdown tables, both written, neither typed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::compute_cases::AGAINST;
use super::machine::Machine;
use super::measure::{Measurement, Spread};
use crate::files;

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub threads: u32,
    pub quick: bool,
    pub versions: BTreeMap<String, String>,
    /// `peft --version`, whole process.
    pub start_up_s: f64,
    pub measurements: Vec<Measurement>,
}

/// One case in a line, for the terminal.
pub fn line(measurement: &Measurement) -> String {
    let sides = measurement.sides.iter();
    let mut text: Vec<String> = sides
        .map(|side| {
            format!(
                "{} {} ms, {:.0} tokens/s",
                side.name,
                spread(side.step_ms, 1),
                side.real_tokens_per_s
            )
        })
        .collect();
    text.extend(
        measurement
            .ratio
            .map(|ratio| format!("ratio {}", spread(ratio, 2))),
    );
    text.extend(measurement.added.as_ref().map(|added| {
        let memory = added.memory_ratio;
        let memory = memory.map(|ratio| format!(", of memory {ratio:.3}"));
        let memory = memory.unwrap_or_default();
        let time = added.time_ratio.map(|ratio| format!("{ratio:.3}"));
        let time = time.unwrap_or_else(|| "lost in noise".into());
        format!("added ratio {time}{memory}")
    }));
    text.join("; ")
}

pub(super) fn spread(values: Spread, digits: usize) -> String {
    let Spread { median, p10, p90 } = values;
    format!("{median:.digits$} ({p10:.digits$}–{p90:.digits$})")
}

impl Report {
    pub fn new(threads: u32, quick: bool) -> Self {
        Self {
            machine: Machine::look(),
            threads,
            quick,
            versions: BTreeMap::new(),
            start_up_s: f64::NAN,
            measurements: Vec::new(),
        }
    }

    /// Writes `NAME.json` and `NAME.md`; returns the latter's path.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let mut json = serde_json::to_string_pretty(self).context("cannot write the report")?;
        json.push('\n');
        files::write_atomic(&folder.join(format!("{name}.json")), json.as_bytes())?;
        let path = folder.join(format!("{name}.md"));
        files::write_atomic(&path, self.markdown(name).as_bytes())?;
        Ok(path)
    }

    fn markdown(&self, name: &str) -> String {
        let option = if name.ends_with("pytorch") {
            " --against-torch"
        } else {
            ""
        };
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let mut text = format!(
            "# Speed and memory on a CPU\n\n<!-- Written by `cargo xtask bench{option}`; changes by hand are \
             lost. -->\n\n{} {}.\n`peft --version` takes {:.1} ms. Raw figures: [{name}.json]({name}.json).\n",
            self.machine.line(self.threads),
            versions.join(", "),
            self.start_up_s * 1e3,
        );
        if self.quick {
            text.push_str("\n**A quick run: too few pairs to conclude from.**\n");
        }
        self.table(&mut text, "Measured in alternation", |found| {
            found.ratio.is_some() && found.difference_ms.is_none()
        });
        self.table(&mut text, "What an adapter adds", |found| {
            found.difference_ms.is_some()
        });
        self.table(&mut text, "Alone", |found| {
            found.ratio.is_none() && found.added.is_none()
        });
        self.added(&mut text);
        self.best_modes(&mut text);
        text.push_str(
            "\nEach figure is a median, with the 10th to 90th percentile in parentheses. A ratio is the \
             median over pairs of turns, first line over second, by seconds a real token (padding is not \
             counted): above 1, the first is slower. Peaks are of anonymous memory, of a process that ran \
             this case only; *beyond loaded* leaves out what was resident before the first step, and *of memory* is the ratio of \
             these. What is allocated is counted by our allocator; a ratio of memory is of allocated \
             bytes where both sides are ours, else of resident ones, ours being no less than what is counted.\n",
        );
        text
    }

    /// Ours against the best of the modes of PyTorch's that were measured, of each step.
    fn best_modes(&self, text: &mut String) {
        let mut steps: BTreeMap<&str, Vec<(&str, Spread)>> = BTreeMap::new();
        for found in &self.measurements {
            if let (Some((step, mode)), Some(ratio)) = (found.case.split_once(AGAINST), found.ratio)
            {
                steps.entry(step).or_default().push((mode, ratio));
            }
        }
        if steps.is_empty() {
            return;
        }
        text.push_str(
            "\n## Against PyTorch's best mode\n\n| step, ours in bf16 | PyTorch's modes that were measured | the best | ratio |\n\
             |---|---|---|--:|\n",
        );
        for (step, modes) in steps {
            // The faster PyTorch is, the more is ours of its time.
            let best = modes
                .iter()
                .max_by(|a, b| a.1.median.total_cmp(&b.1.median));
            let Some((mode, ratio)) = best else {
                continue;
            };
            let names: Vec<&str> = modes.iter().map(|(mode, _)| *mode).collect();
            let (names, ratio) = (names.join(", "), spread(*ratio, 2));
            let _ = writeln!(text, "| {step} | {names} | {mode} | {ratio} |");
        }
    }

    /// Adapters against each other by what they add to the frozen model.
    fn added(&self, text: &mut String) {
        let found: Vec<_> = self
            .measurements
            .iter()
            .filter_map(|found| Some((found, found.added.as_ref()?)))
            .collect();
        if found.is_empty() {
            return;
        }
        text.push_str(
            "\n## Beyond the frozen layer\n\n| case | side | trained | step, ms | beyond frozen, ms | ratio | peak \
             beyond frozen, MB | allocated beyond frozen, MB | ratio |\n|---|---|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for (found, added) in found {
            for (place, side) in found.sides.iter().step_by(2).enumerate() {
                let once = |value: Option<f64>| {
                    let value = value.filter(|_| place == 0);
                    value.map(|value| format!("{value:.3}")).unwrap_or_default()
                };
                let [memory, allocated] =
                    [added.memory_bytes, added.allocated_bytes].map(|bytes| {
                        let bytes = bytes[place].map(|bytes| format!("{:.1}", bytes as f64 / 1e6));
                        bytes.unwrap_or_default()
                    });
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} | {memory} | {allocated} | {} |",
                    if place == 0 { found.case.as_str() } else { "" },
                    side.name,
                    side.trained_parameters,
                    spread(side.step_ms, 1),
                    spread(added.time_ms[place], 2),
                    once(added.time_ratio),
                    once(added.memory_ratio),
                );
            }
        }
    }

    fn table(&self, text: &mut String, title: &str, wanted: fn(&Measurement) -> bool) {
        let mut rows = self
            .measurements
            .iter()
            .filter(|found| wanted(found))
            .peekable();
        if rows.peek().is_none() {
            return;
        }
        let _ = write!(
            text,
            "\n## {title}\n\n| case | side | trained | step, ms | steps/s | real tokens/s | peak, MB | \
             beyond loaded, MB | ratio | of memory | difference, ms |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        );
        for found in rows {
            for (place, side) in found.sides.iter().enumerate() {
                let once = |value: Option<Spread>, digits| {
                    value
                        .filter(|_| place == 0)
                        .map(|value| spread(value, digits))
                        .unwrap_or_default()
                };
                let case = if place == 0 { found.case.as_str() } else { "" };
                let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / 1e6);
                let peak = side.peak_anonymous_bytes.map(megabytes);
                let beyond = side
                    .peak_anonymous_bytes
                    .zip(side.loaded_anonymous_bytes)
                    .map(|(peak, loaded)| megabytes(peak.saturating_sub(loaded)));
                let memory = found.memory_ratio.filter(|_| place == 0);
                let memory = memory.map(|ratio| format!("{ratio:.3}"));
                let _ = writeln!(
                    text,
                    "| {case} | {} | {} | {} | {:.2} | {:.0} | {} | {} | {} | {} | {} |",
                    side.name,
                    side.trained_parameters,
                    spread(side.step_ms, 1),
                    side.steps_per_s,
                    side.real_tokens_per_s,
                    peak.unwrap_or_default(),
                    beyond.unwrap_or_default(),
                    once(found.ratio, 2),
                    memory.unwrap_or_default(),
                    once(found.difference_ms, 2),
                );
            }
        }
    }
}
