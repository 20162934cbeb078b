//! What a run looks like on a terminal, in a log, and to a program.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};
use peft_run::{Event, Plan, Progress, duration};
use serde_json::json;

use crate::{args::LogFormat, commands::megabytes, flags::settings_in_flags, meter::left};

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
        begun: None,
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
    /// When the first step of this process was done, and the steps before it.
    begun: Option<(Instant, u64)>,
}

impl Progress for Renderer {
    fn event(&mut self, event: &Event) {
        if let Event::Plan { plan, .. } = event {
            self.total = plan.data.as_ref().map_or(0, |data| data.steps);
        }
        match &mut self.style {
            Style::Json => tell!("{}", serde_json::to_string(event).unwrap_or_default()),
            Style::Plain => {
                let shown = match event {
                    Event::Step { step, .. } => {
                        *step == 1 || step.is_multiple_of(EVERY) || *step == self.total
                    }
                    _ => true,
                };
                let mut text = line(event, self.total);
                if let Event::Step { step, .. } = event {
                    let (begun, before) =
                        *self.begun.get_or_insert_with(|| (Instant::now(), *step));
                    let share = |steps: u64| steps as f64 / self.total.max(1) as f64;
                    if let Some(left) = left(begun, share(before), share(*step)) {
                        text += &format!("  {} left", duration(left));
                    }
                }
                if shown {
                    tell!("{text}");
                }
            }
            Style::Bar(bar) => match event {
                Event::Step {
                    step,
                    loss,
                    tokens_per_s,
                    ..
                } => {
                    let before = step.saturating_sub(1);
                    let bar = bar.get_or_insert_with(|| new_bar(self.total, before));
                    bar.set_position(*step);
                    bar.set_message(format!("loss {loss:.4}  {tokens_per_s:.0} tokens/s"));
                }
                _ => match bar {
                    Some(bar) => bar.suspend(|| tell!("{}", line(event, self.total))),
                    None => tell!("{}", line(event, self.total)),
                },
            },
        }
    }

    fn notice(&mut self, text: &str) {
        let text = &settings_in_flags(text);
        match &self.style {
            Style::Json => tell!("{}", json!({ "event": "notice", "text": text })),
            Style::Bar(Some(bar)) => bar.suspend(|| tell!("{text}")),
            Style::Plain | Style::Bar(None) => tell!("{text}"),
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

/// A bar that begins after `done` steps: those of an earlier process say nothing about the time that is left.
fn new_bar(total: u64, done: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_position(done);
    bar.reset_eta();
    let template = "{bar:30} {pos}/{len} steps  {msg}  {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn line(event: &Event, total: u64) -> String {
    match event {
        Event::Plan { plan, device, .. } => {
            let mut text = format!(
                "device: {device}\n\
                 {}: {} parameters on {} modules, {} in the head: {:.2} % of {}",
                plan.method,
                plan.trainable_parameters,
                plan.targets,
                plan.head_parameters,
                100.0 * plan.trained_share(),
                plan.total_parameters
            );
            if let Some(data) = &plan.data {
                text += &format!(
                    "\ndata: {} rows to train on, {} for selection, {} steps",
                    data.rows, data.selection_rows, data.steps
                );
                if data.truncated_rows > 0 {
                    text += &format!(
                        "; {} rows are longer than --max-length and are cut",
                        data.truncated_rows
                    );
                }
                if let Some(left_out) = &data.left_out {
                    text += &format!("\nrows left out: {}", left_out.because);
                }
            }
            if !plan.created.is_empty() {
                text += &format!(
                    "\nnew, because the checkpoint has none: {}",
                    plan.created.join(", ")
                );
            }
            text + "\n" + &sizes(plan) + "\n" + &times(plan)
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
        Event::WarmUp {
            step,
            steps,
            loss,
            learning_rate,
            ..
        } => {
            format!("warm-up {step}/{steps}  loss {loss:.4}  rate {learning_rate:.2e}")
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

/// The size of an adapter and the memory of a run.
pub fn sizes(plan: &Plan) -> String {
    let types = plan.weights.iter();
    let types: Vec<String> = types
        .map(|(kind, bytes)| format!("{kind} {}", megabytes(*bytes as u64)))
        .collect();
    format!(
        "base          {} in memory: {}\n\
         adapter file  {}\n\
         memory        about {} at its peak, with batches of up to {} tokens",
        megabytes(plan.memory.weights as u64),
        types.join(", "),
        megabytes(plan.adapter_bytes),
        megabytes(plan.memory.peak as u64),
        plan.batch_tokens
    )
}

/// The time of a step and of a run.
pub fn times(plan: &Plan) -> String {
    let Some(time) = &plan.time else {
        return "time          not known on this machine: `peft plan --calibrate` measures it for a second"
            .to_owned();
    };
    let mut text = format!("time          about {} a step", duration(time.step_s));
    if let Some(run) = time.run_s {
        text += &format!(", {} in all", duration(run));
        if plan.warm_up_steps > 0 {
            text += &format!(", with {} steps of warm-up", plan.warm_up_steps);
        }
    }
    text
}

fn list(metrics: &peft_run::Metrics) -> String {
    metrics
        .iter()
        .map(|(name, value)| format!("  {name} {value:.4}"))
        .collect()
}
