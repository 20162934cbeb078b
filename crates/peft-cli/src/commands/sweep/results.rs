//! What the runs of a sweep came to.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::Result;
use peft_plot::{Across, COLOURS, Chart, Look, Series};
use peft_report::{Block, Cell, Column, Page, Section, Table, Tile};
use peft_run::{
    Evaluation, RunFolder, Selector, bytes, core::format::atomic::write_atomic_bytes, duration,
    figure,
};
use peft_search::{Outcome, study::Study};
use serde_json::{Map, Value, json};

use super::grid::{Axis, Grid};
use crate::commands::{evaluation_object, table::TextTable};

/// Points of a curve.
type Points = Vec<(f64, f64)>;

/// A trial and what its folder tells.
struct Row {
    trial: u64,
    levels: Vec<u32>,
    values: Vec<(String, String)>,
    folder: PathBuf,
    outcome: Option<Outcome>,
    selection: Option<Evaluation>,
    report: Option<Evaluation>,
    kept_step: u64,
    seconds: f64,
    memory: Option<u64>,
}

impl Row {
    fn status(&self) -> &'static str {
        match &self.outcome {
            None => "not done",
            Some(Outcome::Complete { .. }) => "done",
            Some(Outcome::Pruned) => "stopped",
            Some(Outcome::Failed { .. }) => "failed",
            Some(Outcome::Diverged { .. }) => "diverged",
        }
    }

    fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Some(Outcome::Failed { reason } | Outcome::Diverged { reason }) => Some(reason),
            _ => None,
        }
    }

    /// The evaluation that counts.
    fn counted(&self) -> Option<&Evaluation> {
        self.selection
            .as_ref()
            .filter(|_| matches!(self.outcome, Some(Outcome::Complete { .. })))
    }
}

/// The runs, best first.
pub struct Results<'a> {
    grid: &'a Grid,
    selector: &'a Selector,
    rows: Vec<Row>,
}

impl<'a> Results<'a> {
    pub fn of(grid: &'a Grid, study: &Study, selector: &'a Selector) -> Self {
        let trials = study.history().trials().iter();
        let mut rows: Vec<Row> = trials
            .map(|trial| {
                let folder = grid.output(trial.number, &trial.configuration);
                let run = RunFolder::is_one(&folder)
                    .then(|| RunFolder::read(&folder).ok())
                    .flatten();
                let kept = run.as_ref().and_then(RunFolder::kept);
                let values = grid.values(&trial.configuration).into_iter();
                Row {
                    trial: trial.number,
                    levels: trial.configuration.0.clone(),
                    values: values
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect(),
                    outcome: trial.outcome.clone(),
                    selection: kept.map(|(_, selection, _)| selection.clone()),
                    report: kept.and_then(|(_, _, report)| report.cloned()),
                    kept_step: kept.map_or(0, |(step, ..)| step),
                    seconds: run.as_ref().map_or(0.0, RunFolder::train_time_s),
                    memory: run.as_ref().and_then(RunFolder::peak_memory),
                    folder,
                }
            })
            .collect();
        let better = |a: &Row, b: &Row| match (a.counted(), b.counted()) {
            (Some(a), Some(b)) => selector.better(a, b),
            (a, b) => a.is_some() && b.is_none(),
        };
        rows.sort_by(|a, b| better(b, a).cmp(&better(a, b)).then(a.trial.cmp(&b.trial)));
        Self {
            grid,
            selector,
            rows,
        }
    }

    fn best_row(&self) -> Option<&Row> {
        self.rows.first().filter(|row| row.counted().is_some())
    }

    /// The folder of the best run.
    pub fn best(&self) -> Option<&Path> {
        self.best_row().map(|row| row.folder.as_path())
    }

    pub fn first_failure(&self) -> Option<&str> {
        self.rows.iter().find_map(Row::reason)
    }

    /// Names of the columns, and whether they hold numbers.
    fn columns(&self) -> Vec<(String, bool)> {
        let metric = self.selector.figure();
        let mut columns = vec![("run".to_owned(), true)];
        let axes = self.grid.axes.iter();
        columns.extend(axes.map(|axis| (axis.name.clone(), axis.numbers().is_some())));
        columns.push(("status".to_owned(), false));
        columns.push((metric.to_owned(), true));
        if self.reports() {
            columns.push((format!("{metric} (report)"), true));
        }
        if metric != "loss" {
            columns.push(("loss".to_owned(), true));
        }
        columns.extend(["kept step", "time", "memory"].map(|name| (name.to_owned(), true)));
        columns
    }

