//! LoCA, places and all, follows the equations of its paper step by step. The trace and what it mirrors of
//! the authors' code: `xtask/python/mint_loca.py`.

use burn::{
    Tensor,
    module::Module,
    tensor::{DType, Device, TensorData},
};
use peft_methods as methods;
use peft_train::{
    AdamWConfig, HostTensors, Schedule, ScheduleKind, Trainer, TrainerConfig, TrainerState,
    core::{
        AdapterContext, AttachOptions, DynAdapter, HostTensor, HostTensorExt, Method, NameMap,
        attach,
        format::{Checkpoint, TargetModules, TargetSpec},
        nn::Linear,
    },
    gradients, restore_parameters, trained_parameters,
};
use serde_json::{Value, json};

use crate::common::{assert_close, cpu, goldens, json, values};

#[derive(Module, Debug)]
struct Net {
    layer: Linear,
}

struct Golden {
    file: Checkpoint,
    settings: Value,
}

impl Golden {
    fn open() -> Self {
        Self {
            file: Checkpoint::open(&goldens().join("spectral/loca.safetensors")).unwrap(),
            settings: json("spectral/loca.json"),
        }
    }

    fn setting(&self, name: &str) -> f64 {
        self.settings[name].as_f64().unwrap()
    }

    fn steps(&self) -> usize {
        self.setting("steps") as usize
    }

    fn values(&self, name: &str) -> (Vec<f64>, Vec<usize>) {
        let view = self.file.view(name).unwrap();
        let values = view.bytes.chunks_exact(8);
        let values = values.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()));
        (values.collect(), view.shape.to_vec())
    }

    /// Row `index` of a tensor of many.
    fn row(&self, name: &str, index: usize) -> (Vec<f64>, Vec<usize>) {
        let (values, shape) = self.values(name);
        let length = values.len() / shape[0];
        (
            values[index * length..][..length].to_vec(),
            shape[1..].to_vec(),
        )
    }

    fn matrix(&self, (values, shape): (Vec<f64>, Vec<usize>), device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), (device, DType::F64))
    }

    fn method(&self, evaluation: &str) -> Box<dyn Method> {
        let entry = methods::by_name("loca").unwrap();
        let mut all = (entry.defaults)();
        let (coefficients, _) = self.row("coefficients", 0);
        let own = json!({
            "n_frequency": coefficients.len(),
            "gamma": self.setting("alpha"),
            "location_share": self.setting("learn_steps") / self.setting("steps"),
            "coefficient_steps": self.settings["coefficient_steps"],
            "location_steps": self.settings["location_steps"],
            "location_rate": self.setting("location_rate"),
            "evaluation": evaluation,
        });
        all.extend(own.as_object().unwrap().clone());
        (entry.build)(&all).unwrap()
    }

    /// The layer with its adapter, places where the trace starts.
    fn start(&self, method: &dyn Method) -> Net {
        let device = cpu().autodiff();
        let weight = self.matrix(self.values("weight"), &device).transpose();
        let options = AttachOptions {
            targets: &TargetSpec::new(TargetModules::AllLinear),
            names: &NameMap::identity(),
            modules_to_save: &[],
            heads: &[],
            seed: 5,
            gradients: None,
        };
        let base = Net {
            layer: Linear::new(weight, None),
        };
        let model = attach(base, method, &options).unwrap().0;
        let mut parameters = trained_parameters(&model).unwrap();
        let path = path_of(&parameters, "locations");
        let (values, shape) = self.values("locations.0");
        let places = HostTensor::from_data(&path, TensorData::new(values, shape)).unwrap();
        parameters.insert(path, places);
        restore_parameters(model, &parameters).unwrap()
    }

    fn trainer(&self) -> Trainer {
        let config = TrainerConfig {
            learning_rate: self.setting("learning_rate"),
            head_learning_rate: 0.0,
            clip_norm: None,
            optimizer: AdamWConfig::default(),
            seed: 0,
        };
        let steps = self.steps() as u64;
        Trainer::new(config, Schedule::new(ScheduleKind::Constant, 0.0, steps))
    }

    /// Take a step and compare it with the trace's.
    fn follow(&self, trainer: &mut Trainer, method: &dyn Method, model: Net, step: usize) -> Net {
        let device = cpu().autodiff();
        let batches = self.values("x").1[0];
        let [x, target] =
            ["x", "target"].map(|name| self.matrix(self.row(name, step % batches), &device));
        let learning = method.learning_rate_factor("locations", step as u64, self.steps() as u64);
        let trained = if learning > 0.0 {
            "locations"
        } else {
            "coefficients"
        };
        let (model, report) = trainer
            .step_with(model, method, 1, |model: &Net, _, _| {
                let y = model.layer.forward(x.clone(), &AdapterContext::inference());
                let loss = (y - target.clone()).powi_scalar(2).mean();
                let found = gradients(model, &mut loss.backward());
                let path = path_of(&trained_parameters(model)?, trained);
                let gradient = values(found.get(&path).unwrap().clone());
                let (wanted, _) = self.row(&format!("{trained}.grad"), step);
                assert_close(
                    &format!("step {step}: gradient of {trained}"),
                    &gradient,
                    &wanted,
                    1e-9,
                );
                Ok((loss, found))
            })
            .unwrap();
        let (losses, _) = self.values("losses");
        assert_close(
            &format!("step {step}: loss"),
            &[report.loss],
            &losses[step..=step],
            1e-9,
        );
        let now = trained_parameters(&model).unwrap();
        for name in ["coefficients", "locations"] {
            let (wanted, _) = self.row(name, step);
            let what = format!("step {step}: {name}");
            assert_close(&what, &numbers(&now, &path_of(&now, name)), &wanted, 1e-9);
        }
        model
    }
}

