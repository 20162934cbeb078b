//! Deep LoRA against the network that it compresses.

#![cfg(feature = "flex")]

use burn::{
    Tensor,
    module::Param,
    tensor::{DType, Device, Gradients, TensorData},
};
use peft_core::{
    AdapterContext, AdapterError, BaseLinear, InitContext, Method, Target, WeightAdapter,
    kernels::normal,
};
use peft_linalg::{Dense, Threads, leading_singular, orthonormal_rows, orthonormalise, product};
use peft_lowrank::{DeepLora, DeepLoraConfig, DeepLoraFull, DeepLoraMethod, gradient_bases};
use proptest::prelude::*;

fn device() -> Device {
    Device::flex().autodiff()
}

fn tensor(matrix: &Dense, device: &Device) -> Tensor<2> {
    let data = TensorData::new(matrix.values().to_vec(), [matrix.rows(), matrix.columns()]);
    Tensor::from_data(data, (device, DType::F64))
}

fn random(rows: usize, columns: usize, key: u64) -> Dense {
    let values = normal(key, rows * columns).into_iter().map(f64::from);
    Dense::new(rows, columns, values.collect())
}

fn values(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn largest(tensor: Tensor<2>) -> f64 {
    tensor.abs().max().into_scalar::<f64>()
}

fn times(a: &Dense, b: &Dense) -> Dense {
    product(a.view(), b.view(), Threads::One)
}

/// Rows that make up a whole orthonormal basis together with these.
fn complement(rows: &Dense) -> Dense {
    let missing = rows.columns() - rows.rows();
    let mut all = rows.stacked(&random(missing, rows.columns(), 77));
    orthonormalise(&mut all, 78);
    let values = all.values()[rows.rows() * rows.columns()..].to_vec();
    Dense::new(missing, rows.columns(), values)
}

fn descend(param: &mut Param<Tensor<2>>, gradients: &Gradients, rate: f64) {
    let Some(gradient) = param.val().grad(gradients) else {
        return;
    };
    let value = param.val().inner() - gradient.mul_scalar(rate);
    *param = Param::from_tensor(Tensor::from_inner(value));
}

/// The compressed adapter and the three full-width factors that it stands for, on `½ ‖W' − W*‖²`, whose
/// gradient at the start has the rank of `W − W*`.
struct Pair {
    weight: Tensor<2>,
    goal: Tensor<2>,
    compressed: DeepLora,
    full: DeepLoraFull,
}

fn pair([inputs, outputs]: [usize; 2], rank: usize, r: usize, epsilon: f64) -> Pair {
    let device = device();
    let weight = random(inputs, outputs, 1);
    let mut change = orthonormal_rows(rank, inputs, 2);
    for (index, row) in change.values_mut().chunks_exact_mut(inputs).enumerate() {
        row.iter_mut().for_each(|v| *v *= 1.0 - 0.2 * index as f64);
    }
    let change = product(
        change.t(),
        orthonormal_rows(rank, outputs, 3).view(),
        Threads::One,
    );
    let mut goal = weight.clone();
    goal.add_scaled(1.0, &change);
    let bases = gradient_bases(&change.scaled(-1.0), r, 4);

    // An orthogonal start that agrees with the bases and is random beside them.
    let mut start = product(bases.rows.t(), bases.columns.view(), Threads::One);
    let (beside_rows, beside_columns) = (complement(&bases.rows), complement(&bases.columns));
    let shared = beside_rows.rows().min(beside_columns.rows());
    start.add_scaled(
        1.0,
        &product(
            beside_rows.first_rows(shared).t(),
            beside_columns.first_rows(shared).view(),
            Threads::One,
        ),
    );
    let width = inputs.max(outputs);
    // The first factor maps the inputs into the width, the second rotates it, the third undoes both.
    let first = orthonormal_rows(inputs, width, 5);
    let second = orthonormal_rows(width, width, 6);
    let back = product(second.t(), first.t(), Threads::One);
    let factors = [first, second, times(&back, &start)];
    let factors = factors.map(|factor| tensor(&factor.scaled(epsilon), &device));

    let zeros = || Tensor::<2>::zeros([r, r], (&device, DType::F64));
    let right = tensor(&bases.rows.transposed(), &device);
    let left = tensor(&bases.columns, &device);
    Pair {
        weight: tensor(&weight, &device),
        goal: tensor(&goal, &device),
        compressed: DeepLora::new(right, [zeros(), zeros(), zeros()], left, epsilon, 0.0),
        full: DeepLoraFull::new(factors),
    }
}

#[test]
fn the_compressed_adapter_follows_the_full_network_to_rounding() {
    for (shape, rank, r) in [
        ([9, 9], 2, 4),
        ([12, 7], 2, 4),
        ([7, 12], 1, 3),
        ([5, 8], 2, 5),
    ] {
        let Pair {
            weight,
            goal,
            mut compressed,
            mut full,
        } = pair(shape, rank, r, 0.1);
        let start = largest(goal.clone() - weight.clone());
        let (mut worst, mut last) = (0.0f64, start);
        for _ in 0..400 {
            let of = |adapter: Tensor<2>| adapter - goal.clone();
            let error = of(compressed.effective(weight.clone()));
            last = largest(error.clone());
            let gradients = error.powi_scalar(2).sum().mul_scalar(0.5).backward();
            for core in [
                &mut compressed.core1,
                &mut compressed.core2,
                &mut compressed.core3,
            ] {
                descend(core, &gradients, 0.1);
            }
            let error = of(full.effective(weight.clone()));
            let gradients = error.powi_scalar(2).sum().mul_scalar(0.5).backward();
            for factor in [&mut full.w1, &mut full.w2, &mut full.w3] {
                descend(factor, &gradients, 0.1);
            }
            let apart = full.effective(weight.clone()) - compressed.effective(weight.clone());
            worst = worst.max(largest(apart));
        }
        assert!(last < 1e-3 * start, "{shape:?}: {start} is still {last}");
        assert!(worst < 1e-13, "{shape:?}: {worst:e} apart");
    }
}

#[test]
fn frozen_outer_factors_take_no_gradient() {
    for (rate, trained) in [(0.0, false), (0.01, true)] {
        let start = pair([9, 9], 2, 4, 0.1).compressed;
        let value = |param: Param<Tensor<2>>| param.val().inner();
        let lift = |tensor: Tensor<2>| Tensor::from_inner(tensor);
        let core = || lift(tensor(&random(4, 4, 9), &Device::flex()));
        let adapter = DeepLora::new(
            lift(value(start.right)),
            [core(), core(), core()],
            lift(value(start.left)),
            0.1,
            rate,
        );
        let device = device();
        let x = tensor(&random(3, 9, 8), &device).require_grad();
        let base = BaseLinear::new(tensor(&random(9, 9, 7), &device), None);
        let y = adapter.forward(x.clone(), &base, &AdapterContext::inference());
        let gradients = y.sum().backward();
        assert!(x.grad(&gradients).is_some());
        for core in [&adapter.core1, &adapter.core2, &adapter.core3] {
            assert!(core.val().grad(&gradients).is_some());
        }
        for outer in [&adapter.left, &adapter.right] {
            assert_eq!(outer.val().grad(&gradients).is_some(), trained);
        }
        assert_eq!(adapter.learning_rate_factor("left"), rate);
        assert_eq!(adapter.learning_rate_factor("core2"), 2.0);
    }
}

fn target(inputs: usize, outputs: usize) -> Target {
    Target::linear("layer", inputs, outputs, burn::tensor::FloatDType::F64)
}

fn init(
    config: DeepLoraConfig,
    shape: [usize; 2],
    gradient: Option<&Dense>,
) -> Result<peft_core::DynAdapter, AdapterError> {
    let device = Device::flex();
    let weight = tensor(&random(shape[0], shape[1], 1), &device);
    let gradient = gradient.map(|gradient| tensor(gradient, &device));
    let start = InitContext {
        weight: &weight,
        gradient: gradient.as_ref(),
        magnitude: None,
        moments: None,
        vocabulary: None,
        allotted: None,
        seed: 3,
    };
    DeepLoraMethod::new(config)?.init(&target(shape[0], shape[1]), &start)
}

#[test]
fn gradients_without_a_direction_are_refused() {
    let mut broken = random(6, 5, 2);
    broken.values_mut()[7] = f64::NAN;
    let config = || DeepLoraConfig {
        r: 4,
        ..DeepLoraConfig::default()
    };
    let too_wide = DeepLoraConfig {
        r: 6,
        ..DeepLoraConfig::default()
    };
    for (config, gradient, says) in [
        (config(), None, "need its gradient"),
        (config(), Some(&Dense::zeros(6, 5)), "zero"),
        (config(), Some(&broken), "not finite"),
        (
            too_wide,
            Some(&random(6, 5, 2)),
            "no 6 orthogonal directions",
        ),
    ] {
        let error = init(config, [6, 5], gradient).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("layer"), "{error}");
    }
}

