//! Deep matrix completion (2406.04112): a low-rank matrix found from some of its entries by gradient
//! descent on a product of matrices that start near zero.
//!
//! ```text
//! loss(f) = 1/(2d²) · Σ_{(i,j) observed} (f − Φ)²_ij        f = W_L … W_1,  W_l(0) = ε · orthogonal
//! ```
//!
//! The depth biases descent to low rank: the unobserved entries come out right without any penalty. It is
//! slow, for all factors are `d × d`. [`Factored::compress`] trains the same trajectory in the subspaces that
//! it stays in, with `2r` columns instead of `d`, and never forms a `d × d` matrix: a step costs a few
//! operations for each observed entry.
//!
//! Iterations and time of the original network, the compressed one, a random narrow one, and the compressed
//! one with frozen subspaces, all from one seed. `cargo xtask bench matrix-completion` makes a report of it;
//! alone: `cargo run --release -p peft-benches --bin peft-completion -- --size 200`. Arguments come as
//! `--name value`; `--json` prints one JSON object, `--network NAME` runs one of the networks, `--turns N`
//! takes the time of an iteration only, in `N` alternating turns. `RAYON_NUM_THREADS` sets the threads.

mod bases;
mod descent;
mod factored;
mod full;
mod problem;
#[cfg(test)]
mod tests;

use std::{process::ExitCode, time::Instant};

use serde_json::{Value, json};

use crate::{
    descent::{CompletionSettings, Network, complete},
    factored::Factored,
    full::Full,
    problem::Problem,
};

/// What is asked for.
struct Setup {
    size: usize,
    rank: usize,
    depth: usize,
    observed: f64,
    epsilon: f64,
    gamma: f64,
    seed: u64,
    settings: CompletionSettings,
}

/// The value of an argument, or its default.
fn argument<T: std::str::FromStr>(name: &str, default: T) -> Result<T, String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    match (arguments.next(), arguments.next()) {
        (None, _) => Ok(default),
        (Some(_), Some(text)) => text.parse().map_err(|_| format!("{name}: `{text}`")),
        (Some(_), None) => Err(format!("{name}: no value")),
    }
}

impl Setup {
    fn read() -> Result<Self, String> {
        let size = argument("--size", 200usize)?;
        let setup = Self {
            size,
            rank: argument("--rank", 5)?,
            depth: argument("--depth", 3)?,
            observed: argument("--observed", 0.2)?,
            epsilon: argument("--epsilon", 1e-3)?,
            gamma: argument("--gamma", 0.01)?,
            seed: argument("--seed", 0)?,
            settings: CompletionSettings {
                // The loss is a mean over all entries: this is the paper's 5e3 at its size of 1000.
                rate: argument("--rate", 5e-3 * (size * size) as f64)?,
                iterations: argument("--iterations", 70_000)?,
                tolerance: argument("--tolerance", 1e-12)?,
                every: argument("--every", 50)?,
            },
        };
        if setup.rank == 0 || 2 * setup.rank > size || setup.depth < 2 {
            return Err("--rank: 1 to half of --size; --depth: 2 or more".into());
        }
        if !(0.0..=1.0).contains(&setup.observed) {
            return Err("--observed: a share".into());
        }
        Ok(setup)
    }
}

/// One of the networks.
struct Arm {
    name: &'static str,
    width: usize,
    network: Box<dyn Network>,
}

fn arms(problem: &Problem, s: &Setup) -> Vec<Arm> {
    let original = Full::new(s.size, s.depth, s.epsilon, s.seed);
    let compress = |gamma| Factored::compress(&original, problem, s.rank, gamma, s.seed);
    let (compressed, frozen) = (compress(s.gamma), compress(0.0));
    let width = 2 * s.rank;
    let narrow = Factored::narrow(s.size, width, s.depth, s.epsilon, s.seed);
    let arm = |name, width, network| Arm {
        name,
        width,
        network,
    };
    vec![
        arm("compressed", width, Box::new(compressed)),
        arm("compressed, γ = 0", width, Box::new(frozen)),
        arm("random narrow", width, Box::new(narrow)),
        arm("original", s.size, Box::new(original)),
    ]
}

