//! Sparse training, step by step, against dense training by hand.

mod dense;
mod looks;

use burn::{
    Tensor,
    module::Module,
    tensor::{DType, Device, TensorData},
};
use peft_core::HostTensorExt;
use peft_methods as methods;
use peft_train::{
    AdamWConfig, HostTensors, Schedule, ScheduleKind, Trainer, TrainerConfig, TrainerState,
    core::{
        AdapterContext, AttachOptions, DynAdapter, Method, NameMap, WeightGradients, attach,
        format::{AdapterConfig, AdapterFile, TargetModules, TargetSpec},
        kernels::normal,
        load_adapter,
        nn::Linear,
        read_adapter, save_adapter,
    },
};
use serde_json::{Value, json};

use crate::common::{assert_close, cpu, values};

const INPUTS: usize = 7;
const OUTPUTS: usize = 5;
const ROWS: usize = 24;
const RATE: f64 = 1e-2;

#[derive(Module, Debug)]
struct Net {
    layer: Linear,
}

fn random(key: u64, shape: [usize; 2], device: &Device) -> Tensor<2> {
    let numbers: Vec<f64> = normal(key, shape[0] * shape[1])
        .into_iter()
        .map(f64::from)
        .collect();
    Tensor::from_data(TensorData::new(numbers, shape), (device, DType::F64))
}

fn method(name: &str, settings: &Value) -> Box<dyn Method> {
    let entry = methods::by_name(name).unwrap();
    let mut all = (entry.defaults)();
    all.extend(settings.as_object().unwrap().clone());
    (entry.build)(&all).unwrap()
}

/// The gradient of the loss to a weight: that of the mean of the squares of `x W − y`.
fn gradient(weight: &Tensor<2>) -> Tensor<2> {
    let device = weight.device();
    let x = random(1, [ROWS, INPUTS], &device);
    let error = x.clone().matmul(weight.clone()) - random(2, [ROWS, OUTPUTS], &device);
    let scale = 2.0 / (ROWS * OUTPUTS) as f64;
    x.transpose().matmul(error).mul_scalar(scale)
}

fn start(device: &Device) -> Tensor<2> {
    random(3, [INPUTS, OUTPUTS], device)
}

fn attached(method: &dyn Method) -> Net {
    let device = cpu().autodiff();
    let mut gradients = WeightGradients::new();
    for batch in 0..3 {
        let moved = start(&cpu()) + random(10 + batch, [INPUTS, OUTPUTS], &cpu()).mul_scalar(0.1);
        gradients.add([("layer".into(), gradient(&moved))], method);
    }
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::AllLinear),
        names: &NameMap::identity(),
        modules_to_save: &[],
        heads: &[],
        seed: 5,
        gradients: Some(&gradients),
    };
    let base = Net {
        layer: Linear::new(start(&device), None),
    };
    attach(base, method, &options).unwrap().0
}

/// Settings of which none is the default.
const OTHER: AdamWConfig = AdamWConfig {
    beta1: 0.8,
    beta2: 0.95,
    eps: 1e-4,
    weight_decay: 0.3,
};

fn trainer() -> Trainer {
    trainer_with(AdamWConfig::default())
}

fn trainer_with(optimizer: AdamWConfig) -> Trainer {
    let config = TrainerConfig {
        learning_rate: RATE,
        head_learning_rate: RATE,
        clip_norm: None,
        optimizer,
        seed: 0,
    };
    Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, 40))
}

fn step(trainer: &mut Trainer, method: &dyn Method, model: Net) -> Net {
    let step = trainer.step(model, method, 1, |model: &Net, _, _| {
        let device = cpu().autodiff();
        let y = model.layer.forward(
            random(1, [ROWS, INPUTS], &device),
            &AdapterContext::inference(),
        );
        let error = y - random(2, [ROWS, OUTPUTS], &device);
        Ok((error.powi_scalar(2).mean(), 1.0))
    });
    step.unwrap().0
}

fn steps(trainer: &mut Trainer, method: &dyn Method, model: Net, count: usize) -> Net {
    (0..count).fold(model, |model, _| step(trainer, method, model))
}

fn effective(model: &Net) -> Vec<f64> {
    let weight = &model.layer.weight;
    let adapter = weight.reparameterization::<DynAdapter>().unwrap();
    values(adapter.effective(weight.base()))
}

fn numbers(tensors: &HostTensors, path: &str) -> Vec<f64> {
    let data = tensors[path].to_data(path).unwrap();
    data.iter::<f64>().collect()
}

