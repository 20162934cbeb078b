//! A drawing in SVG: lines, dots and words, nothing that needs a library to read.

use std::fmt::Write;

/// Colour of words and axes.
pub const INK: &str = "#1f2328";
/// Colour of grid lines.
pub const FAINT: &str = "#d8dee4";
/// Colours of what is drawn; they differ in lightness too, for print and for colour-blind eyes.
pub const COLOURS: [&str; 3] = ["#0b5cad", "#d1690e", "#12876a"];

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
        let points: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}" stroke-linejoin="round"/>"#,
            points.join(" ")
        );
    }

    /// A dot, filled or hollow.
    pub fn dot(&mut self, at: (f64, f64), colour: &str, filled: bool) {
        let fill = if filled { colour } else { "#ffffff" };
        let _ = writeln!(
            self.body,
            r#"<circle cx="{:.1}" cy="{:.1}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.8"/>"#,
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
        let text = text
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            // Not allowed in XML, not even escaped.
            .replace(char::is_control, "\u{fffd}");
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
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" fill="{INK}">
<rect width="{width}" height="{height}" fill="#ffffff"/>
{body}</svg>
"##
        )
    }
}
