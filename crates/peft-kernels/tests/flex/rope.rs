use burn::tensor::{DType, Device, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::{agree, same_for_any_threads};

fn tables(rows: usize, r: usize, dtype: DType) -> [Tensor<2>; 2] {
    let spec = RopeSpec {
        channels: r,
        theta: 1e4,
        scaling: RopeScaling::Default,
    };
    let positions: Vec<usize> = (0..rows).collect();
    let tables = spec.frequencies(rows).unwrap();
    let tables = tables.tables(&positions, &Device::flex(), dtype);
    [tables.cos, tables.sin]
}

type Rope = fn(Tensor<2>, Tensor<2>, Tensor<2>, usize) -> Tensor<2>;

fn op(by: Rope, heads: usize, d: usize, r: usize) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> + Sync {
    move |mut t| {
        let x = t.remove(0);
        let rows = x.dims()[0] / (heads * d);
        let [cos, sin] = tables(rows, r, x.dtype());
        by(x.reshape([rows, heads * d]), cos, sin, heads).flatten(0, 1)
    }
}

#[test]
fn ropes_agree() {
    for (rows, heads, d, r) in [(1, 1, 2, 2), (67, 3, 10, 6), (300, 4, 64, 64)] {
        let inputs = [numbers(1, rows * heads * d)];
        let (fast, portable) = (op(rope, heads, d, r), op(portable::rope, heads, d, r));
        agree("rope", &fast, &portable, &inputs);
    }
}

#[test]
fn columns_of_a_wider_matrix_are_read_in_place() {
    let (rows, heads, d) = (9, 2, 8);
    let fused = tensor(&numbers(1, rows * 48), DType::F64, &Device::flex()).reshape([rows, 48]);
    let [cos, sin] = tables(rows, d, DType::F64);
    let part = fused.slice([0..rows, 16..32]);
    let want = values(portable::rope(
        part.clone(),
        cos.clone(),
        sin.clone(),
        heads,
    ));
    let got = values(rope(part.clone(), cos.clone(), sin.clone(), heads));
    assert_close("view", &got, &want, 1e-15);
    // Columns that are not neighbours.
    let turned = part.transpose().mul_scalar(1.0).transpose();
    assert_eq!(values(rope(turned, cos, sin, heads)), got);
}

#[test]
fn bits_do_not_depend_on_the_thread_count() {
    let inputs = [numbers(1, 500 * 128)];
    same_for_any_threads("rope", &op(rope, 2, 64, 64), &inputs);
}
