use burn::tensor::{Device, FloatDType, IndexingUpdateOp, Int, Tensor, TensorData};

/// An entry of a [`SparseCore`]: `±values[value]` at `[output, input]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreEntry {
    /// Row of the core.
    pub output: u32,
    /// Column of the core.
    pub input: u32,
    /// Which value.
    pub value: u32,
    /// Whether it enters with the other sign.
    pub negative: bool,
}

/// What is known of a sparse matrix `K: [outputs, inputs]` before its values are, on a device.
///
/// ```text
/// K[o, i] = factor · Σ ± values[k]   over the entries (o, i, ±k)
/// ```
///
/// A value may stand in several places, and a place may hold several values.
#[derive(Clone, Debug)]
pub struct SparseCore {
    sizes: [usize; 3],
    /// Flat place in `[inputs, outputs]`, value and `± factor` of every entry.
    places: Tensor<1, Int>,
    indices: Tensor<1, Int>,
    factors: Tensor<1>,
    #[cfg(feature = "cubecl")]
    kernel: Option<Tables>,
}

impl SparseCore {
    /// The core of `sizes = [outputs, inputs, values]` with these entries, for numbers of a type.
    ///
    /// # Panics
    /// If an entry lies outside the core, or names a value that there is not.
    pub fn new(
        sizes: [usize; 3],
        entries: &[CoreEntry],
        factor: f64,
        dtype: FloatDType,
        device: &Device,
    ) -> Self {
        let [outputs, inputs, values] = sizes;
        let within = |entry: &CoreEntry| {
            (entry.output as usize) < outputs
                && (entry.input as usize) < inputs
                && (entry.value as usize) < values
        };
        assert!(
            entries.iter().all(within),
            "SparseCore: an entry is outside of [{outputs}, {inputs}] or of {values} values"
        );
        let device = device.clone().inner();
        let ints = |of: &dyn Fn(&CoreEntry) -> i64| {
            let numbers: Vec<i64> = entries.iter().map(of).collect();
            Tensor::<1, Int>::from_data(TensorData::new(numbers, [entries.len()]), &device)
        };
        let factors: Vec<f64> = entries
            .iter()
            .map(|entry| if entry.negative { -factor } else { factor })
            .collect();
        let factors = TensorData::new(factors, [entries.len()]).convert_dtype(dtype.into());
        Self {
            sizes,
            places: ints(&|entry| {
                i64::from(entry.input) * outputs as i64 + i64::from(entry.output)
            }),
            indices: ints(&|entry| i64::from(entry.value)),
            factors: Tensor::from_data(factors, (&device, dtype.into())),
            #[cfg(feature = "cubecl")]
            kernel: Tables::new(sizes, entries, factor, dtype, &device),
        }
    }

    /// Whether [`sparse_core`] has a kernel for it, and reads its entries only.
    pub fn has_kernel(&self) -> bool {
        #[cfg(feature = "cubecl")]
        return self.kernel.is_some();
        #[cfg(not(feature = "cubecl"))]
        false
    }

    /// `Kᵀ`, `[inputs, outputs]`, dense and differentiable.
    ///
    /// # Panics
    /// If there is not one value for each that the core was made for.
    pub fn dense(&self, values: Tensor<1>) -> Tensor<2> {
        let [outputs, inputs, count] = self.sizes;
        assert_eq!(values.dims(), [count], "SparseCore: the values");
        let device = values.device();
        let dtype = values.dtype();
        let factors = match device.is_autodiff() {
            true => Tensor::from_inner(self.factors.clone()),
            false => self.factors.clone(),
        };
        let entries = values.select(0, lifted(&self.indices, &device)) * factors;
        let places = lifted(&self.places, &device);
        Tensor::<1>::zeros([inputs * outputs], (&device, dtype))
            .scatter(0, places, entries, IndexingUpdateOp::Add)
            .reshape([inputs, outputs])
    }
}

/// A constant where `device` lives: inside autodiff or not.
fn lifted(x: &Tensor<1, Int>, device: &Device) -> Tensor<1, Int> {
    match device.is_autodiff() {
        true => Tensor::from_inner(x.clone()),
        false => x.clone(),
    }
}

/// Product with a sparse matrix that is made of trained values: `z = x · Kᵀ`.
///
/// `x` is `[rows, inputs]`, `values` is `[values]`. On GPU backends (CubeCL), for `f32` and cores with few
/// entries, a kernel reads only the entries, forward and backward, and every gradient is a sum in one
/// order; elsewhere it is a product with the dense core. For the gradients `x` and the values are kept.
///
/// # Panics
/// If the shapes disagree.
pub fn sparse_core(x: Tensor<2>, values: Tensor<1>, core: &SparseCore) -> Tensor<2> {
    let ([_, width], [count]) = (x.dims(), values.dims());
    let [outputs, inputs, wanted] = core.sizes;
    assert!(
        width == inputs && count == wanted,
        "sparse_core: {width} columns and {count} values do not fit a core [{outputs}, {inputs}] of \
         {wanted} values"
    );
    #[cfg(feature = "cubecl")]
    if let Some(tables) = core
        .kernel
        .as_ref()
        .filter(|tables| tables.suit(&x, &values))
    {
        return tables.apply(x, values);
    }
    super::linear(x, core.dense(values), None)
}

