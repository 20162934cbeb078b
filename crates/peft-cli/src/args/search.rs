//! The arguments of `peft search`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{LogFormat, RunArgs};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SearchArgs {
    #[command(subcommand)]
    pub command: Option<SearchCommand>,
    #[command(flatten)]
    pub begin: BeginArgs,
}

#[derive(Debug, Subcommand)]
pub enum SearchCommand {
    /// Join a study as one more worker: on this machine, or on another that shares the folder.
    Worker(WorkerArgs),
    /// How far a study is: text on a terminal, one JSON object otherwise.
    Status {
        /// Folder of the study.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// A JSON object, also on a terminal.
        #[arg(long)]
        json: bool,
    },
    /// The best trial, one JSON object; exit code 1 if there is none.
    Best {
        /// Folder of the study.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Largest number of values that the adapter's file may hold beside the head.
        #[arg(long, value_name = "N")]
        max_parameters: Option<u64>,
    },
    /// Write the study's report, one page of HTML, into its folder.
    Report {
        /// Folder of the study.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Let a configuration be tried next.
    Enqueue {
        /// Folder of the study.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// Values of the space's parameters, such as method=lora or layer_0=off; of those not named, flags are on,
        /// factors 1, and all others at their first.
        #[arg(value_name = "NAME=VALUE", required = true)]
        values: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Folder of the study.
    #[arg(long, value_name = "DIR")]
    pub study: PathBuf,
    /// Threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Folder of what trials came to, shared between studies: equal trials are run once.
    #[arg(long, value_name = "DIR")]
    pub trial_cache: Option<PathBuf>,
    /// What progress looks like: auto (a bar on a terminal), plain or json.
    #[arg(long, value_enum, default_value = "auto")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
pub struct BeginArgs {
    /// What is searched: workspace (every method that fits the model, its size, place, layers and learning rate), or a
    /// file of parameters, TOML or YAML.
    #[arg(
        long,
        value_name = "NAME|FILE",
        default_value = "workspace",
        help_heading = "Search"
    )]
    pub space: String,
    /// Methods of the workspace's space, separated by commas [default: all that fit].
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Search"
    )]
    pub methods: Vec<String>,
    /// Trials to begin; a larger number than before prolongs a study [default: 50, if no other limit is given].
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub trials: Option<u64>,
    /// Passes over the data of all trials together.
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub total_epochs: Option<u64>,
    /// Time of all workers together, such as 90s, 30min or 2h: no trial is begun after.
    #[arg(long, value_name = "TIME", value_parser = seconds, help_heading = "Search")]
    pub time: Option<f64>,
    /// Stop after so many trials in a row that did not move the front.
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub idle: Option<u64>,
    /// What chooses the trials.
    #[arg(long, value_enum, default_value = "bayes", help_heading = "Search")]
    pub sampler: Sampler,
    /// Trials before the model of --sampler bayes takes over [default: 20].
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub initial: Option<u64>,
    /// Seed of what chooses the trials; --seed is that of the runs.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Search")]
    pub search_seed: u64,
    /// Run every trial to its end.
    #[arg(long, help_heading = "Search")]
    pub no_pruning: bool,
    /// How many workers may be lost with a trial (killed, or out of memory) before it counts as failed.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Search"
    )]
    pub attempts: u32,
    /// Worst value of the metric that counts for anything [default: what the most frequent class scores].
    #[arg(
        long,
        value_name = "F",
        allow_negative_numbers = true,
        help_heading = "Search"
    )]
    pub reference: Option<f64>,
    /// Folder of what trials came to, shared between studies: equal trials are run once.
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    pub trial_cache: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArgs,
    /// What progress looks like: auto (a bar on a terminal), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sampler {
    /// Gaussian processes and noisy expected hypervolume improvement.
    Bayes,
    /// The loop of AutoPEFT's paper.
    Autopeft,
    /// NSGA-II.
    Nsga2,
    /// MOTPE.
    Motpe,
    /// Uniform draws.
    Random,
}

/// Seconds of a text such as 90s, 30min or 2h.
fn seconds(text: &str) -> Result<f64, String> {
    let units = [("min", 60.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let found = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = found.unwrap_or((text, 1.0));
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number * factor),
        _ => Err("expected a time such as 90s, 30min or 2h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("90", 90.0),
            ("90s", 90.0),
            ("1.5min", 90.0),
            ("2h", 7200.0),
        ] {
            assert_eq!(seconds(text).unwrap(), expected, "{text}");
        }
        for text in ["", "h", "-1s", "soon", "inf"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
