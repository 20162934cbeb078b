use burn::tensor::{IndexingUpdateOp, Tensor, TensorData};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

/// Some places of a matrix, by a stream of random numbers: about `share` of all, at least one.
fn places(key: u64, out: usize, inner: usize, share: f32) -> Vec<[u32; 2]> {
    let chosen = uniform(key, out * inner);
    let all = (0..out as u32).flat_map(|o| (0..inner as u32).map(move |i| [o, i]));
    let mut places: Vec<[u32; 2]> = all
        .zip(chosen)
        .filter(|(_, u)| *u < share)
        .map(|(place, _)| place)
        .collect();
    if places.is_empty() {
        places.push([out as u32 - 1, inner as u32 / 2]);
    }
    places
}

/// The same by a dense matrix of Burn's.
fn dense(places: &[[u32; 2]], values: Tensor<1>, shape: [usize; 2]) -> Tensor<2> {
    let [inner, out] = shape;
    let flat: Vec<i64> = places
        .iter()
        .map(|&[o, i]| i64::from(i) * out as i64 + i64::from(o))
        .collect();
    let flat = Tensor::from_data(TensorData::new(flat, [places.len()]), &values.device());
    Tensor::<1>::zeros([inner * out], (&values.device(), values.dtype()))
        .scatter(0, flat, values, IndexingUpdateOp::Add)
        .reshape([inner, out])
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn sparse_changes_are_those_of_the_dense_matrix(
        rows in 1..300usize, inner in 1..40usize, out in 1..40usize,
        share in prop_oneof![Just(0.0f32), Just(0.05), Just(0.4), Just(1.1)], key in 0..1000u64,
    ) {
        let places = places(key, out, inner, share);
        let inputs = [
            numbers(key + 1, rows * inner),
            numbers(key + 2, inner * out),
            numbers(key + 3, out),
            numbers(key + 4, places.len()),
        ];
        let update = RowUpdate::new(SparseUpdate::new(out, inner, places.iter().copied()));
        let fast: Op<'_> = &|t| {
            let [x, w, b, a] = t.try_into().expect("four");
            let (x, w): (Tensor<1>, Tensor<1>) = (x, w);
            let x = x.reshape([rows, inner]);
            let y = linear_updated(&x, w.reshape([inner, out]), Some(b), a, &update);
            y.expect("flex has a body").flatten(0, 1)
        };
        let portable: Op<'_> = &|t| {
            let [x, w, b, a] = t.try_into().expect("four");
            let (x, w): (Tensor<1>, Tensor<1>) = (x, w);
            let w = w.reshape([inner, out]) + dense(&places, a, [inner, out]);
            portable::linear(x.reshape([rows, inner]), w, Some(b)).flatten(0, 1)
        };
        agree("sparse", fast, portable, &inputs);
    }
}

#[test]
fn threads_do_not_show() {
    let (rows, inner, out) = (700, 90, 130);
    for share in [0.02, 0.3] {
        let places = places(5, out, inner, share);
        let update = RowUpdate::new(SparseUpdate::new(out, inner, places.iter().copied()));
        let inputs = [numbers(1, rows * inner), numbers(4, places.len())];
        let op = |mut t: Vec<Tensor<1>>| {
            let (a, x) = (t.remove(1), t.remove(0).reshape([rows, inner]));
            let w = Tensor::zeros([inner, out], (&x.device(), x.dtype()));
            linear_updated(&x, w, None, a, &update)
                .expect("flex has a body")
                .flatten(0, 1)
        };
        same_for_any_threads("sparse", &op, &inputs);
    }
}

#[test]
fn few_inputs_are_kept_alone() {
    let of = |places: &[[u32; 2]]| SparseUpdate::new(4, 6, places.iter().copied());
    let few = of(&[[0, 1], [3, 1], [3, 5]]);
    assert_eq!((few.saved_per_row(), few.keeps_input()), (2, false));
    assert_eq!((few.inputs(), few.outputs()), (&[1, 5][..], &[0, 3][..]));
    let many = of(&[[0, 0], [0, 1], [0, 2], [1, 3]]);
    assert_eq!((many.saved_per_row(), many.keeps_input()), (0, true));
    assert_eq!(many.pattern().places(), 4);
}
