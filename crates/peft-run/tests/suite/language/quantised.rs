//! Bases whose frozen matrices stay in quantised blocks.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    Tensor,
    module::{Module, ModuleVisitor, Param},
    tensor::FloatDType,
};
use peft_run::{
    BaseDtype, BaseOptions, MergeOptions, Objective, Quantize, RunConfig, RunError, ScheduleKind,
    core::{
        format::{
            AdapterConfig, BlockType, Checkpoint, Dtype, HostTensor, Metadata, SafetensorsWriter,
            TensorSpec,
        },
        kernels::block_type,
    },
    merge, methods,
    models::{HeadKind, Model, ModelFolder, Network},
    plan, train,
};
use peft_train::{AdamWConfig, NextToken, Schedule, Trainer, TrainerConfig};

use super::{
    Texts, adapted, gguf, load,
    runs::{adapter_bytes, config, measured},
    write_adapter,
};
use crate::{common::*, resume::Stop};

/// The types of a model's matrices that are in blocks, with how many there are.
fn blocks_of(model: &Model) -> Vec<(BlockType, usize)> {
    #[derive(Default)]
    struct Kinds(BTreeMap<BlockType, usize>);
    impl ModuleVisitor for Kinds {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(kind) = block_type(&param.base()) {
                *self.0.entry(kind).or_default() += 1;
            }
        }
    }
    let mut kinds = Kinds::default();
    model.visit(&mut kinds);
    kinds.0.into_iter().collect()
}

fn opened(path: &Path, options: BaseOptions) -> Result<Model, RunError> {
    let device = cpu();
    let mut folder = ModelFolder::open(path)?;
    options.apply(&mut folder, &device)?;
    Ok(Model::load(&folder, HeadKind::Language, 0, &device)?.0)
}

/// Losses of some steps, and the adapter's bytes.
fn trained(settings: &RunConfig) -> (u64, Vec<u8>) {
    let report = train(settings, &mut ()).unwrap();
    let loss = report.selection.loss.to_bits();
    (loss, adapter_bytes(&settings.output))
}

/// Multiplying with blocks changes no bit against decoding them first, whatever the method makes of the weights.
#[test]
fn a_base_in_blocks_trains_to_the_bits_of_its_values() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (gguf::blocks(dir.path(), 64), gguf::texts(dir.path()));
    let kinds = blocks_of(&opened(&model, BaseOptions::default()).unwrap());
    assert_eq!(kinds, [(BlockType::Q8_0, 16)]);
    for method in ["lora", "dora", "sdctft", "shira", "sine_lora", "vera"] {
        let [of_blocks, of_values] = [None, Some(BaseDtype::F32)].map(|dtype| {
            let output = dir.path().join(format!("{method}-{}", dtype.is_some()));
            let mut settings = config(&model, &data, &output, method);
            settings.steps = Some(6);
            settings.base_dtype = dtype;
            let few = match method {
                "sdctft" => serde_json::json!({ "n_frequency": 90 }),
                "shira" => serde_json::json!({ "r": 4 }),
                _ => serde_json::json!({}),
            };
            settings.method_config = few.as_object().unwrap().clone();
            trained(&settings)
        });
        assert!(of_blocks == of_values, "{method}");
    }
    let planned = |dtype| {
        let mut settings = config(&model, &data, &dir.path().join("none"), "lora");
        settings.base_dtype = dtype;
        plan(&settings).unwrap().memory.weights
    };
    let (few, many) = (planned(None), planned(Some(BaseDtype::F32)));
    assert!(
        few * 3 < many,
        "{few} bytes planned in blocks, {many} in floats"
    );
}

