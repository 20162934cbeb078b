//! SparseGrad's own steps.

use peft_core::AdapterStep;

use super::{SparseGradMask, SparseGradMethod};
use crate::{
    adam::{AdamStep, AgedAdam, Clock, floats, ints, remember_ints},
    method::common::share_of,
    support::largest,
};

impl SparseGradMethod {
    /// Take a step on the entries that are trained now.
    pub(super) fn step(&self, adapter: &mut AdapterStep, by: &AdamStep, step: u64) {
        let field = adapter.field("core");
        let Some(gradient) = field.gradient() else {
            return;
        };
        let like = field.value().float();
        let mut values: Vec<f64> = like.clone().into_data().iter::<f64>().collect();
        let gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
        let (inner, out) = (
            adapter.field("input_basis").shape()[0],
            adapter.field("output_basis").shape()[1],
        );
        let entries = share_of([out, inner], self.config.density).min(values.len());
        let by = match self.config.legacy {
            true => AdamStep {
                clock: Clock::Run(step),
                ..*by
            },
            false => *by,
        };
        let memory = AgedAdam::recall(&adapter.memory);
        let adam = match self.config.mask {
            SparseGradMask::TopkRefresh => {
                let known = ints(&adapter.memory, "chosen").zip(memory);
                let due = (step - 1).is_multiple_of(self.config.refresh as u64);
                let (chosen, mut adam) = match known {
                    Some(known) if !due => known,
                    known => {
                        let (chosen, adam) = chosen_anew(known, &gradient, entries);
                        remember_ints(&mut adapter.memory, "chosen", &chosen, &like);
                        (chosen, adam)
                    }
                };
                let at = chosen.iter().map(|&place| place as usize);
                adam.step(&mut values, &gradient, at, 0..chosen.len(), &by);
                adam
            }
            mask => {
                let chosen = match mask {
                    SparseGradMask::TopkEachStep if self.config.legacy => {
                        signed_largest(&gradient, entries)
                    }
                    SparseGradMask::TopkEachStep => largest(&gradient, entries),
                    _ => (0..values.len()).collect(),
                };
                let mut adam = memory.unwrap_or_else(|| AgedAdam::new(values.len()));
                adam.step(&mut values, &gradient, chosen.clone(), chosen, &by);
                adam
            }
        };
        adam.remember(&mut adapter.memory, &like, by.clock);
        adapter.field_mut("core").set(floats(&values, &like));
    }
}

/// The entries of largest gradient, with what is remembered of those that were trained before.
fn chosen_anew(
    known: Option<(Vec<i64>, AgedAdam)>,
    gradient: &[f64],
    entries: usize,
) -> (Vec<i64>, AgedAdam) {
    let chosen: Vec<i64> = largest(gradient, entries)
        .into_iter()
        .map(|place| place as i64)
        .collect();
    let adam = match known {
        None => AgedAdam::new(chosen.len()),
        Some((old, adam)) => {
            let find = |place| old.binary_search(place).ok();
            adam.gathered(&chosen.iter().map(find).collect::<Vec<_>>())
        }
    };
    (chosen, adam)
}

/// The entries whose magnitude is at least the `count`-th largest *signed* value: what a top-k that
/// forgets the absolute value takes, about twice as many.
fn signed_largest(values: &[f64], count: usize) -> Vec<usize> {
    let mut order = values.to_vec();
    let count = count.clamp(1, order.len());
    let bound = *order
        .select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a))
        .1;
    let all = values.iter().enumerate();
    all.filter(|(_, value)| value.abs() >= bound)
        .map(|(place, _)| place)
        .collect()
}
