//! A drawing in SVG: lines, dots and words, nothing that needs a library to read.

use std::fmt::Write;

/// Colour of words and axes.
pub const INK: &str = "#1f2328";
/// Colour of grid lines.
pub const FAINT: &str = "#d8dee4";
/// Colours of what is drawn; they differ in lightness too, for print and for colour-blind eyes.
pub const COLOURS: [&str; 8] = [
    "#0b5cad", "#d1690e", "#12876a", "#a8328c", "#6f5b00", "#3f9bd6", "#c0392b", "#5a6472",
];
/// The same ones for a dark ground, in the same order.
const ON_DARK: [&str; 8] = [
    "#6cb2ff", "#ff9d52", "#4fd1a9", "#ee86d3", "#d8bd4a", "#a6dcff", "#ff8578", "#b4bfcc",
];

/// A drawing for a page of HTML, which shows it in its own colours if it has [`drawing_css`]. All words in it are
/// escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlineSvg(String);

impl InlineSvg {
    /// The element.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Rules for a page with [`InlineSvg`]s: each colour of a drawing is a variable of the page, which has another value
/// on a dark ground.
pub fn drawing_css() -> String {
    let mut css =
        String::from("svg.drawing{width:100%;height:auto;max-width:800px;display:block}\n");
    let of = |css: &mut String, colour: &str, variable: &str| {
        let _ = writeln!(
            css,
            "svg.drawing[fill=\"{colour}\"],svg.drawing [fill=\"{colour}\"]{{fill:var({variable})}}\
             svg.drawing [stroke=\"{colour}\"]{{stroke:var({variable})}}"
        );
    };
    of(&mut css, INK, "--ink");
    of(&mut css, FAINT, "--faint");
    of(&mut css, GROUND, "--ground");
    for (index, colour) in COLOURS.iter().enumerate() {
        of(&mut css, colour, &format!("--colour-{index}"));
    }
    let variables = |ink: &str, faint: &str, ground: &str, colours: &[&str; 8]| {
        let mut all = format!("--ink:{ink};--faint:{faint};--ground:{ground}");
        for (index, colour) in colours.iter().enumerate() {
            let _ = write!(all, ";--colour-{index}:{colour}");
        }
        all
    };
    let light = variables(INK, FAINT, GROUND, &COLOURS);
    let dark = variables("#e6edf3", "#30363d", "#0d1117", &ON_DARK);
    let _ = writeln!(
        css,
        ":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"
    );
    css
}

/// Colour of the paper.
const GROUND: &str = "#ffffff";

/// A drawing; places are `(x, y)` from the upper left corner, in pixels.
#[derive(Debug)]
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

/// Which end of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The text's start.
    Start,
    /// The text's middle.
    Middle,
    /// The text's end.
    End,
}

