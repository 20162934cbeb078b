//! `peft sweep`: a run for every combination of some settings' values.

mod grid;
mod place;
mod results;

use std::{
    collections::HashSet,
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use peft_run::{
    Evaluation, Prepared, RunConfig, RunError, Selector, Sources, duration, objective,
    train_prepared,
};
use peft_search::{
    Goal, Objective, Problem, Settings,
    study::{Assignment, Budget, DESCRIPTION, Description, Stopped, Study, Watch, Worked},
};

use self::{
    grid::{Given, Grid},
    place::Place,
    results::Results,
};
use super::set_threads;
use crate::{
    adapter,
    args::{LogFormat, SweepArgs},
    flags, interrupt, model, progress,
};

/// How long a worker waits that has nothing to begin while others are at work.
const PATIENCE: Duration = Duration::from_secs(1);

/// `peft sweep`: the table of its runs, best first, or one JSON object.
pub fn sweep(args: &SweepArgs, offline: bool) -> Result<ExitCode> {
    let folder = args.output()?;
    let (given, place) = match args.resume {
        true => (resumed(args, &folder)?, Place::Vacant),
        false => (given(args)?, Place::of(&folder, args.overwrite)?),
    };
    let grid = Grid::new(given, &folder)?;
    // What makes no sense is told now, not after hours.
    let configs = grid.configurations().zip(0..);
    let configs = configs.map(|(configuration, trial)| grid.config(trial, &configuration));
    let configs = configs.collect::<Result<Vec<RunConfig>>>()?;
    expect_different(&configs)?;
    let selector = selector(&configs)?;
    let threads = args
        .run
        .threads()?
        .or(configs.first().and_then(|config| config.threads));
    set_threads(threads)?;
    place.clear(&folder)?;
    let mut study = begin(&grid, &folder, &selector)?;
    let stop = interrupt::watch()?;
    let mut runner = Runner {
        grid: &grid,
        selector: &selector,
        prepared: None,
        offline,
        log_format: args.log_format,
        stop: stop.clone(),
        begun: Instant::now(),
        done: 0,
        left: grid.len() - ended(&study),
        hindered: None,
    };
    let goes_on = |_: &Study| !stop.load(Ordering::SeqCst);
    let mut evaluate = |assignment: &Assignment, watch: &mut Watch<'_>| {
        let outcome = runner.run(assignment);
        // The report grows with the sweep; what it lacks is no reason to end.
        if let Err(error) = Results::of(&grid, watch.study(), &selector).write(&folder) {
            tell!("peft: {}", crate::message(&error));
        }
        outcome
    };
    let worked = study.work(&mut evaluate, PATIENCE, &mut { goes_on })?;
    study.refresh()?;
    let results = Results::of(&grid, &study, &selector);
    if worked == Worked::Interrupted {
        let why = runner.hindered.map_or("interrupted".to_owned(), |why| {
            format!("{why}: the sweep stopped")
        });
        bail!(
            "{why} after {} of {} runs; `peft sweep --output {} --resume` continues",
            ended(&study),
            grid.len(),
            folder.display()
        );
    }
    results.write(&folder)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.table || (!args.json && io::stdout().is_terminal()) {
        results.table(&mut out)?;
    } else {
        writeln!(out, "{}", results.object(&folder))?;
    }
    out.flush()?;
    ensure!(
        results.best().is_some(),
        "no run came to an end: {}",
        results.first_failure().unwrap_or("none was begun")
    );
    Ok(ExitCode::SUCCESS)
}

/// What was given on the command line.
fn given(args: &SweepArgs) -> Result<Given> {
    let config = match &args.run.config {
        None => None,
        Some(path) => Some((path.clone(), read(path)?)),
    };
    Ok(Given {
        config,
        flags: args.run.flags.0.clone(),
        arguments: args.run.arguments.clone(),
        over: args.over.clone(),
    })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("--config {}", path.display()))
}

/// What the sweep in a folder was begun with. Settings that are given again must be the same: the study compares them.
fn resumed(args: &SweepArgs, folder: &Path) -> Result<Given> {
    let shown = folder.display();
    ensure!(
        folder.join(DESCRIPTION).is_file(),
        "--output {shown}: there is no sweep to resume; check the folder, or leave out --resume to start one"
    );
    let context = Description::read(folder)?.context;
    let Some(before) = Given::from_context(&context) else {
        bail!("--output {shown}: it holds another study than a sweep; choose another folder");
    };
    if !args.over.is_empty() {
        let now = given(args)?;
        ensure!(
            now.context() == before.context(),
            "--output {shown}: it holds a sweep of other settings; `peft sweep --output {shown} --resume` continues \
             that one, or choose another folder"
        );
        return Ok(now);
    }
    let more = given(args)?;
    let fixed = Given {
        over: Vec::new(),
        ..before.clone()
    };
    ensure!(
        more.says_nothing() || more.context() == fixed.context(),
        "--output {shown}: the settings of this sweep were fixed when it was begun; give --output and --resume alone"
    );
    if let Some((path, text)) = &before.config {
        ensure!(
            read(path)? == *text,
            "--config {}: it has changed since the sweep was begun; put it back, or start another sweep",
            path.display()
        );
    }
    Ok(before)
}

/// Refuse combinations that are one run: a setting by another of its names may have overruled an axis.
fn expect_different(configs: &[RunConfig]) -> Result<()> {
    let mut seen = HashSet::new();
    for config in configs {
        let alone = RunConfig {
            output: PathBuf::new(),
            ..config.clone()
        };
        ensure!(
            seen.insert(serde_json::to_string(&alone)?),
            "--over: two combinations are the same run; leave out the setting that overrules one of them"
        );
    }
    Ok(())
}

