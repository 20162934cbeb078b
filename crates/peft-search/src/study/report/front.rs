//! The front: every complete trial by two objectives.

use peft_plot::{Anchor, COLOURS};

use super::Figure;
use super::axes::Axes;
use crate::study::Study;
use crate::{Goal, Scale};

/// The first known objective, or the first of all, and the first measured one besides it.
fn pair(study: &Study) -> Option<(usize, usize)> {
    let objectives = study.problem().objectives();
    let first = objectives
        .iter()
        .position(|objective| objective.known)
        .unwrap_or(0);
    let others = |&index: &usize| index != first && !objectives[index].known;
    Some((first, (0..objectives.len()).find(others)?))
}

pub fn figure(study: &Study) -> Option<Figure> {
    let (x, y) = pair(study)?;
    let problem = study.problem();
    let objectives = problem.objectives();
    let point = |scores: &[f64]| {
        (
            objectives[x].value(scores[x]),
            objectives[y].value(scores[y]),
        )
    };
    let complete = study.history().complete(problem);
    let front = study.history().front(problem);
    let points: Vec<(f64, f64)> = complete.iter().map(|(_, scores)| point(scores)).collect();
    let logarithmic = [x, y].map(|index| objectives[index].scale == Scale::Log10);
    let names = [x, y].map(|index| objectives[index].name.as_str());
    let mut axes = Axes::around(&points, names, logarithmic)?;
    for each in &points {
        let place = axes.place(*each);
        axes.drawing.dot(place, "#aab4be", false);
    }
    // With two objectives what the front dominates ends in stairs.
    let mut on: Vec<(u64, (f64, f64))> = front
        .iter()
        .map(|(trial, scores)| (trial.number, point(scores)))
        .collect();
    on.sort_by(|a, b| a.1.0.total_cmp(&b.1.0));
    if objectives.len() == 2 {
        let mut stairs: Vec<(f64, f64)> = Vec::new();
        let rising = objectives[x].goal == Goal::Minimise;
        for (_, here) in &on {
            if let Some(&before) = stairs.last() {
                stairs.push(if rising {
                    (here.0, before.1)
                } else {
                    (before.0, here.1)
                });
            }
            stairs.push(*here);
        }
        let stairs: Vec<(f64, f64)> = stairs.into_iter().map(|place| axes.place(place)).collect();
        axes.drawing.path(&stairs, COLOURS[0], 1.5, 0.6);
    }
    let mut last: Option<(f64, f64)> = None;
    for (trial, each) in on {
        let place = axes.place(each);
        axes.drawing.dot(place, COLOURS[0], true);
        let apart =
            |last: (f64, f64)| (place.0 - last.0).abs() > 22.0 || (place.1 - last.1).abs() > 14.0;
        if last.is_none_or(apart) {
            let at = (place.0 - 7.0, place.1 - 8.0);
            axes.drawing.text(at, &trial.to_string(), Anchor::End, 11.0);
            last = Some(place);
        }
    }
    let words = match objectives.len() {
        2 => {
            "Every complete trial; filled and numbered those that no other one dominates. Measured values, with their noise."
        }
        _ => {
            "Every complete trial by two of the objectives; filled those that no other one dominates in all of them."
        }
    };
    Some(Figure {
        title: format!("{} against {}", names[1], names[0]),
        words: words.into(),
        svg: axes.drawing.finish(),
    })
}
