//! What the ways to apply an update cost, and which is cheapest.

use crate::{Basis, Sandwich};

/// A way to apply an update in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Products with the distinct basis rows, a sparse core between them.
    FactoredSparse,
    /// Products with the distinct basis rows, the core between them as a dense matrix: for supports inside a
    /// small product of rows and columns, and for devices that are poor at sparse work.
    FactoredDense,
    /// Fast transforms of the activations, a sparse core between them.
    Fast,
    /// The update formed and added to a copy of the weight in either pass. Only for full-precision
    /// weights: an update is smaller than the last bit of most `bf16` weights.
    Merged,
}

/// How large the parts of an update are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// The basis of both axes.
    pub basis: Basis,
    /// Outputs of the weight, `M`.
    pub out_features: usize,
    /// Inputs of the weight, `N`.
    pub in_features: usize,
    /// Basis rows in use along the outputs, `p`.
    pub out_rows: usize,
    /// Basis rows in use along the inputs, `q`.
    pub in_rows: usize,
    /// Occupied places of the core, `E`.
    pub places: usize,
}

impl Extent {
    /// What is to be expected of `count` coefficients drawn from the whole grid of a weight
    /// `[out, in]`: of `d` frequencies, `d (1 − e^(−n/d))` are in use.
    #[must_use]
    pub fn scattered(basis: Basis, [out_features, in_features]: [usize; 2], count: usize) -> Self {
        let places = basis.parts() * count;
        let used = |features: usize| {
            let width = basis.width(features) as f64;
            (width * -(-(places as f64) / width).exp_m1()).ceil() as usize
        };
        Self {
            basis,
            out_features,
            in_features,
            out_rows: used(out_features),
            in_rows: used(in_features),
            places,
        }
    }
}

impl From<&Sandwich> for Extent {
    fn from(sandwich: &Sandwich) -> Self {
        let core = sandwich.core();
        Self {
            basis: sandwich.basis(),
            out_features: sandwich.out_features(),
            in_features: sandwich.in_features(),
            out_rows: core.rows(),
            in_rows: core.cols(),
            places: core.places(),
        }
    }
}

/// What a device is good at. Only ratios matter to the choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Operations a second in dense matrix products.
    pub product: f64,
    /// Operations a second in fast transforms.
    pub transform: f64,
    /// Operations a second with indexed operands.
    pub sparse: f64,
    /// Bytes a second to and from memory.
    pub bandwidth: f64,
}

impl Machine {
    /// One core of a server CPU with 512-bit vectors: what makes the costs below agree best with the
    /// times of `cargo xtask bench spectral-routes` (half of the fit for two threads).
    pub const CPU_CORE: Self = Self {
        product: 200e9,
        transform: 22e9,
        sparse: 22e9,
        bandwidth: 25e9,
    };

    /// A data-centre GPU with matrix units in `bf16`, in orders of magnitude: transforms run at the
    /// speed of memory.
    pub const GPU: Self = Self {
        product: 300e12,
        transform: 4e12,
        sparse: 1e12,
        bandwidth: 2e12,
    };
}

/// What a step costs one way, forward and backward, on top of the frozen product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The way.
    pub way: Way,
    /// Operations in dense products.
    pub product_flops: f64,
    /// Operations in fast transforms.
    pub transform_flops: f64,
    /// Operations with indexed operands.
    pub sparse_flops: f64,
    /// Bytes moved, `f32` values, everything that is touched once counted once.
    pub bytes: f64,
    /// Values a row kept for the backward pass.
    pub saved_per_row: usize,
}

impl Estimate {
    /// All operations.
    #[must_use]
    pub fn flops(&self) -> f64 {
        self.product_flops + self.transform_flops + self.sparse_flops
    }

    /// Seconds on `machine`, its units taking turns.
    #[must_use]
    pub fn seconds(&self, machine: &Machine) -> f64 {
        self.product_flops / machine.product
            + self.transform_flops / machine.transform
            + self.sparse_flops / machine.sparse
            + self.bytes / machine.bandwidth
    }
}