/// What makes one run better than another: the same for all.
fn selector(configs: &[RunConfig]) -> Result<Selector> {
    let of = |config: &RunConfig| {
        Selector::new(
            objective(config.task, 2).as_ref(),
            config.select_metric.as_deref(),
        )
    };
    let Some(first) = configs.first() else {
        bail!("--over: it comes to no run");
    };
    let selector = of(first)?;
    for config in configs {
        let other = of(config)?;
        ensure!(
            other.figure() == selector.figure(),
            "--over: some runs are selected by {}, others by {}; name one with --select-metric",
            selector.figure(),
            other.figure()
        );
    }
    Ok(selector)
}

/// The study, with every combination tried, at work or in the queue.
fn begin(grid: &Grid, folder: &Path, selector: &Selector) -> Result<Study> {
    let (goal, worst) = match selector.less_is_better() {
        true => (Goal::Minimise, 1e9),
        // Correlations reach down to -1.
        false => (Goal::Maximise, -1.0),
    };
    let objectives = vec![Objective::measured(selector.figure(), goal)];
    let problem = Problem::new(grid.space()?, objectives, Some(vec![worst]), |_| Vec::new())?;
    let description = Description {
        // Whoever kills a sweep goes on with it as often as they like.
        attempts: u32::MAX,
        budget: Budget {
            trials: Some(grid.len() as u64),
            ..Budget::default()
        },
        context: grid.given.context(),
        ..Description::new("sweep", &problem, Settings::Random, 0)?
    };
    std::fs::create_dir_all(folder).with_context(|| format!("--output {}", folder.display()))?;
    let mut study = Study::begin(folder, description, problem)?;
    for configuration in grid.configurations() {
        if !study.history().has(&configuration) {
            study.enqueue(configuration)?;
        }
    }
    Ok(study)
}

/// Trials that need no more work.
fn ended(study: &Study) -> usize {
    study
        .history()
        .trials()
        .iter()
        .filter(|trial| trial.outcome.is_some())
        .count()
}

/// What runs the trials.
struct Runner<'a> {
    grid: &'a Grid,
    selector: &'a Selector,
    /// Base and data of the last run: most others need the same.
    prepared: Option<Prepared>,
    offline: bool,
    log_format: LogFormat,
    stop: Arc<AtomicBool>,
    begun: Instant,
    /// Runs of this process, and those that were to be done when it began.
    done: usize,
    left: usize,
    /// Why no run can be written, such as a full disk: that says nothing about settings.
    hindered: Option<String>,
}

impl Runner<'_> {
    fn run(&mut self, assignment: &Assignment) -> Result<Vec<f64>, Stopped> {
        let values = self.grid.values(&assignment.configuration);
        let words: Vec<String> = values
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let mut head = format!(
            "\nrun {} ({} of {}): {}",
            assignment.trial,
            assignment.trial + 1,
            self.grid.len(),
            words.join(", ")
        );
        if self.done > 0 {
            let each = self.begun.elapsed().as_secs_f64() / self.done as f64;
            let left = self.left.saturating_sub(self.done) as f64;
            head += &format!("  (about {} left for all)", duration(each * left));
        }
        tell!("{head}");
        let found = self.evaluation(assignment);
        self.done += 1;
        match found {
            Ok(evaluation) => Ok(vec![self.selector.value(&evaluation)]),
            Err(Fault::Interrupted) => Err(Stopped::Interrupted),
            Err(Fault::Hindered(why)) => {
                self.hindered = Some(why);
                Err(Stopped::Interrupted)
            }
            Err(Fault::Failed(reason)) => {
                tell!("peft: this run failed: {reason}");
                Err(Stopped::Failed(reason))
            }
        }
    }

    fn evaluation(&mut self, assignment: &Assignment) -> Result<Evaluation, Fault> {
        let failed = |error: anyhow::Error| Fault::Failed(format!("{error:#}"));
        let configured = self
            .grid
            .config(assignment.trial, &assignment.configuration);
        let mut config = configured.map_err(failed)?;
        config.model = model::resolve(&config.model, self.offline).map_err(failed)?;
        if let Some(folder) = &mut config.adapter {
            *folder = adapter::resolve(folder).map_err(failed)?;
        }
        // Whoever was at it before has left what it did.
        config.resume = config.output.join("metrics.jsonl").exists();
        let prepared = match self.prepared.take() {
            Some(prepared) if prepared.expect_fits(&config).is_ok() => prepared,
            // The last one's memory first.
            _ => Prepared::new(&config)?,
        };
        let prepared = self.prepared.insert(prepared);
        let mut progress = progress::renderer(self.log_format, self.stop.clone());
        let report = train_prepared(prepared, &config, progress.as_mut())?;
        Ok(report.selection)
    }
}

enum Fault {
    Interrupted,
    /// Its folder cannot be written.
    Hindered(String),
    /// It has no result, and would have none another time.
    Failed(String),
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Interrupted { .. } | RunError::InterruptedBefore { .. } => Self::Interrupted,
            RunError::Output {
                folder, problem, ..
            } => Self::Hindered(format!("{}: {problem}", folder.display())),
            error => Self::Failed(flags::told(&error)),
        }
    }
}

impl SweepArgs {
    /// The folder to write, wherever it is said.
    fn output(&self) -> Result<PathBuf> {
        match (self.run.given("output"), &self.run.config) {
            (Some(folder), _) => Ok(folder.into()),
            (None, Some(file)) => {
                let sources = Sources {
                    file: Some(file),
                    flags: &self.run.flags.0,
                    arguments: &self.run.arguments,
                };
                Ok(RunConfig::resolve(&sources)?.output)
            }
            (None, None) => bail!("--output: not given; give the folder to write the sweep into"),
        }
    }
}
