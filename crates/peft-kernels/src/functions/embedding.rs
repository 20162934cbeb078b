use burn::tensor::{Int, Tensor};

use crate::portable;
use crate::route::try_fast;

/// Rows of a table: `yᵢ = table[idsᵢ]`, `[rows, d]`, in the type of the table.
///
/// `table` is `[entries, d]`, `ids` is `[rows]`. The gradient of the table is `[entries, d]`; on flex
/// it is summed in the order of the rows.
///
/// # Panics
/// If an id lies outside of `0 .. entries` (on flex and other CPU backends).
pub fn embedding(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    try_fast!(
        table,
        gathered_rows(table.into_dispatch(), ids.into_dispatch())
    );
    portable::embedding(table, ids)
}

/// Rows to take from a table.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// `[entries, d]`.
    pub table: Tensor<2>,
    /// Which rows, `[rows]`, or `[1]` for the same row everywhere.
    pub ids: Tensor<1, Int>,
}

/// The learned vectors of a layer normalisation, and its constant.
#[derive(Clone, Debug)]
pub struct NormParameters {
    /// Factors, `[d]`.
    pub gamma: Tensor<1>,
    /// Summands, `[d]`.
    pub beta: Tensor<1>,
    /// Added to the variance.
    pub eps: f64,
}

/// Embeddings as the BERT family makes them: rows of up to three tables, summed and normalised,
///
/// ```text
/// yᵢ = layer_norm(word[wordᵢ] + position[positionᵢ] + segment[segmentᵢ])
/// ```
///
/// `[rows, d]` with as many rows as `word` has ids. Tables may be of half precision under an `f32`
/// norm. On flex the sum is never stored and frozen tables cost nothing in the backward pass; the
/// gradient of a trained table is `[entries, d]`, summed in the order of the rows.
///
/// # Panics
/// If shapes disagree, or an id lies outside of its table (on flex and other CPU backends).
pub fn embedding_layer_norm(
    word: Lookup,
    position: Option<Lookup>,
    segment: Option<Lookup>,
    norm: NormParameters,
) -> Tensor<2> {
    check(&word, &norm, [position.as_ref(), segment.as_ref()]);
    #[cfg(feature = "flex")]
    if reads_in_place(
        &norm.gamma,
        [Some(&word), position.as_ref(), segment.as_ref()],
    ) {
        use burn::backend::Dispatch;
        let absent = || Lookup {
            table: Tensor::empty([0, 0], (&norm.gamma.device(), norm.gamma.dtype())),
            ids: Tensor::empty([0], &norm.gamma.device()),
        };
        let [position, segment] = [position, segment].map(|x| x.unwrap_or_else(absent));
        return Tensor::from_dispatch(<Dispatch as crate::ops::KernelOps>::fused_embedding_norm(
            word.table.into_dispatch(),
            word.ids.into_dispatch(),
            position.table.into_dispatch(),
            position.ids.into_dispatch(),
            segment.table.into_dispatch(),
            segment.ids.into_dispatch(),
            norm.gamma.into_dispatch(),
            norm.beta.into_dispatch(),
            norm.eps,
        ));
    }
    portable::embedding_layer_norm(word, position, segment, norm)
}

/// Whether the fast body reads all tables as they are: in the type of the norm, or frozen and in half
/// precision.
#[cfg(feature = "flex")]
fn reads_in_place(gamma: &Tensor<1>, tables: [Option<&Lookup>; 3]) -> bool {
    use burn::tensor::DType;
    let reads = |table: &Tensor<2>| {
        let half = matches!(table.dtype(), DType::BF16 | DType::F16);
        table.dtype() == gamma.dtype() || (half && !table.is_require_grad())
    };
    crate::route::is_fast(gamma) && tables.iter().flatten().all(|x| reads(&x.table))
}

fn check(word: &Lookup, norm: &NormParameters, others: [Option<&Lookup>; 2]) {
    let ([_, d], [rows]) = (word.table.dims(), word.ids.dims());
    assert!(
        norm.gamma.dims() == [d] && norm.beta.dims() == [d],
        "embedding_layer_norm: gamma {:?} and beta {:?} must both be [{d}]",
        norm.gamma.dims(),
        norm.beta.dims()
    );
    for other in others.into_iter().flatten() {
        let ([_, width], [ids]) = (other.table.dims(), other.ids.dims());
        assert!(
            width == d && (ids == rows || ids == 1),
            "embedding_layer_norm: {ids} ids into a table of {width} columns do not fit {rows} rows \
             of {d}"
        );
    }
}
