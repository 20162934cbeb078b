//! Gradients of adapted layers.

use burn::{
    Tensor,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Gradients, TensorData},
};
use peft_core::{ParamPath, trainable_parameters};

use crate::model::{Case, Net, assert_close, device, field_of, values};

/// Gradients of an adapter's fields, by name.
pub fn of_fields(model: &Net, grads: &Gradients) -> Vec<(String, Vec<f64>)> {
    struct Visitor<'a>(
        ParamPath,
        &'a Gradients,
        Vec<(String, Vec<f64>)>,
        Vec<(Option<String>, String)>,
    );
    impl ModuleVisitor for Visitor<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let (Some((name, field)), Some(gradient)) =
                (field_of(&self.0), param.base().grad(self.1))
            else {
                return;
            };
            let gradient = values(gradient);
            // A bias has a copy of the weight's field, and a part of the gradient.
            let known = self
                .3
                .iter()
                .position(|known| *known == (name.clone(), field.clone()));
            match known.filter(|_| self.0.text().contains(".implied.")) {
                Some(at) => {
                    let sum = self.2[at].1.iter_mut();
                    sum.zip(gradient).for_each(|(sum, g)| *sum += g);
                }
                None => {
                    self.2.push((field.clone(), gradient));
                    self.3.push((name, field));
                }
            }
        }
    }
    let mut visitor = Visitor(ParamPath::default(), grads, Vec::new(), Vec::new());
    model.visit(&mut visitor);
    visitor.2
}

pub fn probe(case: &Case, device: &burn::tensor::Device) -> Tensor<2> {
    case.random("probe", [case.rows, case.outputs], case.dtype(), device)
}

pub fn factored_and_dense(case: &Case) {
    let device = device().autodiff();
    let model = case.trained(case.dtype(), &device);
    let run = |forward: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        let x = case.input(&device).require_grad();
        let grads = (forward(x.clone()) * probe(case, &device)).sum().backward();
        (values(x.grad(&grads).unwrap()), of_fields(&model, &grads))
    };
    let factored = run(&|x| model.forward(x));
    let dense = run(&|x| {
        let weight = model.adapter().effective(model.layer.weight.base());
        x.matmul(weight) + model.layer.bias.as_ref().unwrap().val().unsqueeze::<2>()
    });
    assert_close("dx", &dense.0, &factored.0, case.tolerance());
    assert_eq!(dense.1.len(), factored.1.len());
    assert!(!factored.1.is_empty());
    for ((field, dense), (_, factored)) in dense.1.iter().zip(&factored.1) {
        assert_close(field, dense, factored, case.tolerance());
    }
}

/// Adds `step` to one value of one field.
struct Nudge<'a> {
    path: ParamPath,
    field: &'a str,
    index: usize,
    step: f64,
}

impl ModuleMapper for Nudge<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if field_of(&self.path).is_none_or(|(_, field)| field != self.field) {
            return param;
        }
        param.map(|old| {
            let (shape, device) = (old.shape(), old.device());
            let mut data: Vec<f64> = values(old);
            data[self.index] += self.step;
            Tensor::from_data(
                TensorData::new(data, shape),
                (&device, burn::tensor::DType::F64),
            )
        })
    }
}

pub fn finite_differences(case: &Case) {
    let device = device().autodiff();
    let model = case.trained(case.dtype(), &device);
    let x = case.input(&device).require_grad();
    let grads = (model.forward(x.clone()) * probe(case, &device))
        .sum()
        .backward();
    let fields = of_fields(&model, &grads);
    let plain = device.clone().inner();
    let model = model.valid();
    let loss =
        |model: &Net, x: Tensor<2>| values((model.forward(x) * probe(case, &plain)).sum())[0];
    let step = 1e-5;
    let input = values(x.clone().inner());
    let check = |what: &str, index: usize, analytic: f64, up: f64, down: f64| {
        let numeric = (up - down) / (2.0 * step);
        let error = (numeric - analytic).abs() / analytic.abs().max(1.0);
        assert!(
            error <= 1e-7,
            "{what}[{index}]: {analytic} but {numeric} by differences"
        );
    };
    let dx = values(x.grad(&grads).unwrap());
    // A few values of each tensor: every value of every shape would take minutes.
    let some = |length: usize| (0..length).step_by(length.div_ceil(5));
    for index in some(input.len()) {
        let at = |change: f64| {
            let mut moved = input.clone();
            moved[index] += change;
            let data = TensorData::new(moved, [case.rows, case.inputs]);
            loss(
                &model,
                Tensor::from_data(data, (&plain, burn::tensor::DType::F64)),
            )
        };
        check("x", index, dx[index], at(step), at(-step));
    }
    for (field, gradient) in fields {
        // Of places on a grid there is no derivative, only what the method takes for one; a norm
        // taken for a constant is none.
        let constant_norm = case.settings.get("dora_detach_norm") != Some(&false.into());
        match (case.entry.name, field.as_str()) {
            ("loca", "locations") => continue,
            ("dora", "a" | "b") if constant_norm => continue,
            _ => {}
        }
        for index in some(gradient.len()) {
            let at = |change: f64| {
                let mut nudge = Nudge {
                    path: ParamPath::default(),
                    field: &field,
                    index,
                    step: change,
                };
                loss(&model.clone().map(&mut nudge), case.input(&plain))
            };
            check(&field, index, gradient[index], at(step), at(-step));
        }
    }
}

pub fn only_adapters(case: &Case) {
    let device = device().autodiff();
    let model = case.trained(case.dtype(), &device);
    let mut trained = trainable_parameters(&model);
    trained.retain(|site| !site.path.contains(".implied."));
    assert!(!trained.is_empty());
    assert!(
        trained.iter().all(|site| site.path.contains(".adapter.")),
        "{trained:?}"
    );
    let total: usize = trained.iter().map(|site| site.len()).sum();
    assert_eq!(
        total,
        model.adapter().cost(&case.target(case.dtype())).parameters
    );
    let grads = (model.forward(case.input(&device)) * probe(case, &device))
        .sum()
        .backward();
    assert!(
        model.layer.weight.base().grad(&grads).is_none(),
        "the frozen weight got a gradient"
    );
    assert!(
        model
            .layer
            .bias
            .as_ref()
            .unwrap()
            .base()
            .grad(&grads)
            .is_none()
    );
    assert_eq!(of_fields(&model, &grads).len(), trained.len());
}