#[test]
fn values_are_quantised_as_they_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let data = gguf::texts(dir.path());
    let quantised = gguf::blocks(dir.path(), 64);
    // A folder with floats.
    let full = dir.path().join("full");
    let untrained = dir.path().join("untrained");
    let mut settings = config(&quantised, &data, &untrained, "lora");
    settings.steps = Some(1);
    settings.learning_rate = Some(1e-9);
    train(&settings, &mut ()).unwrap();
    let device = cpu();
    let mut options = MergeOptions::new(&quantised, &untrained, &full, &device);
    options.allow_loss = true;
    merge(&options).unwrap();

    for (quantize, kind) in [
        (Quantize::Int8, BlockType::Q8_0),
        (Quantize::Int4, BlockType::Q4_0),
        (Quantize::Nf4, BlockType::Nf4),
    ] {
        let base = BaseOptions {
            quantize: Some(quantize),
            ..BaseOptions::default()
        };
        // Of layers 32 and 64 wide NF4 takes those of 64; tables and the head are left alone.
        let layers = if kind == BlockType::Nf4 { 2 } else { 14 };
        let found = blocks_of(&opened(&full, base).unwrap());
        assert_eq!(found, [(kind, layers)], "{quantize:?}");
        // The reference: a checkpoint of the values that the blocks have.
        let reference = dir.path().join(format!("{quantize:?}"));
        requantised(&full, &reference, kind);
        let mut settings = config(&full, &data, &dir.path().join("a"), "lora");
        settings.steps = Some(6);
        settings.overwrite = true;
        settings.quantize = Some(quantize);
        let of_blocks = trained(&settings);
        settings.model = reference;
        settings.quantize = None;
        assert!(of_blocks == trained(&settings), "{quantize:?}");
    }
}

/// A copy of a folder whose layers' weights are what blocks of a type would hold.
fn requantised(from: &Path, to: &Path, kind: BlockType) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let checkpoint = Checkpoint::open(from).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = checkpoint
        .names()
        .map(|name| {
            let shape = checkpoint.info(name).unwrap().shape;
            let mut values = checkpoint.to_f32(name).unwrap();
            let whole = shape
                .last()
                .is_some_and(|width| width.is_multiple_of(kind.block_len()));
            if name.contains("_proj") && whole {
                let bytes = kind.encode(&values).unwrap();
                kind.decode(&bytes, &mut values);
            }
            (name.to_owned(), shape, values)
        })
        .collect();
    let float = Dtype::F32;
    let specs = tensors
        .iter()
        .map(|(name, shape, _)| TensorSpec::new(name, float, &**shape));
    let path = to.join("model.safetensors");
    let mut writer = SafetensorsWriter::create(&path, specs.collect(), &Metadata::new()).unwrap();
    let order: Vec<String> = writer.order().map(|spec| spec.name.clone()).collect();
    for name in order {
        let (_, _, values) = tensors.iter().find(|tensor| tensor.0 == name).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.write(&name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// The adapter that training began with, by formula: `B` is 0.
fn start(dir: &Path) {
    let config = serde_json::json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
    });
    let mut tensors = Vec::new();
    let modules = (0..2).flat_map(|layer| [(layer, "q_proj", 64), (layer, "v_proj", 32)]);
    for (m, (layer, module, outputs)) in modules.enumerate() {
        let name = format!("model.layers.{layer}.self_attn.{module}");
        let value = |k: usize, i: usize| {
            (0.05 * (0.37 * k as f64 + 0.11 * i as f64 + 1.0 + m as f64).sin()) as f32
        };
        let a = (0..4).flat_map(|k| (0..64).map(move |i| value(k, i)));
        let tensor = |shape: [usize; 2], values: Vec<f32>| HostTensor {
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        tensors.push((
            format!("{name}.lora_A.weight"),
            tensor([4, 64], a.collect()),
        ));
        tensors.push((
            format!("{name}.lora_B.weight"),
            tensor([outputs, 4], vec![0.0; outputs * 4]),
        ));
    }
    write_adapter(dir, &config, tensors);
}

/// What transformers and bitsandbytes saved: its logits, its loss and six steps of training are those of the model with
/// bitsandbytes' own dequantised weights.
#[test]
fn checkpoints_of_bitsandbytes_are_those_of_the_reference() {
    let device = cpu();
    for name in ["llama_nf4", "llama_nf4_nested"] {
        let folder = goldens().join(name);
        let expected = json(&format!("{name}/expected.json"));
        let model = opened(&folder, BaseOptions::default()).unwrap();
        assert_eq!(blocks_of(&model), [(BlockType::Nf4, 14)], "{name}");
        let texts = Texts::of([&expected["ids"]]);
        let logits = texts.logits(&model, &device);
        let last = &logits[logits.len() - 32..];
        assert_close("logits", last, &flat(&expected["logits"]), 2e-5);
        let loss = texts.loss(&model, &device);
        assert!(
            (loss - expected["loss"].as_f64().unwrap()).abs() < 1e-5,
            "{name}: {loss}"
        );

        let dir = tempfile::tempdir().unwrap();
        start(dir.path());
        let config = AdapterConfig::read(dir.path()).unwrap();
        let method = methods::from_config(&config).unwrap();
        let on_tape = device.clone().autodiff();
        let mut model = adapted(
            load(&folder, FloatDType::F32, &on_tape),
            dir.path(),
            &on_tape,
        );
        let rate = expected["rate"].as_f64().unwrap();
        let settings = TrainerConfig {
            learning_rate: rate,
            head_learning_rate: rate,
            clip_norm: None,
            optimizer: AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            },
            seed: 0,
        };
        let wanted = flat(&expected["losses"]);
        let schedule = Schedule::new(ScheduleKind::Constant, 0.0, wanted.len() as u64);
        let mut trainer = Trainer::new(settings, schedule);
        let mut losses = Vec::new();
        for _ in &wanted {
            let step = trainer.step(model, method.as_ref(), 1, |model, _, context| {
                let output = model.run(&texts.batch(model, &on_tape), context);
                Ok((NextToken.loss(output, texts.targets(&on_tape)), 1.0))
            });
            let (next, report) = step.unwrap();
            model = next;
            losses.push(report.loss);
        }
        assert_close("losses", &losses, &wanted, 1e-4);
        // In floats the same.
        let floats = BaseOptions {
            dtype: Some(BaseDtype::F32),
            ..BaseOptions::default()
        };
        let decoded = opened(&folder, floats).unwrap();
        assert_eq!(blocks_of(&decoded), []);
        assert_eq!(texts.logits(&decoded, &device), logits, "{name}");
    }
}

