//! A method that trains the entries of a weight which a dense warm-up changes most.

use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::{Device, IndexingUpdateOp, Int, TensorData},
};
use peft_run::core::{
    AdapterContext, AdapterError, AdapterSpec, BaseLinear, Cost, DynAdapter, Fields, HostTensor,
    HostTensorExt, InitContext, Method, PhaseLength, PhaseSpec, Target, WarmUpChoice, Warmed,
    WeightAdapter,
    format::{Dtype, TensorInfo},
};
use serde_json::{Map, Value};

/// Entries of a weight, by their places in it.
#[derive(Module, Debug)]
struct Entries {
    values: Param<Tensor<1>>,
    places: Param<Tensor<1, Int>>,
}

impl WeightAdapter for Entries {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let y = x.matmul(self.effective(base.weight()));
        match base.bias() {
            Some(bias) => y + bias.unsqueeze::<2>(),
            None => y,
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let shape = weight.dims();
        let all = weight.reshape([shape[0] * shape[1]]);
        let (places, values) = (self.places.val(), self.values.val());
        let all = all.select_assign(0, places, values, IndexingUpdateOp::Add);
        all.reshape(shape)
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        entries(self.values.dims()[0])
    }
}

/// A change of every entry.
#[derive(Module, Debug)]
struct All {
    change: Param<Tensor<2>>,
}

impl WeightAdapter for All {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let y = x.matmul(self.effective(base.weight()));
        match base.bias() {
            Some(bias) => y + bias.unsqueeze::<2>(),
            None => y,
        }
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        weight + self.change.val()
    }

    fn cost(&self, inputs: usize, outputs: usize) -> Cost {
        entries(inputs * outputs)
    }
}

fn entries(parameters: usize) -> Cost {
    Cost {
        parameters,
        flops_per_row: 0,
        saved_per_row: 0,
    }
}

/// The warm-up: it is never written.
#[derive(Debug)]
struct Dense;

/// The entries that change most.
#[derive(Debug, Clone)]
pub struct Largest {
    pub entries: usize,
    pub warm_up: u64,
    pub resets: bool,
    pub chosen: WarmUpChoice,
}

fn refused(problem: &str) -> AdapterError {
    AdapterError::Config {
        method: "largest".into(),
        problem: problem.into(),
        fix: "warm up first".into(),
    }
}

impl Method for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn peft_type(&self) -> &'static str {
        "DENSE"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let shape = [target.in_features, target.out_features];
        let change = Tensor::zeros(shape, &start.weight.device());
        Ok(DynAdapter::new(All {
            change: Param::from_tensor(change),
        }))
    }

    fn describe(&self, _: &Target) -> Result<AdapterSpec, AdapterError> {
        Err(refused("a warm-up is not planned"))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[]
    }

    fn restore(
        &self,
        _: &Target,
        _: &Fields<HostTensor>,
        _: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        Err(refused("a warm-up has no files"))
    }

    fn export(
        &self,
        _: &Target,
        _: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        Err(refused("a warm-up has no files"))
    }
}

impl Method for Largest {
    fn name(&self) -> &'static str {
        "largest"
    }

    fn peft_type(&self) -> &'static str {
        "LARGEST"
    }

    fn config(&self) -> Map<String, Value> {
        Map::from_iter([("entries".to_owned(), self.entries.into())])
    }

    fn phases(&self) -> Vec<PhaseSpec> {
        let warm_up = PhaseSpec::WarmUp {
            method: Box::new(Dense),
            length: PhaseLength::Steps(self.warm_up),
        };
        let reset = self.resets.then_some(PhaseSpec::Reset);
        let mut phases = vec![warm_up, PhaseSpec::Choose];
        phases.extend(reset);
        phases.push(PhaseSpec::Train);
        phases
    }

    fn choose(&self, warmed: &Warmed) -> Result<WarmUpChoice, AdapterError> {
        let mut chosen = WarmUpChoice::new();
        for (module, change) in &warmed.changes {
            let values: Vec<f32> = change.to_data(module)?.iter::<f32>().collect();
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b)));
            let places: Vec<i64> = order[..self.entries].iter().map(|at| *at as i64).collect();
            let data = TensorData::new(places, [self.entries]);
            let fields = [("places".to_owned(), HostTensor::from_data(module, data)?)];
            chosen.insert(module.clone(), fields.into());
        }
        Ok(chosen)
    }

    fn with_choice(&self, chosen: &WarmUpChoice) -> Result<Option<Box<dyn Method>>, AdapterError> {
        let chosen = chosen.clone();
        Ok(Some(Box::new(Self {
            chosen,
            ..self.clone()
        })))
    }

    fn init(&self, target: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let places = self.chosen.get(&target.path);
        let places = places.and_then(|fields| fields.get("places"));
        let places = places.ok_or_else(|| refused("nothing was chosen"))?;
        let device = start.weight.device();
        let ints: Tensor<1, Int> = Tensor::from_data(places.to_data(&target.path)?, &device);
        Ok(DynAdapter::new(Entries {
            values: Param::from_tensor(Tensor::zeros([self.entries], &device)),
            places: Param::initialized(ParamId::new(), ints),
        }))
    }

    fn describe(&self, _: &Target) -> Result<AdapterSpec, AdapterError> {
        let info = |dtype| TensorInfo {
            dtype,
            shape: vec![self.entries],
        };
        let tensors = [("values", Dtype::F32), ("places", Dtype::I64)];
        Ok(AdapterSpec {
            cost: entries(self.entries),
            keeps_input: true,
            tensors: tensors
                .map(|(name, dtype)| (name.to_owned(), info(dtype)))
                .into(),
        })
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &["values", "places"]
    }

    fn restore(
        &self,
        _: &Target,
        _: &Fields<HostTensor>,
        _: &Device,
    ) -> Result<DynAdapter, AdapterError> {
        Err(refused("these tests do not read its files"))
    }

    fn export(
        &self,
        target: &Target,
        fields: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        fields
            .into_iter()
            .map(|(name, data)| {
                let tensor = HostTensor::from_data(&target.path, data)?;
                Ok((name, tensor))
            })
            .collect()
    }
}
