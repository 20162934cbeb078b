//! Scans remember rows and some states, never a number for every row, channel and state.
#![cfg(feature = "flex")]

#[path = "../common/mod.rs"]
#[allow(unused_imports)] // What other tests use.
mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::{Device, Tensor};
use peft_kernels::*;

use common::numbers;

/// Bytes allocated now, and at the most.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

const ROWS: usize = 512;
const CHANNELS: usize = 512;

fn leaf<const D: usize>(key: u64, shape: [usize; D]) -> Tensor<D> {
    let device = Device::flex().autodiff();
    let values: Vec<f32> = (numbers(key, shape.iter().product()).iter())
        .map(|&value| value as f32)
        .collect();
    let flat = Tensor::<1>::from_floats(values.as_slice(), &device);
    flat.reshape(shape).require_grad()
}

/// How many tensors of a number for every row and channel a forward and backward pass takes beyond its inputs.
fn tensors_of_rows(scan: impl Fn() -> Tensor<2>) -> f64 {
    // Threads and tables that stay.
    drop(scan().sum().backward());
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    drop(scan().sum().backward());
    (MOST.load(Ordering::Relaxed) - before) as f64 / (4 * ROWS * CHANNELS) as f64
}

/// One test: what another allocates at the same time would be counted.
#[test]
fn scans_take_a_few_tensors_of_rows() {
    let rows = RowLayout::new(vec![0, 200, ROWS], &Device::flex());
    let vector = |key: u64, width: usize| leaf(key, [width]);
    let wide = |key: u64| leaf(key, [ROWS, CHANNELS]);

    // A number for every row, channel and state would be 16 tensors of rows.
    let states = 16;
    let inputs = SelectiveScan {
        u: wide(1),
        delta: wide(2),
        a_log: leaf(3, [CHANNELS, states]),
        b: leaf(4, [ROWS, states]),
        c: leaf(5, [ROWS, states]),
        skip: vector(6, CHANNELS),
        gate: Some(wide(7)),
        delta_bias: Some(vector(8, CHANNELS)),
        initial: None,
    };
    let taken = tensors_of_rows(|| selective_scan(inputs.clone(), &rows).0);
    assert!(taken < 8.0, "selective_scan takes {taken} tensors of rows");

    // Here it would be 64, and a number for every head and two rows of a chunk one.
    let (heads, states) = (CHANNELS / 64, 64);
    let inputs = StateSpaceDual {
        x: wide(1),
        dt: leaf(2, [ROWS, heads]),
        a_log: vector(3, heads),
        b: leaf(4, [ROWS, states]),
        c: leaf(5, [ROWS, states]),
        skip: vector(6, heads),
        dt_bias: Some(vector(7, heads)),
        dt_limit: (0.0, f64::INFINITY),
        initial: None,
        groups: 1,
    };
    let taken = tensors_of_rows(|| ssd(inputs.clone(), &rows).0);
    assert!(taken < 8.0, "ssd takes {taken} tensors of rows");

    let (x, weight) = (wide(1), leaf(2, [CHANNELS, 4]));
    let conv = || causal_conv1d(x.clone(), weight.clone(), None, None, &rows);
    let taken = tensors_of_rows(conv);
    assert!(taken < 3.0, "causal_conv1d takes {taken} tensors of rows");
}
