//! The arguments of `peft train`, `peft sweep` and `peft plan`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use peft_run::{RunConfig, RunError, Sources, recorded};

use super::{LogFormat, SettingFlags};

#[derive(Debug, Args)]
pub struct TrainArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Continue the interrupted run in --output; no other flag is needed, and the result is bit-identical to an
    /// uninterrupted run.
    #[arg(long)]
    pub resume: bool,
    /// Replace the finished run in --output; nothing else is ever replaced.
    #[arg(long)]
    pub overwrite: bool,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

/// The settings of a run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Config file, TOML or YAML; flags override it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub flags: SettingFlags,
    /// Settings by their names in a config file, such as batch_size=8 or method_config.r=4; they override
    /// flags.
    #[arg(value_name = "KEY=VALUE")]
    pub arguments: Vec<String>,
    /// Show every flag, including those of single methods.
    #[arg(long)]
    pub help_all: bool,
}

impl RunArgs {
    /// The settings that these come to.
    pub fn resolve(&self) -> Result<RunConfig, RunError> {
        RunConfig::resolve(&self.sources())
    }

    /// The settings of the run that is gone on with: those that it recorded in its folder, unless a file, or a
    /// model or data, say that everything is given again.
    pub fn resolve_resumed(&self) -> Result<RunConfig, RunError> {
        let given = |key| self.given(key).is_some();
        let again = self.config.is_some() || given("model") || given("data");
        match self.given("output").filter(|_| !again) {
            Some(output) => {
                let record = recorded(Path::new(output))?;
                RunConfig::resolve(&Sources {
                    file: Some(&record),
                    ..self.sources()
                })
            }
            None => self.resolve(),
        }
    }

    /// What was given for a setting last: by `KEY=VALUE`, which overrules flags, or by a flag.
    pub fn given(&self, key: &str) -> Option<&str> {
        let argument = |one: &&String| one.split('=').next().map(str::trim) == Some(key);
        let flag = self.flags.0.iter().rev().find(|flag| flag.name == key);
        let argument = self.arguments.iter().rev().find(argument);
        let argument = argument.and_then(|one| Some(one.split_once('=')?.1));
        argument.or(flag.map(|flag| flag.text.as_str()))
    }

    /// The number of threads, if one is given.
    pub fn threads(&self) -> Result<Option<usize>> {
        let number = |text: &str| {
            let number = text.trim().parse();
            number.with_context(|| format!("--threads {text}: expected a whole number"))
        };
        self.given("threads").map(number).transpose()
    }

    /// The same for a plan, which needs neither data nor an output.
    pub fn resolve_plan(&self) -> Result<RunConfig, RunError> {
        RunConfig::resolve_plan(&self.sources())
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            file: self.config.as_deref(),
            flags: &self.flags.0,
            arguments: &self.arguments,
        }
    }
}

#[derive(Debug, Args)]
pub struct SweepArgs {
    /// A setting and its values, such as rank=4,8 or learning-rate=1e-3,2e-3; values with commas in them are
    /// separated by semicolons. Given several times, every combination is trained.
    #[arg(long, value_name = "NAME=V,V")]
    pub over: Vec<String>,
    #[command(flatten)]
    pub run: RunArgs,
    /// Continue the interrupted sweep in --output; no other flag is needed.
    #[arg(long)]
    pub resume: bool,
    /// Replace the finished sweep in --output and its runs; nothing else is ever replaced.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// Print JSON even on a terminal.
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Print a table even when the output is not a terminal.
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub table: bool,
    /// Format of progress messages: auto (a bar on a terminal, lines elsewhere), plain or json.
    #[arg(long, value_enum, default_value = "auto", help_heading = "Output")]
    pub log_format: LogFormat,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The settings of `peft train`; data is read if it is given, and nothing is written.
    #[command(flatten)]
    pub run: RunArgs,
    /// First measure the speed of this machine for a second, to estimate times; kept in PEFT_CACHE.
    #[arg(long)]
    pub calibrate: bool,
    /// One JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}
