use burn::{
    Tensor,
    tensor::{Device, TensorData},
};
use peft_core::{
    AdapterError, AdapterSpec, DynAdapter, Fields, GradientWishes, HostTensor, InitContext, Method,
    Target,
    format::targets::PatternMap,
    kernels::{key_of, mix_key},
};
use peft_linalg::{Dense, semi_orthogonal};
use serde_json::{Map, Value};

use super::{
    bases::{Bases, gradient_bases},
    compressed::{self, DeepLora},
    config::{DeepLoraConfig, fault},
    full::{self, DeepLoraFull},
};

/// Fields and suffixes of the compressed form, in the order of the product on rows.
const COMPRESSED: [(&str, &str); 5] = [
    ("right", "deep_lora_R"),
    ("core1", "deep_lora_N1"),
    ("core2", "deep_lora_N2"),
    ("core3", "deep_lora_N3"),
    ("left", "deep_lora_L"),
];

/// Fields and suffixes of the uncompressed form, in the order of the product on rows.
const FULL: [(&str, &str); 4] = [
    ("w1", "deep_lora_W1"),
    ("w2", "deep_lora_W2"),
    ("w3", "deep_lora_W3"),
    ("start", "deep_lora_S"),
];

const SUFFIXES: &[&str] = &[
    "deep_lora_R",
    "deep_lora_N1",
    "deep_lora_N2",
    "deep_lora_N3",
    "deep_lora_L",
    "deep_lora_W1",
    "deep_lora_W2",
    "deep_lora_W3",
    "deep_lora_S",
];

/// A field of an adapter and its tensor in a file.
struct Stored {
    field: &'static str,
    suffix: &'static str,
    /// The field's; the tensor is transposed.
    shape: [usize; 2],
}

impl Stored {
    fn transposed(&self) -> [usize; 2] {
        let [rows, columns] = self.shape;
        [columns, rows]
    }
}

/// Deep LoRA ([2406.04112](https://arxiv.org/abs/2406.04112)) as a [`Method`]: see [`DeepLora`].
///
/// The subspaces come from the gradient of the pre-trained weights on the run's first batches, which is
/// all that the paper's construction uses of the full network but for its random orthogonal start; the
/// directions that come from that start are drawn at random, so that no matrix of the network's width
/// is made and weights need not be square.
#[derive(Debug, Clone)]
pub struct DeepLoraMethod {
    config: DeepLoraConfig,
    ranks: PatternMap<usize>,
}

impl DeepLoraMethod {
    /// The name in settings and tables.
    pub const NAME: &'static str = "deep_lora";
    /// `peft_type` in `adapter_config.json`.
    pub const PEFT_TYPE: &'static str = "DEEP_LORA";

    /// Deep LoRA with these settings.
    ///
    /// # Errors
    /// If a setting makes no sense, or a pattern is no regular expression.
    pub fn new(config: DeepLoraConfig) -> Result<Self, AdapterError> {
        config.check()?;
        let patterns = config.rank_pattern.iter();
        let ranks = PatternMap::new("rank_pattern", patterns.map(|(key, r)| (key.clone(), *r)))?;
        Ok(Self { config, ranks })
    }

