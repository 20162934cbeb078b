//! The outcome as a picture: two perplexities with their intervals.

use peft_plot::{Anchor, COLOURS, Drawing, FAINT, INK, Scale};

use super::outcome::Outcome;

const LEFT: f64 = 190.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 62.0;
const BAR: f64 = 34.0;
const STEP: f64 = 58.0;

/// Perplexities of the answers held out, each with its 95 % interval.
pub fn bars(outcome: &Outcome) -> String {
    let arms = [
        ("the model as it was", outcome.before, COLOURS[1]),
        ("with LoRA", outcome.after, COLOURS[0]),
    ];
    let bottom = TOP + STEP * arms.len() as f64;
    let mut drawing = Drawing::new(720.0, bottom + 84.0);
    let title = format!(
        "peft quickstart --causal: perplexity of {} answers held out",
        outcome.rows
    );
    drawing.heading((20.0, 28.0), &title);
    // No perplexity is below 1, which is every token foreseen: there the bars begin.
    let highest = arms
        .iter()
        .map(|(_, side, _)| side.interval[1])
        .fold(1.5, f64::max);
    let scale = Scale::between(1.0, highest, LEFT, RIGHT);
    for tick in scale.ticks() {
        let x = scale.place(tick);
        drawing.line((x, TOP - 8.0), (x, bottom), FAINT, 1.0);
        let label = format!("{}", (tick * 100.0).round() / 100.0);
        drawing.text((x, bottom + 18.0), &label, Anchor::Middle, 12.0);
    }
    for (row, (name, side, colour)) in arms.into_iter().enumerate() {
        let y = TOP + STEP * row as f64 + BAR / 2.0;
        let end = scale.place(side.perplexity);
        drawing.text((LEFT - 10.0, y + 4.0), name, Anchor::End, 13.0);
        drawing.line((LEFT, y), (end, y), colour, BAR);
        let [low, high] = side.interval.map(|value| scale.place(value));
        drawing.line((low, y), (high, y), INK, 1.8);
        for x in [low, high] {
            drawing.line((x, y - 5.0), (x, y + 5.0), INK, 1.8);
        }
        let words = format!("{:.2}", side.perplexity);
        drawing.text((high + 8.0, y + 4.0), &words, Anchor::Start, 13.0);
    }
    drawing.line((LEFT, TOP - 8.0), (LEFT, bottom), INK, 1.0);
    let [low, high] = outcome.interval;
    let ratio = format!(
        "ratio {:.3}, 95 % interval {low:.3} to {high:.3} (paired over the rows); whiskers: 95 % of each; lower is better",
        outcome.ratio
    );
    drawing.text((20.0, bottom + 56.0), &ratio, Anchor::Start, 12.0);
    drawing.finish()
}
