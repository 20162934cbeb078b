//! Several adapters on one model: rows that choose, against PEFT.

mod together;

use burn::{
    Tensor,
    module::{Module, ModuleMapper, Param},
    tensor::FloatDType,
};
use peft_lowrank::{LoraConfig, LoraMethod};
use peft_run::{
    core::{
        AdapterChoice, AdapterContext, AdapterError, AdapterRoster, AttachOptions, BASE, Method,
        ParamPath, attach, attach_as,
        format::{AdapterConfig, AdapterFile, TargetModules, TargetSpec},
        load_adapter_as, read_adapter, save_adapter_as, set_active,
    },
    methods,
    models::SequenceModel,
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

/// Projections that rows choose are those of the distances of their tokens, too; and blocks before norms mix rows as those behind do.
#[test]
fn rows_choose_their_adapters_in_every_kind_of_encoder() {
    let (device, cases) = (cpu(), json("cases.json"));
    for (base, folders) in [
        ("mpnet", ["mpnet_qv", "mpnet_all_linear"]),
        ("deberta_v3", ["deberta_v3_qv", "deberta_v3_all_linear"]),
        ("modernbert", ["modernbert_qkv", "modernbert_all_linear"]),
    ] {
        let mut model = model(base, FloatDType::F64, &device);
        let names = model.names();
        for folder in folders {
            let dir = goldens().join("adapters").join(folder);
            let config = AdapterConfig::read(&dir).unwrap();
            let method = methods::from_config(&config).unwrap();
            let loaded = read_adapter(&dir, config, method.as_ref()).unwrap();
            let method = method.as_ref();
            model = load_adapter_as(model, folder, &loaded, method, &names, &device)
                .unwrap()
                .0;
        }
        let chosen = [folders[1], BASE, folders[0], folders[1], folders[0]];
        let rows = rows(&cases, cases["models"][base]["inputs"].as_str().unwrap());
        let batch = pack(model.config(), &rows, &device);
        let roster = AdapterRoster::of(&model);
        let batch = batch.with_adapters(&roster, &choices(&chosen)).unwrap();
        let mixed = values(model.forward(&batch, &AdapterContext::inference()));
        for (row, name) in chosen.iter().enumerate() {
            let wanted = match *name {
                BASE => flat(&cases["models"][base]["logits_f64"]),
                name => flat(&json(&format!("adapters/{name}/expected.json"))["logits_f64"]),
            };
            let of_row = 3 * row..3 * (row + 1);
            assert_close(name, &mixed[of_row.clone()], &wanted[of_row], 1e-11);
        }
    }
}

#[test]
fn rows_choose_poolers_norms_and_heads() {
    let device = cpu();
    let method = LoraMethod::new(LoraConfig::new(2, 2.0)).unwrap();
    let norm = ["embeddings.LayerNorm"];
    let model = attached(goldens_set(FloatDType::F64), Some("norm"), &method, &norm);
    let model = model.map(&mut Scaled(ParamPath::default()));
    let names = ["pooled", "norm", BASE, "pooled", "low"];
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
    let alone = |name| {
        let active = set_active(model.clone(), &AdapterChoice::one(name)).unwrap();
        logits(&active, "bert", &device)
    };
    assert_ne!(alone("norm"), alone(BASE));
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

    // A table of its own can be switched to, but rows cannot choose it.
    let method = LoraMethod::new(LoraConfig::new(2, 2.0)).unwrap();
    let table = ["embeddings.word_embeddings"];
    let with = attached(model.clone(), Some("table"), &method, &table);
    let roster = AdapterRoster::of(&with);
    let error = batch().with_adapters(&roster, &choices(&["low", "table", "low", "low", "low"]));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("row by row") && error.contains("table"),
        "{error}"
    );
    assert!(set_active(with, &AdapterChoice::one("table")).is_ok());
}

/// Makes the saved copies of norms differ from the base's.
struct Scaled(ParamPath);

impl ModuleMapper for Scaled {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.0.text();
        match path.contains("norm") && path.contains("adapter") && !path.contains("lora") {
            true => param.map(|old| (old * 1.5 + 0.25).detach()),
            false => param,
        }
    }
}

/// A model with fresh adapters on queries and values, and these modules in full.
fn attached(
    model: SequenceModel,
    name: Option<&str>,
    method: &dyn Method,
    saved: &[&str],
) -> SequenceModel {
    let targets = TargetSpec::new(TargetModules::List(vec!["query".into(), "value".into()]));
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

#[test]
fn an_adapter_that_adapts_nothing_is_refused() {
    let model = model("bert", FloatDType::F32, &cpu());
    let names = model.names();
    let head = methods::by_name("head").unwrap();
    let head = (head.build)(&(head.defaults)()).unwrap();
    let options = AttachOptions {
        targets: &TargetSpec::new(TargetModules::Unspecified),
        names: &names,
        modules_to_save: &[],
        heads: model.head_modules(),
        seed: 4,
        gradients: None,
    };
    let error = attach_as(model.clone(), "idle", head.as_ref(), &options).unwrap_err();
    assert!(matches!(error, AdapterError::NothingTrained), "{error}");
    let error = attach_as(model, "i.dle", head.as_ref(), &options).unwrap_err();
    assert!(matches!(error, AdapterError::Name { .. }), "{error}");
}
