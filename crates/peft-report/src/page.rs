//! The page, and how it becomes HTML.

use minijinja::{Environment, context, syntax::SyntaxConfig, value::Serde};
use peft_plot::{InlineSvg, drawing_css};
use serde::{Serialize, Serializer};

use crate::Table;

/// A page.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Page {
    /// Its heading, and what a browser calls it.
    pub title: String,
    /// What stands below the heading.
    pub subtitle: String,
    /// Something that must not be overlooked, above all else.
    pub warning: Option<String>,
    /// The figures that people ask for first.
    pub tiles: Vec<Tile>,
    /// The rest.
    pub sections: Vec<Section>,
    /// What stands at the end: what made the page.
    pub footer: String,
}

/// A figure that people ask for first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tile {
    /// What it is.
    pub name: String,
    /// The figure.
    pub value: String,
    /// Something to say of it.
    pub note: String,
}

impl Tile {
    /// A figure, and something to say of it.
    pub fn new(name: impl Into<String>, value: impl Into<String>, note: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            note: note.into(),
        }
    }
}

/// A part of a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What stands in it.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A part.
    pub fn new(title: impl Into<String>, blocks: Vec<Block>) -> Self {
        Self {
            title: title.into(),
            blocks,
        }
    }
}

/// What stands in a section.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", content = "of", rename_all = "lowercase")]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// Something that must not be overlooked.
    Warning(String),
    /// A table.
    Table(Table),
    /// A plot.
    #[serde(serialize_with = "element")]
    Plot(InlineSvg),
    /// Commands or files, as they are.
    Code(String),
    /// Blocks that are shown when they are asked for.
    Details {
        /// What they are.
        summary: String,
        /// The blocks.
        blocks: Vec<Block>,
    },
}

fn element<S: Serializer>(plot: &InlineSvg, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(plot.as_str())
}

/// The ending of the name makes the template escape what it is given.
const NAME: &str = "page.html";

impl Page {
    /// The page as a file.
    ///
    /// # Panics
    /// Never: the template is part of this crate and knows every block.
    pub fn html(&self) -> String {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax
            .trim_blocks(true)
            .lstrip_blocks(true)
            .keep_trailing_newline(true);
        environment.set_syntax(syntax.build().expect("the usual delimiters"));
        environment
            .add_template(NAME, include_str!("page.html"))
            .expect("the template can be read");
        environment
            .get_template(NAME)
            .and_then(|template| {
                let css = include_str!("page.css");
                let plots = drawing_css();
                template.render(context! { page => Serde(self), css, plots })
            })
            .expect("the template fits a page")
    }
}

#[cfg(test)]
mod tests {
    use peft_plot::{Across, Chart, Look, Series};

    use super::*;
    use crate::{Cell, Column};

    const HOSTILE: &str = "<script>alert('x')</script>\" onclick=\"y";

    fn page(text: &str) -> Page {
        let chart = Chart {
            title: text.into(),
            across: Across::Steps,
            axis: text.into(),
            bounds: (0.0, 1.0),
            series: vec![Series {
                name: text.into(),
                colour: 0,
                look: Look::Dots,
                points: vec![(1.0, 0.5), (2.0, 0.75)],
            }],
            mark: None,
        };
        let cell = Cell::new(text).shaded(0.5).strong_if(true);
        let table = Table {
            caption: text.into(),
            columns: vec![Column::text(text), Column::number(text)],
            rows: vec![vec![cell.clone(), cell.link(text)]],
        };
        Page {
            title: text.into(),
            subtitle: text.into(),
            warning: Some(text.into()),
            tiles: vec![Tile::new(text, text, text)],
            sections: vec![Section::new(
                text,
                vec![
                    Block::Text(text.into()),
                    Block::Warning(text.into()),
                    Block::Table(table),
                    Block::Plot(chart.inline()),
                    Block::Code(text.into()),
                    Block::Details {
                        summary: text.into(),
                        blocks: vec![Block::Text(text.into())],
                    },
                ],
            )],
            footer: text.into(),
        }
    }

    #[test]
    fn every_text_is_escaped_wherever_it_stands() {
        let html = page(HOSTILE).html();
        assert!(
            !html.contains("<script") && !html.contains("\" onclick"),
            "{html}"
        );
        assert!(html.contains("&lt;script&gt;"), "{html}");
        assert!(html.contains("<svg class=\"drawing\""), "{html}");
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let html = page("a < b").html();
        for word in ["http:", "https:", "src=", "@import", "url(", "<link"] {
            assert!(!html.contains(word), "{word}: {html}");
        }
        // Each word is there as often as it was put in: in title, heading and nowhere twice.
        assert_eq!(html.matches("<table").count(), 1);
        assert_eq!(html.matches("<details").count(), 1);
        assert!(html.contains("prefers-color-scheme: dark"), "{html}");
        assert!(html.ends_with("</html>\n"), "{html}");
    }

    #[test]
    fn a_page_with_nothing_in_it_is_one() {
        let html = Page::default().html();
        assert!(html.starts_with("<!doctype html>"), "{html}");
        assert!(!html.contains("class=\"tiles\""), "{html}");
    }
}
