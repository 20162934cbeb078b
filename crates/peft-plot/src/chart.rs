//! Curves over the steps of a run.

use crate::{Anchor, COLOURS, Drawing, FAINT, INK, Scale, thinned};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 776.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 366.0;
/// Points of a curve; more do not show at this width.
const MOST_POINTS: usize = 1000;

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A pale line without an entry in the legend: the noise behind a smoothed curve.
    Pale,
    /// A line.
    Line,
    /// A line with a dot at each point.
    Dots,
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The curve's name in the legend.
    pub name: String,
    /// Number of the curve's colour.
    pub colour: usize,
    /// How the curve is drawn.
    pub look: Look,
    /// `(step, value)` by ascending steps.
    pub points: Vec<(f64, f64)>,
}

/// Curves over steps. Values that are not finite are left out; a chart without any value says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// What the vertical axis shows.
    pub axis: String,
    /// Bounds that a value cannot pass, such as 0 and 1: the axis does not reach beyond them.
    pub bounds: (f64, f64),
    /// The curves; later ones lie on top.
    pub series: Vec<Series>,
    /// A step to point out, and what is said of it.
    pub mark: Option<(f64, String)>,
}

impl Chart {
    /// The drawing as SVG.
    pub fn svg(&self) -> String {
        let mut drawing = Drawing::new(WIDTH, HEIGHT);
        drawing.heading((20.0, 26.0), &self.title);
        let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let points = self.series.iter().flat_map(|series| &series.points);
        let (steps, values): (Vec<f64>, Vec<f64>) = points.filter(finite).copied().unzip();
        if values.is_empty() {
            let middle = (WIDTH / 2.0, HEIGHT / 2.0);
            drawing.text(middle, "nothing was measured", Anchor::Middle, 13.0);
            return drawing.finish();
        }
        let last = steps.iter().copied().fold(1.0, f64::max);
        let across = Scale::between(0.0, last, LEFT, RIGHT);
        let up = self.vertical(&values);
        axes(&mut drawing, &across, &up, &self.axis);
        if let Some((step, words)) = &self.mark {
            let x = across.place(step.clamp(0.0, last));
            drawing.dashes(x, TOP, BOTTOM, INK);
            let (x, anchor) = if x > (LEFT + RIGHT) / 2.0 {
                (x - 6.0, Anchor::End)
            } else {
                (x + 6.0, Anchor::Start)
            };
            drawing.text((x, TOP - 4.0), words, anchor, 12.0);
        }
        for series in &self.series {
            let points: Vec<_> = series.points.iter().filter(finite).copied().collect();
            let places: Vec<(f64, f64)> = thinned(&points, MOST_POINTS)
                .iter()
                .map(|(step, value)| (across.place(*step), up.place(*value)))
                .collect();
            draw(&mut drawing, series, &places);
        }
        self.legend(&mut drawing);
        drawing.finish()
    }

    fn vertical(&self, values: &[f64]) -> Scale {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Values that are nearly the same would make noise look like an event.
        let least = 0.05 * low.abs().max(high.abs()).max(1e-6);
        let margin = (0.06 * (high - low)).max((least - (high - low)) / 2.0);
        let (floor, ceiling) = self.bounds;
        let low = (low - margin).max(floor.min(low));
        let high = (high + margin).min(ceiling.max(high));
        Scale::between(low, high, BOTTOM, TOP)
    }

    fn legend(&self, drawing: &mut Drawing) {
        let mut x = LEFT;
        let y = 50.0;
        let named = self
            .series
            .iter()
            .filter(|series| series.look != Look::Pale);
        for series in named.filter(|series| !series.points.is_empty()) {
            let colour = colour(series);
            drawing.line((x, y - 4.0), (x + 22.0, y - 4.0), colour, 2.0);
            if series.look == Look::Dots {
                drawing.dot((x + 11.0, y - 4.0), colour, true);
            }
            drawing.text((x + 28.0, y), &series.name, Anchor::Start, 12.0);
            x += 52.0 + 6.6 * series.name.chars().count() as f64;
        }
    }
}

fn colour(series: &Series) -> &'static str {
    COLOURS[series.colour % COLOURS.len()]
}

