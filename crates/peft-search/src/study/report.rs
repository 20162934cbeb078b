//! A study as one HTML file: no scripts, nothing loaded from elsewhere.

mod axes;
mod curves;
mod front;
mod heat;
mod rows;

use askama::Template;

use self::rows::Row;
pub use self::rows::words;
use super::Study;
use crate::{Outcome, SearchError};

/// A drawing with its heading.
struct Figure {
    title: String,
    words: String,
    svg: String,
}

#[derive(Template)]
#[template(path = "study.html")]
struct Page {
    name: String,
    subtitle: String,
    facts: Vec<(&'static str, String)>,
    figures: Vec<Figure>,
    objectives: Vec<String>,
    columns: Vec<String>,
    front: Vec<Row>,
    rows: Vec<Row>,
    settings: String,
}

/// A number with four significant digits, without zeros at its end.
fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..9.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = (3.0 - magnitude).clamp(0.0, 8.0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Seconds in words.
fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "–".into(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// What whoever ran the trials knows of them beside the journal: columns of the front's table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns {
    /// The columns' names.
    pub names: Vec<String>,
    /// Of trials on the front, by number, a text for each column.
    pub values: std::collections::BTreeMap<u64, Vec<String>>,
}

impl Study {
    /// The study as a web page of its own: the front, the hypervolume over trials, learning curves, which parameters
    /// matter, what the configurations on the front have in common, and every trial. Of what is in the store now.
    ///
    /// # Errors
    ///
    /// Those of the store and its entries, and of the model's fit.
    pub fn to_html(&mut self) -> Result<String, SearchError> {
        self.to_html_with(&Columns::default())
    }

    /// The same, with more columns in the table of the front.
    ///
    /// # Errors
    ///
    /// As [`to_html`](Self::to_html).
    pub fn to_html_with(&mut self, columns: &Columns) -> Result<String, SearchError> {
        let status = self.status()?;
        let description = &self.description;
        let mut facts = vec![
            ("complete", status.complete.to_string()),
            ("stopped early", status.pruned.to_string()),
            (
                "failed or diverged",
                (status.failed + status.diverged).to_string(),
            ),
            ("running", status.running.len().to_string()),
            ("on the front", status.front.to_string()),
            ("hypervolume", short(status.hypervolume)),
        ];
        if let Some(full) = description.full {
            let used = status.spent.resource as f64 / f64::from(full);
            facts.push(("full trials' worth", short(used)));
        }
        facts.push(("workers' time", duration(status.spent.seconds)));
        let mut figures = Vec::new();
        figures.extend(front::figure(self));
        figures.extend(curves::volumes(self));
        figures.extend(curves::learning(self));
        if let Some(importance) = self.importance()? {
            figures.extend(heat::importance(self, &importance));
        }
        figures.extend(heat::levels(self));
        let settings = serde_json::to_string_pretty(description).unwrap_or_default();
        let page = Page {
            name: description.name.clone(),
            subtitle: format!(
                "A search of {} combinations of {} parameters, sampler {}, seed {}",
                short(description.space.combinations()),
                description.space.parameters().len(),
                crate::Sampler::name(&description.settings),
                description.seed
            ),
            facts,
            figures,
            objectives: description
                .objectives
                .iter()
                .map(|o| o.name.clone())
                .collect(),
            columns: columns.names.clone(),
            front: rows::front(self, columns),
            rows: rows::all(self),
            settings,
        };
        page.render().map_err(|error| SearchError::Study {
            reason: format!("its report cannot be written: {error}"),
        })
    }
}

/// A word for how a trial ended.
fn state(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        None => "running",
        Some(Outcome::Complete { .. }) => "complete",
        Some(Outcome::Pruned) => "stopped early",
        Some(Outcome::Failed { .. }) => "failed",
        Some(Outcome::Diverged { .. }) => "diverged",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (0.743_928, "0.7439"),
            (38.789_24, "38.79"),
            (5_446_350.0, "5446350"),
            (0.001_403, "0.001403"),
            (1e-9, "1.000e-9"),
            (0.5, "0.5"),
            (f64::NAN, "–"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
        assert_eq!(
            (duration(90.0), duration(600.0), duration(9000.0)),
            ("90 s".into(), "10 min".into(), "2.5 h".into())
        );
    }
}
