use burn::tensor::{DType, FloatDType, Tensor};
use peft_kernels::*;

use crate::common::*;
use crate::matches;

const FACTOR: f64 = -1.5;

/// A core of `sizes` with entries drawn over it; the values beyond the number of entries stand nowhere, and
/// some entries share one.
fn entries([outputs, inputs, values]: [usize; 3], count: usize) -> Vec<CoreEntry> {
    let draw = |key: u64, below: usize, at: usize| (word(key, at as u64) % below as u64) as u32;
    (0..count)
        .map(|at| CoreEntry {
            output: draw(1, outputs, at),
            input: draw(2, inputs, at),
            value: draw(3, values, at),
            negative: draw(4, 3, at) == 0,
        })
        .collect()
}

/// `x` and the values, flat.
fn product(sizes: [usize; 3], entries: &[CoreEntry]) -> impl Fn(Vec<Tensor<1>>) -> Tensor<1> {
    move |mut t| {
        let (values, x) = (t.remove(1), t.remove(0));
        let (dtype, device) = (FloatDType::from(x.dtype()), x.device());
        let core = SparseCore::new(sizes, entries, FACTOR, dtype, &device);
        let rows = x.dims()[0] / sizes[1];
        sparse_core(x.reshape([rows, sizes[1]]), values, &core).flatten(0, 1)
    }
}

/// `K`, row-major.
fn dense([outputs, inputs, _]: [usize; 3], entries: &[CoreEntry], values: &[f64]) -> Vec<f64> {
    let mut core = vec![0.0; outputs * inputs];
    for entry in entries {
        let sign = if entry.negative { -1.0 } else { 1.0 };
        let place = entry.output as usize * inputs + entry.input as usize;
        core[place] += FACTOR * sign * values[entry.value as usize];
    }
    core
}

/// Sizes `[outputs, inputs, values]`, entries and rows: fewer and more than a kernel's cube of each, sparse
/// and full.
const CASES: [([usize; 3], usize, usize); 8] = [
    ([1, 1, 1], 1, 1),
    ([3, 5, 2], 1, 2),
    ([9, 7, 3], 5, 3),
    ([33, 40, 17], 20, 5),
    ([40, 33, 8], 60, 31),
    ([64, 70, 100], 90, 32),
    ([130, 65, 70], 300, 67),
    ([12, 10, 50], 100, 9),
];

#[test]
fn the_core_is_applied_to_every_row() {
    for (sizes, count, rows) in CASES {
        let [outputs, inputs, _] = sizes;
        let entries = entries(sizes, count);
        let (x, values) = (numbers(1, rows * inputs), numbers(2, sizes[2]));
        let core = dense(sizes, &entries, &values);
        let mut want = Vec::new();
        for x in x.chunks(inputs) {
            let rows = core.chunks(inputs);
            want.extend(rows.map(|k| k.iter().zip(x).map(|(k, x)| k * x).sum::<f64>()));
        }
        assert_eq!(want.len(), rows * outputs);
        matches(
            "sparse_core",
            &product(sizes, &entries),
            &[x, values],
            &want,
        );
    }
}

#[test]
fn gradients_are_those_of_the_definition() {
    for (sizes, count, rows) in CASES {
        let [outputs, inputs, _] = sizes;
        let entries = entries(sizes, count);
        let (x, values) = (numbers(1, rows * inputs), numbers(2, sizes[2]));
        let core = dense(sizes, &entries, &values);
        // What `run` takes for the gradient of the output.
        let dz = numbers(99, rows * outputs);
        let mut dx = vec![0.0; x.len()];
        for (dx, dz) in dx.chunks_mut(inputs).zip(dz.chunks(outputs)) {
            for (k, dz) in core.chunks(inputs).zip(dz) {
                dx.iter_mut().zip(k).for_each(|(dx, k)| *dx += dz * k);
            }
        }
        let mut dv = vec![0.0; values.len()];
        for entry in &entries {
            let pairs = x.chunks(inputs).zip(dz.chunks(outputs));
            let sum: f64 = pairs
                .map(|(x, dz)| x[entry.input as usize] * dz[entry.output as usize])
                .sum();
            let sign = if entry.negative { -1.0 } else { 1.0 };
            dv[entry.value as usize] += FACTOR * sign * sum;
        }
        let op = product(sizes, &entries);
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 1e-12)] {
            if dtype == DType::F64 && !has_f64() {
                continue;
            }
            let (_, grads) = run(&op, &[x.clone(), values.clone()], dtype);
            let name = |of: &str| format!("{sizes:?} {count} {rows} {dtype:?}, gradient to {of}");
            assert_close(&name("x"), &grads[0], &dx, tolerance);
            assert_close(&name("the values"), &grads[1], &dv, tolerance);
        }
    }
}

#[test]
fn the_dense_core_gives_the_same() {
    let device = device().autodiff();
    for (sizes, count, rows) in CASES {
        let entries = entries(sizes, count);
        let x = tensor(&numbers(1, rows * sizes[1]), DType::F32, &device);
        let x = x.reshape([rows, sizes[1]]).require_grad();
        let values = tensor(&numbers(2, sizes[2]), DType::F32, &device).require_grad();
        let core = SparseCore::new(sizes, &entries, FACTOR, FloatDType::F32, &device);
        let weights = tensor(&numbers(3, rows * sizes[0]), DType::F32, &device);
        let found = |z: Tensor<2>| {
            let out = crate::common::values(z.clone());
            let grads = (z.flatten::<1>(0, 1) * weights.clone()).sum().backward();
            let x = crate::common::values(x.grad(&grads).expect("tracked"));
            let values = crate::common::values(values.grad(&grads).expect("tracked"));
            [out, x, values]
        };
        let sparse = found(sparse_core(x.clone(), values.clone(), &core));
        let dense = found(linear(x.clone(), core.dense(values.clone()), None));
        for (sparse, dense) in sparse.iter().zip(&dense) {
            assert_close(&format!("{sizes:?}"), sparse, dense, 1e-5);
        }
    }
}

#[test]
fn only_wanted_gradients_appear_and_bits_repeat() {
    let device = device().autodiff();
    let (sizes, count, rows) = CASES[6];
    let entries = entries(sizes, count);
    let core = SparseCore::new(sizes, &entries, FACTOR, FloatDType::F32, &device);
    let grads = |wants: [bool; 2]| {
        let x = tensor(&numbers(1, rows * sizes[1]), DType::F32, &device);
        let x = x.reshape([rows, sizes[1]]).set_require_grad(wants[0]);
        let values = tensor(&numbers(2, sizes[2]), DType::F32, &device).set_require_grad(wants[1]);
        let z = sparse_core(x.clone(), values.clone(), &core);
        let weights = tensor(&numbers(3, rows * sizes[0]), DType::F32, &device);
        let grads = (z.flatten::<1>(0, 1) * weights).sum().backward();
        let x = x.grad(&grads).map(crate::common::values);
        (x, values.grad(&grads).map(crate::common::values))
    };
    let both = grads([true, true]);
    assert!(both.0.is_some() && both.1.is_some());
    assert_eq!(grads([true, true]), both);
    assert_eq!(grads([true, false]), (both.0, None));
    assert_eq!(grads([false, true]), (None, both.1));
}

#[test]
#[should_panic(expected = "an entry is outside")]
fn an_entry_outside_of_the_core_is_refused() {
    let entry = CoreEntry {
        output: 2,
        input: 0,
        value: 0,
        negative: false,
    };
    let _ = SparseCore::new([2, 2, 1], &[entry], 1.0, FloatDType::F32, &device());
}
