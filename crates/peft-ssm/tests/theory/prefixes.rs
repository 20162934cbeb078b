//! T1 and T3: what a prefix can do, and how long it is remembered.

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use peft_core::kernels::{RowLayout, SelectiveScan, selective_scan};

use super::{
    Space,
    linear::{basis, residual},
    numbers,
};

/// `Σ_m a^(M − m) ∘ b p_m`
fn state_of_prefix(space: &Space, prefix: &[f64]) -> Vec<f64> {
    let mut h = space.zeros();
    for p in prefix {
        for (n, h) in h.iter_mut().enumerate() {
            *h = space.a[n] * *h + space.b[n] * p;
        }
    }
    h
}

#[test]
fn t1_a_prefix_is_an_initial_state() {
    let space = Space {
        a: vec![0.9, 0.5, -0.3, 0.99],
        b: numbers(1, 4),
        c: numbers(2, 4),
    };
    let prefix = numbers(3, 5);
    let start = state_of_prefix(&space, &prefix);
    for key in 10..20 {
        let x = numbers(key, 30);
        let whole = space.run(&space.zeros(), &[prefix.clone(), x.clone()].concat());
        assert_eq!(whole[5..], space.run(&start, &x)[..]);
    }
}

/// How far the nearest state is that a prefix of a length leads to.
fn unreached(space: &Space, length: usize, state: &[f64]) -> f64 {
    let power = |n: usize, m: usize| space.b[n] * space.a[n].powi((length - 1 - m) as i32);
    let directions = (0..length)
        .map(|m| (0..space.a.len()).map(|n| power(n, m)).collect())
        .collect();
    let rest = residual(&basis(&directions), state);
    rest.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// As many prompts as states reach every initial state, if the modes are distinct and driven; fewer, or others, do not.
#[test]
fn t1_every_initial_state_is_a_prefix_if_modes_are_distinct_and_driven() {
    let mut space = Space {
        a: vec![0.9, 0.5, -0.3, 0.1],
        b: vec![1.0, -0.5, 0.7, 0.4],
        c: numbers(2, 4),
    };
    let state = [1.0, -2.0, 0.5, 1.5];
    for length in 1..4 {
        assert!(unreached(&space, length, &state) > 1e-3, "{length}");
    }
    assert!(unreached(&space, 4, &state) < 1e-9);
    space.a[1] = 0.9;
    assert!(unreached(&space, 8, &state) > 0.1, "equal modes");
    space.a[1] = 0.5;
    space.b[2] = 0.0;
    assert!(
        unreached(&space, 8, &state) > 0.1,
        "a mode that nothing drives"
    );
}

/// What an initial state adds decays with the states; what an offset adds where states are read does not.
#[test]
fn t3_an_initial_state_is_forgotten_and_an_offset_is_not() {
    let device = Device::flex();
    let (length, channels, states) = (60, 3, 2);
    let tensor = |key: u64, shape: [usize; 2]| {
        let data = TensorData::new(numbers(key, shape[0] * shape[1]), shape);
        Tensor::<2>::from_data(data, (&device, FloatDType::F64.into()))
    };
    let vector = |key: u64| tensor(key, [1, channels]).reshape([channels]);
    let c = tensor(5, [length, states]);
    let inputs = SelectiveScan {
        u: tensor(1, [length, channels]),
        delta: tensor(2, [length, channels]),
        a_log: tensor(3, [channels, states]).add_scalar(1.0),
        b: tensor(4, [length, states]),
        c: c.clone(),
        skip: vector(6),
        gate: None,
        delta_bias: None,
        initial: None,
    };
    let rows = RowLayout::new(vec![0, length], &device);
    let from = |initial: Option<Tensor<3>>| {
        let inputs = SelectiveScan {
            initial,
            ..inputs.clone()
        };
        selective_scan(inputs, &rows).0
    };
    let h = tensor(7, [channels, states]).add_scalar(2.0);
    let base = from(None);
    let started = from(Some(h.clone().unsqueeze()));
    let size =
        |x: Tensor<2>, row: usize| -> f64 { x.narrow(0, row, 1).abs().max().into_scalar::<f64>() };
    let remembered = started - base;
    let at_once = (0..3).map(|row| size(remembered.clone(), row));
    let at_once = at_once.fold(0.0, f64::max);
    assert!(at_once > 1e-2);
    assert!(size(remembered.clone(), 12) < 0.2 * at_once);
    assert!(size(remembered, 50) < 1e-4 * at_once);
    let offset = c.matmul(h.transpose());
    let sizes: Vec<f64> = (0..length).map(|row| size(offset.clone(), row)).collect();
    let late = sizes[40..].iter().copied().fold(0.0, f64::max);
    assert!(late > 0.5 * sizes.iter().copied().fold(0.0, f64::max));
}
