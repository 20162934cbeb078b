//! Training runs that are killed again and again and resumed, against one that is left alone.

#[path = "output.rs"]
pub mod output;
#[path = "tiny.rs"]
pub mod tiny;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Numbers of threads, which starts take in turn.
const THREADS: [usize; 3] = [1, 2, 4];

/// What to run, and where.
#[derive(Debug)]
pub struct Setup {
    /// The `peft` binary.
    pub peft: PathBuf,
    /// The workspace's goldens, for the tiny model.
    pub goldens: PathBuf,
    /// A folder for the runs.
    pub work: PathBuf,
    /// Train a language model whose base is in NF4, instead of an encoder.
    pub quantised: bool,
    /// Kills in all.
    pub count: usize,
    /// Of the moments.
    pub seed: u64,
}

impl Setup {
    fn rows(&self) -> PathBuf {
        let kind = if self.quantised { "jsonl" } else { "csv" };
        self.work.join(format!("rows.{kind}"))
    }
}

/// What a killed process was doing, going by what it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Starting up, or writing its first checkpoint.
    BeforeCheckpoints,
    /// Replacing the checkpoint.
    InCheckpoint,
    /// Writing an adapter.
    InAdapter,
    /// Computing, or writing the log.
    Between,
}

/// One kill.
#[derive(Debug, Clone)]
pub struct Kill {
    /// The run that it fell on.
    pub run: usize,
    /// Time since the process was started.
    pub after: Duration,
    pub threads: usize,
    pub place: Place,
    /// Steps done at the last checkpoint.
    pub step: Option<u64>,
}

/// What all kills came to. Every run ended in the bits of the one left alone, or there is none.
#[derive(Debug)]
pub struct Outcome {
    pub kills: Vec<Kill>,
    /// Runs that were killed, resumed and compared.
    pub runs: usize,
    /// Files compared in each.
    pub files: usize,
    /// Steps of a run.
    pub steps: u64,
    /// How long the run left alone took.
    pub whole: Duration,
}

/// Kill runs at random moments until there are enough kills, resume each to its end, and compare.
pub fn run(setup: &Setup, tell: &mut dyn FnMut(&Kill)) -> Result<Outcome> {
    let (model, rows) = (setup.work.join("model"), setup.rows());
    match setup.quantised {
        false => {
            tiny::write_model(&setup.goldens, &model)?;
            tiny::write_rows(&rows)?;
        }
        true => {
            tiny::write_quantised_model(&setup.goldens, &model)?;
            tiny::write_texts(&rows)?;
        }
    }
    let whole_output = setup.work.join("whole");
    let started = Instant::now();
    let mut child = start(setup, &whole_output, 1, false)?;
    child.wait()?;
    let whole = started.elapsed();
    let expected = Ended::of(&whole_output, child)?;

    let mut outcome = Outcome {
        kills: Vec::new(),
        runs: 0,
        files: expected.content.len(),
        steps: expected.steps()?,
        whole,
    };
    let (mut random, mut starts) = (Random(setup.seed), 0);
    while outcome.kills.len() < setup.count {
        let output = setup.work.join(format!("run{}", outcome.runs));
        loop {
            let threads = THREADS[starts % THREADS.len()];
            starts += 1;
            let begun = output.join("metrics.jsonl").exists();
            let mut child = start(setup, &output, threads, begun)?;
            let started = Instant::now();
            let delay = whole.mul_f64(random.next() * 0.7);
            let deadline = (outcome.kills.len() < setup.count).then(|| started + delay);
            if !killed(&mut child, deadline)? {
                let ended = Ended::of(&output, child)?;
                let difference = output::difference(&expected.content, &ended.content);
                ensure!(
                    difference.is_none() && ended.result == expected.result,
                    "run {}, killed before, is another than the one left alone: {}\n{}\n{}",
                    outcome.runs,
                    difference.unwrap_or_default(),
                    expected.result,
                    ended.result
                );
                break;
            }
            let kill = Kill {
                run: outcome.runs,
                after: started.elapsed(),
                threads,
                place: place(&output)?,
                step: step(&output),
            };
            tell(&kill);
            outcome.kills.push(kill);
        }
        fs::remove_dir_all(&output)?;
        outcome.runs += 1;
    }
    Ok(outcome)
}

