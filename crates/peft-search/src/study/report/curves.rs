//! Curves over trials and within them.

use std::collections::BTreeSet;

use peft_plot::COLOURS;

use super::Figure;
use super::axes::Axes;
use crate::Scale;
use crate::study::Study;

/// The hypervolume over ended trials.
pub fn volumes(study: &Study) -> Option<Figure> {
    let points: Vec<(f64, f64)> = (1..)
        .map(f64::from)
        .zip(study.volumes().iter().copied())
        .collect();
    if points.len() < 2 {
        return None;
    }
    let mut axes = Axes::around(&points, ["trials ended", "hypervolume"], [false; 2])?;
    let mut places = Vec::with_capacity(2 * points.len());
    let mut before = None;
    for point in &points {
        places.extend(before.map(|before| axes.place((point.0, before))));
        places.push(axes.place(*point));
        before = Some(point.1);
    }
    axes.drawing.path(&places, COLOURS[0], 2.0, 1.0);
    Some(Figure {
        title: "Hypervolume".into(),
        words:
            "What the complete trials dominate, above the reference and on the objectives' scales."
                .into(),
        svg: axes.drawing.finish(),
    })
}

/// Reports on the way, of the first measured objective.
pub fn learning(study: &Study) -> Option<Figure> {
    let problem = study.problem();
    let objective = &problem.objectives()[*problem.measured().first()?];
    let trials = study.history().trials();
    let points = |reports: &std::collections::BTreeMap<u32, Vec<f64>>| -> Vec<(f64, f64)> {
        let each = reports
            .iter()
            .filter_map(|(at, values)| Some((f64::from(*at), *values.first()?)));
        each.filter(|(_, value)| objective.score(*value).is_finite())
            .collect()
    };
    let curves: Vec<(u64, Vec<(f64, f64)>)> = trials
        .iter()
        .map(|trial| (trial.number, points(&trial.reports)))
        .collect();
    let all: Vec<(f64, f64)> = curves
        .iter()
        .flat_map(|(_, points)| points)
        .copied()
        .collect();
    if !curves.iter().any(|(_, points)| points.len() > 1) {
        return None;
    }
    let front: BTreeSet<u64> = study
        .history()
        .front(problem)
        .iter()
        .map(|(trial, _)| trial.number)
        .collect();
    let logarithmic = [false, objective.scale == Scale::Log10];
    let mut axes = Axes::around(&all, ["resource used", &objective.name], logarithmic)?;
    for pass in [false, true] {
        for (_, points) in curves
            .iter()
            .filter(|(trial, _)| front.contains(trial) == pass)
        {
            let places: Vec<(f64, f64)> = points.iter().map(|point| axes.place(*point)).collect();
            match (pass, places.as_slice()) {
                (false, [only]) => axes.drawing.area(
                    (only.0 - 1.5, only.1 - 1.5),
                    (only.0 + 1.5, only.1 + 1.5),
                    "#8c959f",
                    0.8,
                ),
                (false, _) => axes.drawing.path(&places, "#8c959f", 1.0, 0.6),
                (true, _) => axes.drawing.path(&places, COLOURS[0], 1.5, 0.8),
            }
        }
    }
    Some(Figure {
        title: format!("{} on the way", objective.name),
        words: "Of every trial, by what it had used; in blue those on the front. Short curves were stopped early.".into(),
        svg: axes.drawing.finish(),
    })
}