    fn reports(&self) -> bool {
        self.rows.iter().any(|row| row.report.is_some())
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let none = || "–".to_owned();
        let metric = |evaluation: Option<&Evaluation>| {
            evaluation.map_or_else(none, |one| figure(self.selector.value(one)))
        };
        // As its folder is called.
        let mut cells = vec![row.trial.to_string()];
        cells.extend(row.values.iter().map(|(_, value)| value.clone()));
        cells.push(row.status().to_owned());
        cells.push(metric(row.selection.as_ref()));
        if self.reports() {
            cells.push(metric(row.report.as_ref()));
        }
        if self.selector.figure() != "loss" {
            let loss = row.selection.as_ref().map(|one| figure(one.loss));
            cells.push(loss.unwrap_or_else(none));
        }
        cells.push(row.kept_step.to_string());
        cells.push(duration(row.seconds));
        cells.push(row.memory.map_or_else(none, bytes));
        cells
    }

    /// The runs as a table of text, best first, and what to do with the best.
    pub fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = TextTable::new(self.columns());
        for row in &self.rows {
            table.row(self.cells(row));
        }
        table.write(out)?;
        for row in &self.rows {
            if let Some(reason) = row.reason() {
                writeln!(out, "run {} {}: {reason}", row.trial, row.status())?;
            }
        }
        if let Some(best) = self.best() {
            writeln!(out, "\nthe best is in {}", best.display())?;
        }
        Ok(())
    }

    pub fn object(&self, folder: &Path) -> Value {
        let of = |row: &Row| {
            let settings = row.values.iter();
            let settings = settings.map(|(name, value)| (name.clone(), json!(value)));
            json!({
                "trial": row.trial,
                "settings": settings.collect::<Map<_, _>>(),
                "run": row.folder,
                "status": row.status(),
                "reason": row.reason(),
                "selection": row.selection.as_ref().map(evaluation_object),
                "report": row.report.as_ref().map(evaluation_object),
                "kept_step": row.kept_step,
                "train_time_s": row.seconds,
                "peak_memory": row.memory,
            })
        };
        json!({
            "output": folder,
            "metric": self.selector.figure(),
            "best": self.best_row().map(of),
            "trials": self.rows.iter().map(of).collect::<Vec<_>>(),
        })
    }

    /// The metric over a setting of numbers, if there is one, with a curve for each combination of the others.
    fn chart(&self) -> Chart {
        let axes = &self.grid.axes;
        let numeric = (0..axes.len()).filter(|axis| axes[*axis].numbers().is_some());
        let across = numeric
            .max_by_key(|axis| axes[*axis].values.len())
            .unwrap_or(0);
        let axis = &axes[across];
        let mut curves: Vec<(Vec<u32>, Points)> = Vec::new();
        for row in &self.rows {
            let Some(evaluation) = row.counted() else {
                continue;
            };
            let mut others = row.levels.clone();
            let level = others.remove(across) as usize;
            let place = axis
                .numbers()
                .and_then(|numbers| numbers.get(level).copied());
            let point = (
                place.unwrap_or(level as f64),
                self.selector.value(evaluation),
            );
            match curves.iter_mut().find(|(levels, _)| *levels == others) {
                Some((_, points)) => points.push(point),
                None => curves.push((others, vec![point])),
            }
        }
        // Best first, and no more than there are colours.
        let all = curves.len();
        curves.truncate(COLOURS.len());
        let series = curves
            .into_iter()
            .enumerate()
            .map(|(colour, (levels, mut points))| {
                points.sort_by(|a, b| a.0.total_cmp(&b.0));
                let others = axes
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| *place != across);
                let words = others.zip(&levels).filter_map(|((_, axis), level)| {
                    Some(format!(
                        "{} {}",
                        axis.name,
                        axis.values.get(*level as usize)?
                    ))
                });
                let words = words.collect::<Vec<_>>().join(", ");
                Series {
                    name: if words.is_empty() {
                        self.selector.figure().to_owned()
                    } else {
                        words
                    },
                    colour,
                    look: Look::Dots,
                    points,
                }
            });
        let series: Vec<Series> = series.collect();
        let shown = match series.len() < all {
            true => format!(", the best {} of {all} combinations", series.len()),
            false => String::new(),
        };
        Chart {
            title: format!("{} on the selection rows{shown}", self.selector.figure()),
            across: across_of(axis),
            axis: self.selector.figure().to_owned(),
            bounds: match self.selector.less_is_better() {
                true => (0.0, f64::INFINITY),
                false => (-1.0, 1.0),
            },
            series,
            mark: None,
        }
    }

    /// Write `report.html` and `sweep.svg` into the sweep's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let chart = self.chart();
        write_atomic_bytes(&folder.join("sweep.svg"), chart.svg().as_bytes())?;
        write_atomic_bytes(
            &folder.join("report.html"),
            self.page(folder, &chart).html().as_bytes(),
        )?;
        Ok(())
    }

    fn page(&self, folder: &Path, chart: &Chart) -> Page {
        let columns = self
            .columns()
            .into_iter()
            .map(|(name, numeric)| match numeric {
                true => Column::number(name),
                false => Column::text(name),
            });
        let best = self.best_row();
        let rows = self.rows.iter().map(|row| {
            let strong = best.is_some_and(|best| best.trial == row.trial);
            let cells = self.cells(row).into_iter().enumerate();
            let cells = cells.map(|(column, text)| {
                let cell = Cell::new(text).strong_if(strong);
                let page = row.folder.join("report.html");
                match page.strip_prefix(folder) {
                    Ok(path) if column == 0 && page.is_file() => cell.link(path.to_string_lossy()),
                    _ => cell,
                }
            });
            cells.collect()
        });
        let table = Table {
            caption: "Best first. Each run's number leads to its own report.".into(),
            columns: columns.collect(),
            rows: rows.collect(),
        };
        let done = self.rows.iter().filter(|row| row.outcome.is_some()).count();
        let mut tiles = vec![Tile::new(
            "runs",
            done.to_string(),
            format!("of {}", self.grid.len()),
        )];
        let mut sections = vec![Section::new(
            "Runs",
            vec![Block::Plot(chart.inline()), Block::Table(table)],
        )];
        if let Some(best) = best {
            let settings: Vec<String> = best
                .values
                .iter()
                .map(|(name, value)| format!("{name} {value}"))
                .collect();
            let value = best
                .selection
                .as_ref()
                .map(|one| figure(self.selector.value(one)));
            tiles.push(Tile::new(
                format!("best {}", self.selector.figure()),
                value.unwrap_or_default(),
                settings.join(", "),
            ));
            sections.push(Section::new(
                "Use the best",
                vec![Block::Code(format!(
                    "peft predict --model MODEL --adapter {0} --data TEXTS\npeft train --config {0}/run.toml output=ELSEWHERE",
                    best.folder.display()
                ))],
            ));
        }
        let failed: Vec<Block> = (self.rows.iter())
            .filter_map(|row| {
                Some(Block::Warning(format!(
                    "Run {}: {}",
                    row.trial,
                    row.reason()?
                )))
            })
            .collect();
        if !failed.is_empty() {
            sections.push(Section::new("Runs without a result", failed));
        }
        Page {
            title: format!(
                "Sweep of {}",
                self.grid
                    .axes
                    .iter()
                    .map(|axis| axis.name.as_str())
                    .collect::<Vec<_>>()
                    .join(" and ")
            ),
            subtitle: folder.display().to_string(),
            warning: (done < self.grid.len()).then(|| {
                format!(
                    "{done} of {} runs have ended; `peft sweep --output {} --resume` continues.",
                    self.grid.len(),
                    folder.display()
                )
            }),
            tiles,
            sections,
            footer: format!(
                "The best of many runs on the same selection rows looks better than it is: only rows that chose nothing \
                 (--eval-data) tell how good it is. Written by peft {}.",
                env!("CARGO_PKG_VERSION")
            ),
        }
    }
}

/// Numbers at their places, equal ratios equally far apart where they span much; else names.
fn across_of(axis: &Axis) -> Across {
    const WIDE: f64 = 4.0;
    let name = axis.name.clone();
    match axis.numbers() {
        Some(numbers) => {
            let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
            let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            Across::Numbers {
                name,
                logarithmic: least > 0.0 && most / least >= WIDE,
            }
        }
        None => Across::Names {
            name,
            names: axis.values.clone(),
        },
    }
}
