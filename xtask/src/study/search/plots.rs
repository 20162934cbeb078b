//! The plots of a study of searches.

use peft_plot::{Across, Anchor, COLOURS, Chart, Drawing, FAINT, INK, Look, Scale, Series};

use super::definition::Study;
use super::record::Record;
use crate::study::plots::{grouped, percent};
use crate::study::statistics::mean;

/// Hypervolume after each trial: pale for each search, the mean of a proposer's on top.
pub fn volumes(study: &Study, records: &[Record]) -> String {
    let mut series = Vec::new();
    let mut means = Vec::new();
    for (colour, proposer) in study.proposers.iter().enumerate() {
        let own: Vec<Vec<f64>> = records
            .iter()
            .filter(|record| record.proposer == proposer.name)
            .map(Record::volumes)
            .collect();
        let curve = |volumes: &[f64]| -> Vec<(f64, f64)> {
            let steps = 1..=volumes.len();
            steps
                .map(|trial| trial as f64)
                .zip(volumes.iter().copied())
                .collect()
        };
        series.extend(own.iter().map(|volumes| Series {
            name: proposer.name.clone(),
            colour,
            look: Look::Pale,
            points: curve(volumes),
        }));
        let least = own.iter().map(Vec::len).min().unwrap_or(0);
        let average: Vec<f64> = (0..least)
            .map(|trial| mean(&own.iter().map(|volumes| volumes[trial]).collect::<Vec<_>>()))
            .collect();
        if !average.is_empty() {
            means.push(Series {
                name: format!("{} (mean of {})", proposer.name, own.len()),
                colour,
                look: Look::Line,
                points: curve(&average),
            });
        }
    }
    series.append(&mut means);
    Chart {
        title: "Hypervolume by trials".to_owned(),
        across: Across::Numbers {
            name: "trials".to_owned(),
            logarithmic: false,
        },
        axis: "hypervolume".to_owned(),
        bounds: (0.0, f64::INFINITY),
        series,
        mark: None,
    }
    .svg()
}

/// Accuracy on the rows that choose against values: every trial, and the front of each proposer.
pub fn front(study: &Study, records: &[Record]) -> String {
    let (left, right, top, bottom) = (76.0, 770.0, 70.0, 420.0);
    let mut drawing = Drawing::new(800.0, 476.0);
    drawing.heading((20.0, 26.0), "Trials and fronts of the proposers");
    let trials = |name: &str| -> Vec<(f64, f64)> {
        let own = records.iter().filter(|record| record.proposer == name);
        let trials = own.flat_map(|record| &record.trials);
        trials
            .filter_map(|trial| Some((trial.values, trial.accuracy?)))
            .collect()
    };
    let all: Vec<(f64, f64)> = study
        .proposers
        .iter()
        .flat_map(|one| trials(&one.name))
        .collect();
    let (values, accuracies): (Vec<f64>, Vec<f64>) = all.into_iter().unzip();
    if values.is_empty() {
        drawing.text((400.0, 230.0), "nothing was measured", Anchor::Middle, 13.0);
        return drawing.finish();
    }
    let across = Scale::logarithmic(&values, left, right);
    let up = Scale::linear(&accuracies, bottom, top);
    for tick in up.ticks() {
        let y = up.place(tick);
        drawing.line((left, y), (right, y), FAINT, 1.0);
        drawing.text((left - 9.0, y + 4.0), &percent(tick), Anchor::End, 12.0);
    }
    for tick in across.ticks() {
        let x = across.place(tick);
        drawing.line((x, bottom), (x, bottom + 5.0), INK, 1.0);
        let words = grouped(tick as u64);
        drawing.text((x, bottom + 19.0), &words, Anchor::Middle, 12.0);
    }
    drawing.line((left, bottom), (right, bottom), INK, 1.0);
    drawing.line((left, top), (left, bottom), INK, 1.0);
    let name = "values of the adapter without the head, logarithmic";
    let middle = ((left + right) / 2.0, bottom + 44.0);
    drawing.text(middle, name, Anchor::Middle, 12.0);
    drawing.upwards(
        (24.0, (top + bottom) / 2.0),
        "accuracy on the rows that choose, %",
    );
    let mut x = 26.0;
    for (index, proposer) in study.proposers.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        drawing.dot((x, 46.0), colour, true);
        drawing.text((x + 10.0, 50.0), &proposer.name, Anchor::Start, 12.0);
        x += 40.0 + 7.0 * proposer.name.len() as f64;
        let mut points = trials(&proposer.name);
        for &(values, accuracy) in &points {
            drawing.dot((across.place(values), up.place(accuracy)), colour, false);
        }
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        // A staircase: what is best with at most so many values.
        let mut stairs: Vec<(f64, f64)> = Vec::new();
        for (values, accuracy) in points {
            let x = across.place(values);
            match stairs.last().copied() {
                Some((_, y)) if up.place(accuracy) < y => {
                    stairs.extend([(x, y), (x, up.place(accuracy))]);
                }
                None => stairs.push((x, up.place(accuracy))),
                _ => {}
            }
        }
        stairs.extend(stairs.last().map(|(_, y)| (right, *y)));
        drawing.path(&stairs, colour, 2.0, 1.0);
    }
    drawing.finish()
}
