//! `state.json`.

use std::collections::BTreeMap;

use peft_data::Cursor;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fingerprint::Fingerprint;
use crate::{Evaluation, RunReport};

/// The format that is written.
pub const VERSION: u64 = 2;
/// The one before, which is read, too: its digest leaves out how many steps each parameter has made.
pub const FIRST: u64 = 1;

/// Where a run stands, and what determines it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Format of the folder.
    pub version: u64,
    /// Optimiser steps done.
    pub step: u64,
    /// Optimiser steps in all.
    pub total_steps: u64,
    /// The batch to go on with.
    pub cursor: Cursor,
    /// Seconds of training so far, without evaluation.
    pub train_time_s: f64,
    /// Bytes of `metrics.jsonl` that belong to the steps done.
    pub log_bytes: u64,
    /// sha256 of the trainer's state; also once the run is finished and the state is gone.
    pub tensors: String,
    /// The adapter that the output folder holds, if one has been selected.
    pub best: Option<Best>,
    /// The step of the last selection, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<u64>,
    /// Selections since the best one.
    #[serde(default)]
    pub waited: u64,
    /// Which phase it is in, where it has more than one that trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseState>,
    /// How the run ended, if it did.
    pub ending: Option<Ending>,
    /// What the adapters held before the first step: a digest for each adapted module.
    pub initial: BTreeMap<String, String>,
    /// The settings that determine the run's bits, by their flags.
    pub settings: Map<String, Value>,
    /// The files that determine them.
    pub inputs: BTreeMap<String, Fingerprint>,
}

impl RunState {
    /// A run at its beginning.
    pub fn new(
        total_steps: u64,
        initial: BTreeMap<String, String>,
        settings: Map<String, Value>,
        inputs: BTreeMap<String, Fingerprint>,
    ) -> Self {
        Self {
            version: VERSION,
            step: 0,
            total_steps,
            cursor: Cursor::default(),
            train_time_s: 0.0,
            log_bytes: 0,
            tensors: String::new(),
            best: None,
            selected: None,
            waited: 0,
            phase: None,
            ending: None,
            initial,
            settings,
            inputs,
        }
    }
}

/// Where a run of several phases stands. In the last one, the run's own count of steps goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseState {
    /// The phase, counted from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Optimiser steps done in it.
    pub step: u64,
    /// Optimiser steps to do in it.
    pub steps: u64,
    /// The batch to go on with.
    pub cursor: Cursor,
    /// sha256 of what was chosen; empty before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chosen: String,
}

impl PhaseState {
    /// At the beginning of a phase.
    pub fn new(index: usize, name: &str) -> Self {
        Self {
            index,
            name: name.to_owned(),
            step: 0,
            steps: 0,
            cursor: Cursor::default(),
            chosen: String::new(),
        }
    }
}

/// The best adapter so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step after which it was taken.
    pub step: u64,
    /// How good it is on the rows that select.
    pub selection: Evaluation,
    /// How good it is on the evaluation data.
    pub report: Option<Evaluation>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All steps are done, and this is what came of it.
    Finished(RunReport),
    /// Training broke down, and would again.
    BrokeDown(String),
}
