//! The two plots of a study.

use peft_plot::{Anchor, COLOURS, Drawing, FAINT, INK, Scale};

use super::summary::{Accuracy, ArmSummary};

fn colour(arm: &ArmSummary) -> &'static str {
    COLOURS[usize::from(arm.engine != "peft")]
}

fn bounds(accuracy: &Accuracy) -> [f64; 2] {
    [accuracy.interval.low, accuracy.interval.high]
}

/// Words of the legend, only of what is drawn.
fn legend(drawing: &mut Drawing, arms: &[ArmSummary], mut x: f64, y: f64) {
    for (engine, words) in [("peft", "this crate"), ("hf-peft", "Hugging Face PEFT")] {
        if let Some(arm) = arms.iter().find(|arm| arm.engine == engine) {
            drawing.dot((x, y - 4.0), colour(arm), true);
            drawing.text((x + 10.0, y), words, Anchor::Start, 12.0);
            x += 28.0 + 7.0 * words.len() as f64;
        }
    }
}

/// Report accuracy of each arm: last step filled, kept epoch hollow, 95 % intervals.
pub fn accuracy(title: &str, arms: &[ArmSummary]) -> String {
    let longest = arms
        .iter()
        .map(|arm| arm.name.chars().count())
        .max()
        .unwrap_or(0);
    let (left, right, top) = (30.0 + 7.2 * longest as f64, 780.0, 78.0);
    let bottom = top + 44.0 * arms.len() as f64;
    let mut drawing = Drawing::new(800.0, bottom + 56.0);
    drawing.heading((20.0, 26.0), title);
    legend(&mut drawing, arms, 26.0, 50.0);
    let note = "filled: last step, hollow: kept epoch";
    drawing.text((right, 50.0), note, Anchor::End, 12.0);
    let values: Vec<f64> = arms
        .iter()
        .flat_map(|arm| [bounds(&arm.last), bounds(&arm.kept)].concat())
        .collect();
    let scale = Scale::linear(&values, left, right);
    for tick in scale.ticks() {
        let x = scale.place(tick);
        drawing.line((x, top), (x, bottom), FAINT, 1.0);
        drawing.line((x, bottom), (x, bottom + 5.0), INK, 1.0);
        drawing.text((x, bottom + 19.0), &percent(tick), Anchor::Middle, 12.0);
    }
    drawing.line((left, bottom), (right, bottom), INK, 1.0);
    let name = "accuracy on the report split, %, mean over seeds with 95 % interval";
    drawing.text(
        ((left + right) / 2.0, bottom + 42.0),
        name,
        Anchor::Middle,
        12.0,
    );
    for (row, arm) in arms.iter().enumerate() {
        let y = top + 44.0 * (row as f64 + 0.5);
        drawing.text((left - 12.0, y + 4.0), &arm.name, Anchor::End, 13.0);
        for (accuracy, shift, filled) in [(&arm.last, -7.0, true), (&arm.kept, 7.0, false)] {
            let [low, high] = bounds(accuracy).map(|value| scale.place(value));
            drawing.line((low, y + shift), (high, y + shift), colour(arm), 1.8);
            for end in [low, high] {
                drawing.line(
                    (end, y + shift - 4.0),
                    (end, y + shift + 4.0),
                    colour(arm),
                    1.8,
                );
            }
            drawing.dot(
                (scale.place(accuracy.interval.mean), y + shift),
                colour(arm),
                filled,
            );
        }
    }
    drawing.finish()
}

/// Report accuracy (last step) against trained parameters, which run over decades.
pub fn parameters(title: &str, arms: &[ArmSummary]) -> String {
    let (left, right, top, bottom) = (76.0, 770.0, 70.0, 400.0);
    let mut drawing = Drawing::new(800.0, 456.0);
    drawing.heading((20.0, 26.0), title);
    legend(&mut drawing, arms, 26.0, 50.0);
    let accuracies: Vec<f64> = arms.iter().flat_map(|arm| bounds(&arm.last)).collect();
    let counts: Vec<f64> = arms.iter().map(|arm| arm.trained.max(1) as f64).collect();
    let (across, up) = (
        Scale::logarithmic(&counts, left, right),
        Scale::linear(&accuracies, bottom, top),
    );
    for tick in up.ticks() {
        let y = up.place(tick);
        drawing.line((left, y), (right, y), FAINT, 1.0);
        drawing.text((left - 9.0, y + 4.0), &percent(tick), Anchor::End, 12.0);
    }
    for tick in across.ticks() {
        let x = across.place(tick);
        drawing.line((x, bottom), (x, bottom + 5.0), INK, 1.0);
        drawing.text(
            (x, bottom + 19.0),
            &grouped(tick as u64),
            Anchor::Middle,
            12.0,
        );
    }
    drawing.line((left, bottom), (right, bottom), INK, 1.0);
    drawing.line((left, top), (left, bottom), INK, 1.0);
    let name = "trained parameters without the head, logarithmic";
    drawing.text(
        ((left + right) / 2.0, bottom + 44.0),
        name,
        Anchor::Middle,
        12.0,
    );
    drawing.upwards(
        (24.0, (top + bottom) / 2.0),
        "accuracy on the report split, %",
    );
    let mut seen: Vec<u64> = Vec::new();
    for arm in arms {
        // Arms of equal size stand side by side, or their intervals would hide one another.
        let before = seen
            .iter()
            .filter(|&&trained| trained == arm.trained)
            .count();
        seen.push(arm.trained);
        let x = across.place(arm.trained.max(1) as f64) + 12.0 * before as f64;
        let [low, high] = bounds(&arm.last).map(|value| up.place(value));
        drawing.line((x, low), (x, high), colour(arm), 1.8);
        let y = up.place(arm.last.interval.mean);
        drawing.dot((x, y), colour(arm), true);
        let (at, anchor) = if before % 2 == 0 && x - 9.0 - 7.0 * arm.name.len() as f64 > left {
            (x - 9.0, Anchor::End)
        } else {
            (x + 9.0, Anchor::Start)
        };
        drawing.text((at, y - 8.0), &arm.name, anchor, 12.0);
    }
    drawing.finish()
}

/// A share in per cent, as short as it is exact to a hundredth.
pub fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// 73728 as `73,728`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
