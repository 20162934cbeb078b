use peft_kernels::{Dropout, mix_key};

/// What a forward pass tells every adapter it meets.
///
/// Randomness is a pure function of the run's seed, the optimiser step and the place that asks, so
/// that neither the order of calls nor the number of threads can change it.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdapterContext {
    train: Option<u64>,
}

impl AdapterContext {
    /// Inference: no dropout anywhere.
    pub const fn inference() -> Self {
        Self { train: None }
    }

    /// Training at micro-step `step` of the run seeded with `seed`.
    pub fn training(seed: u64, step: u64) -> Self {
        Self {
            train: Some(mix_key(seed, &[step])),
        }
    }

    /// Whether this is a training pass.
    pub const fn is_training(&self) -> bool {
        self.train.is_some()
    }

    /// The dropout of the place named `place` (a hash of its path), or `None` where nothing is
    /// dropped.
    pub fn dropout(&self, probability: f64, place: u64) -> Option<Dropout> {
        match self.train {
            Some(key) if probability > 0.0 => Some(Dropout {
                probability,
                key: mix_key(key, &[place]),
            }),
            _ => None,
        }
    }
}
