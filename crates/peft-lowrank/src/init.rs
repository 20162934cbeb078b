//! Where the factors of a low-rank adapter start.

use burn::tensor::TensorData;
use peft_core::{
    AdapterError, InitContext, SiteKind, Target,
    kernels::{key_of, normal, uniform_within},
};
use peft_linalg::{Dense, Threads, leading_singular, orthonormalise, product};

use crate::config::{LoraInit, fault};

/// Most power iterations for singular vectors that are to be exact.
const MOST_ITERATIONS: usize = 512;
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
    if target.kind == SiteKind::Embedding {
        // As PEFT has it for tables: most rows of A are read by few tokens, and start as nothing.
        let outputs = target.out_features;
        let b = normal(key, rank * outputs);
        return Ok(Start {
            a: TensorData::zeros::<f32, _>([inputs, rank]),
            b: Some(TensorData::new(b, [rank, outputs])),
        });
    }
    let random = |values: Vec<f32>| Start {
        a: TensorData::new(values, [inputs, rank]),
        b: None,
    };
    match init {
        LoraInit::Kaiming => {
            let bound = 1.0 / (inputs as f32).sqrt();
            Ok(random(uniform_within(key, inputs * rank, bound)))
        }
        LoraInit::Gaussian => {
            let values = normal(key, inputs * rank);
            Ok(random(values.iter().map(|z| z / rank as f32).collect()))
        }
        LoraInit::Pissa { iterations } => {
            let weight = weight_of(target, context, rank)?;
            if scale <= 0.0 {
                let problem = format!("PiSSA splits singular values over a scale of {scale}");
                return Err(fault(problem, "use an alpha above 0"));
            }
            Ok(pissa(&weight, rank, scale, iterations, key))
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
fn pissa(weight: &Dense, rank: usize, scale: f64, iterations: Option<usize>, key: u64) -> Start {
    let find = |iterations: usize| leading_singular(weight, rank, iterations, key, Threads::All);
    let energy = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
    let mut found = find(iterations.unwrap_or(4));
    if iterations.is_none() {
        let mut iterations = 8;
        while iterations <= MOST_ITERATIONS {
            let before = energy(&found.values);
            found = find(iterations);
            if energy(&found.values) - before <= SETTLED * before {
                break;
            }
            iterations *= 2;
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
    orthonormalise(&mut q, key);
    let r = product(q.view(), weight.t(), Threads::All);
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

#[cfg(test)]
mod tests {
    use super::*;
    use peft_linalg::semi_orthogonal;

    const VALUES: [f64; 5] = [5.0, 3.0, 2.9, 1.0, 0.5];

    /// `[in, out]` of these singular values.
    fn weight(inputs: usize, outputs: usize) -> Dense {
        let left = semi_orthogonal(VALUES.len(), inputs, 1);
        let mut right = semi_orthogonal(VALUES.len(), outputs, 2);
        for (row, value) in right.values_mut().chunks_exact_mut(outputs).zip(VALUES) {
            row.iter_mut().for_each(|one| *one *= value);
        }
        product(left.t(), right.view(), Threads::One)
    }

    /// What is left of a weight without `scale · A B`.
    fn rest(weight: &Dense, start: Start, scale: f64) -> Dense {
        let dense = |data: TensorData| {
            let (rows, columns) = (data.shape()[0], data.shape()[1]);
            Dense::new(rows, columns, data.iter::<f64>().collect())
        };
        let (a, b) = (dense(start.a), dense(start.b.unwrap()));
        let mut rest = weight.clone();
        rest.add_scaled(-scale, &product(a.view(), b.view(), Threads::One));
        rest
    }

    fn energy(matrix: &Dense) -> f64 {
        matrix.values().iter().map(|value| value * value).sum()
    }

    #[test]
    fn pissa_takes_the_leading_singular_directions() {
        for (inputs, outputs) in [(12, 9), (9, 12), (30, 30)] {
            let weight = weight(inputs, outputs);
            for rank in 1..=4 {
                let wanted: f64 = VALUES[rank..].iter().map(|value| value * value).sum();
                for iterations in [None, Some(8)] {
                    let start = pissa(&weight, rank, 1.5, iterations, 7);
                    let left = energy(&rest(&weight, start, 1.5));
                    assert!(
                        (left - wanted).abs() < 1e-9,
                        "{rank}, {iterations:?}: {left}"
                    );
                }
            }
        }
    }

    #[test]
    fn olora_takes_all_that_the_first_inputs_lead_to() {
        for (inputs, outputs) in [(12, 9), (9, 12)] {
            let weight = weight(inputs, outputs);
            let rank = 3;
            let rest = rest(&weight, olora(&weight, rank, 7), 1.0);
            let first = energy(&rest.first_rows(rank));
            assert!(first < 1e-20, "{first}");
            // Nothing is added: it is a projection.
            assert!(energy(&rest) < energy(&weight));
        }
    }
}
