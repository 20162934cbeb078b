use rayon::prelude::*;

use crate::{Real, SpectralError};

/// The factor that PEFT multiplies a C3A update by: one over the input width.
#[must_use]
pub fn peft_scale(in_features: usize) -> f64 {
    1.0 / in_features as f64
}

/// `W += ΔW` of block-circulant `kernels` `[out/block, in/block, block]`, in place; `weight` is
/// row-major `[out, in]`. The values are read, not transformed, so nothing is rounded but the sum.
///
/// # Errors
/// If `block` does not divide both widths.
///
/// # Panics
/// If `kernels` or `weight` has another number of values than the widths imply.
pub fn merge_into<T: Real>(
    kernels: &[T],
    out_features: usize,
    in_features: usize,
    block: usize,
    scale: f64,
    weight: &mut [T],
) -> Result<(), SpectralError> {
    check_block(out_features, in_features, block)?;
    assert_eq!(
        (kernels.len(), weight.len()),
        (
            out_features * in_features / block,
            out_features * in_features
        ),
        "kernels and weight must be those of a {out_features} x {in_features} weight"
    );
    weight
        .par_chunks_mut(in_features)
        .enumerate()
        .for_each(|(row, out)| {
            let (i, t) = (row / block, row % block);
            let kernels = &kernels[i * in_features..(i + 1) * in_features];
            for (out, kernel) in out.chunks_mut(block).zip(kernels.chunks(block)) {
                // Shifted right by t: the last t values come first.
                let shifted = kernel[block - t..].iter().chain(&kernel[..block - t]);
                for (out, &value) in out.iter_mut().zip(shifted) {
                    *out = T::of(out.wide() + scale * value.wide());
                }
            }
        });
    Ok(())
}

/// Refuses blocks that do not tile the weight.
pub(super) fn check_block(
    out_features: usize,
    in_features: usize,
    block: usize,
) -> Result<(), SpectralError> {
    let tiles = |side: usize| side > 0 && side.is_multiple_of(block);
    if tiles(out_features) && tiles(in_features) {
        Ok(())
    } else {
        Err(SpectralError::Block {
            block,
            out_features,
            in_features,
        })
    }
}