#[test]
fn the_fresh_adapter_holds_the_gradients_subspaces() {
    let gradient = random(14, 10, 5).scaled(1e-30);
    let config = DeepLoraConfig {
        r: 6,
        ..DeepLoraConfig::default()
    };
    let adapter = init(config, [14, 10], Some(&gradient)).unwrap();
    let adapter: &DeepLora = adapter.downcast_ref().unwrap();
    let identity = tensor(&Dense::diagonal(6, 1.0), &Device::flex());
    let (right, left) = (adapter.right.val(), adapter.left.val());
    for gram in [
        right.clone().transpose().matmul(right.clone()),
        left.clone().matmul(left.clone().transpose()),
    ] {
        assert!(largest(gram - identity.clone()) < 1e-13);
    }
    // Of the three strongest directions, nothing lies outside of the bases.
    let exact = leading_singular(&gradient, 3, 40, 1, Threads::One);
    let device = Device::flex();
    for (vectors, basis) in [
        (tensor(&exact.left, &device), right),
        (tensor(&exact.right, &device), left.transpose()),
    ] {
        let inside = vectors.clone().matmul(basis.clone());
        let kept = inside.matmul(basis.transpose());
        assert!(largest(kept - vectors) < 2e-2);
    }
    assert!(values(adapter.core()).iter().all(|value| *value == 0.0));
}

