//! Curves over the steps of a run, or over the values of a setting.

use crate::{Across, Anchor, COLOURS, Drawing, FAINT, INK, InlineSvg, Scale, thinned};

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 776.0;
/// Where the axes begin and end under a legend of one line.
const TOP: f64 = 72.0;
const BOTTOM: f64 = 366.0;
/// Where the first line of the legend stands, and how high each is.
const LEGEND: f64 = 50.0;
const LEGEND_LINE: f64 = 18.0;
/// Width of a letter of the legend, and of what stands before and after each name.
const LETTER: f64 = 6.6;
const ENTRY: f64 = 52.0;
/// Letters of a name in the legend; of a longer one the middle is left out.
const NAME: usize = 44;
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
    /// `(step, value)` by ascending steps, or places on the chart's [`Across`].
    pub points: Vec<(f64, f64)>,
}

/// Curves over steps or values. Values that are not finite are left out; a chart without any value says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// What the horizontal axis shows.
    pub across: Across,
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
    /// The drawing as an SVG file.
    pub fn svg(&self) -> String {
        self.draw().finish()
    }

    /// The drawing for a page, which has it in its own colours.
    pub fn inline(&self) -> InlineSvg {
        self.draw().inline(&self.title)
    }

    fn draw(&self) -> Drawing {
        let legend = self.legend();
        // Further lines of the legend push the axes down.
        let lower = legend.last().map_or(0.0, |entry| entry.y - LEGEND);
        let (top, bottom) = (TOP + lower, BOTTOM + lower);
        let mut drawing = Drawing::new(WIDTH, HEIGHT + lower);
        drawing.heading((20.0, 26.0), &self.title);
        let finite = |point: &&(f64, f64)| point.0.is_finite() && point.1.is_finite();
        let points = self.series.iter().flat_map(|series| &series.points);
        let (steps, values): (Vec<f64>, Vec<f64>) = points.filter(finite).copied().unzip();
        if values.is_empty() {
            let middle = (WIDTH / 2.0, HEIGHT / 2.0);
            drawing.text(middle, "nothing was measured", Anchor::Middle, 13.0);
            return drawing;
        }
        let across = self.across.scale(&steps, LEFT, RIGHT);
        let up = self.vertical(&values, top, bottom);
        self.axes(&mut drawing, &across, &up, (top, bottom));
        if let Some((step, words)) = &self.mark {
            let x = across.place(*step).clamp(LEFT, RIGHT);
            drawing.dashes(x, top, bottom, INK);
            let (x, anchor) = if x > (LEFT + RIGHT) / 2.0 {
                (x - 6.0, Anchor::End)
            } else {
                (x + 6.0, Anchor::Start)
            };
            drawing.text((x, top - 4.0), words, anchor, 12.0);
        }
        for series in &self.series {
            let points: Vec<_> = series.points.iter().filter(finite).copied().collect();
            let points = thinned(&points, MOST_POINTS);
            self.curve(&mut drawing, series, &points, |(x, y)| {
                (across.place(x), up.place(y))
            });
        }
        for entry in legend {
            entry.draw(&mut drawing);
        }
        drawing
    }

    fn vertical(&self, values: &[f64], top: f64, bottom: f64) -> Scale {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Values that are nearly the same would make noise look like an event.
        let least = 0.05 * low.abs().max(high.abs()).max(1e-6);
        let margin = (0.06 * (high - low)).max((least - (high - low)) / 2.0);
        let (floor, ceiling) = self.bounds;
        let low = (low - margin).max(floor.min(low));
        let high = (high + margin).min(ceiling.max(high));
        Scale::between(low, high, bottom, top)
    }

    /// The names of the curves, in as many lines as they take.
    fn legend(&self) -> Vec<Entry<'_>> {
        let (mut x, mut y) = (LEFT, LEGEND);
        let named = (self.series.iter())
            .filter(|series| series.look != Look::Pale && !series.points.is_empty());
        let place = |series| {
            let name = shortened(&series_name(series));
            let width = ENTRY + LETTER * name.chars().count() as f64;
            if x > LEFT && x + width > RIGHT + ENTRY / 2.0 {
                (x, y) = (LEFT, y + LEGEND_LINE);
            }
            let entry = Entry { series, name, x, y };
            x += width;
            entry
        };
        named.map(place).collect()
    }

    fn curve(
        &self,
        drawing: &mut Drawing,
        series: &Series,
        points: &[(f64, f64)],
        place: impl Fn((f64, f64)) -> (f64, f64),
    ) {
        let colour = colour(series);
        let places: Vec<(f64, f64)> = points.iter().copied().map(&place).collect();
        series.path(drawing, &places);
        // A line of one point cannot be seen.
        if series.look == Look::Dots || places.len() == 1 {
            for (point, at) in points.iter().zip(places) {
                let text = format!(
                    "{}: {} at {}",
                    series.name,
                    point.1,
                    self.across.said(point.0)
                );
                drawing.dot_said(at, colour, true, &text);
            }
        }
    }

    fn axes(&self, drawing: &mut Drawing, across: &Scale, up: &Scale, (top, bottom): (f64, f64)) {
        let ticks = up.ticks();
        let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).next();
        for tick in ticks {
            let y = up.place(tick);
            drawing.line((LEFT, y), (RIGHT, y), FAINT, 1.0);
            let text = label(tick, step.unwrap_or(1.0));
            drawing.text((LEFT - 9.0, y + 4.0), &text, Anchor::End, 12.0);
        }
        for (value, text) in self.across.ticks(across) {
            let x = across.place(value);
            drawing.line((x, bottom), (x, bottom + 5.0), INK, 1.0);
            drawing.text((x, bottom + 19.0), &text, Anchor::Middle, 12.0);
        }
        drawing.line((LEFT, bottom), (RIGHT, bottom), INK, 1.0);
        drawing.line((LEFT, top), (LEFT, bottom), INK, 1.0);
        let middle = (LEFT + RIGHT) / 2.0;
        drawing.text(
            (middle, bottom + 40.0),
            self.across.name(),
            Anchor::Middle,
            12.0,
        );
        drawing.upwards((20.0, (top + bottom) / 2.0), &self.axis);
    }
}

