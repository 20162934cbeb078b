//! Weights in quantised blocks.

use burn::tensor::{DType, Device, Int, Tensor};
use peft_kernels::{
    BlockType, block_matrix, block_type, decoded, embedding, head_cross_entropy, linear,
    linear_low_rank, linear_plus, linear_sine, squared_column_norms,
};

use crate::common::{numbers, tensor};

fn random<const D: usize>(key: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let n = shape.iter().product();
    tensor(&numbers(key, n), DType::F32, device).reshape(shape)
}

fn wave(n: usize) -> Vec<f32> {
    (0..n).map(|i| (0.37 * i as f32).sin() * 0.5).collect()
}

/// A weight of blocks, and the same in floats, both as checkpoints hold them: `[out, in]`.
fn weight(kind: BlockType, out: usize, inputs: usize, device: &Device) -> [Tensor<2>; 2] {
    let blocks = kind
        .encode(&wave(out * inputs))
        .expect("a type that is written");
    let blocks = block_matrix(kind, [out, inputs], &blocks, device).expect("on flex");
    assert_eq!(
        (block_type(&blocks), blocks.dims()),
        (Some(kind), [out, inputs])
    );
    let floats = decoded(blocks.clone());
    assert_eq!(block_type(&floats), None);
    [blocks, floats]
}

const KINDS: [BlockType; 4] = [
    BlockType::Q8_0,
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Nf4,
];

#[test]
fn what_knows_nothing_of_blocks_sees_nan() {
    let device = Device::flex();
    let [blocks, floats] = weight(BlockType::Q8_0, 6, 32, &device);
    for all in [
        blocks.clone(),
        blocks.clone().transpose() * 2.0,
        blocks + 1.0,
    ] {
        assert!(all.into_data().iter::<f32>().all(f32::is_nan));
    }
    assert!(floats.into_data().iter::<f32>().all(f32::is_finite));
}

#[test]
fn a_transposed_square_is_told_from_itself() {
    let device = Device::flex();
    let [blocks, floats] = weight(BlockType::Q8_0, 32, 32, &device);
    let turned = decoded(blocks.transpose());
    turned
        .into_data()
        .assert_eq(&floats.transpose().into_data(), true);
}

/// One at a time, for Burn adds up the gradients of several uses in an order of its own.
#[test]
fn values_and_gradients_are_those_of_the_decoded_weight() {
    type Product = fn(Tensor<2>, Tensor<2>, Tensor<1>, [Tensor<2>; 2]) -> Tensor<2>;
    let products: [Product; 5] = [
        |x, weight, _, _| linear(x, weight, None),
        |x, weight, bias, _| linear(x, weight, Some(bias)),
        |x, weight, bias, [a, b]| linear_low_rank(x, weight, Some(bias), a, b, 0.5),
        |x, weight, bias, [a, b]| linear_plus(x.clone(), weight, Some(bias), x.matmul(a), b),
        |x, weight, _, [a, b]| linear_sine(x, weight, None, a, b, 2.0, 0.1),
    ];
    let device = Device::flex().autodiff();
    let cases = KINDS.into_iter().flat_map(|kind| [(kind, 3), (kind, 40)]);
    for ((kind, rows), product) in cases.flat_map(|case| products.map(|product| (case, product))) {
        let [of_blocks, of_floats] = weight(kind, 48, 64, &device).map(|weight| {
            let leaf = |key, shape| random(key, shape, &device).require_grad();
            let (x, a, b) = (leaf(1, [rows, 64]), leaf(2, [64, 4]), leaf(3, [4, 48]));
            let factors = [a.clone(), b.clone()];
            let y = product(
                x.clone(),
                weight.transpose(),
                random(4, [48], &device),
                factors,
            );
            let probe: Tensor<2> = random(5, [rows, 48], &device);
            let grads = (y.clone() * probe).sum().backward();
            let grads = [x, a, b].map(|leaf| leaf.grad(&grads).map(Tensor::into_data));
            (y.inner().into_data(), grads)
        });
        of_blocks.0.assert_eq(&of_floats.0, true);
        assert!(
            of_blocks.1 == of_floats.1,
            "gradients with {kind} and {rows} rows"
        );
    }
}

#[test]
fn heads_and_tables_read_blocks() {
    let device = Device::flex().autodiff();
    for kind in KINDS {
        let [of_blocks, of_floats] = weight(kind, 96, 64, &device).map(|table| {
            let ids = Tensor::<1, Int>::from_data([5, 95, 0, 5], &device);
            let rows = embedding(table.clone(), ids.clone());
            let hidden = (rows + random(1, [4, 64], &device)).require_grad();
            let loss = head_cross_entropy(
                hidden.clone(),
                table.clone().transpose(),
                ids,
                Some(3.0),
                0.5,
            );
            let grad = hidden.grad(&loss.backward()).expect("a leaf");
            let norms = squared_column_norms(&table.transpose());
            [
                loss.inner().into_data(),
                grad.into_data(),
                norms.into_data(),
            ]
        });
        for (blocks, floats) in of_blocks.iter().zip(&of_floats) {
            blocks.assert_eq(floats, true);
        }
    }
}

#[test]
fn what_is_no_matrix_of_blocks_is_refused() {
    let device = Device::flex();
    let bytes = BlockType::Q8_0.encode(&wave(64)).unwrap();
    let refused = |kind, shape, bytes: &[u8]| block_matrix(kind, shape, bytes, &device).is_none();
    assert!(
        refused(BlockType::Q8_0, [4, 16], &bytes),
        "lines of half a block"
    );
    assert!(refused(BlockType::Q8_0, [3, 32], &bytes), "too few bytes");
    assert!(refused(BlockType::Q8_0, [1, 32], &bytes), "too many bytes");
    assert!(refused(BlockType::F32, [1, 17], &bytes), "no blocks");
    assert!(
        refused(BlockType::Q8_0, [usize::MAX, 32], &bytes),
        "more than there can be"
    );
}
