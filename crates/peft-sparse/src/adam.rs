//! Adam for values that are not trained in every step.

use burn::{
    Tensor,
    tensor::{DType, Int, TensorData},
};
use peft_core::{AdamWConfig, AfterStep, Fields, Values};

/// What says how many steps a value's moments have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The value's own number of steps: its first step is as long as that of a value trained from the
    /// beginning.
    Age,
    /// The run's, whatever the value has seen, as `torch.optim.SparseAdam`: a value that is first
    /// chosen late makes a first step of about three times the learning rate.
    Run(u64),
}

/// How a step is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// `η`.
    pub learning_rate: f64,
    /// `β₁`, `β₂`, `ε` and the weight decay `λ`.
    pub config: AdamWConfig,
    /// Where `t` comes from.
    pub clock: Clock,
}

impl AdamStep {
    /// A step by the rate and the settings of the run's optimiser, for values that each have their own age.
    pub(crate) fn of(now: &AfterStep) -> Self {
        Self {
            learning_rate: now.learning_rate,
            config: now.optimizer,
            clock: Clock::Age,
        }
    }
}

/// AdamW's memory of some values (1711.05101), one age each:
///
/// ```text
/// t ← t + 1      m ← β₁ m + (1 − β₁) g      v ← β₂ v + (1 − β₂) g²
/// w ← w − η λ w − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
/// ```
///
/// A step touches the values it is given and no other: these neither move nor decay meanwhile, nor do
/// their moments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgedAdam {
    /// Means of the gradients, `m`.
    pub mean: Vec<f64>,
    /// Means of their squares, `v`.
    pub square: Vec<f64>,
    /// Steps that each value has made, `t`.
    pub age: Vec<i64>,
}

impl AgedAdam {
    /// No memory, of `count` values.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            mean: vec![0.0; count],
            square: vec![0.0; count],
            age: vec![0; count],
        }
    }

    /// Move `values[i]` by its gradient, for the places `i` in `at`; `slots` gives where the memory of
    /// each is, in the same order.
    ///
    /// # Panics
    /// If a place or a slot lies outside.
    pub fn step(
        &mut self,
        values: &mut [f64],
        gradient: &[f64],
        at: impl IntoIterator<Item = usize>,
        slots: impl IntoIterator<Item = usize>,
        step: &AdamStep,
    ) {
        let &AdamStep {
            learning_rate,
            config,
            clock,
        } = step;
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = config;
        // Neighbours are mostly of one age, and powers are dear.
        let mut known = (0, 1.0, 1.0);
        for (place, slot) in at.into_iter().zip(slots) {
            let g = gradient[place];
            let (m, v) = (&mut self.mean[slot], &mut self.square[slot]);
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            self.age[slot] += 1;
            let t = match clock {
                Clock::Age => self.age[slot],
                Clock::Run(step) => step as i64,
            };
            let t = t.min(i64::from(i32::MAX)) as i32;
            if known.0 != t {
                known = (t, 1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
            }
            let (mean, root) = (*m / known.1, (*v / known.2).sqrt());
            values[place] -= learning_rate * (weight_decay * values[place] + mean / (root + eps));
        }
    }

    /// The memory of other values: that of slot `from[i]` belongs to value `i`, and none where there is
    /// no source.
    #[must_use]
    pub fn gathered(&self, from: &[Option<usize>]) -> Self {
        let mut new = Self::new(from.len());
        for (to, from) in from.iter().enumerate() {
            if let &Some(from) = from {
                new.mean[to] = self.mean[from];
                new.square[to] = self.square[from];
                new.age[to] = self.age[from];
            }
        }
        new
    }

    /// Out of a method's memory of an adapter; `None` before the first step. Ages that were not worth
    /// remembering are 0.
    pub(crate) fn recall(memory: &Fields<Values>) -> Option<Self> {
        let floats = |name: &str| -> Option<Vec<f64>> {
            Some(
                memory
                    .get(name)?
                    .float()
                    .into_data()
                    .iter::<f64>()
                    .collect(),
            )
        };
        let (mean, square) = (floats("mean")?, floats("square")?);
        let age = ints(memory, "age").unwrap_or_else(|| vec![0; mean.len()]);
        Some(Self { mean, square, age })
    }

    /// Into a method's memory, in the type and on the device of the values; ages only where `clock` looks
    /// at them.
    pub(crate) fn remember(&self, memory: &mut Fields<Values>, like: &Tensor<1>, clock: Clock) {
        memory.insert("mean".into(), floats(&self.mean, like));
        memory.insert("square".into(), floats(&self.square, like));
        if clock == Clock::Age {
            remember_ints(memory, "age", &self.age, like);
        }
    }
}

/// Integers out of a method's memory.
pub(crate) fn ints(memory: &Fields<Values>, name: &str) -> Option<Vec<i64>> {
    Some(memory.get(name)?.int().into_data().iter::<i64>().collect())
}