/// A name in the legend.
struct Entry<'a> {
    series: &'a Series,
    name: String,
    x: f64,
    y: f64,
}

impl Entry<'_> {
    fn draw(&self, drawing: &mut Drawing) {
        let (x, y, colour) = (self.x, self.y, colour(self.series));
        self.series
            .path(drawing, &[(x, y - 4.0), (x + 22.0, y - 4.0)]);
        if self.series.look == Look::Dots {
            drawing.dot((x + 11.0, y - 4.0), colour, true);
        }
        drawing.text((x + 28.0, y), &self.name, Anchor::Start, 12.0);
    }
}

fn series_name(series: &Series) -> String {
    series.name.replace(char::is_control, " ")
}

/// A name without its middle, if it is long.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME {
        return name.to_owned();
    }
    let half = NAME / 2;
    let (first, last) = (&letters[..half], &letters[letters.len() - half..]);
    format!(
        "{}…{}",
        first.iter().collect::<String>(),
        last.iter().collect::<String>()
    )
}

fn colour(series: &Series) -> &'static str {
    COLOURS[series.colour % COLOURS.len()]
}

/// Curves that have the same colour, because there are more than colours, differ by their dashes.
fn dashes(series: &Series) -> &'static str {
    const DASHES: [&str; 4] = ["", "7 3", "2 3", "9 3 2 3"];
    DASHES[series.colour / COLOURS.len() % DASHES.len()]
}

impl Series {
    fn path(&self, drawing: &mut Drawing, places: &[(f64, f64)]) {
        let (width, opacity) = match self.look {
            Look::Pale => (1.0, 0.3),
            Look::Line | Look::Dots => (2.0, 1.0),
        };
        drawing.dashed_path(places, colour(self), width, opacity, dashes(self));
    }
}

/// A tick with the digits that its distance to the next one asks for.
pub(crate) fn label(value: f64, step: f64) -> String {
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
            across: Across::Steps,
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
        let scale = chart.vertical(&[0.98, 1.0], TOP, BOTTOM);
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

    #[test]
    fn long_legends_take_more_lines_and_stay_on_the_paper() {
        let mut chart = chart(&[(1.0, 0.5)]);
        let series = chart.series[0].clone();
        chart.series = (0..8)
            .map(|colour| Series {
                name: format!(
                    "rank = {colour}, learning_rate = 0.001, a name far too long to be shown"
                ),
                colour,
                ..series.clone()
            })
            .collect();
        let entries = chart.legend();
        assert!(entries.last().unwrap().y > LEGEND);
        for entry in &entries {
            assert!(entry.name.chars().count() <= NAME + 1, "{}", entry.name);
            assert!(entry.x + LETTER * NAME as f64 <= WIDTH, "{}", entry.x);
        }
        let svg = chart.svg();
        assert!(
            svg.contains("rank = 7") && !svg.contains(r#"height="420""#),
            "{svg}"
        );
    }

    #[test]
    fn curves_of_the_same_colour_have_other_dashes() {
        let mut chart = chart(&[(1.0, 0.5), (2.0, 0.4)]);
        chart.mark = None;
        let series = chart.series[0].clone();
        let all: Vec<usize> = (0..3 * COLOURS.len()).collect();
        let strokes = all.iter().map(|&colour| {
            let series = Series {
                colour,
                ..series.clone()
            };
            (super::colour(&series), dashes(&series))
        });
        let different: std::collections::BTreeSet<_> = strokes.collect();
        assert_eq!(different.len(), all.len());
        chart.series[0].colour = COLOURS.len();
        // The curve, and its name in the legend.
        assert_eq!(chart.svg().matches("stroke-dasharray").count(), 2);
    }

    #[test]
    fn values_of_a_setting_are_an_axis_too() {
        let mut chart = chart(&[(0.0, 0.7), (1.0, 0.8)]);
        chart.mark = None;
        chart.across = Across::Names {
            name: "schedule".into(),
            names: vec!["linear".into(), "cosine".into()],
        };
        let svg = chart.svg();
        check(&svg);
        assert!(
            svg.contains(">linear<") && svg.contains(">schedule<"),
            "{svg}"
        );
        assert!(
            svg.contains("<title>selection: 0.8 at cosine</title>"),
            "{svg}"
        );
        chart.series[0].points = vec![(1e-4, 0.7), (1e-2, 0.8)];
        chart.across = Across::Numbers {
            name: "learning_rate".into(),
            logarithmic: true,
        };
        let svg = chart.svg();
        check(&svg);
        assert!(svg.contains(">0.001<"), "{svg}");
    }
}
