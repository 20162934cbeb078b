use rayon::prelude::*;

/// Activation rows that one partial sum of the coefficients' gradient covers. Fixed, so that the
/// order of additions, and with it every bit, does not depend on the number of threads.
pub(crate) const ROWS: usize = 64;

/// Adds `part(first row .. )` of all blocks of [`ROWS`] rows into `total`, in the blocks' order.
pub(crate) fn add_blocks<B: Send>(
    total: &mut [f64],
    blocks: impl IndexedParallelIterator<Item = B>,
    part: impl Fn(B, &mut [f64]) + Sync + Send,
) {
    let count = total.len();
    let parts: Vec<Vec<f64>> = blocks
        .map(|block| {
            let mut sum = vec![0.0; count];
            part(block, &mut sum);
            sum
        })
        .collect();
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
}