/// The whole descent of an arm.
fn curve(arm: Arm, problem: &Problem, s: &Setup) -> Value {
    /// Iterations between two messages.
    const MESSAGE: u64 = 500;
    let Arm {
        name,
        width,
        mut network,
    } = arm;
    let parameters = network.parameters();
    let curve = complete(network.as_mut(), problem, &s.settings, &mut |point| {
        if point.iteration.is_multiple_of(MESSAGE) {
            eprintln!("{name}: {}, error {:.1e}", point.iteration, point.error);
        }
    });
    let done = curve.points.last().map_or(0, |point| point.iteration);
    let error = curve.points.last().map_or(f64::NAN, |point| point.error);
    let seconds = curve.steps_took.as_secs_f64();
    eprintln!("{name}: {done} iterations, {seconds:.1} s, error {error:.1e}");
    let points: Vec<_> = (curve.points.iter())
        .map(|point| (point.iteration, point.error))
        .collect();
    json!({
        "name": name,
        "width": width,
        "parameters": parameters,
        "found_after": curve.found_after,
        "iterations": done,
        "error": error,
        "seconds": seconds,
        "points": points,
    })
}

/// Milliseconds an iteration of every arm, turn by turn. A turn of the narrow ones is of many iterations.
fn times(mut arms: Vec<Arm>, problem: &Problem, s: &Setup, turns: usize) -> Vec<Value> {
    const NARROW: u32 = 50;
    let mut found = vec![Vec::with_capacity(turns); arms.len()];
    // The first turn warms up.
    for turn in 0..=turns {
        for (arm, found) in arms.iter_mut().zip(&mut found) {
            let iterations = if arm.width == s.size { 1 } else { NARROW };
            let start = Instant::now();
            for _ in 0..iterations {
                arm.network.step(problem, s.settings.rate);
            }
            if turn > 0 {
                found.push(1e3 * start.elapsed().as_secs_f64() / f64::from(iterations));
            }
        }
    }
    let both = arms.iter().zip(found);
    both.map(|(arm, found)| json!({ "name": arm.name, "milliseconds": found }))
        .collect()
}

fn main() -> ExitCode {
    let setup = Setup::read().and_then(|setup| {
        let network = argument("--network", String::new())?;
        Ok((setup, argument("--turns", 0usize)?, network))
    });
    let (setup, turns, network) = match setup {
        Ok(setup) => setup,
        Err(problem) => {
            eprintln!("completion: {problem}");
            return ExitCode::from(2);
        }
    };
    let s = &setup;
    let problem = Problem::random(s.size, s.rank, s.observed, s.seed);
    let mut arms = arms(&problem, s);
    arms.retain(|arm| network.is_empty() || arm.name == network);
    if arms.is_empty() {
        eprintln!("completion: --network: there is no `{network}`");
        return ExitCode::from(2);
    }
    let report = if turns > 0 {
        json!({
            "threads": rayon::current_num_threads(),
            "size": s.size,
            "arms": times(arms, &problem, s, turns),
        })
    } else {
        let arms: Vec<Value> = arms
            .into_iter()
            .map(|arm| curve(arm, &problem, s))
            .collect();
        json!({
            "threads": rayon::current_num_threads(),
            "size": s.size,
            "rank": s.rank,
            "depth": s.depth,
            "observed_entries": problem.observed(),
            "epsilon": s.epsilon,
            "gamma": s.gamma,
            "rate": s.settings.rate,
            "tolerance": s.settings.tolerance,
            "every": s.settings.every,
            "seed": s.seed,
            "arms": arms,
        })
    };
    if std::env::args().any(|argument| argument == "--json") {
        println!("{report}");
    }
    ExitCode::SUCCESS
}
