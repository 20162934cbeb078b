use peft_kernels::{Dropout, mix_key};

use super::{AdapterChoice, RowGroups};

/// What a forward pass tells every adapter it meets.
///
/// Randomness is a pure function of the run's seed, the optimiser step and the place that asks, so
/// that neither the order of calls nor the number of threads can change it.
#[derive(Debug, Clone, Default)]
pub struct AdapterContext {
    train: Option<u64>,
    /// Passes before this one through the layers that compute.
    passes: u64,
    chosen: Chosen,
}

/// Which adapters of a set are to compute.
#[derive(Debug, Clone, Default)]
pub(crate) enum Chosen {
    /// Those that are active in the set.
    #[default]
    Active,
    /// These, for all rows.
    All(AdapterChoice),
    /// Each row's own.
    Rows(RowGroups),
}

impl AdapterContext {
    /// Inference: no dropout anywhere.
    pub fn inference() -> Self {
        Self::default()
    }

    /// Training at step `step` of the run seeded with `seed`.
    pub fn training(seed: u64, step: u64) -> Self {
        Self {
            train: Some(mix_key(seed, &[step])),
            ..Self::default()
        }
    }

    /// The same step on part `part` of its batch, counted from 0: every part has its own dropout.
    pub fn in_part(&self, part: u64) -> Self {
        let own = |key| mix_key(key, &[part]);
        Self {
            train: self.train.map(|key| if part == 0 { key } else { own(key) }),
            ..self.clone()
        }
    }

    /// The same in layers that `passes` passes went through before, where blocks share their layers: adapters
    /// have another dropout in every pass.
    pub fn after_passes(&self, passes: u64) -> Self {
        Self {
            passes,
            ..self.clone()
        }
    }

    /// The same pass with other adapters of a set than the active ones.
    pub fn with_choice(&self, choice: AdapterChoice) -> Self {
        Self {
            chosen: Chosen::All(choice),
            ..*self
        }
    }

    /// The same pass with adapters of a set chosen row by row. The groups are those of the rows of the
    /// activations, tokens or whole sequences; see [`AdapterRoster::rows`](crate::AdapterRoster::rows).
    pub fn with_rows(&self, rows: RowGroups) -> Self {
        Self {
            chosen: Chosen::Rows(rows),
            ..*self
        }
    }

    pub(crate) fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// The contexts of what rows choose, each choice once, and which of them each entry makes: a sequence, of a context of
    /// sequences. One for all `entries` where rows do not choose by themselves.
    pub fn by_choice(&self, entries: usize) -> (Vec<Self>, Vec<usize>) {
        match &self.chosen {
            Chosen::Rows(rows) => {
                let choices = rows.choices().cloned();
                let contexts = choices.map(|choice| self.with_choice(choice));
                (contexts.collect(), rows.groups_of().to_vec())
            }
            _ => (vec![self.clone()], vec![0; entries]),
        }
    }

    /// Whether rows choose adapters by themselves.
    pub const fn is_by_rows(&self) -> bool {
        matches!(self.chosen, Chosen::Rows(_))
    }

    /// Whether this is a training pass.
    pub const fn is_training(&self) -> bool {
        self.train.is_some()
    }

    /// The dropout of the place named `place` (a hash of its path), or `None` where nothing is
    /// dropped.
    pub fn dropout(&self, probability: f64, place: u64) -> Option<Dropout> {
        let mut dropout = self.dropout_of_depth(probability, place)?;
        if self.passes > 0 {
            dropout.key = mix_key(dropout.key, &[self.passes]);
        }
        Some(dropout)
    }

    /// As [`dropout`](Self::dropout), of a place whose name tells the passes through shared layers apart by
    /// itself, as the depth of a block does.
    pub fn dropout_of_depth(&self, probability: f64, place: u64) -> Option<Dropout> {
        match self.train {
            Some(key) if probability > 0.0 => Some(Dropout {
                probability,
                key: mix_key(key, &[place]),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_parts_and_no_two_passes_drop_the_same() {
        let mut keys = BTreeSet::new();
        let mut count = 0;
        for step in 0..12 {
            // The last step of an epoch may have fewer parts than the others.
            for part in 0..if step % 3 == 2 { 1 } else { 4 } {
                for passes in 0..3 {
                    let context = AdapterContext::training(7, step).in_part(part);
                    let context = context.after_passes(passes);
                    for place in [3, 4] {
                        keys.insert(context.dropout(0.5, place).unwrap().key);
                        count += 1;
                    }
                }
            }
        }
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn the_model_tells_passes_apart_by_itself() {
        let first = AdapterContext::training(7, 1);
        let key = |context: &AdapterContext| context.dropout_of_depth(0.5, 3).unwrap().key;
        assert_eq!(key(&first.after_passes(2)), key(&first));
        assert!(
            AdapterContext::inference()
                .in_part(1)
                .dropout(0.5, 3)
                .is_none()
        );
    }
}
