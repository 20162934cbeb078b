//! Several adapters on one model: rows that choose, against PEFT, and training together.

use burn::{
    Tensor,
    module::Module,
    tensor::{Device, FloatDType, Int, TensorData},
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_train::data::Labels;
use peft_train::{
    AdamWConfig, HostTensors, Schedule, ScheduleKind, TrainError, Trainer, TrainerConfig,
    core::{
        AdapterChoice, AdapterContext, AdapterRoster, AttachOptions, BASE, Method, NamedMethods,
        attach, attach_as,
        format::{AdapterConfig, AdapterFile, TargetSpec, Targets},
        load_adapter_as, read_adapter, save_adapter_as, set_active,
    },
    loss, methods,
    models::{HeadSpec, PackedBatch, SequenceModel},
    targets, trained_parameters,
};

use crate::common::*;

fn choices(names: &[&str]) -> Vec<AdapterChoice> {
    names.iter().map(|name| AdapterChoice::one(name)).collect()
}

/// The model with the adapters of `sets.json`, and one with a pooler of its own, whose rows PEFT does not mix.
fn goldens_set(dtype: FloatDType) -> SequenceModel {
    let (device, golden) = (cpu(), json("sets.json"));
    let mut model = model("bert", dtype, &device);
    let names = model.names();
    let of_peft = golden["adapters"].as_object().unwrap().iter();
    let mut folders: Vec<(&str, &str)> = of_peft
        .map(|(name, folder)| (name.as_str(), folder.as_str().unwrap()))
        .collect();
    folders.push(("pooled", "modules_to_save"));
    for (name, folder) in folders {
        let dir = goldens().join("adapters").join(folder);
        let config = AdapterConfig::read(&dir).unwrap();
        let method = methods::from_config(&config).unwrap();
        let loaded = read_adapter(&dir, config.clone(), method.as_ref()).unwrap();
        let (with, report) =
            load_adapter_as(model, name, &loaded, method.as_ref(), &names, &device).unwrap();
        assert_eq!(report.targets.len(), loaded.modules.len());
        model = with;

        // Saved again out of the set it is the file that it came from.
        let out = tempfile::tempdir().unwrap();
        save_adapter_as(&model, name, out.path(), &config, method.as_ref(), &names).unwrap();
        let [old, new] = [&dir, out.path()].map(|dir| AdapterFile::read(dir).unwrap().tensors);
        assert_eq!(old.len(), new.len(), "{name}");
        if dtype == FloatDType::F32 {
            for (key, tensor) in &old {
                assert_eq!(tensor, &new[key], "{name}: {key}");
            }
        }
    }
    model
}

#[test]
fn rows_that_choose_their_adapters_get_the_logits_of_peft() {
    let (device, golden) = (cpu(), json("sets.json"));
    for (dtype, tolerance) in [(FloatDType::F32, 1e-5), (FloatDType::F64, 1e-11)] {
        let model = goldens_set(dtype);
        let roster = AdapterRoster::of(&model);
        assert_eq!(roster.names(), ["low", "pooled", "upper", "wide"]);
        for case in golden["cases"].as_array().unwrap() {
            let names: Vec<&str> = (case["adapters"].as_array().unwrap().iter())
                .map(|name| name.as_str().unwrap())
                .collect();
            let rows = rows(&json("cases.json"), "bert");
            let batch = pack(model.config(), &rows, &device);
            let batch = batch.with_adapters(&roster, &choices(&names)).unwrap();
            let context = AdapterContext::inference();
            let mixed = values(model.forward(&batch, &context));
            let wanted = flat(&case["logits_f64"]);
            assert_close(&format!("{names:?}"), &mixed, &wanted, tolerance);

            // And what each adapter gives when it is active for all of them.
            for (row, name) in names.iter().enumerate() {
                let active = set_active(model.clone(), &AdapterChoice::one(name)).unwrap();
                let all = logits(&active, "bert", &device);
                let width = all.len() / names.len();
                let of_row = row * width..(row + 1) * width;
                assert_close(name, &mixed[of_row.clone()], &all[of_row], tolerance);
            }
        }
    }
}

#[test]
fn rows_choose_poolers_and_heads() {
    let device = cpu();
    let model = goldens_set(FloatDType::F64);
    let names = ["pooled", "upper", BASE, "pooled", "low"];
    let batch = pack(model.config(), &rows(&json("cases.json"), "bert"), &device);
    let roster = AdapterRoster::of(&model);
    let batch = batch.with_adapters(&roster, &choices(&names)).unwrap();
    let mixed = values(model.forward(&batch, &AdapterContext::inference()));
    for (row, name) in names.iter().enumerate() {
        let active = set_active(model.clone(), &AdapterChoice::one(name)).unwrap();
        let all = logits(&active, "bert", &device);
        let of_row = 3 * row..3 * (row + 1);
        assert_close(name, &mixed[of_row.clone()], &all[of_row], 1e-12);
    }
}

#[test]
fn a_head_of_an_adapter_is_merged_with_it() {
    let device = cpu();
    let model = goldens_set(FloatDType::F64);
    for name in ["low", "pooled", BASE] {
        let active = set_active(model.clone(), &AdapterChoice::one(name)).unwrap();
        let wanted = logits(&active, "bert", &device);
        let merged = logits(&active.materialize(), "bert", &device);
        assert_close(name, &merged, &wanted, 1e-11);
    }
}

#[test]
fn what_cannot_be_chosen_is_refused() {
    let device = cpu();
    let model = goldens_set(FloatDType::F32);
    let roster = AdapterRoster::of(&model);
    let batch = || {
        let rows = rows(&json("cases.json"), "bert");
        pack(model.config(), &rows, &device)
    };
    let refused = |names: &[&str]| {
        let error = batch().with_adapters(&roster, &choices(names)).unwrap_err();
        error.to_string()
    };
    let error = refused(&["low", "wide", "hihg", "low", "low"]);
    assert!(error.contains("`hihg`") && error.contains("`low`, `pooled`, `upper`, `wide`"));
    let error = refused(&["low"]);
    assert!(
        error.contains("1 choices") && error.contains("5 rows"),
        "{error}"
    );
    // Both have a head.
    let error = set_active(model.clone(), &AdapterChoice::sum(["low", "wide"])).unwrap_err();
    assert!(error.to_string().contains("cannot be summed"), "{error}");
    let headless = AdapterRoster::of(&model).without_base("there is no head");
    let error = batch()
        .with_adapters(&headless, &choices(&[BASE; 5]))
        .unwrap_err();
    assert!(error.to_string().contains("there is no head"), "{error}");

    // A norm of its own can be switched to, but rows cannot choose it.
    let method = LoraMethod::new(LoraConfig::new(2, 2.0)).unwrap();
    let with = attached(
        model.clone(),
        Some("norm"),
        &method,
        &["embeddings.LayerNorm"],
    );
    let roster = AdapterRoster::of(&with);
    let error = batch().with_adapters(&roster, &choices(&["low", "norm", "low", "low", "low"]));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("row by row") && error.contains("norm"),
        "{error}"
    );
    assert!(set_active(with, &AdapterChoice::one("norm")).is_ok());
}