#[test]
fn wider_cores_learn_at_a_lower_rate() {
    let device = Device::flex();
    let zeros = |rows, columns| tensor(&Dense::zeros(rows, columns), &device);
    let cores = [0, 1, 2].map(|_| zeros(32, 32));
    let adapter = DeepLora::new(zeros(40, 32), cores.clone(), zeros(32, 40), 0.3, 0.5);
    assert_eq!(adapter.learning_rate_factor("core2"), 0.25);
    assert_eq!(adapter.learning_rate_factor("left"), 0.5);
    let full = DeepLoraFull::new(cores);
    assert_eq!(full.learning_rate_factor("w1"), 0.25);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_core_is_the_product_of_the_factors_less_its_start(
        r in 1usize..9,
        epsilon in 1e-3f64..1.0,
        seed in 0u64..1000,
    ) {
        let device = Device::flex();
        let cores = [0, 1, 2].map(|index| random(r, r, seed * 3 + index).scaled(0.3));
        let outer = |rows, columns| tensor(&Dense::zeros(rows, columns), &device);
        let tensors = cores.each_ref().map(|core| tensor(core, &device));
        let adapter = DeepLora::new(outer(r + 1, r), tensors, outer(r, r + 2), epsilon, 1.0);
        let whole = cores.map(|mut core| {
            core.add_scaled(1.0, &Dense::diagonal(r, epsilon));
            core
        });
        let mut wanted = times(&times(&whole[0], &whole[1]), &whole[2]);
        wanted.add_scaled(-1.0, &Dense::diagonal(r, epsilon.powi(3)));
        let found = values(adapter.core());
        for (found, wanted) in found.iter().zip(wanted.values()) {
            prop_assert!((found - wanted).abs() < 1e-12, "{} {}", found, wanted);
        }
    }
}