fn path_of(tensors: &HostTensors, field: &str) -> String {
    let mut paths = tensors.keys().filter(|path| path.ends_with(field));
    paths.next().unwrap().clone()
}

fn numbers(tensors: &HostTensors, path: &str) -> Vec<f64> {
    let data = tensors[path].to_data(path).unwrap();
    data.iter::<f64>().collect()
}

#[test]
fn training_follows_the_paper() {
    let golden = Golden::open();
    for evaluation in ["fast", "factored"] {
        let method = golden.method(evaluation);
        let mut trainer = golden.trainer();
        let mut model = golden.start(method.as_ref());
        for step in 0..golden.steps() {
            model = golden.follow(&mut trainer, method.as_ref(), model, step);
        }
        let weight = &model.layer.weight;
        let adapter = weight.reparameterization::<DynAdapter>().unwrap();
        let delta = adapter.effective(weight.base()) - weight.base();
        let (wanted, _) = golden.values("delta");
        assert_close(evaluation, &values(delta.transpose()), &wanted, 1e-9);
    }
}

#[test]
fn a_resumed_run_follows_it_too() {
    let golden = Golden::open();
    let method = golden.method("auto");
    let (mut trainer, mut model) = (golden.trainer(), golden.start(method.as_ref()));
    // Stopped while places have their turn: the coefficients have stood still for some steps.
    for step in 0..17 {
        model = golden.follow(&mut trainer, method.as_ref(), model, step);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    trainer.state(&model).unwrap().write(&path).unwrap();
    let state = TrainerState::read(&path).unwrap();
    assert_eq!(state, trainer.state(&model).unwrap());
    let counts: Vec<u64> = state.optimizer.counts.values().copied().collect();
    assert!(
        counts.len() == 2 && counts.iter().all(|count| (1..17).contains(count)),
        "{counts:?}"
    );
    assert_eq!(counts.iter().sum::<u64>(), 17, "{counts:?}");
    let mut trainer = golden.trainer();
    let mut model = trainer
        .restore(golden.start(method.as_ref()), &state)
        .unwrap();
    for step in 17..golden.steps() {
        model = golden.follow(&mut trainer, method.as_ref(), model, step);
    }
}