#[cfg(feature = "cubecl")]
use kernel::Tables;

#[cfg(feature = "cubecl")]
mod kernel {
    use burn::backend::{Dispatch, DispatchDevice};
    use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};

    use super::{CoreEntry, lifted};
    use crate::backends::cubecl::{CoreOps, CoreShape};

    /// Places of a core for each of its entries, at the least, or the dense core is multiplied by: matrix
    /// products are what GPUs are made for. An estimate, not a measurement.
    const PLACES_PER_ENTRY: usize = 4;

    /// The entries in the three orders that the kernels read them in, each as `[starts] […] [2 · … +
    /// negative]`.
    #[derive(Clone, Debug)]
    pub struct Tables {
        by_output: Tensor<1, Int>,
        by_input: Tensor<1, Int>,
        by_value: Tensor<1, Int>,
        shape: CoreShape,
    }

    impl Tables {
        /// The tables of a core that the kernels are for.
        pub fn new(
            [outputs, inputs, values]: [usize; 3],
            entries: &[CoreEntry],
            factor: f64,
            dtype: FloatDType,
            device: &Device,
        ) -> Option<Self> {
            let sparse = PLACES_PER_ENTRY * entries.len() <= outputs * inputs;
            // Places and signs share 32 bits.
            let numbers = [outputs, inputs, values, entries.len()];
            let fits = numbers.iter().all(|&n| n < (i32::MAX / 2) as usize);
            let kernel = dtype == FloatDType::F32 && on_cubecl(device);
            if !(sparse && fits && kernel) || entries.is_empty() {
                return None;
            }
            let table = |lists, list: fn(&CoreEntry) -> u32, pair: fn(&CoreEntry) -> [u32; 2]| {
                let numbers = table(lists, entries, list, pair);
                let data = TensorData::new(numbers, [lists + 1 + 2 * entries.len()]);
                Tensor::from_data(data, (device, DType::I32))
            };
            Some(Self {
                by_output: table(outputs, |e| e.output, |e| [e.input, e.value]),
                by_input: table(inputs, |e| e.input, |e| [e.output, e.value]),
                by_value: table(values, |e| e.value, |e| [e.output, e.input]),
                shape: CoreShape {
                    inputs,
                    outputs,
                    values,
                    factor,
                },
            })
        }

        /// Whether the kernels take these operands.
        pub fn suit(&self, x: &Tensor<2>, values: &Tensor<1>) -> bool {
            let single = x.dtype() == DType::F32 && values.dtype() == DType::F32;
            single && x.dims()[0] > 0 && x.device().inner() == self.by_output.device()
        }

        /// `x · Kᵀ`
        pub fn apply(&self, x: Tensor<2>, values: Tensor<1>) -> Tensor<2> {
            let device = x.device();
            let [by_output, by_input, by_value] = [&self.by_output, &self.by_input, &self.by_value]
                .map(|table| lifted(table, &device).into_dispatch());
            Tensor::from_dispatch(<Dispatch as CoreOps>::sparse_core(
                x.into_dispatch(),
                values.into_dispatch(),
                by_output,
                by_input,
                by_value,
                self.shape,
            ))
        }
    }

    /// `[starts; lists + 1] [first of pair; entries] [2 · second + negative; entries]`, list by list.
    fn table(
        lists: usize,
        entries: &[CoreEntry],
        list: fn(&CoreEntry) -> u32,
        pair: fn(&CoreEntry) -> [u32; 2],
    ) -> Vec<i32> {
        let mut sorted: Vec<&CoreEntry> = entries.iter().collect();
        sorted.sort_by_key(|entry| (list(entry), pair(entry)));
        let mut numbers = vec![0; lists + 1];
        for entry in entries {
            numbers[list(entry) as usize + 1] += 1;
        }
        for at in 0..lists {
            numbers[at + 1] += numbers[at];
        }
        numbers.extend(sorted.iter().map(|entry| pair(entry)[0] as i32));
        let code = |entry: &&CoreEntry| 2 * pair(entry)[1] as i32 + i32::from(entry.negative);
        numbers.extend(sorted.iter().map(code));
        numbers
    }

    fn on_cubecl(device: &Device) -> bool {
        match device.as_dispatch() {
            DispatchDevice::Cube(_) => true,
            DispatchDevice::Autodiff(inner) => matches!(**inner, DispatchDevice::Cube(_)),
            #[allow(unreachable_patterns)] // Where CubeCL's are the only backends.
            _ => false,
        }
    }
}
