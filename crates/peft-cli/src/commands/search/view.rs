//! What a search looks like on a terminal, in a log, and to a program.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle};
use peft_run::{Event, duration};
use peft_search::{
    Outcome,
    runs::{Ended, View},
    study::Status,
};
use serde_json::json;

use super::object;
use crate::{args::LogFormat, flags::settings_in_flags};

enum Style {
    Json,
    Plain,
    Bar(ProgressBar),
}

/// Writes to standard error.
pub struct Terminal {
    style: Style,
    stop: Arc<AtomicBool>,
    steps: u64,
}

impl Terminal {
    pub fn new(format: LogFormat, stop: Arc<AtomicBool>) -> Self {
        let style = match format {
            LogFormat::Json => Style::Json,
            LogFormat::Auto if std::io::stderr().is_terminal() => Style::Bar(bar()),
            LogFormat::Auto | LogFormat::Plain => Style::Plain,
        };
        Self {
            style,
            stop,
            steps: 0,
        }
    }

    /// How a study stands before any work.
    pub fn stands(&self, status: &Status) {
        match &self.style {
            Style::Json => tell!("{}", object("status", status)),
            _ if status.spent.trials > 0 => self.line(&standing(status, None)),
            _ => {}
        }
    }

    /// Leave nothing behind on the terminal.
    pub fn finish(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.style {
            Style::Bar(bar) => bar.suspend(|| tell!("{text}")),
            Style::Json | Style::Plain => tell!("{text}"),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{prefix}  {bar:20} {pos}/{len} steps  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// How a study stands, in a line.
pub fn standing(status: &Status, trials: Option<u64>) -> String {
    let of = trials.map_or(String::new(), |all| format!(" of {all}"));
    let noun = match (status.spent.trials, trials) {
        (_, Some(1)) | (1, None) => "trial",
        _ => "trials",
    };
    let mut text = format!(
        "{}{of} {noun}: {} complete, {} stopped early, {} failed, {} running; {} on the front",
        status.spent.trials,
        status.complete,
        status.pruned,
        status.failed + status.diverged,
        status.running.len(),
        status.front,
    );
    if let Some(left) = status.remaining {
        text += &format!("; about {} left", duration(left));
    }
    text
}

impl View for Terminal {
    fn begins(&mut self, trial: u64, words: &str) {
        match &self.style {
            Style::Json => {
                let event = json!({ "event": "begins", "trial": trial, "configuration": words });
                tell!("{event}");
            }
            Style::Plain => {}
            Style::Bar(bar) => {
                bar.set_prefix(format!("trial {trial}"));
                bar.set_position(0);
                bar.set_message(words.to_owned());
            }
        }
    }

    fn event(&mut self, event: &Event) {
        if let Event::Plan { plan, .. } = event {
            self.steps = plan.data.as_ref().map_or(0, |data| data.steps);
        }
        if let (Style::Bar(bar), Event::Step { step, .. }) = (&self.style, event) {
            bar.set_length(self.steps);
            bar.set_position(*step);
        }
    }

    fn ended(&mut self, ended: &Ended<'_>) {
        let measured = match &ended.trial.outcome {
            Some(Outcome::Complete { measured }) => measured.first().copied(),
            _ => ended
                .trial
                .reports
                .last_key_value()
                .and_then(|(_, all)| all.first().copied()),
        };
        let values = ended.trial.known.first().copied().unwrap_or(f64::NAN);
        let reason = match &ended.trial.outcome {
            Some(Outcome::Failed { reason } | Outcome::Diverged { reason }) => {
                Some(reason.as_str())
            }
            _ => None,
        };
        if let Style::Json = self.style {
            let mut event = object("trial", ended.status);
            event["trial"] = ended.trial.number.into();
            event["outcome"] = ended.word().into();
            event["values"] = values.into();
            event["measured"] = json!(measured);
            event["seconds"] = ended.seconds.into();
            event["on_front"] = ended.on_front.into();
            event["configuration"] = ended.words.into();
            event["reason"] = json!(reason);
            tell!("{event}");
            return;
        }
        let measured = measured.map_or(String::new(), |measured| format!("  {measured:.4}"));
        let mut text = format!(
            "trial {}  {}{measured}  {values:.0} values  {}  {}{}",
            ended.trial.number,
            ended.word(),
            duration(ended.seconds),
            ended.words,
            if ended.on_front { "  (front)" } else { "" },
        );
        if let Some(reason) = reason {
            text += &format!("\n  {reason}");
        }
        if let Some(left) = ended.status.remaining {
            text += &format!("  {} left", duration(left));
        }
        self.line(&text);
    }

    fn notice(&mut self, text: &str) {
        let text = &settings_in_flags(text);
        match self.style {
            Style::Json => tell!("{}", json!({ "event": "notice", "text": text })),
            _ => self.line(text),
        }
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use peft_search::study::Spent;

    use super::*;

    #[test]
    fn one_trial_is_told_as_one() {
        let status = |trials: u64| Status {
            complete: 0,
            pruned: 0,
            failed: 0,
            diverged: 0,
            running: Vec::new(),
            queued: 0,
            spent: Spent {
                trials,
                ..Spent::default()
            },
            hypervolume: 0.0,
            front: 0,
            remaining: None,
        };
        for (trials, of, expected) in [
            (1, None, "1 trial: "),
            (2, None, "2 trials: "),
            (1, Some(1), "1 of 1 trial: "),
            (1, Some(50), "1 of 50 trials: "),
        ] {
            let told = standing(&status(trials), of);
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
