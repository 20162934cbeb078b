//! The arguments of `peft search`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use peft_run::ByteSize;
use peft_search::{Surrogate, runs::Cost};

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
    /// Join a search as one more worker, on this machine or on another that shares the folder or the database.
    Worker(WorkerArgs),
    /// Show the progress of a search: text on a terminal, one JSON object otherwise.
    Status {
        /// Folder of the search, or the URL of its database.
        #[arg(value_name = "DIR|URL")]
        folder: PathBuf,
        /// Print JSON even on a terminal.
        #[arg(long)]
        json: bool,
    },
    /// Print the best trial as a JSON object; exit code 1 if there is none.
    Best {
        /// Folder of the search, or the URL of its database.
        #[arg(value_name = "DIR|URL")]
        folder: PathBuf,
        /// Largest number of adapter parameters allowed, without the head.
        #[arg(long, value_name = "N")]
        max_parameters: Option<u64>,
    },
    /// Write the HTML report of a search into its folder.
    Report {
        /// Folder of the search, or the URL of its database.
        #[arg(value_name = "DIR|URL")]
        folder: PathBuf,
        /// Folder to write to [default: that of the search; a database has none].
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Copy the journal of a search from a folder to a database, or back; the adapters stay where they are.
    Copy {
        /// Folder of the search, or the URL of its database.
        #[arg(value_name = "FROM")]
        from: PathBuf,
        /// Folder or URL that holds no search yet.
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Queue a configuration to be tried next.
    Enqueue {
        /// Folder of the search, or the URL of its database.
        #[arg(value_name = "DIR|URL")]
        folder: PathBuf,
        /// Values of the searched parameters, such as method=lora or layer_0=off. Parameters that are not named:
        /// flags are on, factors are 1, all others have their first value.
        #[arg(value_name = "NAME=VALUE", required = true)]
        values: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Folder of the search, or the URL of its database.
    #[arg(long, value_name = "DIR|URL")]
    pub study: PathBuf,
    /// Folder for the trials of a search in a database; workers may share one.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Number of threads [default: all cores].
    #[arg(long)]
    pub threads: Option<usize>,
    /// Folder with the results of trials, shared between searches: equal trials run only once.
    #[arg(long, value_name = "DIR")]
    pub trial_cache: Option<PathBuf>,
    /// Memory for the hidden states below a trial's first adapted layer, which later trials read instead of computing them again;
    /// 0 keeps none. In training this needs --model-dropout 0.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = room)]
    pub hidden_states: usize,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
    #[arg(long, value_enum, default_value = "auto")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
pub struct BeginArgs {
    /// Keep the search in a PostgreSQL database, postgres://USER@HOST/DATABASE?study=NAME, for workers on any number of
    /// machines; --output has the trials and the front.
    #[arg(long, value_name = "URL", help_heading = "Search")]
    pub study: Option<String>,
    /// What to search: workspace (every method that fits the model, with its size, modules, layers and learning
    /// rate), autopeft (the space of AutoPEFT's paper), or a TOML or YAML file of parameters.
    #[arg(
        long,
        value_name = "NAME|FILE",
        default_value = "workspace",
        help_heading = "Search"
    )]
    pub space: String,
    /// Methods to search in the space `workspace`, separated by commas [default: all that fit].
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Search"
    )]
    pub methods: Vec<String>,
    /// Number of trials; a larger number than before extends a search, and 0 describes one without trying anything [default: 50,
    /// if no other limit is given].
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub trials: Option<u64>,
    /// Epochs of all trials together.
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Search")]
    pub total_epochs: Option<u64>,
    /// Total time of all workers, such as 90s, 30min or 2h: no trial starts after that.
    #[arg(long, value_name = "TIME", value_parser = seconds, help_heading = "Search")]
    pub time: Option<f64>,
    /// Stop after this many trials in a row without an improvement.
    #[arg(long, value_name = "N", value_parser = count, help_heading = "Search")]
    pub idle: Option<u64>,
    /// Algorithm that chooses the trials.
    #[arg(long, value_enum, default_value = "bayes", help_heading = "Search")]
    pub sampler: Sampler,
    /// Model of --sampler bayes or autopeft: ard, one Gaussian process; saas, an ensemble of sparse ones; or saas-nuts, sparse ones by
    /// Hamiltonian Monte Carlo, in a peft built with --features nuts [default: ard; of autopeft saas].
    #[arg(long, value_enum, value_name = "NAME", help_heading = "Search")]
    pub surrogate: Option<SurrogateName>,
    /// Trials drawn before --sampler learns from them; of nsga2 the size of its population, too [default: 20; of nsga2 50, of
    /// autopeft 100].
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub initial: Option<u64>,
    /// Random seed of the choice of trials; --seed is that of the runs.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Search")]
    pub search_seed: u64,
    /// Run every trial to its end, even the ones that look bad.
    #[arg(long, help_heading = "Search")]
    pub no_pruning: bool,
    /// How many times the worker of a trial may be lost (killed, or out of memory) before the trial counts as failed.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Search"
    )]
    pub attempts: u32,
    /// Worst value of the metric that is worth anything [default: of accuracy that of always answering the most
    /// frequent class, of a loss that of the base without an adapter, of other metrics 0].
    #[arg(
        long,
        value_name = "F",
        allow_negative_numbers = true,
        help_heading = "Search"
    )]
    pub reference: Option<f64>,
    /// Third objective beside values and metric, to be made small: trained-values (with those that are not saved), memory (planned
    /// peak of training) or step-time (measured).
    #[arg(long, value_name = "COST", help_heading = "Search")]
    pub minimize: Option<Cost>,
    /// Folder with the results of trials, shared between searches: equal trials run only once.
    #[arg(long, value_name = "DIR", help_heading = "Search")]
    pub trial_cache: Option<PathBuf>,
    /// Memory for the hidden states below a trial's first adapted layer, which later trials read instead of computing them again;
    /// 0 keeps none. In training this needs --model-dropout 0.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = room, help_heading = "Search")]
    pub hidden_states: usize,
    #[command(flatten)]
    pub run: RunArgs,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
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

/// What models the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SurrogateName {
    /// One Gaussian process.
    Ard,
    /// An ensemble of sparse Gaussian processes.
    Saas,
    /// Sparse Gaussian processes by Hamiltonian Monte Carlo.
    SaasNuts,
}

impl From<SurrogateName> for Surrogate {
    fn from(name: SurrogateName) -> Self {
        match name {
            SurrogateName::Ard => Self::Ard,
            SurrogateName::Saas => Self::Saas,
            SurrogateName::SaasNuts => Self::SaasNuts,
        }
    }
}

/// One or more.
fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Bytes of a text such as 500MB or 2GiB, or 0.
fn room(text: &str) -> Result<usize, String> {
    if text.trim() == "0" {
        return Ok(0);
    }
    let bytes = text.parse::<ByteSize>()?.bytes();
    usize::try_from(bytes).map_err(|_| format!("`{text}` is more than this machine can address"))
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
