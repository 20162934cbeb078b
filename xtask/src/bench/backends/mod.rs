//! `cargo xtask bench --backend`: the same cases on several backends, in turns within one run.

mod cases;
mod find;
mod report;

use std::process::Command;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::Value;

use self::cases::Case;
use self::find::{Adapter, Answering};
pub use self::find::{Backend, Binary, only};
use self::report::Report;
use super::machine::Machine;
use super::measure::{self, Budget, Spread, WARM_UP};
use super::server::{Server, Turn};
use super::{Arguments, program};
use crate::workspace;

/// What a backend is, or why it is not there.
#[derive(Debug, Serialize)]
struct Presence {
    backend: Backend,
    #[serde(flatten)]
    device: Option<Adapter>,
    problem: Option<String>,
}

/// A case on all backends.
#[derive(Debug, Serialize)]
struct Row {
    case: String,
    cells: Vec<Cell>,
}

/// A case on one backend: its figures, or why there are none.
#[derive(Debug, Serialize)]
struct Cell {
    backend: Backend,
    figures: Option<Figures>,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Figures {
    step_ms: Spread,
    tokens_per_s: f64,
    /// Time of this backend over flex's, turn by turn; `None` where flex failed.
    ratio: Option<Spread>,
    /// What the device's pools hold after the steps; `None` where the backend has none.
    device_bytes: Option<u64>,
    /// Anonymous bytes of the process at their peak.
    peak_anonymous_bytes: Option<u64>,
}

/// A backend at work on a case.
struct Side<'a> {
    backend: &'a Answering,
    server: Option<Server>,
    turns: Vec<Turn>,
    problem: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut cases = cases::all();
    cases.retain(|case| !arguments.quick || case.tiny);
    let Some(cases) = arguments.choose(cases, |case| case.name)? else {
        return Ok(());
    };
    ensure!(
        arguments.backend.contains(&Backend::Flex),
        "the others are held against flex: name it, too"
    );
    let mut backends = arguments.backend.clone();
    backends.sort_by_key(|backend| *backend as usize);
    backends.dedup();

    let mut report = Report {
        machine: Machine::look(),
        threads: arguments.threads,
        quick: arguments.quick,
        backends: Vec::new(),
        rows: Vec::new(),
    };
    let mut answering = Vec::new();
    for backend in backends {
        let found = find::look(backend, &arguments.bench_binary);
        report.backends.push(Presence {
            backend,
            device: found.as_ref().ok().map(|found| found.device.clone()),
            problem: found.as_ref().err().map(|error| format!("{error:#}")),
        });
        match found {
            Ok(found) => answering.push(found),
            Err(error) => eprintln!("{backend}: {error:#}"),
        }
    }
    ensure!(
        (answering.iter()).any(|found| found.backend == Backend::Flex),
        "flex does not answer, and the others are held against it: its reason is above"
    );
    for case in &cases {
        let row = measure(case, &answering, arguments.threads, arguments.budget());
        eprintln!("{}", report::line(&row));
        report.rows.push(row);
    }
    let out = match (&arguments.out, arguments.quick) {
        (Some(path), _) => path.clone(),
        (None, true) => workspace::target().join("benchmarks"),
        (None, false) => workspace::root()
            .join("docs/benchmarks/backends")
            .join(report.machine.class()),
    };
    let path = program::write(&out, "across-backends", &report, &report.markdown())?;
    println!("{}", path.display());
    Ok(())
}

/// One turn of each backend after the other, round after round; a backend that fails drops out with its reason.
fn measure(case: &Case, answering: &[Answering], threads: u32, budget: Budget) -> Row {
    let setup = setup(case, threads);
    let mut sides: Vec<Side<'_>> = answering
        .iter()
        .map(|backend| start(case, backend, &setup))
        .collect();
    for count in 0..WARM_UP + budget.pairs {
        for side in &mut sides {
            let found = side.attempt(|server| measure::turn(server, "default", 1));
            side.turns.extend(found.filter(|_| count >= WARM_UP));
        }
    }
    let memory: Vec<Option<Turn>> = sides
        .iter_mut()
        .map(|side| side.attempt(|server| server.run("default", 1, true)))
        .collect();
    let flex = sides
        .iter()
        .position(|side| side.backend.backend == Backend::Flex && side.problem.is_none());
    let cells = sides.iter().zip(memory).map(|(side, memory)| Cell {
        backend: side.backend.backend,
        figures: memory.map(|memory| {
            figures(
                &side.turns,
                flex.map(|place| sides[place].turns.as_slice()),
                &memory,
            )
        }),
        problem: side.problem.clone(),
    });
    Row {
        case: case.name.to_owned(),
        cells: cells.collect(),
    }
}

fn setup(case: &Case, threads: u32) -> Value {
    let mut setup = case.setup.clone();
    setup["op"] = "setup".into();
    setup["threads"] = threads.into();
    setup
}

fn start<'a>(case: &Case, backend: &'a Answering, setup: &Value) -> Side<'a> {
    let mut side = Side {
        backend,
        server: None,
        turns: Vec::new(),
        problem: None,
    };
    if backend.device.software && !case.tiny {
        side.problem = Some("software device: tiny cases only".into());
        return side;
    }
    let mut command = Command::new(&backend.binary);
    command.env("PEFT_BENCH_DEVICE", backend.backend.device());
    match Server::start(backend.backend.name(), &mut command) {
        Ok(server) => side.server = Some(server),
        Err(error) => side.problem = Some(format!("{error:#}")),
    }
    side.attempt(|server| server.set_up("default", setup));
    side
}

impl Side<'_> {
    /// Does something while the backend has not failed; the first failure ends its process and is kept.
    fn attempt<T>(&mut self, action: impl FnOnce(&mut Server) -> Result<T>) -> Option<T> {
        match action(self.server.as_mut()?) {
            Ok(done) => Some(done),
            Err(error) => {
                self.problem = Some(format!("{error:#}"));
                self.server = None;
                None
            }
        }
    }
}

fn figures(turns: &[Turn], flex: Option<&[Turn]>, memory: &Turn) -> Figures {
    let times: Vec<f64> = turns.iter().map(|turn| turn.seconds() * 1e3).collect();
    let costs: Vec<f64> = turns.iter().map(Turn::cost).collect();
    Figures {
        step_ms: Spread::of(&times),
        tokens_per_s: 1.0 / Spread::of(&costs).median,
        ratio: flex.map(|flex| measure::each(turns, flex, |a, b| a.cost() / b.cost())),
        device_bytes: memory.device_bytes,
        peak_anonymous_bytes: memory.peak_anonymous,
    }
}
