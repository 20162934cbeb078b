mod settings;

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, AdapterStep, AfterStep, DefaultTargets, DynAdapter, Fields,
    HostTensor, InitContext, Method, MomentScope, Target, kernels::mix_key, own_settings,
};
use rayon::prelude::*;
use serde_json::{Map, Value};

use super::common::{
    code_info, entries_to_store, fault, gradient, shape_of, share_of, stored_entries,
    stored_transposed, stored_values, values_info, zeros,
};
use crate::{
    CoreParts, GradientCore,
    adam::{AgedAdam, Clock, floats, ints, remember_ints},
    adapter::core_cost,
    basis::leading,
    support::largest,
};

pub use settings::{SparseGradConfig, SparseGradMask};

const INPUTS: &str = "sparsegrad_U";
const OUTPUTS: &str = "sparsegrad_V";
const CORE: &str = "sparsegrad_core";
const INDICES: &str = "sparsegrad_indices";

/// Stream of the range finder's random numbers.
const RANGE: u64 = 2;

/// SparseGrad ([2410.07383](https://arxiv.org/abs/2410.07383)): entries of the weight in a basis in which
/// its gradients are concentrated.
///
/// The bases are the factors of the higher-order singular value decomposition of the gradients of a few
/// batches; entries are chosen among the leading ones of both. See [`GradientCore`] for the product.
/// Where the choice changes from step to step, the method itself takes Adam's steps, with an age for
/// each entry.
#[derive(Debug, Clone)]
pub struct SparseGradMethod {
    config: SparseGradConfig,
}

impl SparseGradMethod {
    const NAME: &'static str = "sparsegrad";