/// A model with fresh adapters on queries and values, and these modules in full.
fn attached(
    model: SequenceModel,
    name: Option<&str>,
    method: &dyn Method,
    saved: &[&str],
) -> SequenceModel {
    let targets = TargetSpec::new(Targets::List(vec!["query".into(), "value".into()]));
    let names = model.names();
    let saved: Vec<String> = saved.iter().map(|one| (*one).to_owned()).collect();
    let options = AttachOptions {
        targets: &targets,
        names: &names,
        modules_to_save: &saved,
        heads: model.head_modules(),
        seed: 4,
        gradients: None,
    };
    let attached = match name {
        None => attach(model, method, &options),
        Some(name) => attach_as(model, name, method, &options),
    };
    attached.unwrap().0
}

/// Two adapters of different methods, a rate for each, and the rows that choose them.
struct Tasks {
    lora: LoraMethod,
    spectral: Box<dyn Method>,
}

const TOPIC: &str = "topic";
const MOOD: &str = "mood";
const OF_ROWS: [&str; 5] = [TOPIC, MOOD, MOOD, TOPIC, MOOD];
const LABELS: [u32; 5] = [0, 2, 1, 1, 0];
const STEPS: u64 = 6;

impl Tasks {
    fn new() -> Self {
        let spectral = methods::by_name("sdctft").unwrap();
        let mut settings = (spectral.defaults)();
        settings.insert("n_frequency".into(), 40.into());
        Self {
            lora: LoraMethod::new(LoraConfig::new(3, 6.0)).unwrap(),
            spectral: (spectral.build)(&settings).unwrap(),
        }
    }

