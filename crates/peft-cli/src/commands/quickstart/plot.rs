//! The outcome as a picture: bars with their errors.

use peft_plot::{Anchor, COLOURS, Drawing, FAINT, INK, Scale};

use super::outcome::Outcome;

const LEFT: f64 = 350.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 62.0;
const BAR: f64 = 34.0;
const STEP: f64 = 58.0;

/// Right answers on the rows held out, each with one standard error.
pub fn bars(outcome: &Outcome) -> String {
    let arms = outcome.arms();
    let bottom = TOP + STEP * arms.len() as f64;
    let mut drawing = Drawing::new(800.0, bottom + 84.0);
    let title = format!(
        "peft quickstart: right answers on {} tweets held out",
        outcome.rows
    );
    drawing.heading((20.0, 28.0), &title);
    // Bars start at zero: their lengths are what is compared.
    let scale = Scale::between(0.0, 1.0, LEFT, RIGHT);
    for tick in scale.ticks() {
        let x = scale.place(tick);
        drawing.line((x, TOP - 8.0), (x, bottom), FAINT, 1.0);
        let label = format!("{:.0} %", 100.0 * tick);
        drawing.text((x, bottom + 18.0), &label, Anchor::Middle, 12.0);
    }
    let last = arms.len() - 1;
    for (row, (name, share)) in arms.into_iter().enumerate() {
        // What is trained stands out from what is frozen.
        let colour = COLOURS[usize::from(row < last)];
        let y = TOP + STEP * row as f64 + BAR / 2.0;
        let end = scale.place(share);
        drawing.text((LEFT - 10.0, y + 4.0), name, Anchor::End, 13.0);
        drawing.line((LEFT, y), (end, y), colour, BAR);
        let error = (share * (1.0 - share) / outcome.rows.max(1) as f64).sqrt();
        let [low, high] = [share - error, share + error].map(|value| scale.place(value));
        drawing.line((low, y), (high, y), INK, 1.8);
        for x in [low, high] {
            drawing.line((x, y - 5.0), (x, y + 5.0), INK, 1.8);
        }
        let words = format!("{:.1} %", 100.0 * share);
        drawing.text((high + 8.0, y + 4.0), &words, Anchor::Start, 13.0);
    }
    drawing.line((LEFT, TOP - 8.0), (LEFT, bottom), INK, 1.0);
    let difference = format!(
        "LoRA against the head: {:+.1} points, standard error {:.1} (paired over the rows); whiskers: one standard error of each",
        100.0 * outcome.difference,
        100.0 * outcome.standard_error
    );
    drawing.text((20.0, bottom + 56.0), &difference, Anchor::Start, 12.0);
    drawing.finish()
}
