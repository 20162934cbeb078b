//! Prompts, prefixes and P-tuning of HF PEFT, read, computed with, written back, cached and mixed.

use std::{fs, path::PathBuf};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, FloatDType, Gradients, Int},
};
use peft_run::{
    BaseOptions, MergeOptions, OpenOptions,
    core::{
        AdapterChoice, AdapterContext, AdapterRoster, BASE, Output, ParamPath,
        format::{AdapterConfig, AdapterFile, Checkpoint},
        load_adapter, load_adapter_as, read_adapter, save_adapter, saved_parameters,
        trainable_parameters,
    },
    merge, methods,
    models::{HeadKind, Model, ModelFolder, Network, PackedBatch, SequenceCache},
    open, verify,
};
use peft_train::{NextToken, Objective};
use serde_json::Value;

use super::{Texts, doubles};
use crate::common::{assert_close, cpu, goldens, json as golden, pack, rows, values};

fn dir(case: &str) -> PathBuf {
    goldens().join("prompts").join(case)
}

fn cases() -> Vec<(String, Value)> {
    let mut cases: Vec<_> = fs::read_dir(goldens().join("prompts"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            let expected = golden(&format!("prompts/{name}/expected.json"));
            (name, expected)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 11, "{cases:?}");
    cases
}

fn base_of(expected: &Value) -> PathBuf {
    goldens().join(expected["base"].as_str().unwrap())
}

fn is_encoder(expected: &Value) -> bool {
    expected["base"].as_str().unwrap().starts_with("models/")
}

fn base(expected: &Value, dtype: FloatDType, device: &Device) -> Model {
    let mut folder = ModelFolder::open(&base_of(expected)).unwrap();
    folder.set_dtype(dtype);
    let head = match is_encoder(expected) {
        true => HeadKind::Sequence { outputs: 3 },
        false => HeadKind::Language,
    };
    Model::load(&folder, head, 0, device).unwrap().0
}

fn with_adapter(case: &str, model: Model, name: Option<&str>, device: &Device) -> Model {
    let config = AdapterConfig::read(&dir(case)).unwrap();
    let method = methods::from_config(&config).unwrap();
    let adapter = read_adapter(&dir(case), config, method.as_ref()).unwrap();
    let (names, method) = (model.description().names(), method.as_ref());
    let loaded = match name {
        None => load_adapter(model, &adapter, method, &names, device),
        Some(name) => load_adapter_as(model, name, &adapter, method, &names, device),
    };
    loaded.unwrap().0
}

fn texts() -> Texts {
    let cases = golden("causal/cases.json");
    Texts::of(cases["sequences"].as_array().unwrap())
}

/// The rows of an encoder's cases, of which the longest leaves a prompt no positions, and their labels.
fn encoder_batch(expected: &Value, device: &Device) -> (PackedBatch, Vec<i64>) {
    let inputs = match expected["base"].as_str().unwrap().ends_with("roberta") {
        true => "roberta",
        false => "bert",
    };
    let mut rows = rows(&golden("cases.json"), inputs);
    let mut labels = vec![0, 2, 1, 0, 1];
    rows.remove(3);
    labels.remove(3);
    let folder = ModelFolder::open(&base_of(expected)).unwrap();
    let peft_run::models::ModelConfig::Encoder(config) = folder.config() else {
        panic!("an encoder");
    };
    (pack(config, &rows, device), labels)
}

fn logits(expected: &Value, model: &Model, device: &Device) -> Vec<f64> {
    if !is_encoder(expected) {
        return texts().logits(model, device);
    }
    let (batch, _) = encoder_batch(expected, device);
    match model.run(&batch, &AdapterContext::inference()) {
        Output::Scores(scores) => values(scores),
        Output::Tokens { .. } => panic!("a head of tokens"),
    }
}

#[test]
fn logits_are_those_of_peft() {
    let device = cpu();
    for (case, expected) in cases() {
        let tensors = Checkpoint::open(&dir(&case).join("expected.safetensors")).unwrap();
        let wanted = doubles(&tensors, "logits_f64");
        for (dtype, tolerance) in [(FloatDType::F64, 1e-10), (FloatDType::F32, 1e-4)] {
            let model = with_adapter(&case, base(&expected, dtype, &device), None, &device);
            assert_close(
                &case,
                &logits(&expected, &model, &device),
                &wanted,
                tolerance,
            );
        }
        if is_encoder(&expected) || !base_of(&expected).join("tokenizer.json").exists() {
            continue;
        }
        let opened = open(&OpenOptions {
            model: &base_of(&expected),
            adapter: Some(&dir(&case)),
            any_base: false,
            task: None,
            base: BaseOptions::default(),
            device: &device,
        });
        let model = opened.unwrap().model;
        assert_close(&case, &logits(&expected, &model, &device), &wanted, 1e-4);
    }
}

/// Gradients of the fields of adapters in some passes, in the order of the model, with their shapes.
struct Read<'a>(ParamPath, &'a [Gradients], Vec<(Vec<usize>, Vec<f64>)>);