    /// SparseGrad with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn new(config: SparseGradConfig) -> Result<Self, AdapterError> {
        config.check(Self::NAME)?;
        Ok(Self { config })
    }

    /// SparseGrad with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(own_settings(Self::NAME, map, SparseGradConfig::KEYS)?)
    }

    /// The default settings, as a file holds them.
    pub fn defaults() -> Map<String, Value> {
        SparseGradConfig::default().to_json()
    }

    /// Values of the core that an adapter holds.
    fn held(&self, target: &Target) -> usize {
        let [p, q] = self.config.sides(target);
        match self.config.mask {
            SparseGradMask::TopkFixed => self.config.count(target),
            _ => p * q,
        }
    }

    /// `U: [in, q]` and `Vᵀ: [p, out]`, both row-major: so they come out of files and checkpoints, too, and
    /// products with them give the same bits.
    fn bases(&self, target: &Target, start: &InitContext) -> Result<[Tensor<2>; 2], AdapterError> {
        let moments = start.moments.ok_or_else(|| {
            fault(
                Self::NAME,
                format!(
                    "the second moments of the gradient of `{}` are needed",
                    target.path
                ),
                "give attach the gradients of the weights on a few batches, with their moments",
            )
        })?;
        let [p, q] = self.config.sides(target);
        let key = |side| mix_key(start.seed, &[RANGE, side]);
        let bases = moments.bases(|moments| {
            let input = leading(&moments.input(), q, key(0))?;
            let output = leading(&moments.output(), p, key(1))?;
            Some(match self.config.legacy {
                true => [input, output],
                false => [turned(&input), output],
            })
        });
        bases.ok_or_else(|| {
            fault(
                Self::NAME,
                format!("the gradients of `{}` are not finite", target.path),
                "look for NaN in the checkpoint and in the data",
            )
        })
    }

    /// The places of the window that are trained, where they are chosen once.
    fn places(
        &self,
        target: &Target,
        start: &InitContext,
        [input, output]: &[Tensor<2>; 2],
    ) -> Result<Option<Vec<u32>>, AdapterError> {
        if self.config.mask != SparseGradMask::TopkFixed {
            return Ok(None);
        }
        let gradient = gradient(Self::NAME, target, start)?.clone().transpose();
        let core = output.clone().matmul(gradient).matmul(input.clone());
        let values: Vec<f64> = core.into_data().iter::<f64>().collect();
        let chosen = largest(&values, self.config.count(target));
        Ok(Some(chosen.into_iter().map(|place| place as u32).collect()))
    }

    /// Take a step on the entries that are trained now.
    fn step(&self, adapter: &mut AdapterStep, rate: f64, step: u64) {
        let field = adapter.field("core");
        let Some(gradient) = field.gradient() else {
            return;
        };
        let like = field.value().float();
        let mut values: Vec<f64> = like.clone().into_data().iter::<f64>().collect();
        let gradient: Vec<f64> = gradient.into_data().iter::<f64>().collect();
        let (inner, out) = (
            adapter.field("input_basis").shape()[0],
            adapter.field("output_basis").shape()[1],
        );
        let entries = share_of([out, inner], self.config.density).min(values.len());
        if self.config.mask == SparseGradMask::TopkEachStep {
            let clock = match self.config.legacy {
                true => Clock::Run(step),
                false => Clock::Age,
            };
            let chosen = match self.config.legacy {
                true => signed_largest(&gradient, entries),
                false => largest(&gradient, entries),
            };
            let memory = AgedAdam::recall(&adapter.memory);
            let mut adam = memory.unwrap_or_else(|| AgedAdam::new(values.len()));
            adam.step(&mut values, &gradient, chosen.clone(), chosen, rate, clock);
            adam.remember(&mut adapter.memory, &like);
        } else {
            let known = ints(&adapter.memory, "chosen").zip(AgedAdam::recall(&adapter.memory));
            let due = (step - 1).is_multiple_of(self.config.refresh as u64);
            let (chosen, mut adam) = match known {
                Some(known) if !due => known,
                known => {
                    let chosen: Vec<i64> = largest(&gradient, entries)
                        .into_iter()
                        .map(|place| place as i64)
                        .collect();
                    let adam = match known {
                        None => AgedAdam::new(chosen.len()),
                        Some((old, adam)) => {
                            let find = |place| old.binary_search(place).ok();
                            adam.gathered(&chosen.iter().map(find).collect::<Vec<_>>())
                        }
                    };
                    remember_ints(&mut adapter.memory, "chosen", &chosen, &like);
                    (chosen, adam)
                }
            };
            let at = chosen.iter().map(|&place| place as usize);
            adam.step(
                &mut values,
                &gradient,
                at,
                0..chosen.len(),
                rate,
                Clock::Age,
            );
            adam.remember(&mut adapter.memory, &like);
        }
        adapter.field_mut("core").set(floats(&values, &like));
    }
}

/// The entries whose magnitude is at least the `count`-th largest *signed* value: what a top-k that
/// forgets the absolute value takes, about twice as many.
fn signed_largest(values: &[f64], count: usize) -> Vec<usize> {
    let mut order = values.to_vec();
    let count = count.clamp(1, order.len());
    let bound = *order
        .select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a))
        .1;
    let all = values.iter().enumerate();
    all.filter(|(_, value)| value.abs() >= bound)
        .map(|(place, _)| place)
        .collect()
}

