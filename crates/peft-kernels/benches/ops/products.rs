use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};
use peft_kernels::*;

use crate::Bench;
use crate::bench::{Work, random};

/// The least that an update can do, `y += x ∘ a`: what is measured is the way around it.
#[derive(Debug)]
struct Diagonal(usize);

macro_rules! applied {
    ($type:ty) => {
        impl Applied<$type> for Diagonal {
            fn forward(&self, x: &[$type], a: &[$type], y: &mut [$type], saved: &mut [$type]) {
                saved.copy_from_slice(x);
                for (y, x) in y.chunks_mut(self.0).zip(x.chunks(self.0)) {
                    for ((y, &x), &a) in y.iter_mut().zip(x).zip(a) {
                        *y += x * a;
                    }
                }
            }

            fn backward(
                &self,
                saved: &[$type],
                dy: &[$type],
                a: &[$type],
                dx: Option<&mut [$type]>,
                da: &mut [f64],
            ) {
                for (x, dy) in saved.chunks(self.0).zip(dy.chunks(self.0)) {
                    for ((da, &x), &dy) in da.iter_mut().zip(x).zip(dy) {
                        *da += f64::from(x * dy);
                    }
                }
                for (dx, dy) in dx
                    .into_iter()
                    .flat_map(|dx| dx.chunks_mut(self.0))
                    .zip(dy.chunks(self.0))
                {
                    for ((dx, &dy), &a) in dx.iter_mut().zip(dy).zip(a) {
                        *dx += dy * a;
                    }
                }
            }
        }
    };
}

applied!(f32);
applied!(f64);

impl HostUpdate for Diagonal {
    fn in_features(&self) -> usize {
        self.0
    }

    fn out_features(&self) -> usize {
        self.0
    }

    fn coefficients(&self) -> usize {
        self.0
    }

    fn saved_per_row(&self) -> usize {
        self.0
    }
}

pub fn run(bench: &mut Bench) {
    linears(bench, "", Work::Flops);
    set_compute(Compute::Bf16);
    linears(bench, ", bf16", Work::Bf16Flops);
    set_compute(Compute::F32);
    adapted(bench);
}

/// Frozen layers.
fn linears(bench: &mut Bench, words: &str, work: fn(usize) -> Work) {
    let (rows, d, ffn) = (bench.sizes.rows(), bench.sizes.d(), bench.sizes.ffn);
    let device = Device::flex();
    for (inner, out) in [(d, d), (d, ffn), (ffn, d)] {
        let product = 2 * rows * inner * out;
        let bias = random([out], &device);
        let bias = |x: &Tensor<2>| Tensor::<1>::from_data(bias.to_data(), &x.device());
        // As a Hugging Face weight lies in its file: [out, in], read transposed.
        bench.both(
            &format!("linear {rows}×{inner}×{out}{words}"),
            &|mut x| {
                let b = bias(&x[0]);
                linear(x.remove(0), x.remove(0).transpose(), Some(b))
            },
            &|mut x| {
                let b = bias(&x[0]);
                portable::linear(x.remove(0), x.remove(0).transpose(), Some(b))
            },
            &[[rows, inner], [out, inner]],
            [work(product), work(2 * product)],
        );
    }
}

