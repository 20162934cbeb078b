use burn::tensor::{DType, Device, Int, Tensor};
use peft_kernels::*;
use proptest::prelude::*;

use crate::common::*;
use crate::{agree, few_cases, same_for_any_threads};

type Embed = fn(Lookup, Option<Lookup>, Option<Lookup>, NormParameters) -> Tensor<2>;

#[derive(Clone, Copy, Debug)]
struct Form {
    rows: usize,
    d: usize,
    entries: usize,
    positioned: bool,
    /// Segments: none, one for all rows, or one for each.
    segments: Option<bool>,
}

impl Form {
    fn inputs(self) -> [Vec<f64>; 5] {
        let n = self.entries * self.d;
        [(1, n), (2, n), (3, n), (4, self.d), (5, self.d)].map(|(k, n)| numbers(k, n))
    }

    fn op(self, embed: Embed) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
        move |t| {
            let [word, position, segment, gamma, beta] = t.try_into().expect("five");
            let lookup = |table: &Tensor<1>, step: usize, rows: usize| {
                let id = |i: usize| (i * step % self.entries) as i64;
                let ids: Vec<i64> = (0..rows).map(id).collect();
                Lookup {
                    table: table.clone().reshape([self.entries, self.d]),
                    ids: Tensor::<1, Int>::from_data(ids.as_slice(), &Device::flex()),
                }
            };
            let rows = self.rows;
            let norm = NormParameters {
                gamma: gamma.clone(),
                beta,
                eps: 1e-5,
            };
            let y = embed(
                lookup(&word, 7, rows),
                self.positioned.then(|| lookup(&position, 1, rows)),
                self.segments
                    .map(|each| lookup(&segment, 3, if each { rows } else { 1 })),
                norm,
            );
            // Tables that take no part want a gradient all the same.
            Tensor::cat(vec![y.flatten(0, 1), position, segment], 0)
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let form = Form {
        rows: 900,
        d: 130,
        entries: 13,
        positioned: true,
        segments: Some(true),
    };
    let op = form.op(embedding_layer_norm);
    same_for_any_threads("embedding", &op, &form.inputs());
}

#[test]
fn rows_of_a_table_agree() {
    let (rows, d, entries) = (900, 130, 13);
    type Plain = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<2>;
    let op = |by: Plain| {
        move |mut t: Vec<Tensor<1>>| {
            let ids: Vec<i64> = (0..rows).map(|i| (i * 7 % entries) as i64).collect();
            let ids = Tensor::<1, Int>::from_data(ids.as_slice(), &Device::flex());
            by(t.remove(0).reshape([entries, d]), ids).flatten(0, 1)
        }
    };
    let inputs = [numbers(1, entries * d)];
    agree(
        "embedding",
        &op(embedding),
        &op(portable::embedding),
        &inputs,
    );
    same_for_any_threads("embedding", &op(embedding), &inputs);
}

#[test]
#[should_panic(expected = "embedding: id 4 is outside 0 .. 4")]
fn an_id_past_a_plain_table_is_named() {
    let device = Device::flex();
    embedding(
        Tensor::ones([4, 3], &device),
        Tensor::from_data([4_i64], &device),
    );
}

fn single(ids: [i64; 1]) -> Tensor<2> {
    let device = Device::flex();
    let word = Lookup {
        table: Tensor::ones([4, 3], &device),
        ids: Tensor::from_data(ids, &device),
    };
    let norm = NormParameters {
        gamma: Tensor::ones([3], &device),
        beta: Tensor::zeros([3], &device),
        eps: 1e-5,
    };
    embedding_layer_norm(word, None, None, norm)
}

#[test]
#[should_panic(expected = "embedding_layer_norm: word id 4 is outside 0 .. 4")]
fn an_id_past_the_table_is_named() {
    single([4]);
}

#[test]
#[should_panic(expected = "embedding_layer_norm: word id -1 is outside 0 .. 4")]
fn a_negative_id_is_named() {
    single([-1]);
}

#[test]
fn no_rows_give_no_rows() {
    let device = Device::flex();
    let word = Lookup {
        table: Tensor::ones([4, 3], (&device, DType::F64)),
        ids: Tensor::empty([0], &device),
    };
    let norm = NormParameters {
        gamma: Tensor::ones([3], (&device, DType::F64)),
        beta: Tensor::zeros([3], (&device, DType::F64)),
        eps: 1e-5,
    };
    assert_eq!(embedding_layer_norm(word, None, None, norm).dims(), [0, 3]);
}

proptest! {
    #![proptest_config(few_cases())]

    #[test]
    fn any_embedding_agrees(
        rows in 2_usize..150,
        // Of few numbers the norm is nearly constant, and its gradient mostly rounding.
        d in 9_usize..150,
        entries in 1_usize..40,
        positioned: bool,
        segments in prop::option::of(any::<bool>()),
    ) {
        let form = Form { rows, d, entries, positioned, segments };
        agree(
            "embedding",
            &form.op(embedding_layer_norm),
            &form.op(portable::embedding_layer_norm),
            &form.inputs(),
        );
    }
}