    fn method(&self, name: &str) -> (&dyn Method, f64) {
        match name {
            TOPIC => (&self.lora, 1.0),
            _ => (self.spectral.as_ref(), 10.0),
        }
    }

    fn base(&self, device: &Device) -> SequenceModel {
        let mut folder = folder("bert", FloatDType::F64);
        folder.set_dropout(0.0);
        let head = HeadSpec {
            outputs: 3,
            seed: 1,
        };
        SequenceModel::load(&folder, &head, device).unwrap().0
    }

    fn trainer(rate: f64) -> Trainer {
        let config = TrainerConfig {
            learning_rate: 1e-2 * rate,
            head_learning_rate: 2e-3,
            clip_norm: Some(0.5),
            optimizer: AdamWConfig::default(),
            seed: 0,
        };
        Trainer::new(config, Schedule::new(ScheduleKind::Linear, 0.0, STEPS))
    }

    /// The mean loss of the rows of one adapter.
    fn loss(outputs: Tensor<2>, rows: &[usize], device: &Device) -> Tensor<1> {
        let labels = rows.iter().map(|row| LABELS[*row]).collect();
        loss(outputs, targets(&Labels::Classes(labels), device).unwrap())
    }

    /// Both adapters on one model, trained on batches of the rows of both.
    fn together(&self, device: &Device) -> SequenceModel {
        let model = self.base(device);
        let model = attached(model, Some(TOPIC), &self.lora, &["classifier"]);
        let mut model = attached(model, Some(MOOD), self.spectral.as_ref(), &["classifier"]);
        let roster = AdapterRoster::of(&model);
        let mut trainer = Self::trainer(1.0);
        let of_all = [TOPIC, MOOD].map(|name| self.method(name));
        let methods = NamedMethods::new()
            .with(TOPIC, of_all[0].0, of_all[0].1)
            .with(MOOD, of_all[1].0, of_all[1].1);
        let all = rows(&json("cases.json"), "bert");
        for _ in 0..STEPS {
            let step = trainer.step(model, &methods, 1, |model, _, context| {
                let batch = pack(model.config(), &all, device);
                let batch = batch.with_adapters(&roster, &choices(&OF_ROWS))?;
                let outputs = model.forward(&batch, context);
                let of = |name| {
                    let rows = rows_of(name);
                    let data: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
                    let data = TensorData::new(data, [rows.len()]);
                    let index = Tensor::<1, Int>::from_data(data, &device.clone().inner());
                    Self::loss(outputs.clone().select(0, index), &rows, device)
                };
                Ok((of(TOPIC) + of(MOOD), 1.0))
            });
            model = step.unwrap().0;
        }
        model
    }

    /// One adapter on a model of its own, trained on its rows.
    fn alone(&self, name: &str, device: &Device) -> SequenceModel {
        let (method, rate) = self.method(name);
        let mut model = attached(self.base(device), None, method, &["classifier"]);
        let mut trainer = Self::trainer(rate);
        let (rows, all) = (rows_of(name), rows(&json("cases.json"), "bert"));
        let own: Vec<_> = rows.iter().map(|row| all[*row].clone()).collect();
        for _ in 0..STEPS {
            let step = trainer.step(model, method, 1, |model, _, context| {
                let batch: PackedBatch = pack(model.config(), &own, device);
                let outputs = model.forward(&batch, context);
                Ok((Self::loss(outputs, &rows, device), 1.0))
            });
            model = step.unwrap().0;
        }
        model
    }
}