/// Layers with something added to them, and a loss.
fn adapted(bench: &mut Bench) {
    let (rows, d) = (bench.sizes.rows(), bench.sizes.d());
    let device = Device::flex();
    let (rank, weight) = (8, random([d, d], &device));
    let weight = |x: &Tensor<2>| Tensor::<2>::from_data(weight.to_data(), &x.device()).transpose();
    let (dense, thin) = (2 * rows * d * d, 2 * rows * rank * d);
    bench.both(
        &format!("linear_low_rank {rows}×{d}×{d}, rank {rank}"),
        &|x| {
            let [x, a, b] = x.try_into().expect("three");
            linear_low_rank(x.clone(), weight(&x), None, a, b, 2.0)
        },
        &|x| {
            let [x, a, b] = x.try_into().expect("three");
            portable::linear_low_rank(x.clone(), weight(&x), None, a, b, 2.0)
        },
        &[[rows, d], [d, rank], [rank, d]],
        // The frozen weight gets no gradient.
        [Work::Flops(dense + 2 * thin), Work::Flops(dense + 4 * thin)],
    );
    bench.both(
        &format!("linear_plus {rows}×{d}×{d}, rank {rank}"),
        &|x| {
            let [x, low, b] = x.try_into().expect("three");
            linear_plus(x.clone(), weight(&x), None, low, b)
        },
        &|x| {
            let [x, low, b] = x.try_into().expect("three");
            portable::linear_plus(x.clone(), weight(&x), None, low, b)
        },
        &[[rows, d], [rows, rank], [rank, d]],
        [Work::Flops(dense + thin), Work::Flops(dense + 2 * thin)],
    );
    let update = RowUpdate::new(Diagonal(d));
    bench.both(
        &format!("linear_updated {rows}×{d}×{d}, a diagonal"),
        &|x| {
            let [x, a] = x.try_into().expect("two");
            linear_updated(&x, weight(&x), None, a.reshape([d]), &update).expect("a CPU")
        },
        &|x| {
            let [x, a] = x.try_into().expect("two");
            portable::linear(x.clone(), weight(&x), None) + x * a
        },
        &[[rows, d], [1, d]],
        [
            Work::Flops(dense + 2 * rows * d),
            Work::Flops(dense + 4 * rows * d),
        ],
    );
    sparse(bench);
    let (rows, classes) = (rows / 4, bench.sizes.words);
    let targets = Tensor::<1, Int>::from_ints(vec![7; rows].as_slice(), &device);
    let logits = rows * classes * 4;
    bench.both(
        &format!("cross_entropy {rows}×{classes}"),
        &|mut x| cross_entropy(x.remove(0), targets.clone()).unsqueeze(),
        &|mut x| portable::cross_entropy(x.remove(0), targets.clone()).unsqueeze(),
        &[[rows, classes]],
        [Work::Bytes(logits), Work::Bytes(2 * logits)],
    );
}

/// A frozen product plus a hundredth of the weight's entries, at random places.
fn sparse(bench: &mut Bench) {
    let (rows, d, ffn) = (bench.sizes.rows(), bench.sizes.d(), bench.sizes.ffn);
    let device = Device::flex();
    let chosen = uniform(7, ffn * d);
    let places: Vec<[u32; 2]> = (0..ffn * d)
        .filter(|&place| chosen[place] < 0.01)
        .map(|place| [(place / d) as u32, (place % d) as u32])
        .collect();
    let count = places.len();
    let flat: Vec<i64> = places
        .iter()
        .map(|&[out, inner]| i64::from(inner) * ffn as i64 + i64::from(out))
        .collect();
    let update = RowUpdate::new(SparseUpdate::new(ffn, d, places));
    let weight = random([ffn, d], &device);
    let weight = |x: &Tensor<2>| Tensor::<2>::from_data(weight.to_data(), &x.device()).transpose();
    let (dense, own) = (2 * rows * d * ffn, 2 * rows * count);
    bench.both(
        &format!("linear_updated {rows}×{d}×{ffn}, {count} entries"),
        &|mut x| {
            let (values, x) = (x.remove(1).flatten(0, 1), x.remove(0));
            linear_updated(&x, weight(&x), None, values, &update).expect("flex has a body")
        },
        &|mut x| {
            let (values, x) = (x.remove(1).flatten(0, 1), x.remove(0));
            let flat = TensorData::new(flat.clone(), [count]);
            let flat = Tensor::<1, Int>::from_data(flat, &x.device());
            let change = Tensor::<1>::zeros([d * ffn], (&x.device(), x.dtype()))
                .scatter(0, flat, values, IndexingUpdateOp::Add)
                .reshape([d, ffn]);
            let weight = weight(&x) + change;
            portable::linear(x, weight, None)
        },
        &[[rows, d], [1, count]],
        [Work::Flops(dense + own), Work::Flops(dense + 2 * own)],
    );
}