impl ModuleVisitor for Read<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.0.exit();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.0.in_adapter() {
            let found = self.1.iter().filter_map(|pass| param.base().grad(pass));
            let sum = found.reduce(|sum, one| sum + one);
            let sum = sum.expect("every field is trained");
            self.2.push((sum.dims().to_vec(), values(sum)));
        }
    }
}

/// One matrix of all layers' keys and values, a row after the other, as files have it.
fn as_file(model: &Model, passes: &[Gradients]) -> Vec<f64> {
    let mut read = Read(ParamPath::default(), passes, Vec::new());
    model.visit(&mut read);
    let found = &read.2;
    let row = |row: usize| {
        let parts = found.iter();
        parts.flat_map(move |(shape, values)| values[row * shape[1]..(row + 1) * shape[1]].to_vec())
    };
    (0..found[0].0[0]).flat_map(row).collect()
}

#[test]
fn gradients_are_those_of_peft_recomputed_or_not() {
    let device = cpu().autodiff();
    for (case, expected) in cases() {
        let tensors = Checkpoint::open(&dir(&case).join("expected.safetensors")).unwrap();
        let wanted = doubles(&tensors, "gradient_f64");
        let model = with_adapter(
            &case,
            base(&expected, FloatDType::F64, &device),
            None,
            &device,
        );
        let context = AdapterContext::inference();
        let (batch, loss): (PackedBatch, Box<dyn Fn(Output) -> Tensor<1>>) =
            match is_encoder(&expected) {
                true => {
                    let (batch, labels) = encoder_batch(&expected, &device);
                    let count = labels.len();
                    let labels = burn::tensor::TensorData::new(labels, [count]);
                    let labels = Tensor::<1, Int>::from_data(labels, &device);
                    (
                        batch,
                        Box::new(move |output: Output| {
                            let scores = output.scores().unwrap();
                            peft_run::core::kernels::cross_entropy(scores, labels.clone())
                        }),
                    )
                }
                false => {
                    let texts = texts();
                    let on = device.clone();
                    (
                        texts.batch(&model, &device),
                        Box::new(move |output| NextToken.loss(output, texts.targets(&on))),
                    )
                }
            };
        let value = loss(model.run(&batch, &context));
        let wanted_loss = expected["loss_f64"].as_f64().unwrap();
        let found_loss = values(value.clone())[0];
        assert_close(&case, &[found_loss], &[wanted_loss], 1e-11);
        let whole = as_file(&model, &[value.backward()]);
        assert_close(&case, &whole, &wanted, 1e-10);
        // Block by block, from what came before.
        let (_, passes) = model.backward_recomputing(&batch, &context, loss);
        assert_close(&case, &as_file(&model, &passes), &whole, 1e-13);
    }
}

