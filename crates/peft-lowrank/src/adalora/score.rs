//! Which triplets matter.

use std::collections::BTreeMap;

use burn::{
    Tensor,
    tensor::{Int, TensorData},
};
use peft_core::{AdapterStep, AfterStep, Values};

use super::{
    budget::{Act, Budget},
    config::AdaLoraConfig,
};

/// Fields that are observed.
const FIELDS: [&str; 3] = ["a", "b", "e"];

fn sensitivity(field: &str) -> String {
    format!("{field}_sensitivity")
}

fn uncertainty(field: &str) -> String {
    format!("{field}_uncertainty")
}

/// Do after a step what the schedule asks for.
pub(super) fn after_step(config: &AdaLoraConfig, budget: &Budget, now: &mut AfterStep) {
    let modules = now.adapters.len();
    let (first, last) = (config.init_r * modules, config.target_r * modules);
    let act = overdue(budget.act(now.step, first, last), last, now);
    if matches!(act, Act::Observe | Act::Share(_)) {
        for adapter in now.adapters.values_mut() {
            observe(config, adapter);
        }
    }
    match act {
        Act::Observe => {}
        Act::Share(budget) => share(&mut now.adapters, first - budget),
        Act::Settle(budget) => {
            let unseen = |adapter: &&mut AdapterStep| adapter.memory.is_empty();
            for adapter in now.adapters.values_mut().filter(unseen) {
                observe(config, adapter);
            }
            share(&mut now.adapters, first - budget);
            for adapter in now.adapters.values_mut() {
                adapter.memory.clear();
            }
        }
        Act::Hold => {
            for adapter in now.adapters.values_mut() {
                prune(adapter);
            }
        }
    }
}

/// What is to be done of adapters that other ones were trained without: where the step at which ranks are
/// settled went by without them, that is still to be done.
fn overdue(act: Act, last: usize, now: &AfterStep) -> Act {
    let settled = now
        .adapters
        .values()
        .all(|adapter| adapter.memory.is_empty());
    match act {
        Act::Hold if !settled => Act::Settle(last),
        act => act,
    }
}

/// Sensitivity `I = |w g|`, its running mean `Ī ← β₁ Ī + (1 − β₁) I`, and the running mean of its
/// deviation, `Ū ← β₂ Ū + (1 − β₂) |I − Ī|`, of every value.
fn observe(config: &AdaLoraConfig, adapter: &mut AdapterStep) {
    for field in FIELDS {
        let step = adapter.field(field);
        let Some(gradient) = step.gradient() else {
            continue;
        };
        let now = (step.value().float() * gradient).abs();
        let mut average = |name: String, beta: f64, new: Tensor<1>| {
            let new = new.mul_scalar(1.0 - beta);
            let mean = match adapter.memory.get(&name) {
                Some(before) => before.float().mul_scalar(beta) + new,
                None => new,
            };
            adapter.memory.insert(name, Values::Float(mean.clone()));
            mean
        };
        let mean = average(sensitivity(field), config.beta1, now.clone());
        let deviation = (now - mean).abs();
        average(uncertainty(field), config.beta2, deviation);
    }
}

/// The score of every triplet: `Ī Ū` of its singular value, and the means of `Ī Ū` over its directions.
fn scores(adapter: &AdapterStep) -> Vec<f64> {
    let count = adapter.field("e").value().len();
    let of = |field: &str| -> Option<Tensor<2>> {
        let (mean, deviation) = (
            adapter.memory.get(&sensitivity(field))?.float(),
            adapter.memory.get(&uncertainty(field))?.float(),
        );
        let score = mean * deviation;
        let rest = score.dims()[0] / count.max(1);
        // Triplets are the columns of `a`, and the rows of `b`.
        Some(match field {
            "a" => score.reshape([rest, count]).mean_dim(0),
            _ => score.reshape([count, rest]).mean_dim(1).transpose(),
        })
    };
    let parts: Vec<Tensor<2>> = ["e", "a", "b"].into_iter().filter_map(of).collect();
    match parts.into_iter().reduce(|sum, part| sum + part) {
        Some(sum) => sum.into_data().iter::<f64>().collect(),
        None => vec![0.0; count],
    }
}

/// Prune the `surplus` triplets of the lowest scores over all adapters, and those that score as low as
/// the last of them.
fn share(adapters: &mut BTreeMap<String, AdapterStep>, surplus: usize) {
    let scores: Vec<Vec<f64>> = adapters.values().map(scores).collect();
    let mut order: Vec<f64> = scores.concat();
    order.sort_unstable_by(f64::total_cmp);
    let threshold = match surplus {
        0 => f64::NEG_INFINITY,
        surplus => order[surplus - 1],
    };
    for (adapter, scores) in adapters.values_mut().zip(scores) {
        let kept: Vec<i64> = scores
            .iter()
            .map(|score| i64::from(*score > threshold))
            .collect();
        let device = adapter.field("e").value().float().device();
        let kept = TensorData::new(kept, [scores.len()]);
        let kept = Tensor::<1, Int>::from_data(kept, &device);
        adapter.field_mut("kept").set(Values::Int(kept));
        prune(adapter);
    }
}

/// Zero for the singular values of pruned triplets.
fn prune(adapter: &mut AdapterStep) {
    let kept = adapter.field("kept").value().int();
    let field = adapter.field_mut("e");
    let values = field.value().float().mask_fill(kept.equal_elem(0), 0.0);
    field.set(Values::Float(values));
}
