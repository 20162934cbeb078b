//! The plots of a run.

use peft_plot::{Across, Chart, Look, Series, smoothed};
use peft_train::Objective;

use super::log::{Log, StepFigures};

/// What the title and the mark of a plot say.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    /// The method.
    pub method: &'a str,
    /// The model's name.
    pub model: &'a str,
    /// The step whose adapter is kept, if one is.
    pub kept: Option<u64>,
}

/// Steps above which single losses are noise behind a smoothed curve.
const FEW: usize = 10;
/// Part of the run over which the loss is smoothed, and the fewest steps.
const SMOOTHED_PART: usize = 25;
const SMOOTHED_STEPS: usize = 8;

/// The loss of every step, and that of the evaluations.
pub fn loss(run: Of, log: &Log) -> Chart {
    let mut series = noisy("training", log.curve(|step| step.loss));
    series.extend(evaluations(log, "loss"));
    Chart {
        title: title(run, "loss"),
        across: Across::Steps,
        axis: "loss".into(),
        bounds: (0.0, f64::INFINITY),
        series,
        mark: mark(run),
    }
}

/// Another figure of the steps.
pub fn figure(
    run: Of,
    log: &Log,
    name: &str,
    axis: &str,
    of: impl Fn(&StepFigures) -> Option<f64>,
) -> Chart {
    Chart {
        title: title(run, name),
        across: Across::Steps,
        axis: axis.into(),
        bounds: (0.0, f64::INFINITY),
        series: noisy(name, log.curve(of)),
        mark: None,
    }
}

/// Values of steps; of many a smoothed curve before the values themselves.
fn noisy(name: &str, points: Vec<(f64, f64)>) -> Vec<Series> {
    let one = |look, points| Series {
        name: name.into(),
        colour: 0,
        look,
        points,
    };
    if points.len() <= FEW {
        return vec![one(Look::Line, points)];
    }
    let span = points.len().div_ceil(SMOOTHED_PART).max(SMOOTHED_STEPS) as f64;
    let mut smooth = one(Look::Line, smoothed(&points, span));
    smooth.name = format!("{name}, smoothed");
    vec![one(Look::Pale, points), smooth]
}

/// The main metric of the evaluations.
pub fn metric(run: Of, log: &Log, objective: &dyn Objective) -> Chart {
    let name = objective.main_metric();
    Chart {
        title: title(run, name),
        across: Across::Steps,
        axis: name.to_owned(),
        bounds: objective.metric_range(),
        series: evaluations(log, name).collect(),
        mark: mark(run),
    }
}

fn evaluations<'a>(log: &'a Log, figure: &'a str) -> impl Iterator<Item = Series> + 'a {
    let splits = [("selection", 1), ("report", 2)];
    splits.into_iter().map(move |(split, colour)| Series {
        name: split.to_owned(),
        colour,
        look: Look::Dots,
        points: log.evaluated(split, figure),
    })
}

fn title(run: Of, figure: &str) -> String {
    format!("{} on {}: {figure}", run.method, run.model)
}

fn mark(run: Of) -> Option<(f64, String)> {
    let step = run.kept?;
    Some((step as f64, format!("kept: step {step}")))
}