#[test]
fn files_of_peft_are_written_back_key_by_key_and_byte_by_byte() {
    let device = cpu();
    for (case, expected) in cases() {
        let model = with_adapter(
            &case,
            base(&expected, FloatDType::F32, &device),
            None,
            &device,
        );
        let config = AdapterConfig::read(&dir(&case)).unwrap();
        let method = methods::from_config(&config).unwrap();
        let names = model.description().names();
        assert!(
            !saved_parameters(&model, None, &config, &names).is_empty() || !is_encoder(&expected)
        );
        let out = tempfile::tempdir().unwrap();
        save_adapter(&model, out.path(), &config, method.as_ref(), &names).unwrap();
        let read = |dir: &std::path::Path| AdapterFile::read(dir).unwrap().tensors;
        let (old, new) = (read(&dir(&case)), read(out.path()));
        let keys = |tensors: &indexmap::IndexMap<String, _>| {
            let mut keys: Vec<String> = tensors.keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&old), keys(&new), "{case}");
        for (key, tensor) in &old {
            assert_eq!(tensor, &new[key], "{case}: {key}");
        }
        let device = device.clone().autodiff();
        let base = base(&expected, FloatDType::F32, &device);
        let model = with_adapter(&case, base, None, &device);
        let trained: usize = (trainable_parameters(&model).iter())
            .map(|one| one.shape.iter().product::<usize>())
            .sum();
        let stored: usize = old
            .values()
            .map(|one| one.shape.iter().product::<usize>())
            .sum();
        assert_eq!(trained, stored, "{case}");
        let report = verify(&base_of(&expected), &dir(&case), &device).unwrap();
        assert!(report.is_good(), "{case}: {:?}", report.problems);
        let merged = out.path().join("merged");
        let error = merge(&MergeOptions::new(
            &base_of(&expected),
            &dir(&case),
            &merged,
            &device,
        ));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("cannot be merged"), "{case}: {error}");
    }
}

#[test]
fn caches_go_on_behind_prompts_and_prefixes() {
    let device = cpu();
    let texts = texts();
    for (case, expected) in cases()
        .into_iter()
        .filter(|(_, expected)| !is_encoder(expected))
    {
        let model = with_adapter(
            &case,
            base(&expected, FloatDType::F64, &device),
            None,
            &device,
        );
        let whole = texts.logits(&model, &device);
        let width = whole.len() / texts.ids.len();
        let count = texts.starts.len() - 1;
        let mut caches = vec![SequenceCache::default(); count];
        let mut done = vec![0; count];
        for take in [3, 1, 2, 40] {
            // Sequences that have an end are left out from then on.
            let at = |one: usize| texts.starts[one] + done[one];
            let going: Vec<usize> = (0..count)
                .filter(|one| at(*one) < texts.starts[one + 1])
                .collect();
            let (mut ids, mut starts) = (Vec::new(), vec![0]);
            for one in &going {
                let end = (at(*one) + take).min(texts.starts[one + 1]);
                ids.extend(&texts.ids[at(*one)..end]);
                starts.push(ids.len());
            }
            let own = going
                .iter()
                .map(|one| std::mem::take(&mut caches[*one]))
                .collect();
            let batch = PackedBatch::continuing(model.description(), &ids, &starts, own, &device);
            let batch = batch.unwrap();
            let Output::Tokens { hidden, head } = model.run(&batch, &AdapterContext::inference())
            else {
                panic!("a head of sequences");
            };
            let found = values(head.logits(hidden));
            for ((place, one), cache) in going.iter().enumerate().zip(batch.into_caches()) {
                done[*one] += starts[place + 1] - starts[place];
                assert_eq!(cache.len(), done[*one]);
                let last = texts.starts[*one] + done[*one] - 1;
                let wanted = &whole[last * width..(last + 1) * width];
                assert_close(
                    &case,
                    &found[place * width..(place + 1) * width],
                    wanted,
                    1e-11,
                );
                caches[*one] = cache;
            }
        }
    }
}