fn rows_of(name: &str) -> Vec<usize> {
    let rows = OF_ROWS.iter().enumerate();
    rows.filter(|(_, one)| **one == name)
        .map(|(row, _)| row)
        .collect()
}

/// The path that a parameter of an adapter with a name has where it is the only one.
fn path_alone(path: &str, name: &str) -> Option<String> {
    let (parameter, field) = path.split_once(&format!(".adapter.@{name}."))?;
    Some(match field {
        "value" => parameter.to_owned(),
        field => format!("{parameter}.adapter.{field}"),
    })
}

#[test]
fn adapters_trained_together_are_those_trained_apart() {
    let device = cpu().autodiff();
    let tasks = Tasks::new();
    let together: HostTensors = trained_parameters(&tasks.together(&device)).unwrap();
    let mut compared = 0;
    for name in [TOPIC, MOOD] {
        let start = attached(
            tasks.base(&device),
            None,
            tasks.method(name).0,
            &["classifier"],
        );
        let start = trained_parameters(&start).unwrap();
        let alone = trained_parameters(&tasks.alone(name, &device)).unwrap();
        let mut moved = 0.0;
        for (path, tensor) in &together {
            let Some(own) = path_alone(path, name) else {
                continue;
            };
            let of = |tensor: &peft_train::core::HostTensor| -> Vec<f64> {
                let data = tensor.to_data("a parameter").unwrap();
                data.iter::<f64>().collect()
            };
            let wanted = of(&alone[&own]);
            assert_close(path, &of(tensor), &wanted, 1e-12);
            moved = f64::max(moved, difference(&wanted, &of(&start[&own])));
            compared += 1;
        }
        assert!(moved > 1e-3, "{name} learned nothing");
    }
    assert_eq!(compared, together.len());
}

#[test]
fn an_adapter_that_no_row_chooses_stays_as_it_is() {
    let device = cpu().autodiff();
    let tasks = Tasks::new();
    let model = attached(
        tasks.base(&device),
        Some(TOPIC),
        &tasks.lora,
        &["classifier"],
    );
    let spectral = tasks.spectral.as_ref();
    let mut model = attached(model, Some(MOOD), spectral, &["classifier"]);
    let before = trained_parameters(&model).unwrap();
    let all = rows(&json("cases.json"), "bert");
    // The first that came is active.
    let step = |model, methods: &NamedMethods, trainer: &mut Trainer| {
        trainer.step(model, methods, 1, |model: &SequenceModel, _, context| {
            let outputs = model.forward(&pack(model.config(), &all, &device), context);
            Ok((Tasks::loss(outputs, &[0, 1, 2, 3, 4], &device), 1.0))
        })
    };
    let mut trainer = Tasks::trainer(1.0);
    let methods = NamedMethods::new().with(TOPIC, &tasks.lora, 1.0);
    // Through the step at which silent adapters are refused.
    for _ in 0..STEPS {
        model = step(model, &methods, &mut trainer).unwrap().0;
    }
    for (path, tensor) in trained_parameters(&model).unwrap() {
        let still = path.contains("@mood");
        assert_eq!(before[&path] == tensor, still, "{path}");
    }
    let state = trainer.state(&model).unwrap();
    assert!(
        state
            .optimizer
            .means
            .keys()
            .all(|path| path.contains("@topic"))
    );
    let mut resumed = Tasks::trainer(1.0);
    let again = resumed.restore(model, &state).unwrap();
    assert_eq!(resumed.state(&again).unwrap(), state);

    let strange = NamedMethods::new().with(MOOD, spectral, 1.0);
    let error = step(again, &strange, &mut Tasks::trainer(1.0)).unwrap_err();
    assert!(matches!(error, TrainError::Setting { .. }), "{error}");
    assert!(error.to_string().contains("`topic`"), "{error}");
}
