//! What adapted layers compute.

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    nn,
    tensor::{FloatDType, Int},
};
use peft_core::{
    AttachOptions, InitContext, NameMap, attach,
    format::{TargetModules, TargetSpec},
};

use crate::model::{Case, assert_close, backend, device, values};

pub fn fresh_is_identity(case: &Case) {
    let device = device();
    for dtype in [case.dtype(), FloatDType::F32] {
        let x = case.input(&device).cast(dtype);
        let plain = values(case.base(dtype, &device).forward(x.clone()));
        let fresh = values(case.fresh(dtype, &device).forward(x));
        assert_eq!(fresh, plain, "{} {:?}", case.entry.name, case.settings);
    }
}

pub fn three_ways(case: &Case) {
    let device = device();
    let x = case.input(&device);
    let model = case.trained(case.dtype(), &device);
    let factored = values(model.forward(x.clone()));
    let plain = values(case.base(case.dtype(), &device).forward(x.clone()));
    assert_ne!(factored, plain, "a trained adapter must do something");
    let weight = model.adapter().effective(model.layer.weight.base());
    let bias = model.layer.bias.as_ref().unwrap().val();
    let dense = values(x.clone().matmul(weight) + bias.unsqueeze::<2>());
    assert_close("dense", &dense, &factored, case.tolerance());
    let merged = model.materialize();
    assert!(
        merged
            .layer
            .weight
            .reparameterization::<peft_core::DynAdapter>()
            .is_none()
    );
    assert_close(
        "merged",
        &values(merged.forward(x)),
        &factored,
        case.tolerance(),
    );
}

/// Burn's own `Linear` knows nothing of adapters and takes the dense weight.
pub fn foreign_layer(case: &Case) {
    #[derive(Module, Debug)]
    struct Foreign {
        layer: nn::Linear,
    }
    let device = device();
    let model = case.trained(case.dtype(), &device);
    let x = case.input(&device);
    let mut layer = nn::LinearConfig::new(case.inputs, case.outputs).init(&device);
    layer.weight = layer.weight.map(|_| model.layer.weight.base());
    layer.bias = layer
        .bias
        .map(|bias| bias.map(|_| model.layer.bias.as_ref().unwrap().base()));
    let targets = TargetSpec::new(TargetModules::AllLinear);
    let gradients = case.gradients(&device);
    let options = AttachOptions {
        targets: &targets,
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: case.seed,
        gradients: Some(&gradients),
    };
    let (foreign, _) = attach(Foreign { layer }, case.method.as_ref(), &options).unwrap();
    // The same adapter on both: a fresh one is the same function of seed and path.
    let fresh = case.fresh(case.dtype(), &device);
    let expected = values(fresh.forward(x.clone()));
    assert_close(
        case.entry.name,
        &values(foreign.layer.forward(x)),
        &expected,
        case.tolerance(),
    );
}

pub fn half_precision(case: &Case) {
    if backend() != "flex" {
        return;
    }
    let device = device();
    for (dtype, unit) in [
        (FloatDType::F16, 2f64.powi(-11)),
        (FloatDType::BF16, 2f64.powi(-8)),
    ] {
        let model = case.trained(dtype, &device);
        let exact = values(
            model
                .adapter()
                .effective(model.layer.weight.base().cast(FloatDType::F32)),
        );
        let weight = model.adapter().effective(model.layer.weight.base());
        assert_eq!(FloatDType::from(weight.dtype()), dtype);
        for (rounded, exact) in values(weight).iter().zip(&exact) {
            assert!(
                (rounded - exact).abs() <= 1.01 * unit * exact.abs() + 1e-7,
                "{rounded} {exact}"
            );
        }
    }
}

pub fn initial_values(case: &Case) {
    let device = device();
    let target = case.target(FloatDType::F32);
    let weight = case.base(FloatDType::F32, &device).layer.weight.base();
    let gradients = case.gradients(&device);
    let dense = |path: &str, seed: u64| {
        let target = peft_core::Target {
            path: path.into(),
            ..target.clone()
        };
        let start = InitContext {
            weight: &weight,
            gradient: gradients.sums.get("layer"),
            magnitude: gradients.magnitudes.get("layer"),
            moments: gradients.moments.get("layer").map(AsRef::as_ref),
            vocabulary: None,
            allotted: None,
            seed,
        };
        let adapter = case.method.init(&target, &start).unwrap();
        fields(&adapter)
    };
    let first = dense("layer", 1);
    assert_eq!(first, dense("layer", 1));
    // A method that starts at nothing, or at a function of the weight, has nothing to draw.
    let of_gradients = case.method.gradients().moments.is_some();
    // In one or two dimensions a random direction beside another is a sign, and may be the same again.
    let signs =
        case.entry.name == "deep_lora" && (case.inputs == 1 || case.inputs.max(case.outputs) == 2);
    let init = case.settings.get("init_lora_weights");
    let of_weight = init
        .and_then(|init| init.as_str())
        .is_some_and(|init| init != "gaussian");
    // VeRA starts at constants between projections of a seed of their own, others at factors of one.
    let constant = ["ia3", "ssf", "vera"].contains(&case.entry.name);
    let drawn = !signs && !of_weight && !of_gradients && !constant;
    if first.floats.iter().any(|value| *value != 0.0) && drawn {
        assert_ne!(first, dense("layer", 2));
        assert_ne!(first, dense("other", 1));
    }
}

/// All values of an adapter's parameters.
#[derive(Debug, Default, PartialEq)]
struct AllValues {
    floats: Vec<f64>,
    ints: Vec<i64>,
}

impl ModuleVisitor for AllValues {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.floats.extend(values(param.base()));
    }
    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.ints.extend(param.val().into_data().iter::<i64>());
    }
}

fn fields(adapter: &peft_core::DynAdapter) -> AllValues {
    let mut all = AllValues::default();
    adapter.visit(&mut all);
    all
}