#[test]
fn sequences_of_one_batch_have_prompts_and_prefixes_of_their_own() {
    let device = cpu();
    let expected = golden("prompts/prompt_llama/expected.json");
    let texts = texts();
    let named = ["prompt_llama", "prefix_llama", "p_tuning_llama"];
    let mut model = base(&expected, FloatDType::F64, &device);
    let alone: Vec<Vec<f64>> = named
        .iter()
        .map(|case| {
            let base = base(&expected, FloatDType::F64, &device);
            texts.logits(&with_adapter(case, base, None, &device), &device)
        })
        .chain([texts.logits(&model, &device)])
        .collect();
    for case in named {
        model = with_adapter(case, model, Some(case), &device);
    }
    let roster = AdapterRoster::of(&model);
    let all = [named[0], named[1], named[2], BASE];
    let width = alone[0].len() / texts.ids.len();
    for shift in 0..4 {
        let chosen: Vec<usize> = (0..4).map(|one| (one + shift) % 4).collect();
        let choices: Vec<AdapterChoice> = chosen
            .iter()
            .map(|one| AdapterChoice::one(all[*one]))
            .collect();
        let batch = texts
            .batch(&model, &device)
            .with_adapters(&roster, &choices)
            .unwrap();
        let Output::Tokens { hidden, head } = model.run(&batch, &AdapterContext::inference())
        else {
            panic!("a head of sequences");
        };
        let found = values(head.logits(hidden));
        for (sequence, one) in chosen.iter().enumerate() {
            let span = texts.starts[sequence] * width..texts.starts[sequence + 1] * width;
            assert_close(all[*one], &found[span.clone()], &alone[*one][span], 1e-11);
        }
    }
    // Two prompts at one place are no sum.
    let both = AdapterChoice::sum([named[0], named[2]]);
    assert!(roster.check(&both).is_err());
}

#[test]
fn rows_of_an_encoder_choose_norms_factors_and_prompts() {
    let device = cpu();
    let expected = golden("prompts/prompt_bert/expected.json");
    let folders = [
        dir("prompt_bert"),
        goldens().join("adapters/ln_bert"),
        goldens().join("adapters/ia3_bert"),
        goldens().join("adapters/ssf_bert"),
    ];
    let put = |model: Model, folder: &PathBuf, name: Option<&str>| {
        let config = AdapterConfig::read(folder).unwrap();
        let method = methods::from_config(&config).unwrap();
        let adapter = read_adapter(folder, config, method.as_ref()).unwrap();
        let (names, method) = (model.description().names(), method.as_ref());
        let loaded = match name {
            None => load_adapter(model, &adapter, method, &names, &device),
            Some(name) => load_adapter_as(model, name, &adapter, method, &names, &device),
        };
        loaded.unwrap().0
    };
    let plain = base(&expected, FloatDType::F64, &device);
    let alone: Vec<Vec<f64>> = folders
        .iter()
        .map(|folder| logits(&expected, &put(plain.clone(), folder, None), &device))
        .collect();
    let names = ["prompt", "norms", "factors", "shifts"];
    let mut model = plain;
    for (folder, name) in folders.iter().zip(names) {
        model = put(model, folder, Some(name));
    }
    let roster = AdapterRoster::of(&model);
    for shift in 0..4 {
        let chosen: Vec<usize> = (0..4).map(|one| (one + shift) % 4).collect();
        let choices: Vec<AdapterChoice> = (chosen.iter())
            .map(|one| AdapterChoice::one(names[*one]))
            .collect();
        let (batch, _) = encoder_batch(&expected, &device);
        let batch = batch.with_adapters(&roster, &choices).unwrap();
        let found = match model.run(&batch, &AdapterContext::inference()) {
            Output::Scores(scores) => values(scores),
            Output::Tokens { .. } => panic!("a head of tokens"),
        };
        for (sequence, one) in chosen.iter().enumerate() {
            let span = 3 * sequence..3 * sequence + 3;
            assert_close(names[*one], &found[span.clone()], &alone[*one][span], 1e-11);
        }
    }
}
