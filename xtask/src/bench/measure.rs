//! Turns in alternation, and the figures they give.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::cases::BUSY;
use super::server::{Loaded, Server, Turn};
use crate::study::{median, quantile};

/// Turns before the first that counts: allocators, caches and thread pools settle.
pub(super) const WARM_UP: usize = 2;

#[derive(Clone, Copy)]
pub struct Budget {
    pub pairs: usize,
}

/// One case, measured.
#[derive(Debug, Serialize)]
pub struct Measurement {
    pub case: String,
    pub pairs: usize,
    pub sides: Vec<Side>,
    /// First side over second, by seconds a real token, pair by pair.
    pub ratio: Option<Spread>,
    /// Peak beyond the loaded model, first side over second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_ratio: Option<f64>,
    /// First side minus second, milliseconds a step, pair by pair.
    pub difference_ms: Option<Spread>,
    /// What adapters add to their frozen models.
    pub added: Option<Added>,
}

/// What two adapters add to frozen models, and the first by the second.
#[derive(Debug, Serialize)]
pub struct Added {
    /// Milliseconds a step beyond the frozen model, of each side.
    pub time_ms: [Spread; 2],
    /// Median of the first's over median of the second's, where both are above zero: less is noise.
    pub time_ratio: Option<f64>,
    /// Resident bytes at the peak beyond the frozen model's peak, of each side.
    pub memory_bytes: [Option<i64>; 2],
    /// Allocated bytes at the peak beyond the frozen model's, where they are counted.
    pub allocated_bytes: [Option<i64>; 2],
    /// The first's over the second's: of allocated bytes where both count them, else of resident ones.
    pub memory_ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Side {
    pub name: String,
    pub trained_parameters: u64,
    pub step_ms: Spread,
    pub steps_per_s: f64,
    pub real_tokens_per_s: f64,
    /// `None` where two models share the process.
    pub peak_anonymous_bytes: Option<u64>,
    /// After the model was loaded and adapted, before the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_anonymous_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
}

impl Spread {
    pub(super) fn of(values: &[f64]) -> Self {
        let [p10, p90] = [0.1, 0.9].map(|share| quantile(values, share));
        Self {
            median: median(values),
            p10,
            p90,
        }
    }
}

/// A turn after a pause: a pool of threads that just worked spins for a while, and would slow the other side.
pub(super) fn turn(server: &mut Server, slot: &str, iterations: u32) -> Result<Turn> {
    thread::sleep(Duration::from_millis(20));
    // Memory is sampled in a turn of its own, so that nothing disturbs the times.
    server.run(slot, iterations, false)
}

/// What stands on a side's line. DoRA is a setting of LoRA's.
fn adapter<'a>(setup: &'a Value, otherwise: &'a str) -> &'a str {
    if let Some(label) = setup["label"].as_str() {
        return label;
    }
    match setup["adapter"].as_str() {
        Some("lora") if setup["settings"]["use_dora"] == true => "dora",
        name => name.unwrap_or(otherwise),
    }
}

fn side(name: String, loaded: Loaded, turns: &[Turn], peak: Option<u64>) -> Side {
    let times: Vec<f64> = turns
        .iter()
        .flat_map(|turn| turn.times_s.iter().map(|time| time * 1e3))
        .collect();
    let costs: Vec<f64> = turns.iter().map(Turn::cost).collect();
    let step_ms = Spread::of(&times);
    Side {
        name,
        trained_parameters: loaded.trained,
        step_ms,
        steps_per_s: 1e3 / step_ms.median,
        real_tokens_per_s: 1.0 / median(&costs),
        peak_anonymous_bytes: peak,
        loaded_anonymous_bytes: peak.and(loaded.anonymous),
    }
}

/// The first side's peak beyond its loaded model over the second's.
fn beyond_loaded(sides: &[Side]) -> Option<f64> {
    let beyond = |side: &Side| {
        let bytes = side
            .peak_anonymous_bytes?
            .checked_sub(side.loaded_anonymous_bytes?)?;
        (bytes > 0).then_some(bytes as f64)
    };
    match sides {
        [first, second] => Some(beyond(first)? / beyond(second)?),
        _ => None,
    }
}

pub(super) fn each(left: &[Turn], right: &[Turn], figure: fn(&Turn, &Turn) -> f64) -> Spread {
    let values: Vec<f64> = left.iter().zip(right).map(|(a, b)| figure(a, b)).collect();
    Spread::of(&values)
}

/// One side by itself.
pub fn alone(
    case: &str,
    server: &mut Server,
    setup: &Value,
    iterations: u32,
    budget: Budget,
) -> Result<Measurement> {
    let loaded = server.set_up("default", setup)?;
    let mut turns = Vec::new();
    for count in 0..WARM_UP + budget.pairs {
        let found = turn(server, "default", iterations)?;
        turns.extend((count >= WARM_UP).then_some(found));
    }
    let peak = server.run("default", iterations, true)?.peak_anonymous;
    Ok(Measurement {
        case: case.to_owned(),
        pairs: budget.pairs,
        sides: vec![side(server.name.to_owned(), loaded, &turns, peak)],
        ratio: None,
        memory_ratio: None,
        difference_ms: None,
        added: None,
    })
}

/// Keeps a core busy while it lives.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn start() -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let seen = goes_on.clone();
        thread::spawn(move || {
            while seen.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self(goes_on)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Two processes, ABAB….
pub fn pairs(
    case: &str,
    sides: [(&mut Server, &Value); 2],
    iterations: u32,
    budget: Budget,
) -> Result<Measurement> {
    let [(left, left_setup), (right, right_setup)] = sides;
    let _busy = left_setup[BUSY]
        .as_bool()
        .unwrap_or(false)
        .then(Busy::start);
    let loaded = [
        left.set_up("default", left_setup)?,
        right.set_up("default", right_setup)?,
    ];
    let mut turns = [Vec::new(), Vec::new()];
    for count in 0..WARM_UP + budget.pairs {
        for (server, turns) in [&mut *left, &mut *right].into_iter().zip(&mut turns) {
            let found = turn(server, "default", iterations)?;
            turns.extend((count >= WARM_UP).then_some(found));
        }
    }
    let mut both = Vec::new();
    for ((server, turns), loaded) in [left, right].into_iter().zip(&turns).zip(loaded) {
        let peak = server.run("default", iterations, true)?.peak_anonymous;
        both.push(side(server.name.to_owned(), loaded, turns, peak));
    }
    Ok(Measurement {
        case: case.to_owned(),
        pairs: budget.pairs,
        memory_ratio: beyond_loaded(&both),
        sides: both,
        ratio: Some(each(&turns[0], &turns[1], |a, b| a.cost() / b.cost())),
        difference_ms: None,
        added: None,
    })
}

/// Adapted and frozen, or two adapters, within one process, ABAB….
pub fn overhead(
    case: &str,
    server: &mut Server,
    setups: [&Value; 2],
    iterations: u32,
    budget: Budget,
) -> Result<Measurement> {
    let slots = ["adapted", "frozen"];
    let mut trained = Vec::new();
    for (slot, setup) in slots.into_iter().zip(setups) {
        trained.push(server.set_up(slot, setup)?);
    }
    let mut turns = [Vec::new(), Vec::new()];
    for count in 0..WARM_UP + budget.pairs {
        for (slot, turns) in slots.into_iter().zip(&mut turns) {
            let found = turn(server, slot, iterations)?;
            turns.extend((count >= WARM_UP).then_some(found));
        }
    }
    let sides = slots.into_iter().zip(&turns).zip(trained);
    let difference =
        |a: &Turn, b: &Turn| (a.seconds() - b.seconds()) * 1e3 / a.times_s.len() as f64;
    Ok(Measurement {
        case: case.to_owned(),
        pairs: budget.pairs,
        sides: sides
            .zip(setups)
            .map(|(((slot, turns), count), setup)| {
                let name = format!("{} {}", server.name, adapter(setup, slot));
                side(name, count, turns, None)
            })
            .collect(),
        ratio: Some(each(&turns[0], &turns[1], |a, b| a.cost() / b.cost())),
        memory_ratio: None,
        difference_ms: Some(each(&turns[0], &turns[1], difference)),
        added: None,
    })
}

/// Starts a process of one side.
pub type Start<'a> = &'a dyn Fn() -> Result<Server>;

/// Adapted and frozen within each of two processes, ABCDABCD…; then each alone, for its memory.
pub fn added(
    case: &str,
    starts: [Start<'_>; 2],
    setups: [&Value; 2],
    iterations: u32,
    budget: Budget,
) -> Result<(Measurement, Vec<(String, String)>)> {
    let slots = ["adapted", "frozen"];
    let frozen = setups.map(|setup| {
        let mut frozen = setup.clone();
        frozen["adapter"] = "none".into();
        frozen
    });
    let mut servers = [starts[0]()?, starts[1]()?];
    let mut trained = [[Loaded::default(); 2]; 2];
    for (side, server) in servers.iter_mut().enumerate() {
        for (slot, setup) in [setups[side], &frozen[side]].into_iter().enumerate() {
            trained[side][slot] = server.set_up(slots[slot], setup)?;
        }
    }
    let mut turns: [[Vec<Turn>; 2]; 2] = Default::default();
    for count in 0..WARM_UP + budget.pairs {
        for (server, turns) in servers.iter_mut().zip(&mut turns) {
            for (slot, turns) in slots.into_iter().zip(turns) {
                let found = turn(server, slot, iterations)?;
                turns.extend((count >= WARM_UP).then_some(found));
            }
        }
    }
    let names = [0, 1].map(|side| servers[side].name);
    let versions = [servers[0].versions(), servers[1].versions()].concat();
    drop(servers);
    let mut peaks = [[[None; 2]; 2]; 2];
    for side in 0..2 {
        for (slot, setup) in [setups[side], &frozen[side]].into_iter().enumerate() {
            let mut server = starts[side]()?;
            server.set_up("default", setup)?;
            // The first steps make what later ones reuse.
            server.run("default", iterations, false)?;
            let turn = server.run("default", iterations, true)?;
            peaks[side][slot] = [turn.peak_anonymous, turn.peak_allocated];
        }
    }
    let each_step = |a: &Turn, b: &Turn| (a.seconds() - b.seconds()) * 1e3 / a.times_s.len() as f64;
    let time_ms = [0, 1].map(|side: usize| each(&turns[side][0], &turns[side][1], each_step));
    let [memory_bytes, allocated_bytes] = [0, 1].map(|kind: usize| {
        peaks.map(|[adapted, frozen]| Some(adapted[kind]? as i64 - frozen[kind]? as i64))
    });
    let mut sides = Vec::new();
    for side in 0..2 {
        for slot in 0..2 {
            let name = match slot {
                0 => adapter(setups[side], slots[0]),
                _ => slots[1],
            };
            sides.push(self::side(
                format!("{} {name}", names[side]),
                trained[side][slot],
                &turns[side][slot],
                peaks[side][slot][0],
            ));
        }
    }
    let found = Measurement {
        case: case.to_owned(),
        pairs: budget.pairs,
        sides,
        ratio: None,
        memory_ratio: None,
        difference_ms: None,
        added: Some(Added {
            time_ms,
            time_ratio: time_ratio(time_ms),
            memory_bytes,
            allocated_bytes,
            memory_ratio: memory_ratio(memory_bytes, allocated_bytes),
        }),
    };
    Ok((found, versions))
}

fn time_ratio([first, second]: [Spread; 2]) -> Option<f64> {
    let seen = first.median > 0.0 && second.median > 0.0;
    seen.then(|| first.median / second.median)
}

/// Of allocated bytes where both sides count them. Else of resident ones, and ours are no less than what we
/// count, for a process may have grown before. PyTorch's that do not show are slack, and give no ratio.
pub(super) fn memory_ratio(resident: [Option<i64>; 2], allocated: [Option<i64>; 2]) -> Option<f64> {
    let [ours, theirs] = match (resident, allocated) {
        (_, [Some(ours), Some(theirs)]) => [ours, theirs],
        ([Some(ours), Some(theirs)], [counted, _]) => [ours.max(counted.unwrap_or(ours)), theirs],
        _ => return None,
    };
    (ours > 0 && theirs > 0).then(|| ours as f64 / theirs as f64)
}
