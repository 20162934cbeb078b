//! Our side of a benchmark: one JSON command a line on standard input, one JSON answer a line on
//! standard output, in the protocol of `xtask/python/torch_bench.py`, which a driver alternates with.

mod adapter;
mod base;
mod block;
mod causal;
mod concentration;
mod decode;
mod device;
mod energy;
mod layer;
mod logits;
mod memory;
mod probe;
mod protocol;
mod scan;
mod single;
mod step;
mod tokenise;
mod training;

use std::{
    collections::BTreeMap,
    io::{BufRead, Write, stdin, stdout},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use peft_run::{Computing, DeviceChoice, GenerationCompute, resident_anonymous};
use rayon::ThreadPool;
use serde_json::{Value, json};

use crate::{
    memory::Sampler,
    protocol::{Command, Measured, Setup},
};

/// Something that can be done again and again.
pub trait Case {
    /// Trained values.
    fn trainable_parameters(&self) -> usize;
    /// One iteration.
    fn run(&mut self) -> Result<Measured>;
}

#[global_allocator]
static ALLOCATOR: memory::Counted = memory::Counted;

struct Slot {
    case: Box<dyn Case + Send>,
    threads: ThreadPool,
    compute: GenerationCompute,
}

fn main() -> Result<()> {
    // As the `peft` binary does.
    peft_run::keep_freed_memory();
    let device = std::env::var("PEFT_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    let device: DeviceChoice = device.parse().map_err(anyhow::Error::msg)?;
    let selected = match device.select() {
        Ok(selected) => selected,
        Err(error) => {
            // A driver reads why, and goes on with its other devices.
            say(&json!({ "ready": false, "error": error.to_string() }))?;
            return Err(error.into());
        }
    };
    let mut slots: BTreeMap<String, Slot> = BTreeMap::new();
    say(&json!({
        "ready": true,
        "versions": { "peft": env!("CARGO_PKG_VERSION"), "device": selected.reason },
        "device": device::described(&selected),
        "pid": std::process::id(),
    }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = match serde_json::from_str(&line).context("not a command") {
            Ok(Command::Quit) => break,
            Ok(Command::Drop { name }) => {
                slots.remove(&name);
                Ok(json!({ "ok": true }))
            }
            Ok(Command::Energy(command)) => energy::energy(&command, &selected.device),
            Ok(Command::Concentration(command)) => {
                concentration::concentration(&command, &selected.device)
            }
            Ok(Command::Logits(command)) => logits::logits(&command, &selected.device),
            Ok(Command::Setup(setup)) => set_up(*setup, &selected.device, &mut slots),
            Ok(Command::Run {
                name,
                iterations,
                sample_memory,
            }) => run(
                &mut slots,
                &selected.device,
                &name,
                iterations,
                sample_memory,
            ),
            Err(error) => Err(error),
        };
        say(&answer.unwrap_or_else(|error| json!({ "ok": false, "error": format!("{error:#}") })))?;
    }
    Ok(())
}

fn set_up(
    setup: Setup,
    device: &burn::tensor::Device,
    slots: &mut BTreeMap<String, Slot>,
) -> Result<Value> {
    let start = Instant::now();
    // The old case goes first, so that two never fill memory.
    slots.remove(&setup.name);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(setup.threads)
        .build()?;
    let case: Box<dyn Case + Send> = threads.install(|| match setup.case.as_str() {
        "bert_layer" => {
            Ok::<_, anyhow::Error>(Box::new(layer::LayerCase::new(&setup, device)?) as _)
        }
        "minilm_step" => Ok(Box::new(step::StepCase::new(&setup, device)?) as _),
        "bert_base_step" => Ok(Box::new(base::BaseCase::new(&setup, device)?) as _),
        "minilm_probe" => Ok(Box::new(probe::ProbeCase::new(&setup, device)?) as _),
        "language_step" => Ok(Box::new(causal::CausalCase::new(&setup, device)?) as _),
        "language_generate" => Ok(Box::new(decode::GenerateCase::new(&setup, device)?) as _),
        "mamba_block" => Ok(Box::new(block::BlockCase::new(&setup, device)?) as _),
        "scan" => Ok(Box::new(scan::ScanCase::new(&setup, device)?) as _),
        "stream_read" => Ok(Box::new(decode::ReadCase::new(&setup)?) as _),
        "tokenise" => Ok(Box::new(tokenise::TokeniseCase::new(&setup)?) as _),
        "linear" => Ok(Box::new(single::LinearCase::new(&setup, device)?) as _),
        "merge" => Ok(Box::new(single::MergeCase::new(&setup, device)?) as _),
        other => bail!(
            "unknown case `{other}`; known: bert_layer, minilm_step, minilm_probe, bert_base_step, \
             language_step, language_generate, mamba_block, scan, stream_read, tokenise, linear, merge"
        ),
    })?;
    peft_run::release_freed_memory();
    let answer = json!({
        "ok": true,
        "name": setup.name,
        "trainable_parameters": case.trainable_parameters(),
        "rss_anon_bytes": resident_anonymous(),
        "setup_s": start.elapsed().as_secs_f64(),
    });
    let compute = setup.compute;
    slots.insert(
        setup.name,
        Slot {
            case,
            threads,
            compute,
        },
    );
    Ok(answer)
}

fn run(
    slots: &mut BTreeMap<String, Slot>,
    device: &burn::tensor::Device,
    name: &str,
    iterations: usize,
    sample_memory: bool,
) -> Result<Value> {
    let slot = slots
        .get_mut(name)
        .with_context(|| format!("nothing is set up as `{name}`"))?;
    let before = resident_anonymous();
    let _computing = Computing::begin(slot.compute);
    let sampler = sample_memory.then(Sampler::start);
    let (mut times, mut tokens, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..iterations {
        let start = Instant::now();
        let measured = slot.threads.install(|| {
            let measured = slot.case.run()?;
            // What a device computes lazily must be done inside of the time.
            device.sync()?;
            anyhow::Ok(measured)
        })?;
        times.push(start.elapsed().as_secs_f64());
        tokens.push(measured.tokens);
        losses.extend(measured.loss);
    }
    let peak = sampler.map(Sampler::stop);
    // Reading them makes the device wait, so only where memory is what is asked for.
    let pools = sample_memory.then(|| device.memory_pool_usage()).flatten();
    let mut answer = json!({
        "ok": true,
        "name": name,
        "times_s": times,
        "real_tokens": tokens.clone(),
        // Rows are packed: there is no padding.
        "padded_tokens": tokens,
        "rss_anon_peak_bytes": peak.as_ref().map(|peak| peak.resident).or_else(resident_anonymous),
        "allocated_peak_bytes": peak.as_ref().map(|peak| peak.allocated),
        "rss_anon_before_bytes": before,
        "device_reserved_bytes": pools.as_ref().map(|pools| pools.bytes_reserved),
        "device_used_bytes": pools.as_ref().map(|pools| pools.bytes_in_use),
    });
    if !losses.is_empty() {
        answer["losses"] = losses.into();
    }
    Ok(answer)
}

fn say(answer: &Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}
