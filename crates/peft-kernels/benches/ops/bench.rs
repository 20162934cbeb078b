//! Timing, and the figures.

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use peft_kernels::bf16_units;
use serde_json::{Value, json};

/// Sizes of the tensors.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Rows of a sequence.
    pub length: usize,
    /// Attention heads of 64.
    pub heads: usize,
    /// Width of the feed-forward block.
    pub ffn: usize,
    /// Entries of the table of words.
    pub words: usize,
}

impl Sizes {
    /// Rows of all sequences.
    pub fn rows(self) -> usize {
        self.batch * self.length
    }

    /// Width of the model.
    pub fn d(self) -> usize {
        self.heads * 64
    }
}

/// What a kernel's time is held against.
#[derive(Clone, Copy)]
pub enum Work {
    /// Bytes read and written.
    Bytes(usize),
    /// Multiplications and additions.
    Flops(usize),
    /// The same in bfloat16.
    Bf16Flops(usize),
}

struct Figure {
    kernel: String,
    pass: &'static str,
    seconds: f64,
    portable: Option<f64>,
    work: Work,
}

/// The run.
pub struct Bench {
    pub sizes: Sizes,
    quick: bool,
    /// What the names of the operations contain that are timed; all without it.
    only: Option<String>,
    /// Bytes a second of a copy, multiplications and additions a second of a product, and of the units for bfloat16.
    pub limits: [f64; 3],
    figures: Vec<Figure>,
}

/// An operation on matrices.
pub type Op<'a> = &'a dyn Fn(Vec<Tensor<2>>) -> Tensor<2>;

pub fn random<const N: usize>(shape: [usize; N], device: &Device) -> Tensor<N> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

impl Bench {
    pub fn new(quick: bool, only: Option<String>) -> Self {
        let sizes = match quick {
            true => Sizes {
                batch: 2,
                length: 16,
                heads: 2,
                ffn: 192,
                words: 500,
            },
            false => Sizes {
                batch: 8,
                length: 128,
                heads: 12,
                ffn: 3072,
                words: 30_522,
            },
        };
        Self {
            sizes,
            quick,
            only,
            limits: [f64::NAN; 3],
            figures: Vec::new(),
        }
    }

    /// Whether only to see that it runs.
    pub fn quick(&self) -> bool {
        self.quick
    }

    /// Whether an operation of that name is to be timed.
    pub fn times(&self, kernel: &str) -> bool {
        (self.only.as_ref()).is_none_or(|only| kernel.contains(only.as_str()))
    }

    /// Least seconds of one call.
    pub fn seconds(&self, mut call: impl FnMut()) -> f64 {
        self.least(|| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        })
    }

    /// The least of what repeated measurements give; the first does not count.
    fn least(&self, mut measure: impl FnMut() -> f64) -> f64 {
        let (few, many, long) = match self.quick {
            true => (2, 2, Duration::ZERO),
            false => (5, 200, Duration::from_millis(400)),
        };
        measure();
        let (begin, mut least) = (Instant::now(), f64::INFINITY);
        for count in 0.. {
            if count >= many || (count >= few && begin.elapsed() >= long) {
                break;
            }
            least = least.min(measure());
        }
        least
    }

    /// Keeps a figure.
    pub fn add(
        &mut self,
        kernel: &str,
        pass: &'static str,
        seconds: f64,
        portable: Option<f64>,
        work: Work,
    ) {
        eprintln!("{kernel} {pass}: {:.3} ms", seconds * 1e3);
        self.figures.push(Figure {
            kernel: kernel.to_owned(),
            pass,
            seconds,
            portable,
            work,
        });
    }

    /// Forward without autodiff, and backward alone, less the backward pass of the loss.
    pub fn both(
        &mut self,
        kernel: &str,
        fast: Op<'_>,
        portable: Op<'_>,
        inputs: &[[usize; 2]],
        work: [Work; 2],
    ) {
        if !self.times(kernel) {
            return;
        }
        let device = Device::flex();
        let tensors: Vec<_> = inputs.iter().map(|&s| random(s, &device)).collect();
        let forward = |op: Op<'_>| self.seconds(|| drop(black_box(op(tensors.clone()))));
        let (ours, burns) = (forward(fast), forward(portable));

        let tracked = device.autodiff();
        let leaves: Vec<_> = inputs
            .iter()
            .map(|&s| random(s, &tracked).require_grad())
            .collect();
        let weights = random(fast(tensors).dims(), &tracked);
        let whole = |op: Op<'_>, leaves: &[Tensor<2>]| {
            self.least(|| {
                let loss = (op(leaves.to_vec()) * weights.clone()).sum();
                let start = Instant::now();
                drop(black_box(loss.backward()));
                start.elapsed().as_secs_f64()
            })
        };
        // The weighted sum that asks for the gradient takes time of its own.
        let output = random(weights.dims(), &tracked).require_grad();
        let sum = whole(&|mut x| x.remove(0), &[output]);
        let backward = |op: Op<'_>| (whole(op, &leaves) - sum).max(1e-6);
        let (ours_back, burns_back) = (backward(fast), backward(portable));
        self.add(kernel, "forward", ours, Some(burns), work[0]);
        self.add(kernel, "backward", ours_back, Some(burns_back), work[1]);
    }

    fn limit(&self, work: Work) -> (f64, f64, &'static str) {
        match work {
            Work::Bytes(n) => (n as f64, self.limits[0], "GB/s"),
            Work::Flops(n) => (n as f64, self.limits[1], "GFLOP/s"),
            Work::Bf16Flops(n) => (n as f64, self.limits[2], "GFLOP/s in bf16"),
        }
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let figure = |f: &Figure| {
            let (work, limit, unit) = self.limit(f.work);
            json!({
                "kernel": f.kernel,
                "pass": f.pass,
                "ms": f.seconds * 1e3,
                "burn_ms": f.portable.map(|s| s * 1e3),
                "rate": work / f.seconds / 1e9,
                "unit": unit,
                "of_limit": work / f.seconds / limit,
            })
        };
        json!({
            "threads": rayon::current_num_threads(),
            "quick": self.quick,
            "copy_gb_s": self.limits[0] / 1e9,
            "product_gflop_s": self.limits[1] / 1e9,
            "bf16_units": bf16_units(),
            "bf16_gflop_s": self.limits[2] / 1e9,
            "kernels": self.figures.iter().map(figure).collect::<Vec<_>>(),
        })
    }

    /// A table, for people.
    pub fn print(&self) {
        println!(
            "{} threads; copy {:.1} GB/s, product {:.1} GFLOP/s, in bf16 by {} {:.1}; times in ms",
            rayon::current_num_threads(),
            self.limits[0] / 1e9,
            self.limits[1] / 1e9,
            bf16_units().unwrap_or("no units"),
            self.limits[2] / 1e9
        );
        let columns = ["ours", "burn", "ratio", "rate", "of limit"];
        let [ours, burn, ratio, rate, of_limit] = columns;
        println!(
            "{:40} {ours:>8} {burn:>8} {ratio:>7} {rate:>16} {of_limit:>9}",
            ""
        );
        for f in &self.figures {
            let (work, limit, unit) = self.limit(f.work);
            let portable = f.portable.map_or("       –       –".into(), |p| {
                format!("{:8.3} {:6.1}×", p * 1e3, p / f.seconds)
            });
            println!(
                "{:40} {:8.3} {portable} {:8.1} {unit:7} {:8.0}%",
                format!("{} {}", f.kernel, f.pass),
                f.seconds * 1e3,
                work / f.seconds / 1e9,
                100.0 * work / f.seconds / limit
            );
        }
    }
}
