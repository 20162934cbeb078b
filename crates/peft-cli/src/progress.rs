//! What a run looks like on a terminal, in a log, and to a program.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle};
use peft_train::{Event, Progress};
use serde_json::json;

use crate::args::LogFormat;

/// Steps between two plain lines.
const EVERY: u64 = 20;

/// The renderer for a format; all of them write to standard error.
pub fn renderer(format: LogFormat, stop: Arc<AtomicBool>) -> Box<dyn Progress> {
    let style = match format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if std::io::stderr().is_terminal() => Style::Bar(None),
        LogFormat::Auto | LogFormat::Plain => Style::Plain,
    };
    Box::new(Renderer {
        style,
        stop,
        total: 0,
    })
}

enum Style {
    Json,
    Plain,
    Bar(Option<ProgressBar>),
}

struct Renderer {
    style: Style,
    stop: Arc<AtomicBool>,
    total: u64,
}

impl Progress for Renderer {
    fn event(&mut self, event: &Event) {
        if let Event::Plan { steps, .. } = event {
            self.total = *steps;
        }
        match &mut self.style {
            Style::Json => eprintln!("{}", serde_json::to_string(event).unwrap_or_default()),
            Style::Plain => {
                let shown = match event {
                    Event::Step { step, .. } => {
                        *step == 1 || step.is_multiple_of(EVERY) || *step == self.total
                    }
                    _ => true,
                };
                if shown {
                    eprintln!("{}", line(event, self.total));
                }
            }
            Style::Bar(bar) => match event {
                Event::Step {
                    step,
                    loss,
                    tokens_per_s,
                    ..
                } => {
                    let bar = bar.get_or_insert_with(|| new_bar(self.total));
                    bar.set_position(*step);
                    bar.set_message(format!("loss {loss:.4}  {tokens_per_s:.0} tokens/s"));
                }
                _ => match bar {
                    Some(bar) => bar.suspend(|| eprintln!("{}", line(event, self.total))),
                    None => eprintln!("{}", line(event, self.total)),
                },
            },
        }
    }

    fn notice(&mut self, text: &str) {
        match &self.style {
            Style::Json => eprintln!("{}", json!({ "event": "notice", "text": text })),
            Style::Bar(Some(bar)) => bar.suspend(|| eprintln!("{text}")),
            Style::Plain | Style::Bar(None) => eprintln!("{text}"),
        }
    }

    fn should_stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl Drop for Renderer {
    fn drop(&mut self) {
        if let Style::Bar(Some(bar)) = &self.style {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = "{bar:30} {pos}/{len} steps  {msg}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn line(event: &Event, total: u64) -> String {
    match event {
        Event::Plan {
            method,
            targets,
            trainable_parameters,
            head_parameters,
            total_parameters,
            rows,
            selection_rows,
            steps,
            truncated_rows,
            created,
            device,
        } => {
            let share =
                100.0 * (trainable_parameters + head_parameters) as f64 / *total_parameters as f64;
            let mut text = format!(
                "device: {device}\n\
                 {method}: {trainable_parameters} parameters on {targets} modules, \
                 {head_parameters} in the head: {share:.2} % of {total_parameters}\n\
                 data: {rows} rows to fit, {selection_rows} to select, {steps} steps"
            );
            if *truncated_rows > 0 {
                text += &format!("; {truncated_rows} rows are cut to --max-length");
            }
            if !created.is_empty() {
                text += &format!(
                    "\nmade afresh, for the checkpoint has none: {}",
                    created.join(", ")
                );
            }
            text
        }
        Event::Step {
            step,
            loss,
            learning_rate,
            tokens_per_s,
            peak_memory,
            ..
        } => {
            let mut text = format!(
                "step {step}/{total}  loss {loss:.4}  rate {learning_rate:.2e}  \
                 {tokens_per_s:.0} tokens/s"
            );
            if let Some(bytes) = peak_memory {
                text += &format!("  peak {} MB", bytes / 1_000_000);
            }
            text
        }
        Event::Eval {
            step,
            epoch,
            split,
            loss,
            metrics,
        } => {
            format!(
                "step {step}  epoch {epoch:.2}  {split}: loss {loss:.4}{}",
                list(metrics)
            )
        }
        Event::Final {
            step,
            kept,
            kept_step,
            split,
            loss,
            metrics,
            ..
        } => format!(
            "done after {step} steps; kept: {kept} (step {kept_step})  {split}: loss {loss:.4}{}",
            list(metrics)
        ),
    }
}

fn list(metrics: &peft_train::Metrics) -> String {
    metrics
        .iter()
        .map(|(name, value)| format!("  {name} {value:.4}"))
        .collect()
}
