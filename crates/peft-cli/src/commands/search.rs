//! `peft search`: a study of runs.

mod enqueue;
mod view;

use std::{
    io::{IsTerminal, stdout},
    path::Path,
    process::ExitCode,
};

use anyhow::{Result, bail, ensure};
use peft_run::{RunError, core::format::near::nearest};
use peft_search::{
    Bayes, Motpe, Nsga2, Outcome, Settings,
    runs::{FrontEntry, RunStudy, RunsError, SearchConfig, SpaceChoice, View, Worked},
    study::{Bound, Budget, Ending, Limit, Place, Status, words},
};
use serde_json::{Value, json};

use self::view::Terminal;
use super::{say, set_threads};
use crate::{
    args::{self, BeginArgs, Sampler, SearchArgs, SearchCommand, SurrogateName, WorkerArgs},
    interrupt, model,
};

/// Trials of a study that nothing else limits.
const TRIALS: u64 = 50;

/// `peft search` and what it does with a study that is there.
pub fn search(args: &SearchArgs, offline: bool) -> Result<ExitCode> {
    match &args.command {
        None => begin(&args.begin, offline),
        Some(SearchCommand::Worker(args)) => worker(args),
        Some(SearchCommand::Status { folder, json }) => status(folder, *json),
        Some(SearchCommand::Best {
            folder,
            max_parameters,
        }) => best(folder, *max_parameters),
        Some(SearchCommand::Report { folder, output }) => {
            let place = place(folder)?;
            let Some(output) = output.as_deref().or(place.folder()) else {
                bail!("a search in a database has no folder: give --output");
            };
            let mut study = place.look()?;
            let path = FrontEntry::write_report(output, &place, &mut study).map_err(told_as)?;
            say(&path.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(SearchCommand::Copy { from, to }) => {
            let (mut study, to) = (place(from)?.look()?, place(to)?);
            let entries = study.copy_to(&mut *to.store()?)?;
            say(&json!({ "study": to.to_string(), "entries": entries }).to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(SearchCommand::Enqueue { folder, values }) => {
            enqueue::enqueue(&place(folder)?, values)
        }
    }
}

/// The place of a search as it was given: the URL of a database, or a folder.
fn place(given: &Path) -> Result<Place> {
    Ok(match given.to_str() {
        Some(text) => text.parse()?,
        None => Place::from(given),
    })
}

/// An error with what the command line makes of one of a run.
fn told_as(error: RunsError) -> anyhow::Error {
    match error {
        RunsError::Run(error) => error.into(),
        RunsError::Space(problems) => RunError::from(problems).into(),
        RunsError::Setting { what, problem, fix } => RunError::Setting {
            setting: what,
            problem,
            fix,
        }
        .into(),
        other => other.into(),
    }
}

/// What a search chooses by itself cannot be given.
fn expect_free(args: &BeginArgs, space: &SpaceChoice) -> Result<()> {
    let chosen = space.chosen();
    let given = args
        .run
        .flags
        .0
        .iter()
        .map(|flag| flag.name.replace('-', "_"));
    let arguments = args.run.arguments.iter();
    let arguments = arguments.filter_map(|one| Some(one.split_once('=')?.0.trim().to_owned()));
    for name in given.chain(arguments) {
        ensure!(
            !chosen.contains(&name),
            "--{}: a search of this space chooses it; leave it out{}",
            name.replace('_', "-"),
            match name.as_str() {
                "method" => ", or name --methods",
                _ => "",
            }
        );
    }
    Ok(())
}

/// A word that is no setting may be meant as what to do with a search.
fn expect_settings(args: &BeginArgs) -> Result<()> {
    let verbs = args::command();
    let verbs = verbs.find_subcommand("search").into_iter();
    let verbs: Vec<&str> = verbs
        .flat_map(|search| search.get_subcommands().map(clap::Command::get_name))
        .collect();
    let words = args.run.arguments.iter().filter(|word| !word.contains('='));
    for word in words {
        if let Some(name) = nearest(word, verbs.iter().copied(), 1).first() {
            bail!(
                "`{word}`: `peft search` has no such command; did you mean `peft search {name}`?"
            );
        }
    }
    Ok(())
}

fn begin(args: &BeginArgs, offline: bool) -> Result<ExitCode> {
    expect_settings(args)?;
    let elsewhere = match &args.study {
        Some(url) if Place::is_database(url) => Some(url.parse::<Place>()?),
        Some(_) => bail!(
            "--study: expected postgres://USER@HOST/DATABASE?study=NAME; a search in a folder takes --output"
        ),
        None => None,
    };
    let space = SpaceChoice::read(&args.space, &args.methods).map_err(told_as)?;
    expect_free(args, &space)?;
    let mut run = args.run.resolve()?;
    if matches!(space, SpaceChoice::Workspace { .. }) && !run.method_config.is_empty() {
        let keys: Vec<&str> = run.method_config.keys().map(String::as_str).collect();
        bail!(
            "{}: the settings of methods are what is searched; leave them out, or describe a space in a file",
            keys.join(", ")
        );
    }
    let in_file = |error: RunsError| told_as(error.of_file(Path::new(&args.space)));
    space.check(&run).map_err(in_file)?;
    run.model = model::resolve(&run.model, offline)?;
    set_threads(run.threads)?;
    let limited = args.total_epochs.is_some() || args.time.is_some() || args.idle.is_some();
    let budget = Budget {
        trials: args.trials.or((!limited).then_some(TRIALS)),
        resource: args.total_epochs,
        seconds: args.time,
        idle: args.idle,
    };
    let sampler = sampler(args)?;
    let output = run.output.clone();
    let place = elsewhere.clone().unwrap_or(Place::from(&*output));
    let config = SearchConfig {
        study: elsewhere,
        sampler,
        seed: args.search_seed,
        budget,
        pruning: !args.no_pruning,
        attempts: args.attempts,
        reference: args.reference,
        cost: args.minimize,
        cache: args.trial_cache.clone(),
        ..SearchConfig::new(run, space)
    };
    let stop = interrupt::watch()?;
    let mut view = Terminal::new(args.log_format, stop);
    let study = RunStudy::begin(&config, &mut view).map_err(told_as)?;
    if args.trials == Some(0) {
        let trials = study.study().standing()?.spent.trials;
        view.notice(
            "the search is described, and nothing is tried: `peft search enqueue` gives it configurations, and the same \
             command with more trials goes on",
        );
        view.finish();
        say(&json!({ "output": output, "trials": trials }).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let study = study.keeping_hidden_states(args.hidden_states);
    work(study, &mut view, &output, &place, true)
}

/// What chooses the trials.
fn sampler(args: &BeginArgs) -> Result<Settings> {
    ensure!(
        args.surrogate != Some(SurrogateName::SaasNuts) || cfg!(feature = "nuts"),
        "--surrogate saas-nuts: this peft was built without it; build it with --features nuts, or choose saas"
    );
    let first = |usual: u64| args.initial.unwrap_or(usual);
    let modelled = |bayes: Bayes| {
        Settings::Bayes(Bayes {
            surrogate: args.surrogate.map_or(bayes.surrogate, Into::into),
            initial: first(bayes.initial),
            ..bayes
        })
    };
    Ok(match args.sampler {
        Sampler::Bayes => modelled(Bayes::default()),
        Sampler::Autopeft => modelled(Bayes::autopeft()),
        _ if args.surrogate.is_some() => {
            bail!(
                "--surrogate: this --sampler has no model; leave it out, or choose bayes or autopeft"
            )
        }
        Sampler::Nsga2 => {
            let usual = Nsga2::default();
            ensure!(
                args.initial
                    .is_none_or(|population| (2..=1_000_000).contains(&population)),
                "--initial: the population of --sampler nsga2 is of at least 2 and at most 1,000,000"
            );
            Settings::Nsga2(Nsga2 {
                population: first(usual.population),
                ..usual
            })
        }
        Sampler::Motpe => {
            let usual = Motpe::default();
            Settings::Motpe(Motpe {
                initial: first(usual.initial),
                ..usual
            })
        }
        Sampler::Random => {
            ensure!(
                args.initial.is_none(),
                "--initial: --sampler random learns from no trial; leave it out, or choose another"
            );
            Settings::Random
        }
    })
}

fn worker(args: &WorkerArgs) -> Result<ExitCode> {
    set_threads(args.threads)?;
    let stop = interrupt::watch()?;
    let mut view = Terminal::new(args.log_format, stop);
    let place = place(&args.study)?;
    let Some(folder) = args.output.as_deref().or(place.folder()) else {
        bail!("a search in a database has no folder: give --output, for the trials of this worker");
    };
    // The front of a database is made by who began it, from the adapters in one folder.
    let has_front = place.folder() == Some(folder);
    let study = RunStudy::join_at(&place, folder, args.trial_cache.as_deref(), &mut view)
        .map_err(told_as)?;
    let study = study.keeping_hidden_states(args.hidden_states);
    work(study, &mut view, folder, &place, has_front)
}

/// The worker's loop, then the front, where this worker makes it.
fn work(
    mut study: RunStudy,
    view: &mut Terminal,
    folder: &Path,
    place: &Place,
    has_front: bool,
) -> Result<ExitCode> {
    view.stands(&study.study().standing()?);
    let worked = study.work(view).map_err(told_as)?;
    let status = study.study().standing()?;
    let ending = match worked {
        Worked::Interrupted => {
            view.finish();
            let begun = status.spent.trials;
            bail!(
                "interrupted; trials begun so far: {begun}. The same command continues it, and so does `peft search worker \
                 --study {place}`{}",
                match place.folder() {
                    Some(_) => "",
                    None => " with an --output",
                }
            );
        }
        Worked::Ended(ending) => ending,
    };
    if let Ending::Halted { trial, reason } = &ending {
        bail!("trial {trial} ended without values, and the study halts then: {reason}");
    }
    view.notice(&format!("the search is at its end: {}", told(&ending)));
    let mut result = json!({
        "output": folder,
        "trials": status.spent.trials,
        "hypervolume": status.hypervolume,
    });
    if has_front {
        result["front"] = json!(study.score(view).map_err(told_as)?);
        result["report"] = json!(folder.join("report.html"));
    }
    // A front needs a trial that came to its end.
    let found = status.complete > 0 && result["front"].as_array().is_none_or(|all| !all.is_empty());
    if !found {
        view.notice("no trial came to an end with a value that counts: nothing was found");
    }
    view.finish();
    say(&result.to_string())?;
    Ok(ExitCode::from(u8::from(!found)))
}

fn told(ending: &Ending) -> &'static str {
    match ending {
        Ending::Spent(Limit::Trials) => "all its trials are done",
        Ending::Spent(Limit::Resource) => "its passes over the data are done",
        Ending::Spent(Limit::Seconds) => "its time is up",
        Ending::Spent(Limit::Idle) => "its last trials did not move the front",
        Ending::Exhausted => "every configuration has been tried",
        Ending::Halted { .. } => "a trial ended without values",
    }
}

fn status(folder: &Path, json: bool) -> Result<ExitCode> {
    let mut study = place(folder)?.look()?;
    let status = study.status()?;
    if json || !stdout().is_terminal() {
        say(&serde_json::to_string(&status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = view::standing(&status, study.description().budget.trials);
    for trial in &status.running {
        let at = trial
            .resource
            .map_or(String::new(), |epoch| format!(", {epoch} epochs done"));
        let (number, seconds) = (trial.trial, trial.seconds);
        text += &match (&trial.worker, trial.at_work) {
            (Some(worker), true) => {
                format!("\ntrial {number} is at worker {worker} for {seconds:.0} s{at}")
            }
            (Some(worker), false) => format!(
                "\ntrial {number} was left by worker {worker}, which is lost, after {seconds:.0} s{at}"
            ),
            (None, _) => format!("\ntrial {number} waits for a worker{at}"),
        };
    }
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn best(folder: &Path, most: Option<u64>) -> Result<ExitCode> {
    let place = place(folder)?;
    let study = place.look()?;
    let problem = study.problem();
    let values = problem.objectives().iter().position(|one| one.known);
    let bounds: Vec<Bound> = values
        .zip(most)
        .map(|(objective, most)| Bound {
            objective,
            worst: most as f64,
        })
        .into_iter()
        .collect();
    let metric = problem.measured().first().copied().unwrap_or(0);
    let Some(trial) = study.best_on_front(metric, &bounds)? else {
        tell!(
            "peft: no trial has ended{}",
            most.map_or(String::new(), |most| format!(" with at most {most} values"))
        );
        return Ok(ExitCode::from(1));
    };
    let known = place.folder().map(FrontEntry::read).transpose();
    let known = known.map_err(told_as)?.unwrap_or_default();
    let known = known.into_iter().find(|entry| entry.trial == trial.number);
    let object = match known {
        Some(entry) => {
            let adapter = folder.join(&entry.adapter);
            let mut object = serde_json::to_value(entry)?;
            object["adapter"] = json!(adapter);
            object
        }
        None => json!({
            "trial": trial.number,
            "values": trial.known.first(),
            "selection": match &trial.outcome {
                Some(Outcome::Complete { measured }) => measured.first().copied(),
                _ => None,
            },
            "configuration": words(problem.space(), &trial.configuration),
        }),
    };
    say(&object.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// A status as one of the lines of a log.
fn object(event: &str, status: &Status) -> Value {
    let mut object = json!(status);
    object["event"] = event.into();
    object
}