/// Integers into a method's memory, in 32 bits: ages and places fit.
pub(crate) fn remember_ints(
    memory: &mut Fields<Values>,
    name: &str,
    numbers: &[i64],
    like: &Tensor<1>,
) {
    let data = TensorData::new(numbers.to_vec(), [numbers.len()]).convert_dtype(DType::I32);
    let values = Tensor::<1, Int>::from_data(data, (&like.device(), DType::I32));
    memory.insert(name.to_owned(), Values::Int(values));
}

/// Integers where other values are.
pub(crate) fn whole(numbers: &[i64], like: &Tensor<1>) -> Values {
    let data = TensorData::new(numbers.to_vec(), [numbers.len()]);
    Values::Int(Tensor::<1, Int>::from_data(data, &like.device()))
}

/// Floating-point values like others.
pub(crate) fn floats(values: &[f64], like: &Tensor<1>) -> Values {
    let data = TensorData::new(values.to_vec(), [values.len()]).convert_dtype(like.dtype());
    Values::Float(Tensor::from_data(data, (&like.device(), like.dtype())))
}

#[cfg(test)]
mod tests {
    use peft_core::kernels::{normal, uniform};

    use super::*;

    fn by(learning_rate: f64, clock: Clock) -> AdamStep {
        AdamStep {
            learning_rate,
            config: AdamWConfig::default(),
            clock,
        }
    }

    /// PyTorch's AdamW, for one value and the gradients of its own steps.
    fn dense(start: f64, gradients: &[f64], rate: f64, config: AdamWConfig) -> f64 {
        let (b1, b2) = (config.beta1, config.beta2);
        let (mut w, mut m, mut v) = (start, 0.0, 0.0);
        for (t, g) in (1..).zip(gradients) {
            w *= 1.0 - rate * config.weight_decay;
            m = b1 * m + (1.0 - b1) * g;
            v = b2 * v + (1.0 - b2) * g * g;
            let (c1, c2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
            w -= rate / c1 * m / (f64::sqrt(v) / f64::sqrt(c2) + config.eps);
        }
        w
    }

    #[test]
    fn a_value_moves_as_if_trained_densely_in_its_own_steps() {
        let other = AdamWConfig {
            beta1: 0.7,
            beta2: 0.95,
            eps: 1e-3,
            weight_decay: 0.2,
        };
        for config in [AdamWConfig::default(), other] {
            let (count, steps) = (7, 60);
            let mut adam = AgedAdam::new(count);
            let mut values: Vec<f64> = (0..count).map(|i| i as f64).collect();
            let mut own = vec![Vec::new(); count];
            let by = AdamStep {
                config,
                ..by(0.01, Clock::Age)
            };
            for step in 0..steps {
                let gradient: Vec<f64> = normal(step, count).into_iter().map(f64::from).collect();
                let chosen: Vec<usize> = (0..count)
                    .filter(|&i| uniform(1000 + step, count)[i] < 0.4 || i == 0)
                    .collect();
                for &i in &chosen {
                    own[i].push(gradient[i]);
                }
                let slots = chosen.clone();
                adam.step(&mut values, &gradient, chosen, slots, &by);
            }
            for i in 0..count {
                let wanted = dense(i as f64, &own[i], 0.01, config);
                assert!(
                    (values[i] - wanted).abs() < 1e-12,
                    "{i}: {} {wanted}",
                    values[i]
                );
                assert_eq!(adam.age[i], own[i].len() as i64);
            }
            // The first is chosen in every step: there the two clocks are one.
            assert_eq!(own[0].len(), steps as usize);
        }
    }

    #[test]
    fn the_runs_clock_makes_late_first_steps_too_long() {
        let first = |clock| {
            let mut values = [0.0];
            AgedAdam::new(1).step(&mut values, &[0.5], [0], [0], &by(1.0, clock));
            -values[0]
        };
        assert!((first(Clock::Age) - 1.0).abs() < 1e-6);
        assert!((first(Clock::Run(1)) - 1.0).abs() < 1e-6);
        let late = first(Clock::Run(5000));
        assert!((late - 10f64.sqrt()).abs() < 0.03, "{late}");
    }

    #[test]
    fn memory_moves_with_its_values() {
        let mut adam = AgedAdam::new(3);
        let mut values = [0.0; 3];
        adam.step(
            &mut values,
            &[1.0, 2.0, 3.0],
            [0, 2],
            [0, 2],
            &by(0.1, Clock::Age),
        );
        let moved = adam.gathered(&[Some(2), None, Some(0), Some(1)]);
        assert_eq!(moved.age, [1, 0, 1, 0]);
        assert_eq!(moved.mean, [adam.mean[2], 0.0, adam.mean[0], 0.0]);
        assert_eq!(moved.square[0], adam.square[2]);
    }
}
