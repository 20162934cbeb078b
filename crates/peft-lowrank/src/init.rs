//! Where the factors of a low-rank adapter start.

use burn::tensor::TensorData;
use peft_core::{
    AdapterError, InitContext, Target,
    kernels::{key_of, normal, uniform},
};

use crate::{
    config::{LoraInit, fault},
    dense::{Dense, Threads, leading, orthonormalize, product},
};

/// Most turns of the range finder for singular vectors that are to be exact.
const MOST_TURNS: usize = 512;
/// What the leading singular values hold no longer grows by more than this share when they are exact.
const SETTLED: f64 = 1e-13;

/// The first `A` `[in, r]` and `B` `[r, out]`; `None` for zeros.
pub struct Start {
    pub a: TensorData,
    pub b: Option<TensorData>,
}

/// The first factors of a target, of a rank and a scale.
///
/// # Errors
/// If the weight has fewer dimensions than the rank, where they are made of it.
pub fn start(
    init: LoraInit,
    target: &Target,
    context: &InitContext,
    (rank, scale): (usize, f64),
) -> Result<Start, AdapterError> {
    let inputs = target.in_features;
    let key = key_of(context.seed, &target.path, 0);
    let random = |values: Vec<f32>| Start {
        a: TensorData::new(values, [inputs, rank]),
        b: None,
    };
    match init {
        LoraInit::Kaiming => {
            let bound = 1.0 / (inputs as f32).sqrt();
            let values = uniform(key, inputs * rank);
            let values = values.iter().map(|u| (2.0 * u - 1.0) * bound);
            Ok(random(values.collect()))
        }
        LoraInit::Gaussian => {
            let values = normal(key, inputs * rank);
            Ok(random(values.iter().map(|z| z / rank as f32).collect()))
        }
        LoraInit::Pissa { turns } => {
            let weight = weight_of(target, context, rank)?;
            if scale <= 0.0 {
                let problem = format!("PiSSA splits singular values over a scale of {scale}");
                return Err(fault(problem, "use an alpha above 0"));
            }
            Ok(pissa(&weight, rank, scale, turns, key))
        }
        LoraInit::Olora => Ok(olora(&weight_of(target, context, rank)?, rank, key)),
    }
}

/// The weight `[in, out]` on the host, if it has as many dimensions as the rank.
fn weight_of(target: &Target, start: &InitContext, rank: usize) -> Result<Dense, AdapterError> {
    let (inputs, outputs) = (target.in_features, target.out_features);
    if rank > inputs.min(outputs) {
        return Err(fault(
            format!(
                "`{}` is a weight of {outputs} × {inputs}, of which no {rank} directions can be taken",
                target.path
            ),
            "use a smaller rank, or rank_pattern for this module",
        ));
    }
    let values = start.weight.clone().into_data().iter::<f64>().collect();
    Ok(Dense::new(inputs, outputs, values))
}

/// Of `W = U diag(σ) Vᵀ` the leading part: `A = U diag(√(σ / s))`, `B = diag(√(σ / s)) Vᵀ`.
fn pissa(weight: &Dense, rank: usize, scale: f64, turns: Option<usize>, key: u64) -> Start {
    let find = |turns: usize| leading(weight, rank, turns, key, Threads::All);
    let energy = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let mut found = find(turns.unwrap_or(4));
    if turns.is_none() {
        let mut turns = 8;
        while turns <= MOST_TURNS {
            let before = energy(&found.values);
            found = find(turns);
            if energy(&found.values) - before <= SETTLED * before {
                break;
            }
            turns *= 2;
        }
    }
    let roots: Vec<f64> = (found.values.iter())
        .map(|value| (value / scale).sqrt())
        .collect();
    let stretched = |mut rows: Dense| {
        let width = rows.columns().max(1);
        for (row, root) in rows.values_mut().chunks_exact_mut(width).zip(&roots) {
            row.iter_mut().for_each(|value| *value *= root);
        }
        rows
    };
    factors(&stretched(found.left), stretched(found.right))
}

/// Of `Wᵀ = Q R` the leading part, `A = Rᵀ` and `B = Qᵀ`: the directions that the first inputs lead to.
fn olora(weight: &Dense, rank: usize, key: u64) -> Start {
    let mut q = weight.first_rows(rank);
    orthonormalize(&mut q, key);
    let r = product(q.factor(), weight.turned(), Threads::All);
    factors(&r, q)
}

/// From rows `Aᵀ` `[r, in]` and `B` `[r, out]`.
fn factors(a: &Dense, b: Dense) -> Start {
    let (rank, inputs, outputs) = (a.rows(), a.columns(), b.columns());
    Start {
        a: TensorData::new(a.transposed().into_values(), [inputs, rank]),
        b: Some(TensorData::new(b.into_values(), [rank, outputs])),
    }
}