#[test]
fn a_step_moves_what_is_chosen_and_remembers_no_more() {
    let count = 4;
    let density = count as f64 / (INPUTS * OUTPUTS) as f64;
    let core = "layer.weight.adapter.core";
    let moved = |state: &TrainerState| -> usize {
        numbers(&state.parameters, core)
            .iter()
            .filter(|v| **v != 0.0)
            .count()
    };

    let method_of = |mask: &str| {
        let settings = json!({ "density": density, "mask": mask, "window": 2.0, "refresh": 3 });
        method("sparsegrad", &settings)
    };
    // Chosen for three steps: so many values of memory, and so many values that move.
    let refresh = method_of("topk_refresh");
    let mut one = trainer();
    let mut model = attached(refresh.as_ref());
    for _ in 0..3 {
        model = step(&mut one, refresh.as_ref(), model);
        let state = one.state(&model).unwrap();
        assert_eq!(moved(&state), count);
        for name in ["layer.mean", "layer.square", "layer.age", "layer.chosen"] {
            assert_eq!(numbers(&state.memory, name).len(), count, "{name}");
        }
        assert!(state.optimizer.means.is_empty());
        // Two moments of 8 bytes, an age and a place of 4.
        assert_eq!(one.state_bytes(), 24 * count);
    }
    let state = one.state(&model).unwrap();
    assert_eq!(numbers(&state.memory, "layer.age"), [3.0; 4]);

    let each = method_of("topk_each_step");
    let mut two = trainer();
    let mut model = attached(each.as_ref());
    let mut before = vec![0.0; numbers(&two.state(&model).unwrap().parameters, core).len()];
    for _ in 0..5 {
        model = step(&mut two, each.as_ref(), model);
        let now = numbers(&two.state(&model).unwrap().parameters, core);
        let changed = now.iter().zip(&before).filter(|(a, b)| a != b).count();
        assert_eq!(changed, count);
        before = now;
    }
    let ages = numbers(&two.state(&model).unwrap().memory, "layer.age");
    assert_eq!(ages.iter().sum::<f64>(), 5.0 * count as f64);

    // Fixed entries: the trainer's optimiser, as many values, and no memory of the method's.
    let fixed = method_of("topk_fixed");
    let mut three = trainer();
    let model = steps(&mut three, fixed.as_ref(), attached(fixed.as_ref()), 3);
    assert_eq!(three.optimizer().state_len(), 2 * count);
    assert_eq!(three.state_bytes(), 16 * count);
    let state = three.state(&model).unwrap();
    assert!(state.memory.is_empty());
    assert_eq!(numbers(&state.parameters, core).len(), count);
}

#[test]
fn sparse_runs_go_on_to_the_same_bits() {
    for (name, settings) in [
        (
            "sparsegrad",
            json!({ "density": 0.1, "mask": "topk_refresh", "refresh": 3 }),
        ),
        (
            "sparsegrad",
            json!({ "density": 0.1, "mask": "topk_each_step" }),
        ),
        (
            "sparsegrad",
            json!({ "density": 0.2, "mask": "topk_each_step", "legacy": true }),
        ),
        ("gmt", json!({})),
        (
            "spiel",
            json!({ "density": 0.2, "select_every": 2, "replace": 0.5 }),
        ),
        ("smt", json!({ "density": 0.3, "block_size": 2 })),
        ("sift", json!({})),
        ("topk_grad", json!({ "density": 0.1, "mask_update": true })),
        ("shira", json!({ "density": 0.2, "mask_type": "snip" })),
    ] {
        let method = method(name, &settings);
        let mut whole = trainer();
        let model = steps(&mut whole, method.as_ref(), attached(method.as_ref()), 10);
        let expected = whole.state(&model).unwrap();
        for stop in [1, 3, 5] {
            let mut first = trainer();
            let model = steps(&mut first, method.as_ref(), attached(method.as_ref()), stop);
            let state = first.state(&model).unwrap();
            let mut second = trainer();
            let model = second.restore(attached(method.as_ref()), &state).unwrap();
            let model = steps(&mut second, method.as_ref(), model, 10 - stop);
            assert_eq!(
                second.state(&model).unwrap(),
                expected,
                "{name} {settings} {stop}"
            );
        }
    }
}

#[derive(Module, Debug)]
struct Stack {
    layer: Vec<Net>,
}

#[test]
fn bases_that_layers_share_are_stored_once() {
    let device = cpu();
    for (shared, copies) in [(true, 1), (false, 2)] {
        let settings = json!({ "density": 0.2, "mask": "topk_fixed", "shared_basis": shared });
        let method = method("sparsegrad", &settings);
        let base = || Stack {
            layer: (0..2)
                .map(|_| Net {
                    layer: Linear::new(start(&device), None),
                })
                .collect(),
        };
        let mut gradients = WeightGradients::new();
        for index in 0..2 {
            let moved = start(&device) + random(20 + index, [INPUTS, OUTPUTS], &device);
            let name = format!("layer.{index}.layer");
            gradients.add([(name, gradient(&moved))], method.as_ref());
        }
        let names = NameMap::identity();
        let options = AttachOptions {
            targets: &TargetSpec::new(TargetModules::AllLinear),
            names: &names,
            modules_to_save: &[],
            heads: &[],
            seed: 5,
            gradients: Some(&gradients),
        };
        let (model, _) = attach(base(), method.as_ref(), &options).unwrap();
        let mut config = AdapterConfig::builder(method.peft_type()).target(options.targets);
        for (key, value) in method.config() {
            config = config.field(&key, value);
        }
        let config = config.build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        save_adapter(&model, dir.path(), &config, method.as_ref(), &names).unwrap();
        let file = AdapterFile::read(dir.path()).unwrap();
        let bases = file
            .tensors
            .keys()
            .filter(|key| key.ends_with("sparsegrad_U"));
        assert_eq!(bases.count(), copies);
        let loaded = read_adapter(dir.path(), config, method.as_ref()).unwrap();
        let (again, _) = load_adapter(base(), &loaded, method.as_ref(), &names, &device).unwrap();
        for (old, new) in model.layer.iter().zip(&again.layer) {
            assert_close("loaded", &effective(new), &effective(old), 1e-6);
        }
        // The same file, byte by byte.
        let second = tempfile::tempdir().unwrap();
        save_adapter(
            &again,
            second.path(),
            &loaded.config,
            method.as_ref(),
            &names,
        )
        .unwrap();
        let bytes = |dir: &tempfile::TempDir| {
            std::fs::read(dir.path().join("adapter_model.safetensors")).unwrap()
        };
        assert_eq!(bytes(&dir), bytes(&second));
    }
}
