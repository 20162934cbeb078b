//! `cargo xtask bench`: speed and memory, ours and PyTorch's, in alternation within one run.

mod backends;
mod cases;
mod completion;
mod compute_cases;
mod concentration;
mod energy;
mod kernels;
mod language_cases;
mod machine;
mod measure;
#[cfg(test)]
mod measure_tests;
mod profile;
pub mod program;
mod report;
mod routes;
mod server;
mod space_cases;
mod sparse_cases;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

pub use self::backends::Backend;
use self::cases::{Case, Kind, Places};
pub use self::machine::Machine;
use self::measure::{Budget, Measurement};
use self::report::Report;
use self::server::Server;
use crate::study::median;
use crate::{fetch, python, workspace};

#[derive(clap::Subcommand)]
enum Part {
    /// Time each operation of peft-kernels against the machine's bandwidth and product rate
    Kernels(kernels::Arguments),
    /// Sample where the processor time of training steps goes
    Profile(profile::Arguments),
    /// Deep matrix completion: the original network, the compressed one, and what they are compared with
    MatrixCompletion(completion::Arguments),
    /// How much of the gradient of unseen batches lies where sDCTFT trains, by rule of selection, and in the
    /// strongest entries in SparseGrad's bases
    GradientEnergy(energy::Arguments),
    /// Time the ways to apply a spectral update, and hold the cost model's choice against the best
    SpectralRoutes(routes::Arguments),
}

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Also run PyTorch and Hugging Face PEFT, in alternation with ours
    #[arg(long)]
    against_torch: bool,
    /// The same cases on these backends, each against flex, which must be one of them; it needs no data
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        conflicts_with_all = ["against_torch", "data", "peft", "python"]
    )]
    backend: Vec<backends::Backend>,
    /// Few pairs, to see that it runs; the result goes to the build folder, not to docs
    #[arg(long)]
    quick: bool,
    /// Only cases whose name contains this; may be given again
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// Print the names of the cases
    #[arg(long)]
    list: bool,
    /// Alternating pairs a case
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(20..))]
    pairs: u32,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// The `peft-bench` binary, instead of building it; with --backend also BACKEND=PATH, again for each backend
    #[arg(long, value_name = "PATH")]
    bench_binary: Vec<backends::Binary>,
    /// The `peft` binary whose start is timed, instead of building it
    #[arg(long, value_name = "PATH")]
    peft: Option<PathBuf>,
    /// Python of the reference environment
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Folder that holds the model's and the data's folders, instead of the cache
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for the result, instead of docs/benchmarks
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Arguments {
    fn budget(&self) -> Budget {
        let pairs = if self.quick { 3 } else { self.pairs };
        Budget {
            pairs: pairs as usize,
        }
    }

    /// Those of some cases that the arguments name; `None` where they were only to be listed, which is done.
    fn choose<C>(&self, mut cases: Vec<C>, name: fn(&C) -> &str) -> Result<Option<Vec<C>>> {
        let named = |case: &C| self.case.iter().any(|part| name(case).contains(part));
        cases.retain(|case| self.case.is_empty() || named(case));
        ensure!(
            !cases.is_empty(),
            "no case has that name; --list alone prints the names"
        );
        if self.list {
            cases.iter().for_each(|case| println!("{}", name(case)));
            return Ok(None);
        }
        Ok(Some(cases))
    }
}

/// Programs of the two sides.
struct Programs {
    ours: PathBuf,
    python: Option<PathBuf>,
}

impl Programs {
    fn ours(&self) -> Result<Server> {
        Server::start("peft", &mut Command::new(&self.ours))
    }

    fn torch(&self) -> Result<Server> {
        let python = self
            .python
            .as_ref()
            .context("this case needs --against-torch")?;
        let mut command = Command::new(python);
        Server::start(
            "torch",
            command.arg(python::scripts().join("torch_bench.py")),
        )
    }
}

pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.part {
        Some(Part::Kernels(arguments)) => return kernels::run(arguments),
        Some(Part::Profile(arguments)) => return profile::run(arguments),
        Some(Part::MatrixCompletion(arguments)) => return completion::run(arguments),
        Some(Part::GradientEnergy(arguments)) => return energy::run(arguments),
        Some(Part::SpectralRoutes(arguments)) => return routes::run(arguments),
        None => {}
    }
    if !arguments.backend.is_empty() {
        return backends::run(arguments);
    }
    let given = backends::only(&arguments.bench_binary)?;
    let mut cases = cases::all();
    cases.retain(|case| arguments.against_torch || !case.needs_torch());
    let Some(cases) = arguments.choose(cases, |case| &case.name)? else {
        return Ok(());
    };
    let data = match &arguments.data {
        Some(path) => path.clone(),
        None => fetch::everything()?,
    };
    if cases.iter().any(|case| case.name.contains("smollm2")) {
        fetch::smollm2::folder(&data, None)?;
    }
    space_cases::folders(&cases, &data, arguments.quick, arguments.python.as_ref())?;
    let places = Places {
        data,
        threads: arguments.threads,
        quick: arguments.quick,
    };
    let peft = binary(arguments.peft.as_ref(), "peft")?;
    let ours = binary(given, "peft-bench")?;
    let python = arguments
        .against_torch
        .then(|| python::interpreter(arguments.python.as_ref()));
    let programs = Programs {
        ours,
        python: python.transpose()?,
    };
    let budget = arguments.budget();

    let mut report = Report::new(arguments.threads, arguments.quick);
    report.start_up_s = start_up(&peft, if arguments.quick { 5 } else { 21 })?;
    for case in &cases {
        eprintln!("{} …", case.name);
        let (measurement, versions) = measure(case, &places, &programs, budget)?;
        eprintln!("{} {}", case.name, report::line(&measurement));
        report.versions.extend(versions);
        report.measurements.push(measurement);
    }
    let out = match (&arguments.out, arguments.quick) {
        (Some(path), _) => path.clone(),
        (None, true) => workspace::target().join("benchmarks"),
        (None, false) => workspace::root().join("docs/benchmarks"),
    };
    let name = if arguments.against_torch {
        "cpu-against-pytorch"
    } else {
        "cpu"
    };
    println!("{}", report.write(&out, name)?.display());
    Ok(())
}

fn binary(given: Option<&PathBuf>, name: &str) -> Result<PathBuf> {
    match given {
        Some(path) if path.is_file() => Ok(path.clone()),
        Some(path) => bail!("there is no {}", path.display()),
        None => workspace::build(name, true),
    }
}

/// Measures in fresh processes, so that no case inherits another's memory.
fn measure(
    case: &Case,
    places: &Places,
    programs: &Programs,
    budget: Budget,
) -> Result<(Measurement, Vec<(String, String)>)> {
    let (ours, base) = (
        places.fill(&case.ours),
        case.base.as_ref().map(|base| places.fill(base)),
    );
    match (case.kind, base) {
        (Kind::Alone, _) => {
            let mut server = programs.ours()?;
            let found = measure::alone(&case.name, &mut server, &ours, case.iterations, budget)?;
            Ok((found, server.versions()))
        }
        (Kind::AgainstTorch, Some(theirs)) => {
            let (mut left, mut right) = (programs.ours()?, programs.torch()?);
            let sides = [(&mut left, &ours), (&mut right, &theirs)];
            let found = measure::pairs(&case.name, sides, case.iterations, budget)?;
            Ok((found, [left.versions(), right.versions()].concat()))
        }
        (Kind::Overhead | Kind::TorchOverhead | Kind::Beside, Some(frozen)) => {
            let mut server = if case.kind != Kind::TorchOverhead {
                programs.ours()?
            } else {
                programs.torch()?
            };
            let found = measure::overhead(
                &case.name,
                &mut server,
                [&ours, &frozen],
                case.iterations,
                budget,
            )?;
            Ok((found, server.versions()))
        }
        (Kind::Added | Kind::AddedAlone, Some(theirs)) => {
            let other = || match case.kind {
                Kind::Added => programs.torch(),
                _ => programs.ours(),
            };
            let starts: [measure::Start; 2] = [&|| programs.ours(), &other];
            measure::added(
                &case.name,
                starts,
                [&ours, &theirs],
                case.iterations,
                budget,
            )
        }
        (_, None) => bail!("case {} has nothing to be held against", case.name),
    }
}

/// Median time of `peft --version`, from start to end of the process.
fn start_up(peft: &Path, times: usize) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..times {
        let started = Instant::now();
        let output = Command::new(peft).arg("--version").output();
        let output = output.with_context(|| format!("cannot start {}", peft.display()))?;
        seconds.push(started.elapsed().as_secs_f64());
        ensure!(
            output.status.success(),
            "{} --version failed",
            peft.display()
        );
    }
    // The first start reads the binary from disk.
    Ok(median(&seconds[1..]))
}

/// Holds a committed plot against the figures beside it. With `PEFT_REDRAW` set, it is drawn anew.
#[cfg(test)]
fn expect_plot(name: &str, draw: impl Fn(serde_json::Value) -> String) {
    let file = |ending: &str| workspace::root().join(format!("docs/benchmarks/{name}.{ending}"));
    let figures = std::fs::read_to_string(file("json")).unwrap();
    let drawn = draw(serde_json::from_str(&figures).unwrap());
    if std::env::var_os("PEFT_REDRAW").is_some() {
        std::fs::write(file("svg"), &drawn).unwrap();
    }
    let there = std::fs::read_to_string(file("svg")).unwrap();
    assert!(
        there == drawn,
        "{name}.svg is not the plot of {name}.json: draw it with PEFT_REDRAW=1 cargo test"
    );
}
