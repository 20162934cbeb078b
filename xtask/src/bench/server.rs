//! One side of a benchmark: a process that is told what to do by lines of JSON and answers in lines of JSON.
//! xtask/python/torch_bench.py documents the protocol; `peft-bench` speaks the same.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

pub struct Server {
    pub name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    ready: Value,
}

/// What is there before the first step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loaded {
    pub trained: u64,
    /// Anonymous bytes that are resident.
    pub anonymous: Option<u64>,
}

/// What a turn of some steps took.
#[derive(Debug, Default)]
pub struct Turn {
    pub times_s: Vec<f64>,
    pub real_tokens: f64,
    pub peak_anonymous: Option<u64>,
    /// Counted by the allocator; PyTorch tells none.
    pub peak_allocated: Option<u64>,
    /// What the pools of a device hold, used or kept for reuse: they grow and do not shrink by themselves.
    pub device_bytes: Option<u64>,
}

impl Turn {
    pub fn seconds(&self) -> f64 {
        self.times_s.iter().sum()
    }

    /// Seconds a real token: comparable even where the two sides draw different batches.
    pub fn cost(&self) -> f64 {
        self.seconds() / self.real_tokens
    }
}

impl Server {
    pub fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut server = Self {
            name,
            child,
            input,
            output,
            ready: Value::Null,
        };
        server.ready = server.answer()?;
        ensure!(
            server.ready["ready"] == true,
            "{name} said {} instead of ready",
            server.ready
        );
        Ok(server)
    }

    /// Versions it told at the start, under the names of its packages.
    pub fn versions(&self) -> Vec<(String, String)> {
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let versions = self.ready["versions"].as_object();
        let pairs = versions.into_iter().flatten().map(|(name, value)| {
            // Two packages are called peft: ours and the reference.
            let name = if self.name == "torch" {
                format!("python {name}")
            } else {
                name.clone()
            };
            (name, text(value))
        });
        pairs.collect()
    }

    /// Its process, for a look from outside.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sets a slot up.
    pub fn set_up(&mut self, slot: &str, setup: &Value) -> Result<Loaded> {
        let mut setup = setup.clone();
        setup["name"] = slot.into();
        let answer = self.ask(&setup)?;
        let trained = answer["trainable_parameters"].as_u64();
        Ok(Loaded {
            trained: trained.context("no trainable_parameters in the answer")?,
            anonymous: answer["rss_anon_bytes"].as_u64(),
        })
    }

    pub fn run(&mut self, slot: &str, iterations: u32, sample_memory: bool) -> Result<Turn> {
        let command = json!({"op": "run", "name": slot, "iterations": iterations, "sample_memory": sample_memory});
        let answer = self.ask(&command)?;
        let numbers = |name: &str| -> Result<Vec<f64>> {
            let list = answer[name]
                .as_array()
                .with_context(|| format!("no {name} in the answer"))?;
            list.iter()
                .map(|value| value.as_f64().context("a value is no number"))
                .collect()
        };
        let times_s = numbers("times_s")?;
        ensure!(
            times_s.len() == iterations as usize,
            "{} times for {iterations} steps",
            times_s.len()
        );
        let real_tokens = numbers("real_tokens")?.iter().sum();
        Ok(Turn {
            times_s,
            real_tokens,
            peak_anonymous: answer["rss_anon_peak_bytes"].as_u64(),
            peak_allocated: answer["allocated_peak_bytes"].as_u64(),
            device_bytes: answer["device_reserved_bytes"].as_u64(),
        })
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.input, "{command}")
            .and_then(|()| self.input.flush())
            .with_context(|| format!("{} does not listen any more", self.name))?;
        let answer = self.answer()?;
        ensure!(
            answer["ok"] == true,
            "{} answered {command} with {answer}",
            self.name
        );
        Ok(answer)
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self
            .output
            .read_line(&mut line)
            .context("cannot read an answer")?;
        if count == 0 {
            let status = self.child.wait().context("cannot wait for the process")?;
            bail!("{} ended with {status}: see its messages above", self.name);
        }
        serde_json::from_str(&line)
            .with_context(|| format!("{} said {line:?}, which is not JSON", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = writeln!(self.input, "{}", json!({"op": "quit"}));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
