//! The part of a few-shot study's report that goes by the number of rows: a table and a plot.

use std::fmt::Write;

use peft_plot::{Anchor, Drawing, FAINT, INK, Scale};

use super::definition::Study;
use super::plots::{grouped, percent};
use super::summary::{Accuracy, ArmSummary};

/// Colours of lines, of which neighbours differ in lightness too.
const LINES: [&str; 8] = [
    "#0b5cad", "#d1690e", "#12876a", "#b0339b", "#5aa9e6", "#e0b000", "#6b6f76", "#7a3b10",
];

/// An arm of the file on all its numbers of rows.
struct Line<'a> {
    arm: &'a str,
    points: Vec<(usize, &'a Accuracy)>,
}

/// One line an arm, by the last step.
fn lines<'a>(study: &'a Study, arms: &'a [ArmSummary]) -> Vec<Line<'a>> {
    let mut lines: Vec<Line> = Vec::new();
    for cell in &study.arms {
        let found = arms.iter().find(|arm| arm.name == cell.name);
        let (Some(drawn), Some(found)) = (&cell.drawn, found) else {
            continue;
        };
        let point = (drawn.sample.rows, &found.last);
        match lines.last_mut().filter(|line| line.arm == drawn.arm) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                arm: &drawn.arm,
                points: vec![point],
            }),
        }
    }
    lines
}

/// Accuracy of each arm on each number of rows.
pub fn table(study: &Study, arms: &[ArmSummary]) -> String {
    let mut text = "\n## By rows\n\nReport accuracy %, last step, mean over the seeds ± standard \
                    deviation.\n\n| arm |"
        .to_owned();
    for sample in &study.samples {
        let _ = write!(text, " {} rows |", grouped(sample.rows as u64));
    }
    text.push_str("\n|---|");
    text.push_str(&"--:|".repeat(study.samples.len()));
    for line in lines(study, arms) {
        let _ = write!(text, "\n| {} |", line.arm);
        for sample in &study.samples {
            let point = line.points.iter().find(|(rows, _)| *rows == sample.rows);
            match point {
                Some((_, accuracy)) => {
                    let _ = write!(text, " {} |", accuracy.words());
                }
                None => text.push_str(" – |"),
            }
        }
    }
    text.push('\n');
    text
}

/// Accuracy against rows: means, joined by a line an arm, with the standard deviation over seeds.
pub fn plot(study: &Study, arms: &[ArmSummary]) -> String {
    let lines = lines(study, arms);
    let (left, right, top, bottom) = (76.0, 640.0, 50.0, 430.0);
    let mut drawing = Drawing::new(820.0, 486.0);
    drawing.heading((20.0, 26.0), &study.title);
    let points = || lines.iter().flat_map(|line| &line.points);
    let spread = |accuracy: &Accuracy| {
        let (mean, deviation) = (accuracy.interval.mean, accuracy.deviation.unwrap_or(0.0));
        [mean - deviation, mean + deviation]
    };
    let values: Vec<f64> = points().flat_map(|(_, one)| spread(one)).collect();
    let counts: Vec<f64> = points().map(|(rows, _)| *rows as f64).collect();
    let (across, up) = (
        Scale::logarithmic(&counts, left, right),
        Scale::linear(&values, bottom, top),
    );
    for tick in up.ticks() {
        let y = up.place(tick);
        drawing.line((left, y), (right, y), FAINT, 1.0);
        drawing.text((left - 9.0, y + 4.0), &percent(tick), Anchor::End, 12.0);
    }
    for sample in &study.samples {
        let x = across.place(sample.rows as f64);
        drawing.line((x, bottom), (x, bottom + 5.0), INK, 1.0);
        let count = grouped(sample.rows as u64);
        drawing.text((x, bottom + 19.0), &count, Anchor::Middle, 12.0);
    }
    drawing.line((left, bottom), (right, bottom), INK, 1.0);
    drawing.line((left, top), (left, bottom), INK, 1.0);
    let name = "rows to fit, logarithmic; bars: standard deviation over the seeds";
    let middle = (left + right) / 2.0;
    drawing.text((middle, bottom + 44.0), name, Anchor::Middle, 12.0);
    let name = "accuracy on the report split, last step, %";
    drawing.upwards((24.0, (top + bottom) / 2.0), name);
    for (index, line) in lines.iter().enumerate() {
        let colour = LINES[index % LINES.len()];
        // Side by side, or the bars would hide one another.
        let shift = 7.0 * (index as f64 - (lines.len() as f64 - 1.0) / 2.0);
        let place = |rows: usize| across.place(rows as f64) + shift;
        let path: Vec<(f64, f64)> = (line.points.iter())
            .map(|(rows, one)| (place(*rows), up.place(one.interval.mean)))
            .collect();
        drawing.path(&path, colour, 1.6, 0.75);
        for ((rows, accuracy), at) in line.points.iter().zip(&path) {
            let [low, high] = spread(accuracy).map(|value| up.place(value));
            drawing.line((place(*rows), low), (place(*rows), high), colour, 1.2);
            drawing.dot(*at, colour, true);
        }
        let y = top + 14.0 + 22.0 * index as f64;
        drawing.dot((right + 18.0, y - 4.0), colour, true);
        drawing.text((right + 30.0, y), line.arm, Anchor::Start, 13.0);
    }
    drawing.finish()
}