#[test]
fn what_cannot_be_quantised_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let model = gguf::blocks(dir.path(), 64);
    let refused = |path: &Path, dtype, quantize| {
        let error = opened(path, BaseOptions { dtype, quantize }).unwrap_err();
        error.to_string()
    };
    let twice = refused(&model, None, Some(Quantize::Nf4));
    assert!(
        twice.contains("quantised already") && twice.contains("`quantize`"),
        "{twice}"
    );
    let folder = goldens().join("llama_tiny");
    let both = refused(&folder, Some(BaseDtype::F16), Some(Quantize::Int8));
    assert!(both.contains("`base_dtype`"), "{both}");
    // Rows of 16 and 24 values are no blocks of anything: nothing would be quantised.
    let nothing = refused(&folder, None, Some(Quantize::Int8));
    assert!(nothing.contains("blocks of 32 values"), "{nothing}");
}

/// A run on quantised layers goes on to the bits of the whole one, and not with other layers.
#[test]
fn a_stopped_run_on_a_quantised_base_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = gguf::texts(dir.path());
    let folder = goldens().join("llama_nf4");
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    for (from, file) in [
        (&folder, "config.json"),
        (&folder, "model.safetensors"),
        (&goldens().join("llama_tiny"), "tokenizer.json"),
        (&goldens().join("llama_tiny"), "tokenizer_config.json"),
    ] {
        fs::copy(from.join(file), model.join(file)).unwrap();
    }
    let whole = dir.path().join("whole");
    let mut settings = config(&model, &data, &whole, "lora");
    settings.steps = Some(20);
    train(&settings, &mut ()).unwrap();
    let parts = dir.path().join("parts");
    settings.output = parts.clone();
    train(&settings, &mut Stop::after(9)).unwrap_err();
    settings.resume = true;
    settings.base_dtype = Some(BaseDtype::F16);
    let other = train(&settings, &mut ()).unwrap_err().to_string();
    assert!(other.contains("base"), "{other}");
    settings.base_dtype = None;
    train(&settings, &mut ()).unwrap();
    assert_eq!(adapter_bytes(&whole), adapter_bytes(&parts));
    let (_, after) = measured(&model, Some(&whole), &data);
    // Merged into floats, never back into codes.
    let merged = dir.path().join("merged");
    let report = merge(&MergeOptions::new(&model, &whole, &merged, &cpu())).unwrap();
    assert_eq!(report.dequantised, ["NF4"]);
    assert!(!Checkpoint::open(&merged).unwrap().is_quantised());
    let config = fs::read_to_string(merged.join("config.json")).unwrap();
    assert!(!config.contains("quantization_config"), "{config}");
    let (_, dense) = measured(&merged, None, &data);
    assert!(
        (dense.loss - after.loss).abs() < 1e-5,
        "{dense:?} {after:?}"
    );
}
