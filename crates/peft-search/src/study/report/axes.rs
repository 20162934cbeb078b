//! Axes of a drawing.

use peft_plot::{Anchor, Drawing, FAINT, INK, Scale};

use super::short;

pub const WIDTH: f64 = 920.0;
pub const HEIGHT: f64 = 420.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 896.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 366.0;

/// Two scales and the drawing they are on.
pub struct Axes {
    pub drawing: Drawing,
    pub across: Scale,
    pub up: Scale,
}

/// A scale around the values that are finite, and above 0 where it is logarithmic.
fn scale(values: &[f64], logarithmic: bool, start: f64, end: f64) -> Option<Scale> {
    let usable = |value: &&f64| value.is_finite() && (!logarithmic || **value > 0.0);
    let values: Vec<f64> = values.iter().filter(usable).copied().collect();
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    // Ticks count in steps of what is between the ends: numbers beyond all measure have none.
    if values.is_empty() || low.abs().max(high.abs()) > 1e30 {
        return None;
    }
    Some(if logarithmic {
        Scale::logarithmic(&values, start, end)
    } else {
        let margin = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
        Scale::between(low - margin, high + margin, start, end)
    })
}

impl Axes {
    /// Axes around points; none where there are none.
    pub fn around(points: &[(f64, f64)], names: [&str; 2], logarithmic: [bool; 2]) -> Option<Self> {
        let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let across = scale(&xs, logarithmic[0], LEFT, RIGHT)?;
        let up = scale(&ys, logarithmic[1], BOTTOM, TOP)?;
        let mut drawing = Drawing::new(WIDTH, HEIGHT);
        for tick in up.ticks() {
            let y = up.place(tick);
            drawing.line((LEFT, y), (RIGHT, y), FAINT, 1.0);
            drawing.text((LEFT - 9.0, y + 4.0), &short(tick), Anchor::End, 12.0);
        }
        for tick in across.ticks() {
            let x = across.place(tick);
            drawing.line((x, BOTTOM), (x, BOTTOM + 5.0), INK, 1.0);
            drawing.text((x, BOTTOM + 19.0), &short(tick), Anchor::Middle, 12.0);
        }
        drawing.line((LEFT, BOTTOM), (RIGHT, BOTTOM), INK, 1.0);
        drawing.line((LEFT, TOP), (LEFT, BOTTOM), INK, 1.0);
        let middle = (LEFT + RIGHT) / 2.0;
        drawing.text((middle, BOTTOM + 42.0), names[0], Anchor::Middle, 12.0);
        drawing.upwards((20.0, (TOP + BOTTOM) / 2.0), names[1]);
        Some(Self {
            drawing,
            across,
            up,
        })
    }

    /// The place of a point.
    pub fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.across.place(x), self.up.place(y))
    }
}
