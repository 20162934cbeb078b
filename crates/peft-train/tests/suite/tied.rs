//! Parameters that several adapters share are trained as one.

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn,
    tensor::{Device, Tensor, TensorData},
};
use peft_lowrank::{LortaConfig, LortaMethod};
use peft_train::{
    AdamWConfig, GradientSet, Schedule, ScheduleKind, Trainer, TrainerConfig,
    core::{
        AttachOptions, AttachReport, Method, NameMap, ParamPath, attach,
        format::{AdapterConfig, AdapterFile, TargetModules, TargetSpec},
        kernels::normal,
        load_adapter, read_adapter, save_adapter, tied_parameters,
    },
    gradients,
};

use crate::common::{assert_close, cpu, values};

/// Two layers of two matrices each.
#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Block>,
}

#[derive(Module, Debug)]
struct Block {
    query: nn::Linear,
    value: nn::Linear,
}

const WIDTH: usize = 6;
const R: usize = 3;
const HEADS: usize = 2;
/// `A`, `B`, the heads, two layers and two matrices.
const PARAMETERS: usize = R * (WIDTH + WIDTH / HEADS + HEADS + 2 + 2);

impl Stack {
    fn new(device: &Device) -> Self {
        let linear = || nn::LinearConfig::new(WIDTH, WIDTH).init(device);
        let block = |_| Block {
            query: linear(),
            value: linear(),
        };
        Self {
            layers: (0..2).map(block).collect(),
        }
    }

    fn loss(&self, x: &Tensor<2>) -> Tensor<1> {
        let mut x = x.clone();
        for block in &self.layers {
            x = block.query.forward(x.clone()) * block.value.forward(x).tanh();
        }
        (x - 1.0).powi_scalar(2).mean()
    }
}

fn method() -> LortaMethod {
    let config = LortaConfig {
        r: R,
        num_heads: HEADS,
        ..LortaConfig::default()
    };
    LortaMethod::new(config).unwrap()
}

fn attached(base: Stack, method: &dyn Method) -> (Stack, AttachReport) {
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 3,
        gradients: None,
    };
    attach(base, method, &options).unwrap()
}

fn input(device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(normal(5, 4 * WIDTH), [4, WIDTH]), device)
}

/// Values of all parameters of adapters, by path.
fn fields(model: &Stack) -> Vec<(String, Vec<f64>)> {
    #[derive(Default)]
    struct Visitor(ParamPath, Vec<(String, Vec<f64>)>);
    impl ModuleVisitor for Visitor {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.adapter_field().is_some() {
                self.1.push((self.0.text(), values(param.base().inner())));
            }
        }
    }
    let mut visitor = Visitor::default();
    model.visit(&mut visitor);
    visitor.1
}

fn trainer() -> Trainer {
    let config = TrainerConfig {
        learning_rate: 1e-2,
        head_learning_rate: 1e-2,
        clip_norm: None,
        optimizer: AdamWConfig::default(),
        seed: 0,
    };
    Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 20))
}

#[test]
fn copies_have_one_gradient_one_state_and_one_value() {
    let device = cpu().autodiff();
    let base = Stack::new(&device);
    let method = method();
    let (mut model, report) = attached(base.clone(), &method);
    assert_eq!(report.targets.len(), 4);
    assert_eq!(report.adapter_parameters, PARAMETERS);
    let tied = tied_parameters(&model);
    // Of A, B and the heads three copies each, of two layers and two matrices one.
    assert_eq!(tied.len(), 3 * 3 + 2 + 2);
    let x = input(&device);
    let mut trainer = trainer();
    let start = model.loss(&x).into_scalar::<f64>();
    for step in 0..20 {
        // The gradient of the one parameter is the sum of those of its copies.
        let mut grads = model.loss(&x).backward();
        let all: GradientSet = gradients(&model, &mut grads);
        let of = |path: &str| values(all.get(path).unwrap().clone());
        let mut sums = std::collections::BTreeMap::new();
        for path in all.paths() {
            let first = tied.iter().find(|one| one.path == path);
            let first = first.map_or(path, |one| one.first.as_str()).to_owned();
            let sum = sums
                .entry(first)
                .or_insert_with(|| vec![0.0; of(path).len()]);
            sum.iter_mut()
                .zip(of(path))
                .for_each(|(sum, one)| *sum += one);
        }
        let norm = sums.values().flatten().map(|v| v * v).sum::<f64>().sqrt();
        let (next, report) = trainer
            .step(model, &method, 1, |model, _, _| Ok((model.loss(&x), 1.0)))
            .unwrap();
        model = next;
        let error = (report.gradient_norm - norm).abs();
        assert!(error < 1e-5 * norm, "step {step}: {error:e} of {norm:e}");
        let now = fields(&model);
        let value = |path: &str| &now.iter().find(|(name, _)| name == path).unwrap().1;
        for one in &tied {
            assert_eq!(value(&one.path), value(&one.first), "{}", one.path);
        }
    }
    assert_eq!(trainer.optimizer().state_len(), 2 * PARAMETERS);
    let end = model.loss(&x).into_scalar::<f64>();
    assert!(end < start, "{start} {end}");

    // The file holds what is shared once.
    let mut builder =
        AdapterConfig::builder("LORTA").target(&TargetSpec::new(TargetModules::AllLinear));
    for (key, value) in method.config() {
        builder = builder.field(&key, value);
    }
    let (out, names) = (tempfile::tempdir().unwrap(), NameMap::identity());
    save_adapter(
        &model,
        out.path(),
        &builder.build().unwrap(),
        &method,
        &names,
    )
    .unwrap();
    let file = AdapterFile::read(out.path()).unwrap();
    assert_eq!(file.tensors.len(), 3 + 2 * 4);
    let config = AdapterConfig::read(out.path()).unwrap();
    let loaded = read_adapter(out.path(), config, &method).unwrap();
    let (again, report) = load_adapter(base, &loaded, &method, &names, &device).unwrap();
    assert_eq!(report.adapter_parameters, PARAMETERS);
    assert_eq!(fields(&again), fields(&model));
    assert_close(
        "loss",
        &values(again.loss(&x)),
        &values(model.loss(&x)),
        0.0,
    );
}

#[test]
fn layers_of_other_widths_are_refused() {
    let device = cpu();
    let mut base = Stack::new(&device);
    base.layers[1].value = nn::LinearConfig::new(WIDTH, 2 * WIDTH).init(&device);
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 3,
        gradients: None,
    };
    let error = attach(base, &method(), &options).unwrap_err().to_string();
    assert!(error.contains("of one size"), "{error}");
}
