//! A method that moves its adapters' values, places and moments between steps.

use burn::{
    Tensor,
    module::{Module, Param, ParamId},
    tensor::{Device, Int, TensorData},
};
use peft_train::core::{
    AdapterContext, AdapterError, AdapterSpec, AfterStep, BaseLinear, Cost, DynAdapter, Fields,
    HostTensor, InitContext, Method, Target, Values, WeightAdapter,
};
use serde_json::{Map, Value};

/// Some entries of a weight, by their places in it.
#[derive(Module, Debug)]
pub struct Entries {
    pub values: Param<Tensor<1>>,
    pub places: Param<Tensor<1, Int>>,
    #[module(skip)]
    pub penalty: f64,
    #[module(skip)]
    pub factor: f64,
}

impl WeightAdapter for Entries {
    fn forward(&self, x: Tensor<2>, base: &BaseLinear, _: &AdapterContext) -> Tensor<2> {
        let y = x.matmul(self.effective(base.weight()));
        y + base.bias().unwrap().unsqueeze::<2>()
    }

    fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        let [rows, columns] = weight.dims();
        let all = weight.reshape([rows * columns]);
        let op = burn::tensor::IndexingUpdateOp::Add;
        let all = all.select_assign(0, self.places.val(), self.values.val(), op);
        all.reshape([rows, columns])
    }

    fn cost(&self, _: usize, _: usize) -> Cost {
        Cost::default()
    }

    fn learning_rate_factor(&self, _: &str) -> f64 {
        self.factor
    }

    fn penalty(&self) -> Option<Tensor<1>> {
        let square = || self.values.val().powi_scalar(2).sum();
        (self.penalty > 0.0).then(|| square().mul_scalar(self.penalty))
    }
}

/// Every third step the places move up by one, and the values and what is known of them with them.
#[derive(Debug, Clone, Copy)]
pub struct Moving {
    pub penalty: f64,
    pub factor: f64,
    pub moves: bool,
}

pub const STILL: Moving = Moving {
    penalty: 0.0,
    factor: 1.0,
    moves: false,
};

impl Method for Moving {
    fn name(&self) -> &'static str {
        "moving"
    }

    fn peft_type(&self) -> &'static str {
        "MOVING"
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }

    fn init(&self, _: &Target, start: &InitContext) -> Result<DynAdapter, AdapterError> {
        let device = start.weight.device();
        let values = Tensor::from_floats([0.3, -0.2, 0.1, 0.5], &device);
        let places = Tensor::from_ints([0, 3, 4, 9], &device);
        Ok(DynAdapter::new(Entries {
            values: Param::from_tensor(values),
            places: Param::initialized(ParamId::new(), places),
            penalty: self.penalty,
            factor: self.factor,
        }))
    }

    fn acts_after(&self, _: u64, _: u64) -> bool {
        self.moves
    }

    fn after_step(&self, now: &mut AfterStep) -> Result<(), AdapterError> {
        assert!(now.step <= now.total);
        for (module, adapter) in &mut now.adapters {
            assert!(["first", "second"].contains(&module.as_str()), "{module}");
            let gradient = adapter.field("values").gradient().unwrap().abs();
            let heat = match adapter.memory.get("heat") {
                Some(heat) => heat.float() + gradient,
                None => gradient,
            };
            adapter
                .memory
                .insert("heat".into(), Values::Float(heat.clone()));
            assert!(adapter.field("places").gradient().is_none());
            if !now.step.is_multiple_of(3) {
                continue;
            }
            let order = [1, 2, 3, 0].map(|at| at as i64);
            let order =
                Tensor::<1, Int>::from_data(TensorData::new(order.to_vec(), [4]), &heat.device());
            // The last one starts anew, where the first was, at what the memory says.
            let last = heat.clone().narrow(0, 0, 1).mul_scalar(0.01);
            let field = adapter.field_mut("values");
            let kept = field
                .value()
                .float()
                .select(0, order.clone())
                .narrow(0, 0, 3);
            field.set(Values::Float(Tensor::cat(vec![kept, last], 0)));
            field.rearrange_moments(vec![Some(1), Some(2), Some(3), None]);
            let field = adapter.field_mut("places");
            let places = field.value().int().select(0, order);
            field.set(Values::Int(places));
            let count = Tensor::<1, Int>::from_ints([now.step as i32], &heat.device());
            adapter.memory.insert("moved".into(), Values::Int(count));
        }
        Ok(())
    }

    fn describe(&self, _: &Target) -> Result<AdapterSpec, AdapterError> {
        Err(without_files())
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
        Err(without_files())
    }

    fn export(
        &self,
        _: &Target,
        _: Fields<TensorData>,
    ) -> Result<Fields<HostTensor>, AdapterError> {
        Err(without_files())
    }
}

/// The adapters of these tests are neither planned nor written.
fn without_files() -> AdapterError {
    AdapterError::NothingTrained
}