/// The arguments of the runs: everything in them that has a state.
fn start(setup: &Setup, output: &Path, threads: usize, resume: bool) -> Result<Child> {
    let (model, rows) = (setup.work.join("model"), setup.rows());
    let mut command = Command::new(&setup.peft);
    command.arg("train");
    for (flag, path) in [
        ("--model", model.as_path()),
        ("--data", &rows),
        ("--eval-data", &rows),
        ("--output", output),
    ] {
        command.arg(flag).arg(path);
    }
    let settings = "--epochs 6.5 --batch-size 8 --grad-accumulation 2 --max-length 24 \
                    --learning-rate 3e-3 --head-learning-rate 3e-3 --schedule cosine --weight-decay 0.01 \
                    --adapter-dropout 0.1 --model-dropout 0.1 --save-steps 2 --device cpu";
    command.args(settings.split_whitespace());
    if setup.quantised {
        command.args(["--task", "causal-lm", "--target-modules", "all-linear"]);
    }
    command.args(["--threads", &threads.to_string()]);
    if resume {
        command.arg("--resume");
    }
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    child.with_context(|| format!("cannot start {}", setup.peft.display()))
}

/// Let a process run to its end, or kill it at the deadline; true if it was killed.
fn killed(child: &mut Child, deadline: Option<Instant>) -> Result<bool> {
    let Some(deadline) = deadline else {
        child.wait()?;
        return Ok(false);
    };
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?; // SIGKILL, which no process can answer
            let status = child.wait()?;
            // It may have ended by itself in that very moment.
            return Ok(status.code().is_none());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// A run that came to its end.
struct Ended {
    content: output::Content,
    /// What it printed, without the name of its folder.
    result: String,
}

impl Ended {
    fn of(output: &Path, child: Child) -> Result<Self> {
        let done = child.wait_with_output()?;
        ensure!(
            done.status.success(),
            "peft ended with {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
        let mut result: Value =
            serde_json::from_slice(&done.stdout).context("its result is no JSON")?;
        if let Some(object) = result.as_object_mut() {
            object.shift_remove("output");
        }
        Ok(Self {
            content: output::content(output)?,
            result: result.to_string(),
        })
    }

    fn steps(&self) -> Result<u64> {
        let result: Value = serde_json::from_str(&self.result)?;
        result["steps"].as_u64().context("the result has no steps")
    }
}

/// What a killed process was doing.
fn place(output: &Path) -> Result<Place> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect()
    };
    let (here, last) = (names(output), names(&output.join("last")));
    let replacing =
        |name: &String| name == ".checkpoint.old" || name.starts_with(".checkpoint.tmp-");
    let writing = |name: &String| name.starts_with('.') && !replacing(name);
    Ok(
        if !here
            .iter()
            .any(|name| name == "checkpoint" || name == ".checkpoint.old")
        {
            Place::BeforeCheckpoints
        } else if here.iter().any(replacing) {
            Place::InCheckpoint
        } else if here.iter().chain(&last).any(writing) {
            Place::InAdapter
        } else {
            Place::Between
        },
    )
}

/// Steps done at the last checkpoint.
fn step(output: &Path) -> Option<u64> {
    let folders = ["checkpoint", ".checkpoint.old"];
    let text = folders
        .iter()
        .find_map(|name| fs::read(output.join(name).join("state.json")).ok())?;
    serde_json::from_slice::<Value>(&text).ok()?["step"].as_u64()
}

/// SplitMix64: the moments of a seed are always the same, where they fall is not.
struct Random(u64);

impl Random {
    /// In `[0, 1)`.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
