mod bases;
mod settings;
mod step;

use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, AfterStep, DefaultTargets, DynAdapter, Fields, GradientWishes,
    HostTensor, InitContext, Method, MomentScope, Target, WeightGradients, own_settings,
};
use rayon::prelude::*;
use serde_json::{Map, Value};

use self::bases::Gradients;
use super::common::{code_info, entries_to_store, shape_of, stored_entries, zeros};
use crate::{CoreParts, GradientCore, adam::AdamStep, adapter::core_cost};

pub use settings::{SparseGradConfig, SparseGradMask};

const INPUTS: &str = "sparsegrad_U";
const OUTPUTS: &str = "sparsegrad_V";
const CORE: &str = "sparsegrad_core";
const INDICES: &str = "sparsegrad_indices";
const PAST: &str = "sparsegrad_past";

/// SparseGrad ([2410.07383](https://arxiv.org/abs/2410.07383)): entries of the weight in a basis in which
/// its gradients are concentrated.
///
/// The bases are the factors of the higher-order singular value decomposition of the gradients of a few
/// batches; entries are chosen among the leading ones of both. See [`GradientCore`] for the product.
/// Where the choice changes from step to step, the method itself takes Adam's steps, with an age for
/// each entry. Bases may be made anew while it trains; what was trained in the old ones stays, frozen.
#[derive(Debug, Clone)]
pub struct SparseGradMethod {
    config: SparseGradConfig,
}

impl SparseGradMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "sparsegrad";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "SPARSEGRAD";

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
    fn held(&self, shape: [usize; 2]) -> usize {
        match self.config.mask {
            SparseGradMask::TopkFixed => self.config.count(shape),
            _ => self.config.sides(shape).iter().product(),
        }
    }

    /// Whether the method takes Adam's steps, with an age for each entry: where entries change, or come
    /// anew with a basis.
    fn steps_itself(&self) -> bool {
        self.config.mask.moves() || self.config.basis_refreshes > 0
    }
}

impl Method for SparseGradMethod {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn peft_type(&self) -> &'static str {
        Self::PEFT_TYPE
    }

    fn config(&self) -> Map<String, Value> {
        self.config.to_json()
    }

    fn gradients(&self) -> GradientWishes {
        GradientWishes {
            moments: Some(match self.config.shared_basis {
                true => MomentScope::LayerType,
                false => MomentScope::Module,
            }),
            ..GradientWishes::sums(self.config.probe_batches)
        }
    }

    fn default_targets(&self) -> DefaultTargets {
        DefaultTargets::FeedForward
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let shape = shape_of(target);
        let device = start.weight.device();
        let gradients = Gradients {
            path: &target.path,
            shape,
            sum: start.gradient,
            moments: start.moments,
        };
        let bases = self.bases(gradients, start.seed, None)?;
        let places = self.places(gradients, &bases)?;
        let [input_basis, output_basis] = bases;
        let [p, q] = self.config.sides(shape);
        let past = self.config.basis_refreshes * p;
        let options = (&device, target.dtype.into());
        let parts = CoreParts {
            core: zeros(target, self.held(shape)),
            places,
            input_basis,
            output_basis,
            past: (past > 0).then(|| Tensor::zeros([past, q], options)),
        };
        Ok(DynAdapter::new(GradientCore::new(
            parts,
            target.dtype,
            &device,
        )))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let shape @ [out, inner] = shape_of(target);
        let ([p, q], held) = (self.config.sides(shape), self.held(shape));
        let wide = [p, q].map(|side| side * self.config.bases());
        let mut tensors = Fields::from([
            (INPUTS.to_owned(), target.values_info(&[inner, wide[1]])),
            (OUTPUTS.to_owned(), target.values_info(&[out, wide[0]])),
        ]);
        if self.config.basis_refreshes > 0 {
            let past = [wide[0] - p, q];
            tensors.insert(PAST.to_owned(), target.values_info(&past));
        }
        if self.config.mask == SparseGradMask::TopkFixed {
            tensors.insert(INDICES.to_owned(), code_info([p, q], held));
            tensors.insert(CORE.to_owned(), target.values_info(&[held]));
        } else {
            tensors.insert(CORE.to_owned(), target.values_info(&[p, q]));
        }
        Ok(AdapterSpec {
            cost: core_cost(shape, wide, held),
            keeps_input: false,
            tensors,
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[INPUTS, OUTPUTS, CORE, INDICES, PAST]
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
        let shape @ [out, inner] = shape_of(target);
        let ([p, q], held) = (self.config.sides(shape), self.held(shape));
        let bases = self.config.bases();
        let matrix = |data: TensorData| Tensor::from_data(data, (device, target.dtype.into()));
        let (core, places) = match self.config.mask {
            SparseGradMask::TopkFixed => {
                let core = target.values(tensors, CORE, &[held])?;
                let support = stored_entries(target, tensors, INDICES, [p, q], held)?;
                (core, Some(support.tiles().to_vec()))
            }
            _ => (target.values(tensors, CORE, &[p, q])?, None),
        };
        let input = target.values(tensors, INPUTS, &[inner, bases * q])?;
        let output = target.values_transposed(tensors, OUTPUTS, [out, bases * p])?;
        let past = match self.config.basis_refreshes {
            0 => None,
            count => Some(target.values(tensors, PAST, &[count * p, q])?),
        };
        let parts = CoreParts {
            core: flat(core),
            places,
            input_basis: matrix(input),
            output_basis: matrix(output),
            past: past.map(matrix),
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
        let [p, q] = self.config.sides(shape_of(target));
        let mut out = Fields::new();
        if self.config.basis_refreshes > 0 {
            let past = target.to_store(&mut fields, "past", PAST)?;
            out.insert(PAST.to_owned(), past);
        }
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
        match self.steps_itself() && field == "core" {
            true => 0.0,
            false => 1.0,
        }
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        self.steps_itself()
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        let (by, step) = (AdamStep::of(now), now.own_steps);
        (now.adapters.par_iter_mut()).for_each(|(_, adapter)| self.step(adapter, &by, step));
        Ok(())
    }

    fn looks_after(&self, step: u64, total: u64) -> usize {
        match self.config.refreshes_after(step, total) {
            true => self.config.probe_batches,
            false => 0,
        }
    }

    fn look(&self, now: &mut AfterStep, gradients: &WeightGradients) -> Result<(), AdapterError> {
        let step = now.step;
        (now.adapters.iter_mut())
            .try_for_each(|(path, adapter)| self.refresh(path, adapter, gradients, step))
    }
}

/// Values in one line.
fn flat(values: TensorData) -> TensorData {
    let length = values.num_elements();
    let dtype = values.dtype();
    TensorData::from_bytes(values.into_bytes(), [length], dtype)
}
