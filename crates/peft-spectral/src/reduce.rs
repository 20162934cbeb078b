use rayon::prelude::*;

/// Activation rows that one partial sum over rows covers: a function of their number alone, so that
/// the order of additions, and with it every bit, does not depend on the number of threads. At most
/// 32 partial sums are alive.
pub(crate) fn part_rows(rows: usize) -> usize {
    rows.div_ceil(32).max(64)
}

/// Adds what `part` sums up of every block into `total`, in the blocks' order. Blocks that one thread
/// does in a row share the buffers that `work` makes.
pub(crate) fn add_blocks<B: Send, W>(
    total: &mut [f64],
    blocks: impl IndexedParallelIterator<Item = B>,
    work: impl Fn() -> W + Sync + Send,
    part: impl Fn(&mut W, B, &mut [f64]) + Sync + Send,
) {
    let count = total.len();
    let parts: Vec<Vec<f64>> = blocks
        .map_init(work, |work, block| {
            let mut sum = vec![0.0; count];
            part(work, block, &mut sum);
            sum
        })
        .collect();
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
}

/// A matrix of `rows` rows of `width` in blocks of `part` rows; as many times nothing, if there is
/// none.
pub(crate) fn blocks_of<T: Send>(
    matrix: Option<&mut [T]>,
    rows: usize,
    part: usize,
    width: usize,
) -> impl IndexedParallelIterator<Item = Option<&mut [T]>> {
    let mut blocks: Vec<Option<&mut [T]>> = match matrix {
        Some(matrix) => matrix.chunks_mut(part * width).map(Some).collect(),
        None => Vec::new(),
    };
    blocks.resize_with(rows.div_ceil(part), || None);
    blocks.into_par_iter()
}
