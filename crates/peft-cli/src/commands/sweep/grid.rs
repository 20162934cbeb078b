//! The settings of a sweep, their values, and the runs that they come to.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use peft_run::{Flag, RunConfig, Sources, core::format::near};
use peft_search::{Configuration, Domain, Parameter, Space};
use serde_json::{Map, Value};

use crate::args::{flag_names, is_flag};

/// The folder of the runs in that of a sweep.
pub const TRIALS: &str = "trials";
/// Runs of a sweep, at most.
const MOST: f64 = 10_000.0;
/// Letters of a folder's name.
const NAME: usize = 80;
/// Settings that say where and how a run computes, not what.
const NOT_SWEPT: [&str; 6] = [
    "output",
    "resume",
    "overwrite",
    "threads",
    "device",
    "config",
];

/// A setting and the values that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Its flag without dashes in front, or its name in a file.
    pub name: String,
    pub values: Vec<String>,
}

impl Axis {
    /// `rank=4,8`; values that have commas in them are separated by semicolons.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((name, values)) = text.split_once('=') else {
            bail!("--over {text}: expected a setting and its values, such as rank=4,8");
        };
        let given = name.trim().trim_start_matches('-');
        let flag = given.replace('_', "-");
        let key = given.replace('-', "_");
        let settings = RunConfig::settings();
        let name = match () {
            () if is_flag(&flag) => flag,
            () if given.starts_with("method_config.") => given.to_owned(),
            () if settings.iter().any(|one| one.key == key) => key,
            () => {
                let names = near::nearest(&flag, flag_names(), 2);
                bail!(
                    "--over {text}: there is no setting `{given}`{}",
                    near::did_you_mean(&names)
                );
            }
        };
        ensure!(
            !NOT_SWEPT.contains(&name.as_str()),
            "--over {text}: `{name}` does not change what is learned; give --{name} by itself"
        );
        let separator = if values.contains(';') { ';' } else { ',' };
        let values: Vec<String> = values
            .split(separator)
            .map(|v| v.trim().to_owned())
            .collect();
        ensure!(
            values.iter().all(|value| !value.is_empty()),
            "--over {text}: a value is empty; give each, such as {name}=4,8"
        );
        ensure!(
            values.len() > 1,
            "--over {text}: one value is no choice; give several, or --{name} {} by itself",
            values[0]
        );
        for (place, value) in values.iter().enumerate() {
            ensure!(
                !values[..place].contains(value),
                "--over {text}: `{value}` stands there twice; leave one out"
            );
        }
        Ok(Self { name, values })
    }

    /// Its values as numbers, if all are.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let number = |value: &String| value.parse::<f64>().ok().filter(|n| n.is_finite());
        self.values.iter().map(number).collect()
    }
}

/// Everything that the runs of a sweep share, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// A file of settings, and what stands in it.
    pub config: Option<(PathBuf, String)>,
    pub flags: Vec<Flag>,
    pub arguments: Vec<String>,
    pub over: Vec<String>,
}

impl Given {
    /// As a journal's description keeps it: without what says where and how, which may be otherwise another time.
    pub fn context(&self) -> Map<String, Value> {
        let elsewhere = ["threads", "output"];
        let here = |flag: &&Flag| !elsewhere.contains(&flag.name.as_str());
        let flags = self.flags.iter().filter(here);
        let flags = flags.map(|flag| Value::from(vec![flag.name.clone(), flag.text.clone()]));
        let arguments = self.arguments.iter();
        let arguments = arguments.filter(|one| !elsewhere.iter().any(|name| is_of(one, name)));
        let config = self.config.as_ref().map(|(path, text)| {
            Value::from(vec![path.to_string_lossy().into_owned(), text.clone()])
        });
        Map::from_iter([
            ("config".to_owned(), config.unwrap_or_default()),
            ("flags".to_owned(), flags.collect()),
            ("arguments".to_owned(), arguments.cloned().collect()),
            ("over".to_owned(), self.over.clone().into()),
        ])
    }

    /// Whether nothing is given but where and how.
    pub fn says_nothing(&self) -> bool {
        let nothing = Self {
            config: None,
            flags: Vec::new(),
            arguments: Vec::new(),
            over: Vec::new(),
        };
        self.context() == nothing.context()
    }

    /// Back from there; `None` if something else stands there.
    pub fn from_context(context: &Map<String, Value>) -> Option<Self> {
        let texts = |value: &Value| -> Option<Vec<String>> {
            let list = value.as_array()?.iter();
            list.map(|one| one.as_str().map(str::to_owned)).collect()
        };
        let pair = |value: &Value| <[String; 2]>::try_from(texts(value)?).ok();
        let flags = context.get("flags")?.as_array()?.iter().map(|flag| {
            let [name, text] = pair(flag)?;
            Some(Flag { name, text })
        });
        let config = match context.get("config")? {
            Value::Null => None,
            value => {
                let [path, text] = pair(value)?;
                Some((PathBuf::from(path), text))
            }
        };
        Some(Self {
            config,
            flags: flags.collect::<Option<_>>()?,
            arguments: texts(context.get("arguments")?)?,
            over: texts(context.get("over")?)?,
        })
    }
}

/// Whether an argument `KEY=VALUE` is about a setting, which its key may write with `_` and its flag with `-`.
fn is_of(argument: &str, name: &str) -> bool {
    let plain = |name: &str| name.trim().replace('_', "-");
    argument.split('=').next().map(plain) == Some(plain(name))
}

/// The grid.
#[derive(Debug, Clone)]
pub struct Grid {
    pub given: Given,
    pub axes: Vec<Axis>,
    folder: PathBuf,
}

