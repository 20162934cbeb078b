//! The plots of a run.

use peft_plot::{Chart, Look, Series, smoothed};
use peft_train::Objective;

use super::{Summary, log::Log, short_name};

/// Steps above which single losses are noise behind a smoothed curve.
const FEW: usize = 10;
/// Part of the run over which the loss is smoothed, and the fewest steps.
const SMOOTHED_PART: usize = 25;
const SMOOTHED_STEPS: usize = 8;

/// The loss of every step, and that of the evaluations.
pub fn loss(run: &Summary, log: &Log) -> Chart {
    let points: Vec<(f64, f64)> = (log.losses.iter())
        .map(|(step, loss)| (*step as f64, *loss))
        .collect();
    let training = |look, points| Series {
        name: "training".into(),
        colour: 0,
        look,
        points,
    };
    let mut series = if points.len() <= FEW {
        vec![training(Look::Line, points)]
    } else {
        let span = points.len().div_ceil(SMOOTHED_PART).max(SMOOTHED_STEPS) as f64;
        let mean = smoothed(&points, span);
        let mut smooth = training(Look::Line, mean);
        smooth.name = "training, smoothed".into();
        vec![training(Look::Pale, points), smooth]
    };
    series.extend(evaluations(log, "loss"));
    Chart {
        title: title(run, "loss"),
        axis: "loss".into(),
        bounds: (0.0, f64::INFINITY),
        series,
        mark: mark(run),
    }
}

/// The main metric of the evaluations.
pub fn metric(run: &Summary, log: &Log, objective: &dyn Objective) -> Chart {
    let name = objective.main_metric();
    Chart {
        title: title(run, name),
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

fn title(run: &Summary, figure: &str) -> String {
    let (method, model) = (&run.config.method, short_name(&run.config.model));
    format!("{method} on {model}: {figure}")
}

fn mark(run: &Summary) -> Option<(f64, String)> {
    let step = run.best?.step;
    Some((step as f64, format!("kept: step {step}")))
}