fn draw(drawing: &mut Drawing, series: &Series, places: &[(f64, f64)]) {
    let colour = colour(series);
    match series.look {
        Look::Pale => drawing.path(places, colour, 1.0, 0.3),
        Look::Line | Look::Dots => drawing.path(places, colour, 2.0, 1.0),
    }
    // A line of one point cannot be seen.
    if series.look == Look::Dots || places.len() == 1 {
        for place in places {
            drawing.dot(*place, colour, true);
        }
    }
}

fn axes(drawing: &mut Drawing, across: &Scale, up: &Scale, name: &str) {
    let ticks = up.ticks();
    let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).next();
    for tick in ticks {
        let y = up.place(tick);
        drawing.line((LEFT, y), (RIGHT, y), FAINT, 1.0);
        let text = label(tick, step.unwrap_or(1.0));
        drawing.text((LEFT - 9.0, y + 4.0), &text, Anchor::End, 12.0);
    }
    for tick in across
        .ticks()
        .into_iter()
        .filter(|tick| tick.fract() == 0.0)
    {
        let x = across.place(tick);
        drawing.line((x, BOTTOM), (x, BOTTOM + 5.0), INK, 1.0);
        drawing.text((x, BOTTOM + 19.0), &label(tick, 1.0), Anchor::Middle, 12.0);
    }
    drawing.line((LEFT, BOTTOM), (RIGHT, BOTTOM), INK, 1.0);
    drawing.line((LEFT, TOP), (LEFT, BOTTOM), INK, 1.0);
    let middle = (LEFT + RIGHT) / 2.0;
    drawing.text((middle, BOTTOM + 40.0), "step", Anchor::Middle, 12.0);
    drawing.upwards((20.0, (TOP + BOTTOM) / 2.0), name);
}

/// A tick with the digits that its distance to the next one asks for.
fn label(value: f64, step: f64) -> String {
    let digits = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    // Rounding may leave a minus before a zero.
    format!("{:.digits$}", value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: &[(f64, f64)]) -> Chart {
        Chart {
            title: "a < b & c".into(),
            axis: "loss".into(),
            bounds: (0.0, f64::INFINITY),
            series: vec![Series {
                name: "selection".into(),
                colour: 1,
                look: Look::Dots,
                points: points.to_vec(),
            }],
            mark: Some((3.0, "kept".into())),
        }
    }

    /// Every number of the drawing is finite and lies on the paper.
    fn check(svg: &str) {
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        for part in svg.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=RIGHT).contains(&x), "{x}");
        }
        for part in svg.split("cy=\"").skip(1) {
            let y: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((40.0..=BOTTOM).contains(&y), "{y}");
        }
    }

    #[test]
    fn few_points_make_a_picture() {
        let cases: &[&[(f64, f64)]] = &[
            &[(1.0, 0.7)],
            &[(1.0, 0.0)],
            &[(5.0, 1e-9), (6.0, 1e-9)],
            &[(1.0, 0.7), (2.0, 0.7000001)],
            &[(1.0, f64::NAN), (2.0, 3.0)],
            &[(1.0, 1e9), (1000.0, -1e9)],
        ];
        for points in cases {
            let svg = chart(points).svg();
            check(&svg);
            assert!(svg.matches("text-anchor=\"end\"").count() >= 3, "{svg}");
            assert!(
                svg.contains("a &lt; b &amp; c") && svg.contains("selection"),
                "{svg}"
            );
        }
        for nothing in [&[][..], &[(1.0, f64::INFINITY)]] {
            let svg = chart(nothing).svg();
            assert!(svg.contains("nothing was measured"), "{svg}");
        }
    }

    #[test]
    fn the_axis_stays_in_its_bounds() {
        let mut chart = chart(&[(1.0, 0.98), (2.0, 1.0)]);
        chart.bounds = (0.0, 1.0);
        let scale = chart.vertical(&[0.98, 1.0]);
        assert_eq!(scale.place(1.0), TOP);

        assert_eq!(label(-0.0, 0.5), "0.0");
        assert_eq!(label(0.30000000000000004, 0.05), "0.30");
        assert_eq!(label(2000.0, 500.0), "2000");
    }

    #[test]
    fn long_curves_stay_small() {
        let mut chart = chart(&[]);
        chart.series[0].look = Look::Pale;
        chart.series[0].points = (0..200_000)
            .map(|x| (f64::from(x), f64::from(x % 7)))
            .collect();
        let svg = chart.svg();
        assert!(svg.len() < 40_000, "{}", svg.len());
    }
}
