//! Types of numbers, and tensors with and without autodiff side by side.

use burn::tensor::DType;
use peft_kernels::*;

use crate::common::*;

#[test]
fn first_rows_select_the_first_of_each_sequence() {
    let layout = RowLayout::new(vec![0, 3, 4, 9], &device());
    assert_eq!((layout.len(), layout.rows(), layout.max_len()), (3, 9, 5));
    assert_eq!(
        layout
            .first_rows()
            .into_data()
            .iter::<i64>()
            .collect::<Vec<_>>(),
        [0, 3, 4]
    );
}

#[test]
fn half_types_work() {
    let device = device();
    for dtype in [DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype)
            || std::env::var("PEFT_TEST_DEVICE").is_ok_and(|d| d == "ndarray")
        {
            continue;
        }
        let tolerance = if dtype == DType::F16 { 4e-3 } else { 3e-2 };
        let case = Case::new(&[3, 6], 2, 1, 8, true);
        let inputs = case.inputs();
        let half: Vec<_> = inputs.iter().map(|v| tensor(v, dtype, &device)).collect();
        // The reference reads what the type holds.
        let held: Vec<Vec<f64>> = half.iter().map(|t| values(t.clone())).collect();
        let [q, k, v] = case.shaped(half);
        let out = attention(q, k, v, &case.layout(&device), &case.options());
        assert_eq!(out.dtype(), dtype);
        assert_close("attention", &values(out), &case.reference(&held), tolerance);
        let x = tensor(&numbers(4, 24), dtype, &device);
        let y = layer_norm(
            gelu(x, GeluKind::Erf).reshape([4, 6]),
            tensor(&[1.0; 6], dtype, &device),
            tensor(&[0.0; 6], dtype, &device),
            1e-5,
        );
        assert!(y.dtype() == dtype && values(y).iter().all(|v| v.is_finite()));
    }
}

#[test]
fn an_index_tensor_without_autodiff_mixes_with_tracked_inputs() {
    let tracked = device().autodiff();
    let layout = RowLayout::new(vec![0, 2, 5], &tracked);
    let x = tensor(&numbers(1, 10), DType::F32, &tracked).require_grad();
    let first = x.clone().reshape([5, 2]).select(0, layout.first_rows());
    let grads = first.sum().backward();
    let want = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    assert_eq!(values(x.grad(&grads).unwrap()), want);
}
