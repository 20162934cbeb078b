//! The report of the speeds.

use std::fmt::Write as _;

use super::way::Way;
use super::{Measured, Report, SIDE_BY_SIDE};

/// How many times as fast a search is to be as separate runs, all together.
const WANTED: f64 = 3.0;

impl Report {
    fn separate(&self) -> Option<&Measured> {
        self.ways.iter().find(|way| way.way == Way::Separate)
    }

    /// The time that counts: the clock's, or the processor's where other work shared the machine.
    fn seconds(&self, way: &Measured) -> f64 {
        match self.contended {
            true => way.processor_s,
            false => way.wall_s,
        }
    }

    /// How many times as fast as separate processes.
    pub fn ratio(&self, way: &Measured) -> f64 {
        self.separate()
            .map_or(f64::NAN, |separate| self.seconds(separate))
            / self.seconds(way)
    }

    pub fn markdown(&self) -> String {
        let clock = match self.contended {
            true => "the processor's time (user and system), for other work shared the machine",
            false => "the clock's time",
        };
        let steps = self
            .separate()
            .and_then(|way| way.trials.first())
            .map_or(0, |one| one.steps);
        let count = self.separate().map_or(0, |way| way.trials.len());
        let mut text = format!(
            "# Trials an hour\n\n\
             Written by `cargo xtask search-speed --rows {} --select {} --epochs {} --threads {}{}`. {}\n\n\
             {count} configurations of the space `workspace` on MiniLM, as many for each layer that adaptation can begin at; {} rows of \
             Rotten Tomatoes, {} to select by after each of {} epochs, batches of {}, at most {} tokens, no dropout: {steps} steps each. \
             Ratios are of {clock}. A search's list is queued beforehand (`peft search enqueue`); its one process is measured \
             from its start to its end, with the front and the report page.\n\n\
             | way | trials an hour | times as fast | processor, s | clock, s | steps made | peak, MB |\n|---|--:|--:|--:|--:|--:|--:|\n",
            self.rows,
            self.selection_rows,
            self.epochs,
            self.threads,
            if self.contended { " --contended" } else { "" },
            self.machine.line(self.threads),
            self.rows,
            self.selection_rows,
            self.epochs,
            self.batch,
            self.tokens,
        );
        for way in &self.ways {
            let hour = 3600.0 * way.trials.len() as f64 / self.seconds(way);
            let steps: u64 = way.trials.iter().map(|trial| trial.steps).sum();
            let peak = way.peak_bytes.map_or_else(
                || "–".to_owned(),
                |peak| format!("{:.0}", peak as f64 / 1e6),
            );
            let _ = writeln!(
                text,
                "| {} | {hour:.0} | {:.2} | {:.1} | {:.1} | {steps} | {peak} |",
                way.way.words(),
                self.ratio(way),
                way.processor_s,
                way.wall_s,
            );
        }
        text.push_str(
            "\nTrials that ran for equal steps ended with the same selection loss, bit by bit, in all ways; the command fails where one \
             does not. Peaks are of anonymous memory, of the largest process.\n",
        );
        let _ = writeln!(
            text,
            "\nSeveral trials are not computed in one batch. What that could gain on this machine shows LoRA with {SIDE_BY_SIDE} times the \
             rows a batch: it took {:.2} of the time for as many epochs (the least of three runs each).",
            self.batched
        );
        if let Some(together) = self.ways.iter().find(|way| way.way == Way::Together) {
            let ratio = self.ratio(together);
            let _ = match ratio >= WANTED {
                true => writeln!(
                    text,
                    "\nTogether {ratio:.2} times as many trials an hour as separate runs: at least {WANTED:.0} were wanted."
                ),
                false => writeln!(
                    text,
                    "\nTogether {ratio:.2} times as many trials an hour as separate runs: **fewer than the {WANTED:.0} that were wanted**. {}",
                    self.bound()
                ),
            };
        }
        text.push_str("\n| configuration | steps when stopped early | selection loss of the whole trial |\n|---|--:|--:|\n");
        let (Some(separate), Some(stopped)) = (
            self.separate(),
            self.ways.iter().find(|way| way.way == Way::Together),
        ) else {
            return text;
        };
        for (whole, stopped) in separate.trials.iter().zip(&stopped.trials) {
            let _ = writeln!(
                text,
                "| {} | {} | {:.4} |",
                whole.configuration, stopped.steps, whole.selection_loss
            );
        }
        text
    }

    /// What the parts come to if they are multiplied, for a reader who asks what is missing.
    fn bound(&self) -> String {
        let of = |way: Way| {
            let found = self.ways.iter().find(|one| one.way == way);
            found.map_or(f64::NAN, |one| self.ratio(one))
        };
        let shared = of(Way::Shared);
        format!(
            "Alone, sharing preparation gives {shared:.2}, on top of it hidden states {:.2} and stopping early {:.2}.",
            of(Way::Kept) / shared,
            of(Way::Stopped) / shared
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trial;
    use super::*;
    use crate::bench::Machine;

    fn report(contended: bool) -> Report {
        let way = |way, wall_s, processor_s, steps| Measured {
            way,
            wall_s,
            processor_s,
            peak_bytes: Some(300_000_000),
            trials: vec![Trial {
                configuration: "lora".into(),
                steps,
                selection_loss: 0.5,
            }],
        };
        Report {
            machine: Machine::look(),
            contended,
            peft: "peft 0.1.0".into(),
            model: "minilm".into(),
            rows: 4,
            selection_rows: 2,
            batch: 2,
            tokens: 8,
            epochs: 2,
            threads: 1,
            ways: vec![
                way(Way::Separate, 60.0, 12.0, 4),
                way(Way::Together, 15.0, 6.0, 2),
            ],
            batched: 0.95,
        }
    }

    #[test]
    fn ratios_are_of_the_clock_that_counts() {
        let text = report(false).markdown();
        assert!(
            text.contains("| 240 | 4.00 | 6.0 | 15.0 | 2 | 300 |"),
            "{text}"
        );
        assert!(text.contains("at least 3 were wanted"), "{text}");
        let text = report(true).markdown();
        assert!(
            text.contains("| 600 | 2.00 | 6.0 | 15.0 | 2 | 300 |"),
            "{text}"
        );
        assert!(text.contains("fewer than the 3"), "{text}");
    }
}