/// The cost of `way` for a step over so many activation `rows`.
///
/// With `p` out-rows, `q` in-rows, `E` places, `F(n)` a transform's operations and `T` rows:
///
/// | way | products | transforms | sparse |
/// |---|---|---|---|
/// | `FactoredSparse` | `4T(qN + pM)` | | `7TE` |
/// | `FactoredDense` | `4T(qN + pM) + 6Tpq` | | |
/// | `Fast` | | `2T(F(N) + F(M))` | `7TE` |
/// | `Merged` | | `2(q F(M) + M F(N))` to form the update, `T(F(N) + F(M))` for the gradient | `3TE` |
#[must_use]
pub fn estimate(way: Way, extent: &Extent, rows: usize) -> Estimate {
    let rows = rows as f64;
    let (m, n) = (extent.out_features as f64, extent.in_features as f64);
    let (p, q) = (extent.out_rows as f64, extent.in_rows as f64);
    let places = extent.places as f64;
    let along_in = extent.basis.transform_flops(extent.in_features);
    let along_out = extent.basis.transform_flops(extent.out_features);
    // Both passes read one side's activations, and read and write the other's.
    let activations = 4.0 * rows * 3.0 * (m + n);
    let basis = q * n + p * m;
    let projected = 4.0 * rows * 3.0 * q;
    let mut cost = Estimate {
        way,
        product_flops: 0.0,
        transform_flops: 0.0,
        sparse_flops: 0.0,
        bytes: activations + projected,
        saved_per_row: extent.in_rows,
    };
    match way {
        Way::FactoredSparse => {
            cost.product_flops = 4.0 * rows * basis;
            cost.sparse_flops = 7.0 * rows * places;
            cost.bytes += 4.0 * (2.0 * basis + rows * 4.0 * p);
        }
        Way::FactoredDense => {
            cost.product_flops = rows * (4.0 * basis + 6.0 * p * q);
            cost.bytes += 4.0 * (2.0 * basis + rows * 4.0 * p + 3.0 * p * q);
        }
        Way::Fast => {
            cost.transform_flops = 2.0 * rows * (along_in + along_out);
            cost.sparse_flops = 7.0 * rows * places;
        }
        Way::Merged => {
            cost.transform_flops =
                2.0 * (q * along_out + m * along_in) + rows * (along_in + along_out);
            cost.sparse_flops = 3.0 * rows * places;
            // In either pass the weight is copied, the copy read and written, and read by the product;
            // the update's columns are written and read; the gradient reads both sides' activations once.
            cost.bytes = 40.0 * m * n + 16.0 * q * m + 4.0 * rows * (m + n) + projected;
        }
    }
    cost
}

/// The cheapest of `ways` for a step over so many activation `rows` on `machine`; of equals, the
/// first.
///
/// # Panics
/// If there are no ways.
#[must_use]
pub fn choose(ways: &[Way], extent: &Extent, rows: usize, machine: &Machine) -> Estimate {
    ways.iter()
        .map(|&way| estimate(way, extent, rows))
        .min_by(|a, b| a.seconds(machine).total_cmp(&b.seconds(machine)))
        .expect("there are ways to choose from")
}

/// The fewest activation rows for which [`Way::Merged`] is cheaper than [`Way::Fast`] on `machine`,
/// if there are any: both costs are a constant and so much a row.
#[must_use]
pub fn merged_from(extent: &Extent, machine: &Machine) -> Option<usize> {
    let costs = |way| {
        let seconds = |rows| estimate(way, extent, rows).seconds(machine);
        (
            seconds(0),
            (seconds(1 << 20) - seconds(0)) / f64::from(1 << 20),
        )
    };
    let ((fixed, a_row), (fixed_merged, a_row_merged)) = (costs(Way::Fast), costs(Way::Merged));
    let rows = (fixed_merged - fixed) / (a_row - a_row_merged);
    (a_row > a_row_merged).then(|| rows.max(0.0).ceil() as usize)
}