impl Drawing {
    /// An empty drawing of this size.
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="{width}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    /// A dashed vertical line.
    pub fn dashes(&mut self, x: f64, top: f64, bottom: f64, colour: &str) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{x:.1}" y1="{top:.1}" x2="{x:.1}" y2="{bottom:.1}" stroke="{colour}" stroke-width="1" stroke-dasharray="4 4"/>"#
        );
    }

    /// Lines from place to place; `opacity` is 1 for solid ones.
    pub fn path(&mut self, places: &[(f64, f64)], colour: &str, width: f64, opacity: f64) {
        self.dashed_path(places, colour, width, opacity, "");
    }

    /// The same, with lengths of dashes and gaps as SVG's `stroke-dasharray` has them; none are an unbroken line.
    pub fn dashed_path(
        &mut self,
        places: &[(f64, f64)],
        colour: &str,
        width: f64,
        opacity: f64,
        dashes: &str,
    ) {
        let points: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let dashes = match dashes {
            "" => String::new(),
            dashes => format!(r#" stroke-dasharray="{dashes}""#),
        };
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}"{dashes} stroke-linejoin="round"/>"#,
            points.join(" ")
        );
    }

    /// A dot, filled or hollow.
    pub fn dot(&mut self, at: (f64, f64), colour: &str, filled: bool) {
        self.dot_said(at, colour, filled, "");
    }

    /// A dot that says something to who points at it.
    pub fn dot_said(&mut self, at: (f64, f64), colour: &str, filled: bool, said: &str) {
        let fill = if filled { colour } else { GROUND };
        let end = match said {
            "" => "/>".to_owned(),
            said => format!("><title>{}</title></circle>", escaped(said)),
        };
        let _ = writeln!(
            self.body,
            r#"<circle cx="{:.1}" cy="{:.1}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.8"{end}"#,
            at.0, at.1
        );
    }

    /// A filled rectangle between two corners; `opacity` is 1 for a solid one.
    pub fn area(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, opacity: f64) {
        let (width, height) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        let _ = writeln!(
            self.body,
            r#"<rect x="{:.1}" y="{:.1}" width="{width:.1}" height="{height:.1}" fill="{colour}" fill-opacity="{opacity:.2}"/>"#,
            from.0.min(to.0),
            from.1.min(to.1),
        );
    }

    /// Words.
    pub fn text(&mut self, at: (f64, f64), text: &str, anchor: Anchor, size: f64) {
        self.words(at, text, anchor, size, "");
    }

    /// The title.
    pub fn heading(&mut self, at: (f64, f64), text: &str) {
        self.words(at, text, Anchor::Start, 15.0, r#" font-weight="600""#);
    }

    /// Text that reads upwards, for the name of a vertical axis.
    pub fn upwards(&mut self, at: (f64, f64), text: &str) {
        let rotation = format!(r#" transform="rotate(-90 {:.1} {:.1})""#, at.0, at.1);
        self.words(at, text, Anchor::Middle, 12.0, &rotation);
    }

    fn words(&mut self, at: (f64, f64), text: &str, anchor: Anchor, size: f64, more: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        let _ = writeln!(
            self.body,
            r#"<text x="{:.1}" y="{:.1}" font-size="{size}" text-anchor="{anchor}"{more}>{text}</text>"#,
            at.0, at.1
        );
    }

    /// The document. The white ground is drawn, so that dark viewers show it as it is meant.
    pub fn finish(self) -> String {
        let Self {
            width,
            height,
            body,
        } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" {FONT} fill="{INK}">
<rect width="{width}" height="{height}" fill="{GROUND}"/>
{body}</svg>
"##
        )
    }

    /// An element for a page of HTML, on the page's own ground; `label` says what it shows to who cannot see it.
    pub fn inline(self, label: &str) -> InlineSvg {
        let Self {
            width,
            height,
            body,
        } = self;
        let label = escaped(label);
        InlineSvg(format!(
            r##"<svg class="drawing" role="img" aria-label="{label}" viewBox="0 0 {width} {height}" {FONT} fill="{INK}">
{body}</svg>"##
        ))
    }
}

const FONT: &str = r#"font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif""#;

/// A text as XML has it, between tags and in quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        // Not allowed in XML, not even escaped.
        .replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_leave_their_element() {
        let mut drawing = Drawing::new(10.0, 10.0);
        drawing.text((1.0, 1.0), "</text><script>", Anchor::Start, 12.0);
        drawing.dot_said((1.0, 1.0), COLOURS[0], true, "</title>\u{1}");
        let svg = drawing.inline("\" onload=\"x");
        assert!(!svg.as_str().contains("<script") && !svg.as_str().contains("\" onload"));
        assert_eq!(svg.as_str().matches("</title>").count(), 1);
        assert!(svg.as_str().contains('\u{fffd}'));
    }

    #[test]
    fn every_colour_of_a_drawing_is_a_variable_of_the_page() {
        let css = drawing_css();
        for colour in COLOURS.iter().chain([&INK, &FAINT, &GROUND]) {
            assert!(css.contains(&format!("[stroke=\"{colour}\"]")), "{colour}");
        }
        assert_eq!(css.matches("--colour-7:").count(), 2);
        assert_eq!(css.matches('{').count(), css.matches('}').count());
    }
}
