//! Damaged input for every reader: an error or rows, never a panic, in bounded time and memory.
//!
//! `tests/corpus/<target>/` holds inputs to start from, and every input that ever failed; all are
//! replayed as they are. Then `PEFT_FUZZ_ITERATIONS` (2000 by default) inputs are made from them by
//! small damage, seeded by `PEFT_FUZZ_SEED`. A million of each, in release:
//!
//!     PEFT_FUZZ_ITERATIONS=1000000 PEFT_FUZZ_LOG=crates/peft-data/tests/hostile/runs.jsonl \
//!         cargo test --release -p peft-data --test hostile
//!
//! What fails is written into the corpus. Panics of the tokenizer library that this crate turns into
//! errors are counted in the log; `PEFT_FUZZ_PANICS=1` prints them.

mod meter;
mod mutate;
mod targets;

use mutate::Mutator;
use peft_data::DataError;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};
use targets::{TARGETS, Target};

/// Longest an input of at most 64 KiB may take, on a busy machine.
const LONGEST: Duration = Duration::from_secs(10);

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name)
}

#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<String, u64>,
    slowest: Duration,
    memory: usize,
}

impl Tally {
    /// Runs one input; a message if it may not end like that.
    fn run(&mut self, target: &Target, bytes: &[u8]) -> Result<(), String> {
        let start = Instant::now();
        let (result, memory) =
            meter::peak(|| catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))));
        let time = start.elapsed();
        self.slowest = self.slowest.max(time);
        self.memory = self.memory.max(memory);
        let result = result.map_err(|_| "a panic".to_owned())?;
        *self.outcomes.entry(outcome(&result)).or_default() += 1;
        if let Err(error) = result {
            let message = error.to_string();
            // Long values are shortened: a message is for reading.
            if message.len() > 4000 {
                return Err(format!("a message of {} bytes", message.len()));
            }
        }
        match () {
            () if time > LONGEST => Err(format!("{time:?}")),
            () if memory > target.memory => Err(format!("{memory} bytes of memory")),
            () => Ok(()),
        }
    }
}

/// The kind of error.
fn outcome(result: &Result<(), DataError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            let debug = format!("{error:?}");
            debug.split([' ', '{', '(']).next().unwrap_or("").to_owned()
        }
    }
}

thread_local! {
    /// Panics on this thread, those included that a reader caught.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Counts panics instead of printing them: a test prints its own failures.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            if info
                .location()
                .is_some_and(|l| l.file().ends_with("hostile/main.rs"))
            {
                usual(info);
            } else if std::env::var_os("PEFT_FUZZ_PANICS").is_some() {
                eprintln!("{info}");
            }
        }));
    });
}

fn attack(name: &str) {
    count_panics();
    let target = TARGETS.iter().find(|t| t.name == name).unwrap();
    let mut seeds: Vec<(PathBuf, Vec<u8>)> = fs::read_dir(corpus(name))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "no corpus for {name}");
    let mut tally = Tally::default();
    for (path, bytes) in &seeds {
        if let Err(problem) = tally.run(target, bytes) {
            panic!("{}: {problem}", path.display());
        }
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
    let (iterations, seed) = (
        variable("PEFT_FUZZ_ITERATIONS", 2000),
        variable("PEFT_FUZZ_SEED", 1),
    );
    let (start, mut failures) = (Instant::now(), Vec::new());
    for number in 0..iterations {
        let bytes = Mutator::new(seed, number, &seeds, target.words, name == "parquet").input();
        if let Err(problem) = tally.run(target, &bytes) {
            let path = corpus(name).join(format!("found-{seed}-{number}"));
            fs::write(&path, &bytes).unwrap();
            failures.push(format!("{}: {problem}", path.display()));
            if failures.len() == 10 {
                break;
            }
        }
    }
    if let Some(log) = std::env::var_os("PEFT_FUZZ_LOG") {
        let line = serde_json::json!({
            "target": name, "seed": seed, "inputs": iterations, "failures": failures.len(),
            "caught_panics": PANICS.get(), "outcomes": tally.outcomes, "seconds": start.elapsed().as_secs(),
            "slowest_ms": tally.slowest.as_millis() as u64, "most_bytes": tally.memory,
        });
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

macro_rules! targets {
    ($($name:ident),*) => { $(#[test] fn $name() { attack(stringify!($name)); })* };
}

targets!(
    csv,
    tsv,
    jsonl,
    text,
    load,
    causal,
    chat_template,
    tokenizer_json,
    vocab_txt,
    byte_bpe,
    tokenizer_config
);

#[cfg(feature = "parquet")]
targets!(parquet);
