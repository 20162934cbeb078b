//! One table of cases by backends.

use std::fmt::Write;

use serde::Serialize;

use super::super::machine::Machine;
use super::super::report::spread;
use super::{Cell, Presence, Row};

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub threads: u32,
    pub quick: bool,
    pub backends: Vec<Presence>,
    pub rows: Vec<Row>,
}

/// One case in a line, for the terminal.
pub fn line(row: &Row) -> String {
    let cells = row.cells.iter().map(|cell| match &cell.figures {
        Some(figures) => {
            let ratio = figures
                .ratio
                .map(|ratio| format!(", ratio {}", spread(ratio, 2)));
            format!(
                "{} {} ms{}",
                cell.backend,
                spread(figures.step_ms, 1),
                ratio.unwrap_or_default()
            )
        }
        None => format!("{} none: {}", cell.backend, problem(cell)),
    });
    format!("{}: {}", row.case, cells.collect::<Vec<_>>().join("; "))
}

/// One line, and no character that would end a table's cell.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "/")
}

fn problem(cell: &Cell) -> String {
    plain(cell.problem.as_deref().unwrap_or("no figures"))
}

impl Presence {
    fn line(&self) -> String {
        let problem = self.problem.as_deref().map(plain);
        match (&self.device, problem) {
            (Some(device), _) => {
                let name = device.name.as_deref().unwrap_or("the processor");
                let software = if device.software {
                    " (**software device**: a program on the processor; tiny cases only)"
                } else {
                    ""
                };
                format!("- {}: {}{software}", self.backend, plain(name))
            }
            (None, problem) => format!(
                "- {}: not measured: {}",
                self.backend,
                problem.unwrap_or_default()
            ),
        }
    }
}

impl Report {
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "# Speed and memory across backends\n\n<!-- Written by `cargo xtask bench --backend`; changes by hand \
             are lost. -->\n\n{}\nRaw figures: [across-backends.json](across-backends.json).\n\n",
            self.machine.line(self.threads)
        );
        for backend in &self.backends {
            let _ = writeln!(text, "{}", backend.line());
        }
        if self.quick {
            text.push_str("\n**A quick run: too few turns to conclude from.**\n");
        }
        text.push_str(
            "\n| case | backend | step, ms | tokens/s | time to flex's | device, MB | process, MB |\n\
             |---|---|--:|--:|--:|--:|--:|\n",
        );
        for row in &self.rows {
            for (place, cell) in row.cells.iter().enumerate() {
                let case = if place == 0 { row.case.as_str() } else { "" };
                let name = match self.is_software(cell) {
                    true => format!("{} (software device)", cell.backend),
                    false => cell.backend.to_string(),
                };
                let Some(figures) = &cell.figures else {
                    let _ = writeln!(text, "| {case} | {name} | {} | | | | |", problem(cell));
                    continue;
                };
                let megabytes = |bytes: Option<u64>| {
                    let bytes = bytes.map(|bytes| format!("{:.0}", bytes as f64 / 1e6));
                    bytes.unwrap_or_default()
                };
                let ratio = figures.ratio.map(|ratio| spread(ratio, 2));
                let _ = writeln!(
                    text,
                    "| {case} | {name} | {} | {:.0} | {} | {} | {} |",
                    spread(figures.step_ms, 1),
                    figures.tokens_per_s,
                    ratio.unwrap_or_default(),
                    megabytes(figures.device_bytes),
                    megabytes(figures.peak_anonymous_bytes),
                );
            }
        }
        text.push_str(
            "\nEach figure is a median over turns, with the 10th to 90th percentile in parentheses; the backends take \
             turns, each in a process of its own. *Time to flex's* is by turns of one round: below 1, the backend is \
             faster than the processor. *Device* is what the pools of the device's memory hold after the steps, used \
             or kept for reuse; *process* is the peak of the process's anonymous memory.\n",
        );
        text
    }

    fn is_software(&self, cell: &Cell) -> bool {
        let devices = self.backends.iter().filter(|it| it.backend == cell.backend);
        devices
            .filter_map(|it| it.device.as_ref())
            .any(|device| device.software)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::measure::Spread;
    use super::super::{Adapter, Backend, Figures};
    use super::*;

    fn cell(backend: Backend, problem: Option<&str>) -> Cell {
        let spread = |median| Spread {
            median,
            p10: median,
            p90: median,
        };
        Cell {
            backend,
            figures: problem.is_none().then(|| Figures {
                step_ms: spread(2.0),
                tokens_per_s: 500.0,
                ratio: Some(spread(0.5)),
                device_bytes: (backend != Backend::Flex).then_some(3_000_000),
                peak_anonymous_bytes: Some(4_000_000),
            }),
            problem: problem.map(str::to_owned),
        }
    }

    #[test]
    fn every_backend_has_a_line_even_one_that_is_not_there() {
        let presence = |backend, device, problem: Option<&str>| Presence {
            backend,
            device,
            problem: problem.map(str::to_owned),
        };
        let lavapipe = Adapter {
            name: Some("llvmpipe".into()),
            software: true,
        };
        let report = Report {
            machine: Machine::look(),
            threads: 2,
            quick: false,
            backends: vec![
                presence(Backend::Flex, Some(Adapter::default()), None),
                presence(Backend::Wgpu, Some(lavapipe), None),
                presence(Backend::Cuda, None, Some("no driver\nfound")),
            ],
            rows: vec![Row {
                case: "tiny".into(),
                cells: vec![
                    cell(Backend::Flex, None),
                    cell(Backend::Wgpu, Some("a | b")),
                ],
            }],
        };
        let text = report.markdown();
        for line in [
            "- flex: the processor\n",
            "- wgpu: llvmpipe (**software device**",
            "- cuda: not measured: no driver found\n",
            "| tiny | flex | 2.0 (2.0–2.0) | 500 | 0.50 (0.50–0.50) |  | 4 |\n",
            "|  | wgpu (software device) | a / b | | | | |\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(line(&report.rows[0]).contains("wgpu none: a / b"));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["backends"][1]["name"], "llvmpipe");
        assert_eq!(json["rows"][0]["cells"][1]["problem"], "a | b");
    }
}
