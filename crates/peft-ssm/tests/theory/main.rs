//! What the theory of fine-tuning state-space models says ([2410.09016](https://arxiv.org/abs/2410.09016)), as numbers.

mod deep;
mod layers;
mod linear;
mod modes;
mod prefixes;
mod projections;

/// A state space of one channel with real modes: `h_t = a ∘ h_{t−1} + b x_t`, `y_t = ⟨c, h_t⟩`.
#[derive(Clone, Debug)]
struct Space {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

impl Space {
    fn run(&self, initial: &[f64], x: &[f64]) -> Vec<f64> {
        let mut h = initial.to_vec();
        let states = 0..h.len();
        x.iter()
            .map(|x| {
                for n in states.clone() {
                    h[n] = self.a[n] * h[n] + self.b[n] * x;
                }
                states.clone().map(|n| self.c[n] * h[n]).sum()
            })
            .collect()
    }

    fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.a.len()]
    }
}

/// Numbers between −1 and 1, another sequence for every key.
fn numbers(key: u64, count: usize) -> Vec<f64> {
    let values = peft_core::kernels::uniform(peft_core::kernels::key_of(key, "theory", 0), count);
    values
        .into_iter()
        .map(|u| 2.0 * f64::from(u) - 1.0)
        .collect()
}

fn farthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f64::max)
}
