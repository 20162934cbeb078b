//! Every way to apply an update in training, timed in turns, and what the cost model says of it.
//!
//! `cargo bench --bench routes`; `cargo xtask bench spectral-routes` makes a report of it. A step is one
//! frozen linear layer with the update, forward and backward, gradients of the input and of the
//! coefficients included; a time is the least of all rounds. `RAYON_NUM_THREADS` sets the threads.
//! `--rounds N` sets how often each way has its turn, `--quick` takes small layers. Prints one JSON object.

use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, FloatDType, Tensor, TensorData};
use peft_core::{
    AdapterContext, BaseLinear, WeightAdapter,
    kernels::{keep_freed_memory, linear},
};
use peft_spectral::{
    Basis, Route, Sandwich, Spectral, SpectralParts, Support,
    plan::{Extent, Machine, Way, estimate},
    support::{low_block, random},
};
use serde_json::{Value, json};

/// The ways that an adapter has on the CPU, and what the cost model calls them.
const WAYS: [(Route, &str, Way); 3] = [
    (Route::Factored, "rows of the bases", Way::FactoredDense),
    (Route::Fast, "fast transform", Way::Fast),
    (Route::Merged, "added to the weight", Way::Merged),
];

struct Case {
    /// Outputs and inputs.
    shape: [usize; 2],
    /// Whether the places fill a small block of rows and columns, instead of lying anywhere.
    structured: bool,
    count: usize,
    rows: usize,
}

impl Case {
    fn support(&self) -> Support {
        let [out, inner] = self.shape;
        let support = match self.structured {
            true => low_block(out, inner, self.count),
            false => random(out, inner, self.count, 1),
        };
        support.expect("the layer has places enough")
    }

    fn adapter(&self, evaluation: Route, device: &Device) -> Spectral {
        let parts = SpectralParts {
            basis: Basis::Dct,
            shape: self.shape,
            support: self.support(),
            coefficients: TensorData::zeros::<f32, _>([self.count]),
            gamma: 1.0,
            rate: 1.0,
            evaluation,
        };
        Spectral::new(parts, FloatDType::F32, device).expect("the support is the layer's")
    }

    /// Least seconds of a step: of the layer alone, then each of [`WAYS`].
    fn time(&self, rounds: usize) -> Vec<f64> {
        let device = Device::flex().autodiff();
        let [out, inner] = self.shape;
        let numbers = |shape: [usize; 2]| {
            Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), (&device, DType::F32))
        };
        // As checkpoints keep it: a row an output.
        let weight = numbers([out, inner]).transpose();
        let base = BaseLinear::new(weight.clone(), None);
        let (x, probe) = (numbers([self.rows, inner]), numbers([self.rows, out]));
        let adapters = WAYS.map(|(evaluation, ..)| self.adapter(evaluation, &device));
        let context = AdapterContext::training(0, 0);
        let step = |of: usize| {
            let x = x.clone().detach().require_grad();
            let start = Instant::now();
            let y = match of.checked_sub(1) {
                None => linear(x, weight.clone(), None),
                Some(way) => adapters[way].forward(x, &base, &context),
            };
            drop((y * probe.clone()).sum().backward());
            start.elapsed().as_secs_f64()
        };
        let mut least = vec![f64::INFINITY; 1 + WAYS.len()];
        // The first round makes what is kept, and does not count.
        for round in 0..=rounds {
            for (of, least) in least.iter_mut().enumerate() {
                let seconds = step(of);
                if round > 0 {
                    *least = least.min(seconds);
                }
            }
        }
        least
    }

    fn run(&self, rounds: usize) -> Value {
        let [out, inner] = self.shape;
        let sandwich = Sandwich::new(Basis::Dct, out, inner, &self.support())
            .expect("the support is the layer's");
        let (extent, machine) = (Extent::from(&sandwich), Machine::CPU_CORE);
        let seconds = |way| estimate(way, &extent, self.rows).seconds(&machine);
        let auto = self.adapter(Route::Auto, &Device::flex());
        let auto = auto.evaluation(self.rows);
        let chosen = WAYS
            .iter()
            .find(|(way, ..)| *way == auto)
            .expect("a choice is one of the ways");
        let times = self.time(rounds);
        let ways = WAYS.iter().zip(&times[1..]).map(|((_, name, way), time)| {
            json!({ "way": name, "ms": time * 1e3, "predicted_ms": seconds(*way) * 1e3 })
        });
        let ways: Vec<Value> = ways.collect();
        eprintln!(
            "{out}×{inner} n {} rows {}: {:.2?} ms",
            self.count,
            self.rows,
            times.iter().map(|time| time * 1e3).collect::<Vec<f64>>()
        );
        json!({
            "out": out,
            "in": inner,
            "support": if self.structured { "block" } else { "random" },
            "coefficients": self.count,
            "rows": self.rows,
            "out_rows": sandwich.core().rows(),
            "in_rows": sandwich.core().cols(),
            "plain_ms": times[0] * 1e3,
            "ways": ways,
            "chosen": chosen.1,
        })
    }
}

fn cases(quick: bool) -> Vec<Case> {
    let (shapes, counts, rows): (&[_], &[_], &[_]) = match quick {
        true => (&[[48, 48], [48, 96]], &[40, 100], &[32]),
        false => (
            &[
                [384, 384],
                [384, 1536],
                [768, 768],
                [2048, 2048],
                [4096, 4096],
            ],
            &[400, 1200, 10_000],
            &[64, 512, 2048],
        ),
    };
    let mut cases = Vec::new();
    for &shape in shapes {
        for &count in counts {
            for structured in [false, true] {
                cases.extend(rows.iter().map(|&rows| Case {
                    shape,
                    structured,
                    count,
                    rows,
                }));
            }
        }
    }
    cases
}

fn main() {
    // Before any thread has memory of its own.
    keep_freed_memory();
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let rounds = arguments
        .iter()
        .position(|argument| argument == "--rounds")
        .and_then(|at| arguments.get(at + 1)?.parse().ok())
        .unwrap_or(7);
    let cases: Vec<Value> = cases(quick).iter().map(|case| case.run(rounds)).collect();
    let all = json!({
        "threads": rayon::current_num_threads(),
        "quick": quick,
        "rounds": rounds,
        "cases": cases,
    });
    println!("{all}");
}