impl Method for SparseGradMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        "SPARSEGRAD"
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn gradient_batches(&self) -> usize {
        self.config.probe_batches
    }

    fn gradient_moments(&self) -> Option<MomentScope> {
        Some(match self.config.shared_basis {
            true => MomentScope::LayerType,
            false => MomentScope::Module,
        })
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::FeedForward
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let bases = self.bases(target, start)?;
        let places = self.places(target, start, &bases)?;
        let [input_basis, output_basis] = bases;
        let parts = CoreParts {
            core: zeros(target, self.held(target)),
            places,
            input_basis,
            output_basis,
        };
        let device = start.weight.device();
        Ok(DynAdapter::new(GradientCore::new(
            parts,
            target.dtype,
            &device,
        )))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let ([out, inner], [p, q]) = (shape_of(target), self.config.sides(target));
        let held = self.held(target);
        let mut tensors = Fields::from([
            (INPUTS.to_owned(), values_info(target, &[inner, q])),
            (OUTPUTS.to_owned(), values_info(target, &[out, p])),
        ]);
        if self.config.mask == SparseGradMask::TopkFixed {
            tensors.insert(INDICES.to_owned(), code_info([p, q], held));
            tensors.insert(CORE.to_owned(), values_info(target, &[held]));
        } else {
            tensors.insert(CORE.to_owned(), values_info(target, &[p, q]));
        }
        Ok(AdapterSpec {
            cost: core_cost([out, inner], [p, q], held),
            keeps_input: false,
            tensors,
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[INPUTS, OUTPUTS, CORE, INDICES]
    }

    fn shared_suffixes(&self) -> &'static [&'static str] {
        &[INPUTS, OUTPUTS]
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let ([out, inner], [p, q]) = (shape_of(target), self.config.sides(target));
        let held = self.held(target);
        let matrix = |data: TensorData| Tensor::from_data(data, (device, target.dtype.into()));
        let (core, places) = match self.config.mask {
            SparseGradMask::TopkFixed => {
                let core = stored_values(target, tensors, CORE, &[held])?;
                let support = stored_entries(target, tensors, INDICES, [p, q], held)?;
                (core, Some(support.tiles().to_vec()))
            }
            _ => (stored_values(target, tensors, CORE, &[p, q])?, None),
        };
        let output = stored_transposed(target, tensors, OUTPUTS, [out, p])?;
        let parts = CoreParts {
            core: flat(core),
            places,
            input_basis: matrix(stored_values(target, tensors, INPUTS, &[inner, q])?),
            output_basis: matrix(output),
        };
        Ok(DynAdapter::new(GradientCore::new(
            parts,
            target.dtype,
            device,
        )))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let [p, q] = self.config.sides(target);
        let mut out = Fields::new();
        let mut core = target.to_store(&mut fields, "core", CORE)?;
        let input = target.to_store(&mut fields, "input_basis", INPUTS)?;
        let output = target.to_store(&mut fields, "output_basis", OUTPUTS)?;
        if self.config.mask == SparseGradMask::TopkFixed {
            let code = entries_to_store(target, &mut fields, "places", INDICES, [p, q])?;
            out.insert(INDICES.to_owned(), code);
        } else {
            core.shape = vec![p, q];
        }
        out.insert(CORE.to_owned(), core);
        out.insert(INPUTS.to_owned(), input);
        out.insert(OUTPUTS.to_owned(), output.transposed());
        Ok(out)
    }

    fn learning_rate_factor(&self, field: &str, _: u64, _: u64) -> f64 {
        // Where the choice changes, the method takes the steps.
        match self.config.mask.moves() && field == "core" {
            true => 0.0,
            false => 1.0,
        }
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        self.config.mask.moves()
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        let (rate, step) = (now.learning_rate, now.step);
        (now.adapters.par_iter_mut()).for_each(|(_, adapter)| self.step(adapter, rate, step));
        Ok(())
    }
}

/// The transpose, row-major.
fn turned(matrix: &Tensor<2>) -> Tensor<2> {
    let [rows, cols] = matrix.dims();
    let values: Vec<f64> = matrix.clone().into_data().iter::<f64>().collect();
    let turned: Vec<f64> = (0..rows * cols)
        .map(|place| values[place % rows * cols + place / rows])
        .collect();
    let data = TensorData::new(turned, [cols, rows]).convert_dtype(matrix.dtype());
    Tensor::from_data(data, (&matrix.device(), matrix.dtype()))
}

/// Values in one line.
fn flat(values: TensorData) -> TensorData {
    let length = values.num_elements();
    let dtype = values.dtype();
    TensorData::from_bytes(values.into_bytes(), [length], dtype)
}
