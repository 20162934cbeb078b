//! SparseGrad's bases: where they come from, at the start and while it trains.

use burn::{Tensor, tensor::TensorData};
use peft_core::{
    AdapterError, AdapterStep, GradientMoments, Values, WeightGradients, kernels::mix_key,
};

use super::{SparseGradMask, SparseGradMethod};
use crate::{
    adam::{floats, whole},
    basis::leading,
    method::common::fault,
    support::largest,
};

/// Stream of the range finder's random numbers.
const RANGE: u64 = 2;

/// What is known of the gradients to a weight.
#[derive(Clone, Copy)]
pub(super) struct Gradients<'a> {
    /// The module, for messages.
    pub path: &'a str,
    /// Outputs and inputs of the weight.
    pub shape: [usize; 2],
    /// The gradients' sum, `[in, out]`.
    pub sum: Option<&'a Tensor<2>>,
    /// Their second moments.
    pub moments: Option<&'a GradientMoments>,
}

impl SparseGradMethod {
    /// `U: [in, q]` and `Vᵀ: [p, out]`, both row-major: so they come out of files and checkpoints, too, and
    /// products with them give the same bits. Behind them those that an adapter had `before`, but the
    /// last of these; at the start, zeros for as many as are to come.
    pub(super) fn bases(
        &self,
        gradients: Gradients,
        seed: u64,
        before: Option<[Tensor<2>; 2]>,
    ) -> Result<[Tensor<2>; 2], AdapterError> {
        let Gradients { path, shape, .. } = gradients;
        let moments = gradients.moments.ok_or_else(|| {
            fault(
                Self::NAME,
                format!("the second moments of the gradient of `{path}` are needed"),
                "give attach the gradients of the weights on a few batches, with their moments",
            )
        })?;
        let [p, q] = self.config.sides(shape);
        let key = |side| mix_key(seed, &[RANGE, side]);
        let kept = [q, p].map(|side| side * self.config.basis_refreshes);
        // Once for all layers that share them: these had the same before, too.
        let bases = moments.bases(|moments| {
            let input = leading(&moments.input(), q, key(0))?;
            let output = leading(&moments.output(), p, key(1))?;
            let input = match self.config.legacy {
                true => input,
                false => transposed(&input),
            };
            if self.config.basis_refreshes == 0 {
                return Some([input, output]);
            }
            let [out, inner] = shape;
            let [inputs, outputs] = match before {
                Some([inputs, outputs]) => [
                    inputs.narrow(1, 0, kept[0]).cast(input.dtype()),
                    outputs.narrow(0, 0, kept[1]).cast(output.dtype()),
                ],
                None => [[inner, kept[0]], [kept[1], out]]
                    .map(|shape| Tensor::zeros(shape, (&input.device(), input.dtype()))),
            };
            Some([
                Tensor::cat(vec![input, inputs], 1),
                Tensor::cat(vec![output, outputs], 0),
            ])
        });
        bases.ok_or_else(|| {
            fault(
                Self::NAME,
                format!("the gradients of `{path}` are not finite"),
                "look for NaN in the checkpoint and in the data",
            )
        })
    }

    /// The places of the window that are trained, where they are chosen once for a basis.
    pub(super) fn places(
        &self,
        gradients: Gradients,
        [input, output]: &[Tensor<2>; 2],
    ) -> Result<Option<Vec<u32>>, AdapterError> {
        let Gradients { path, shape, .. } = gradients;
        if self.config.mask != SparseGradMask::TopkFixed {
            return Ok(None);
        }
        let sum = gradients.sum.ok_or_else(|| {
            fault(
                Self::NAME,
                format!("the gradient of `{path}` is needed"),
                "give attach the gradients of the weights on a few batches",
            )
        })?;
        let [p, q] = self.config.sides(shape);
        let first = [
            output.clone().narrow(0, 0, p),
            input.clone().narrow(1, 0, q),
        ];
        let [output, input] = first.map(|basis| basis.cast(sum.dtype()));
        let core = output.matmul(sum.clone().transpose()).matmul(input);
        let values: Vec<f64> = core.into_data().iter::<f64>().collect();
        let chosen = largest(&values, self.config.count(shape));
        Ok(Some(chosen.into_iter().map(|place| place as u32).collect()))
    }

    /// Give an adapter the bases of new gradients. What it has trained so far becomes part of its offset,
    /// and the effective weight stays what it is.
    pub(super) fn refresh(
        &self,
        path: &str,
        adapter: &mut AdapterStep,
        gradients: &WeightGradients,
        step: u64,
    ) -> Result<(), AdapterError> {
        let sides = |name: &str| match *adapter.field(name).shape() {
            [rows, cols] => [rows, cols],
            _ => unreachable!("bases and cores are matrices"),
        };
        let (wide_input, wide_output) = (sides("input_basis"), sides("output_basis"));
        let shape = [wide_output[1], wide_input[0]];
        let [p, q] = self.config.sides(shape);
        let gradients = Gradients {
            path,
            shape,
            sum: gradients.sums.get(path),
            moments: gradients.moments.get(path).map(std::ops::Deref::deref),
        };
        let value = |name: &str| adapter.field(name).value().float();
        let before = [
            value("input_basis").reshape(wide_input),
            value("output_basis").reshape(wide_output),
        ];
        let bases = self.bases(gradients, step, Some(before))?;
        let places = self.places(gradients, &bases)?;

        let like = value("core");
        let core = match &places {
            None => like.clone(),
            // The whole window of what was trained.
            Some(_) => {
                let old = adapter.field("places").value().int().into_data();
                let mut window = vec![0.0; p * q];
                for (place, value) in old
                    .iter::<i64>()
                    .zip(like.clone().into_data().iter::<f64>())
                {
                    window[place as usize] = value;
                }
                floats(&window, &like).float()
            }
        };
        let past = value("past");
        let kept = past.dims()[0] - p * q;
        let past = match kept {
            0 => core,
            kept => Tensor::cat(vec![core, past.narrow(0, 0, kept)], 0),
        };
        let flat = |basis: &Tensor<2>| {
            let [rows, cols] = basis.dims();
            Values::Float(basis.clone().reshape([rows * cols]).cast(like.dtype()))
        };
        let [input, output] = [flat(&bases[0]), flat(&bases[1])];
        adapter.field_mut("input_basis").set(input);
        adapter.field_mut("output_basis").set(output);
        adapter.field_mut("past").set(Values::Float(past));
        let zeros = Values::Float(like.zeros_like());
        adapter.field_mut("core").set(zeros);
        if let Some(places) = places {
            let places: Vec<i64> = places.into_iter().map(i64::from).collect();
            adapter.field_mut("places").set(whole(&places, &like));
        }
        // Of entries of other matrices.
        adapter.memory.clear();
        Ok(())
    }
}

/// The transpose, row-major.
fn transposed(matrix: &Tensor<2>) -> Tensor<2> {
    let [rows, cols] = matrix.dims();
    let values: Vec<f64> = matrix.clone().into_data().iter::<f64>().collect();
    let transposed: Vec<f64> = (0..rows * cols)
        .map(|place| values[place % rows * cols + place / rows])
        .collect();
    let data = TensorData::new(transposed, [cols, rows]).convert_dtype(matrix.dtype());
    Tensor::from_data(data, (&matrix.device(), matrix.dtype()))
}
