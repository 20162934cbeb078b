//! How far a verb is, and when it will be done.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use peft_run::duration;

/// Plain lines come after this time, and then no more often.
const EVERY: Duration = Duration::from_secs(10);
/// Positions of a bar.
const WHOLE: u64 = 10_000;

/// The seconds that are left, going by those since `begun`, when `before` of the work had been done.
pub fn left(begun: Instant, before: f64, done: f64) -> Option<f64> {
    let gone = done - before;
    (gone > 0.0 && done < 1.0).then(|| begun.elapsed().as_secs_f64() * (1.0 - done) / gone)
}

/// A bar on a terminal; elsewhere a line now and then, of what takes long.
pub struct Meter {
    what: &'static str,
    style: Style,
    begun: Instant,
    told: Instant,
}

enum Style {
    Bar(ProgressBar),
    Lines,
    /// The terminal shows results.
    Nothing,
}

impl Meter {
    /// Counts `what`, such as rows. `quiet` where the terminal shows something else.
    pub fn new(what: &'static str, quiet: bool) -> Self {
        let style = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Style::Nothing,
            (false, true) => Style::Bar(bar()),
            (false, false) => Style::Lines,
        };
        let now = Instant::now();
        Self {
            what,
            style,
            begun: now,
            told: now,
        }
    }

    /// So many are done, which is this share of all, if that is known.
    pub fn set(&mut self, count: usize, share: Option<f64>) {
        let what = self.what;
        match &self.style {
            Style::Nothing => {}
            Style::Bar(bar) => {
                let position = share.map(|share| (share * WHOLE as f64) as u64);
                bar.set_position(position.unwrap_or(0));
                bar.set_message(format!("{count} {what}{}", self.rest(share)));
            }
            Style::Lines if self.told.elapsed() >= EVERY => {
                self.told = Instant::now();
                let done = share.map_or(String::new(), |s| format!(", {:.0} %", 100.0 * s));
                tell!("{count} {what}{done}{}", self.rest(share));
            }
            Style::Lines => {}
        }
    }

    fn rest(&self, share: Option<f64>) -> String {
        let left = share.and_then(|share| left(self.begun, 0.0, share));
        left.map_or(String::new(), |left| format!(", {} left", duration(left)))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(WHOLE);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Where a part of a file begins and ends, as shares of the file, and how far rows of the part are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    begin: Option<f64>,
    end: Option<f64>,
}

impl Span {
    /// The next part, which ends where so much of the file has been read.
    pub fn advance(&mut self, read: Option<f64>) {
        let begin = if self.end.is_some() {
            self.end
        } else {
            Some(0.0)
        };
        *self = Self { begin, end: read };
    }

    /// The share of the file, where so much of the part is done.
    pub fn share(&self, done: f64) -> Option<f64> {
        let (begin, end) = (self.begin?, self.end?);
        Some(begin + (end - begin) * done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_unknown_lengths_stay_unknown() {
        let mut span = Span::default();
        span.advance(Some(0.5));
        assert_eq!(span.share(0.5), Some(0.25));
        span.advance(Some(1.0));
        assert_eq!((span.share(0.0), span.share(1.0)), (Some(0.5), Some(1.0)));
        span.advance(None);
        assert_eq!(span.share(0.5), None);
    }

    #[test]
    fn time_left_goes_by_what_this_process_did() {
        let begun = Instant::now() - Duration::from_secs(10);
        // Half was done before; a tenth took ten seconds, and four tenths are left.
        let left = left(begun, 0.5, 0.6).unwrap();
        assert!((left - 40.0).abs() < 1.0, "{left}");
        assert_eq!(super::left(begun, 0.5, 0.5), None);
        assert_eq!(super::left(begun, 0.0, 1.0), None);
    }
}
