//! A drawing in SVG: lines, dots and words, nothing that needs a library to read.

use std::fmt::Write;

pub const INK: &str = "#1f2328";
pub const FAINT: &str = "#d8dee4";
/// One colour an engine; they differ in lightness too, for print and for colour-blind eyes.
pub const COLOURS: [&str; 2] = ["#0b5cad", "#d1690e"];

pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            width,
            height,
            body: String::new(),
        }
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="{width}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    pub fn dot(&mut self, at: (f64, f64), colour: &str, filled: bool) {
        let fill = if filled { colour } else { "#ffffff" };
        let _ = writeln!(
            self.body,
            r#"<circle cx="{:.1}" cy="{:.1}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.8"/>"#,
            at.0, at.1
        );
    }

    pub fn text(&mut self, at: (f64, f64), text: &str, anchor: Anchor, size: f64) {
        self.words(at, text, anchor, size, "");
    }

    pub fn heading(&mut self, at: (f64, f64), text: &str) {
        self.words(at, text, Anchor::Start, 15.0, r#" font-weight="600""#);
    }

    /// Text that reads upwards, for the name of a vertical axis.
    pub fn upwards(&mut self, at: (f64, f64), text: &str) {
        let turn = format!(r#" transform="rotate(-90 {:.1} {:.1})""#, at.0, at.1);
        self.words(at, text, Anchor::Middle, 12.0, &turn);
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
            .replace('>', "&gt;");
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
