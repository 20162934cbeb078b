//! The workspace's own tasks: data, reference environment, studies, benchmarks and the checks of CI.
//!
//! It runs `cargo`, the `peft` binary and Python as child processes and links only crates of the
//! workspace without Burn, so that it compiles in seconds and measures what a user would run.

mod bench;
mod check;
mod demo;
mod device_kit;
mod fetch;
mod files;
mod footprint;
mod kills;
mod mint;
mod plan_check;
mod pretrain;
mod process;
mod python;
mod search_speed;
mod study;
mod templates;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Tasks of this workspace"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetch the model and the data that tests, studies and benchmarks use
    Fetch(fetch::Arguments),
    /// Make the tweets that `peft quickstart` carries from their source, or compare with it
    Tweets(fetch::tweets::Arguments),
    /// Make the word problems that `peft quickstart --causal` carries from their source, or compare with it
    WordProblems(fetch::problems::Arguments),
    /// The main job: fetch, then train, evaluate, predict and merge on the real model
    Demo(demo::Arguments),
    /// Create the Python environment that the comparisons with Hugging Face PEFT run in
    Python(python::Arguments),
    /// Run a study: arms × learning rates × seeds, then its table, claims and plots
    Study(study::Arguments),
    /// Train a small Mamba or Mamba-2 from random weights, for tests and studies; a run that was cut off goes on
    Pretrain(pretrain::Arguments),
    /// Measure speed and memory, alone or in alternation with PyTorch
    Bench(bench::Arguments),
    /// Assemble a folder that checks and measures on a machine with a GPU and PyTorch, without Rust or a network
    DeviceKit(device_kit::Arguments),
    /// Compare the memory of the quickstart's job with Hugging Face PEFT's
    Footprint(footprint::Arguments),
    /// Kill training runs at random moments, resume them, and compare with one left alone
    Kills(kills::Arguments),
    /// Format, lints and tests; with --all everything that CI checks
    Test(check::Arguments),
    /// Hold the memory that `peft plan` estimates against that of real runs
    PlanCheck(plan_check::Arguments),
    /// Trials an hour of a search, against separate training runs
    SearchSpeed(search_speed::Arguments),
    /// Render the chat templates of two packages with ours and with transformers, and compare
    Templates(templates::Arguments),
    /// Make the golden files anew with the reference Python
    Mint(mint::Arguments),
}

/// `println!` panics where nobody reads on, as behind `| head`: that is no fault.
fn end_where_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let told = panic.payload().downcast_ref::<String>();
        if told.is_some_and(|told| told.contains("printing to stdout: Broken pipe")) {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

fn main() -> ExitCode {
    end_where_nobody_reads();
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Fetch(arguments) => fetch::run(&arguments),
        Task::Tweets(arguments) => fetch::tweets::run(&arguments),
        Task::WordProblems(arguments) => fetch::problems::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Python(arguments) => python::run(&arguments),
        Task::Study(arguments) => study::run(&arguments),
        Task::Pretrain(arguments) => pretrain::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::DeviceKit(arguments) => device_kit::run(&arguments),
        Task::Footprint(arguments) => footprint::run(&arguments),
        Task::Kills(arguments) => kills::run(&arguments),
        Task::Test(arguments) => check::run(&arguments),
        Task::PlanCheck(arguments) => plan_check::run(&arguments),
        Task::SearchSpeed(arguments) => search_speed::run(&arguments),
        Task::Templates(arguments) => templates::run(&arguments),
        Task::Mint(arguments) => mint::run(&arguments),
    }
}