    /// Deep LoRA with the settings of an `adapter_config.json`.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn from_json(map: &Map<String, Value>) -> Result<Self, AdapterError> {
        Self::new(DeepLoraConfig::from_json(map)?)
    }

    /// The settings.
    pub fn settings(&self) -> &DeepLoraConfig {
        &self.config
    }

    /// The rank at a target.
    fn rank(&self, target: &Target) -> Result<usize, AdapterError> {
        let r = self.ranks.get(&target.path)?.copied();
        let r = r.unwrap_or(self.config.r);
        let most = target.in_features.min(target.out_features);
        if r > most {
            let path = &target.path;
            let problem = format!("`{path}` has no {r} orthogonal directions, but {most}");
            let fix = "use a smaller rank, or give this module one with rank_pattern";
            return Err(fault(problem, fix));
        }
        Ok(r)
    }

    fn width(&self, target: &Target) -> usize {
        let larger = target.in_features.max(target.out_features);
        self.config.width.unwrap_or(larger)
    }

    /// The tensors of the form that is trained.
    fn layout(&self, target: &Target) -> Result<Vec<Stored>, AdapterError> {
        let (inputs, outputs) = (target.in_features, target.out_features);
        let (names, shapes) = if self.config.compressed {
            let r = self.rank(target)?;
            let shapes = vec![[inputs, r], [r, r], [r, r], [r, r], [r, outputs]];
            (&COMPRESSED[..], shapes)
        } else {
            let w = self.width(target);
            let shapes = vec![[inputs, w], [w, w], [w, outputs], [inputs, outputs]];
            (&FULL[..], shapes)
        };
        let stored = |(&(field, suffix), shape)| Stored {
            field,
            suffix,
            shape,
        };
        Ok(names.iter().zip(shapes).map(stored).collect())
    }

    /// The gradient on the host, if it is one to find subspaces in.
    fn gradient(target: &Target, start: &InitContext) -> Result<Dense, AdapterError> {
        let path = &target.path;
        let gradient = start.gradient.ok_or_else(|| {
            let problem = format!("the subspaces of `{path}` need its gradient");
            let fix = "give attach the gradients of the weights on a few batches";
            fault(problem, fix)
        })?;
        let values: Vec<f64> = gradient.clone().into_data().iter::<f64>().collect();
        if values.iter().any(|value| !value.is_finite()) {
            let problem = format!("the gradient of `{path}` is not finite");
            return Err(fault(problem, "look for NaN in the model or the data"));
        }
        if values.iter().all(|value| *value == 0.0) {
            let problem = format!("the gradient of `{path}` is zero on the first batches");
            let fix = "leave this module out: the loss does not depend on it";
            return Err(fault(problem, fix));
        }
        let gradient = Dense::new(target.in_features, target.out_features, values);
        // Of norm 1, so that nothing underflows.
        let largest = gradient
            .values()
            .iter()
            .fold(0.0, |m: f64, v| m.max(v.abs()));
        Ok(gradient.scaled(largest.recip()))
    }

    fn adapter(&self, mut tensors: Vec<Tensor<2>>) -> DynAdapter {
        let last = tensors.pop();
        match (<[Tensor<2>; 3]>::try_from(tensors), last) {
            (Ok(factors), Some(start)) => DynAdapter::new(DeepLoraFull::with_start(factors, start)),
            (Err(rest), Some(left)) => {
                let [right, core1, core2, core3] =
                    <[Tensor<2>; 4]>::try_from(rest).expect("five tensors of the compressed form");
                let cores = [core1, core2, core3];
                let (epsilon, rate) = (self.config.epsilon, self.config.outer_rate);
                DynAdapter::new(DeepLora::new(right, cores, left, epsilon, rate))
            }
            (_, None) => unreachable!("a layout is not empty"),
        }
    }
}

impl Method for DeepLoraMethod {
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
        GradientWishes::sums(match self.config.compressed {
            true => self.config.gradient_batches,
            false => 0,
        })
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let device = start.weight.device();
        let options = (&device, target.dtype.into());
        let tensor = |matrix: Dense| {
            let shape = [matrix.rows(), matrix.columns()];
            let data = TensorData::new(matrix.into_values(), shape);
            Tensor::<2>::from_data(data.convert_dtype(target.dtype.into()), options)
        };
        let key = key_of(start.seed, &target.path, 0);
        if !self.config.compressed {
            let factors = [0, 1, 2].map(|index| {
                let (inputs, outputs) = (target.in_features, target.out_features);
                let width = self.width(target);
                let shape = [[inputs, width], [width, width], [width, outputs]][index];
                let matrix = semi_orthogonal(shape[0], shape[1], mix_key(key, &[index as u64]));
                tensor(matrix.scaled(self.config.epsilon))
            });
            return Ok(DynAdapter::new(DeepLoraFull::new(factors)));
        }
        let r = self.rank(target)?;
        let gradient = Self::gradient(target, start)?;
        let Bases { rows, columns } = gradient_bases(&gradient, r, key);
        let zeros = || Tensor::zeros([r, r], options);
        Ok(DynAdapter::new(DeepLora::new(
            tensor(rows.transposed()),
            [zeros(), zeros(), zeros()],
            tensor(columns),
            self.config.epsilon,
            self.config.outer_rate,
        )))
    }

    fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
        let (inputs, outputs) = (target.in_features, target.out_features);
        let rate = self.config.outer_rate;
        let (cost, keeps_input) = match self.config.compressed {
            true => {
                let cost = compressed::cost(self.rank(target)?, rate, inputs, outputs);
                (cost, rate > 0.0)
            }
            false => (full::cost(self.width(target), inputs, outputs), true),
        };
        let tensors = self.layout(target)?.into_iter();
        let tensors = tensors.map(|stored| {
            let info = target.values_info(&stored.transposed());
            (stored.suffix.to_owned(), info)
        });
        Ok(AdapterSpec {
            cost,
            keeps_input,
            tensors: tensors.collect(),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        SUFFIXES
    }

    fn restore(
        &self,
        target: &Target,
        tensors: &Fields<HostTensor>,
        device: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        let load = |one: Stored| {
            let data = target.values_transposed(tensors, one.suffix, one.transposed())?;
            Ok(Tensor::from_data(data, (device, target.dtype.into())))
        };
        let layout = self.layout(target)?.into_iter();
        let tensors = layout.map(load).collect::<Result<_, AdapterError>>()?;
        Ok(self.adapter(tensors))
    }

    fn export(
        &self,
        target: &Target,
        mut fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        let mut out = Fields::new();
        for Stored { field, suffix, .. } in self.layout(target)? {
            let tensor = target.to_store(&mut fields, field, suffix)?;
            out.insert(suffix.to_owned(), tensor.transposed());
        }
        Ok(out)
    }
}