impl Grid {
    pub fn new(given: Given, folder: &Path) -> Result<Self> {
        let axes = given.over.iter().map(|text| Axis::parse(text));
        let axes = axes.collect::<Result<Vec<_>>>()?;
        ensure!(
            !axes.is_empty(),
            "--over: give what to try, such as --over rank=4,8"
        );
        for (place, axis) in axes.iter().enumerate() {
            let name = &axis.name;
            ensure!(
                axes[..place].iter().all(|one| one.name != *name),
                "--over {name}: it is given twice; give all its values at once"
            );
            let fixed = given.flags.iter().any(|flag| flag.name == *name)
                || given.arguments.iter().any(|one| is_of(one, name));
            ensure!(
                !fixed,
                "--over {name}: it has a value of its own already; leave --{name} out"
            );
        }
        let grid = Self {
            given,
            axes,
            folder: folder.to_owned(),
        };
        let count = grid
            .axes
            .iter()
            .map(|axis| axis.values.len() as f64)
            .product::<f64>();
        ensure!(
            count <= MOST,
            "--over: these are {count} runs, more than {MOST}; give fewer values"
        );
        Ok(grid)
    }

    /// The space of the study.
    pub fn space(&self) -> Result<Space> {
        let parameters = self.axes.iter().map(|axis| {
            let choices = axis.values.clone();
            Parameter::new(axis.name.clone(), Domain::Categorical { choices })
        });
        Ok(Space::new(parameters.collect(), Vec::new())?)
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|axis| axis.values.len()).product()
    }

    /// The combinations in order: the last setting changes fastest.
    pub fn configurations(&self) -> impl Iterator<Item = Configuration> + '_ {
        (0..self.len()).map(|mut index| {
            let mut levels = vec![0; self.axes.len()];
            for (level, axis) in levels.iter_mut().zip(&self.axes).rev() {
                *level = (index % axis.values.len()) as u32;
                index /= axis.values.len();
            }
            Configuration(levels)
        })
    }

    /// The settings of a combination, by name.
    pub fn values(&self, configuration: &Configuration) -> Vec<(&str, &str)> {
        let mut values = Vec::with_capacity(self.axes.len());
        for (axis, level) in self.axes.iter().zip(&configuration.0) {
            if let Some(value) = axis.values.get(*level as usize) {
                values.push((axis.name.as_str(), value.as_str()));
            }
        }
        values
    }

    /// Where the run of a trial is.
    pub fn output(&self, trial: u64, configuration: &Configuration) -> PathBuf {
        let values = self.values(configuration);
        let words = values.iter().map(|(name, value)| format!("{name}={value}"));
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "=.-_".contains(c) {
                c
            } else {
                '-'
            }
        };
        let name: String = words
            .collect::<Vec<_>>()
            .join("_")
            .chars()
            .map(plain)
            .take(NAME)
            .collect();
        self.folder.join(TRIALS).join(format!("{trial:03}_{name}"))
    }

    /// The settings of a combination's run.
    pub fn config(&self, trial: u64, configuration: &Configuration) -> Result<RunConfig> {
        let mut flags = self.given.flags.clone();
        let mut arguments = self.given.arguments.clone();
        for (name, value) in self.values(configuration) {
            match is_flag(name) {
                true => flags.push(Flag {
                    name: name.to_owned(),
                    text: value.to_owned(),
                }),
                false => arguments.push(format!("{name}={value}")),
            }
        }
        flags.retain(|flag| flag.name != "output");
        arguments.retain(|one| !is_of(one, "output"));
        flags.push(Flag {
            name: "output".to_owned(),
            text: self
                .output(trial, configuration)
                .to_string_lossy()
                .into_owned(),
        });
        Ok(RunConfig::resolve(&Sources {
            file: self.given.config.as_ref().map(|(path, _)| path.as_path()),
            flags: &flags,
            arguments: &arguments,
        })?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(over: &[&str]) -> Given {
        Given {
            config: Some(("a.toml".into(), "x = 1".into())),
            flags: vec![Flag {
                name: "seed".into(),
                text: "3".into(),
            }],
            arguments: vec!["epochs=1".into()],
            over: over.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn a_grid_has_every_combination_once() {
        let grid = Grid::new(
            given(&[
                "rank=4,8",
                "target_modules=query,value;all-linear",
                "learning-rate=1e-3,2e-3",
            ]),
            Path::new("out"),
        )
        .unwrap();
        let all: Vec<Configuration> = grid.configurations().collect();
        assert_eq!((all.len(), grid.len()), (8, 8));
        assert_eq!(all[1].0, [0, 0, 1]);
        assert_eq!(
            grid.values(&all[6]),
            [
                ("rank", "8"),
                ("target-modules", "all-linear"),
                ("learning-rate", "1e-3")
            ]
        );
        let folder = grid.output(6, &all[6]);
        assert_eq!(
            folder,
            Path::new("out/trials/006_rank=8_target-modules=all-linear_learning-rate=1e-3")
        );
        let space = grid.space().unwrap();
        assert!(all.iter().all(|one| space.check(one).is_ok()));
    }

    #[test]
    fn what_was_given_comes_back() {
        let given = given(&["rank=4,8"]);
        assert_eq!(Given::from_context(&given.context()), Some(given));
        assert_eq!(Given::from_context(&Map::new()), None);
    }

    #[test]
    fn what_makes_no_grid_is_refused() {
        for (over, reason) in [
            ("rank", "rank=4,8"),
            ("rnak=1,2", "`rank`"),
            ("rank=4", "--rank 4"),
            ("rank=4,,8", "empty"),
            ("rank=4,4", "twice"),
            ("output=a,b", "does not change"),
            ("seed=1,2", "leave --seed out"),
        ] {
            let error = Grid::new(given(&[over]), Path::new("out"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(reason), "{over}: {error}");
        }
    }
}
