//! Whole runs of Mamba-2 and FalconMamba, their files of GGUF, and what does not fit them.

use std::path::{Path, PathBuf};

use burn::tensor::FloatDType;
use peft_run::{
    AdapterFormat, ConvertOptions, MergeOptions, RunConfig, convert,
    core::format::{
        AdapterConfig, AdapterFile, BlockType, Checkpoint, TargetModules,
        gguf::{GgufTensorSpec, GgufValue, GgufWriter},
    },
    merge, plan, train, verify,
};
use serde_json::json;

use super::{
    Texts, load,
    runs::{adapter_bytes, config, measured, workspace},
};
use crate::common::{assert_close, cpu, flat, goldens, json as golden};

pub fn settings(model: &Path, data: &Path, output: &Path, method: &str) -> RunConfig {
    let mut settings = config(model, data, output, method);
    settings.target_modules = TargetModules::Unspecified;
    settings.steps = Some(6);
    settings.learning_rate = Some(1e-2);
    settings
}

#[test]
fn losses_are_transformers() {
    let cases = golden("ssm/families.json");
    let texts = Texts::of(cases["sequences"].as_array().unwrap());
    let device = cpu();
    for name in [
        "mamba2_tiny",
        "mamba2_plain",
        "falcon_mamba_tiny",
        "jamba_tiny",
    ] {
        for (dtype, tolerance) in [(FloatDType::F64, 1e-9), (FloatDType::F32, 1e-5)] {
            let model = load(&goldens().join(name), dtype, &device);
            let found = texts.loss(&model, &device);
            let wanted = flat(&cases[name]["loss_f64"]);
            assert_close(name, &[found], &wanted, tolerance);
        }
    }
}

/// What a method does on a model: its own targets, trained, planned, merged or not.
pub fn check(model: &str, method: &str, own: serde_json::Value, targets: Option<&[&str]>) {
    let (dir, folder, data) = workspace(model);
    let output = dir.path().join(method);
    let mut settings = settings(&folder, &data, &output, method);
    settings.select_data = Some(data.clone());
    for (key, value) in own.as_object().unwrap() {
        settings.method_config.insert(key.clone(), value.clone());
    }
    if let Some(targets) = targets {
        let names = targets.iter().map(|name| (*name).to_owned());
        settings.target_modules = TargetModules::List(names.collect());
    }
    let (_, before) = measured(&folder, None, &data);
    let planned = plan(&settings).unwrap_or_else(|error| panic!("{model}, {method}: {error}"));
    let report = train(&settings, &mut ());
    let report = report.unwrap_or_else(|error| panic!("{model}, {method}: {error}"));
    let bytes = adapter_bytes(&output).len() as u64;
    assert_eq!(planned.adapter_bytes, bytes, "{model}, {method}");
    let (_, after) = measured(&folder, Some(&output), &data);
    // What was trained is what the files say.
    let off = (report.selection.loss - after.loss).abs();
    assert!(off < 1e-5, "{model}, {method}: {report:?} {after:?}");
    assert!(
        after.loss < before.loss,
        "{model}, {method}: {before:?} {after:?}"
    );
    let device = cpu();
    let checked = verify(&folder, &output, &device).unwrap();
    assert!(checked.problems.is_empty(), "{:?}", checked.problems);
    // No adapter is dead: every tensor of values moved.
    for (key, tensor) in &AdapterFile::read(&output).unwrap().tensors {
        if let Some(values) = tensor.to_f32() {
            assert!(values.iter().any(|value| *value != 0.0), "{method}: {key}");
        }
    }
    let merged = dir.path().join("merged");
    let inserted = [
        "initial_state",
        "state_offset",
        "affix",
        "additional_scan",
        "parallel",
        "prefix",
    ];
    match merge(&MergeOptions::new(&folder, &output, &merged, &device)) {
        Ok(_) => {
            assert!(!inserted.contains(&method), "{model}, {method} merged");
            let (_, whole) = measured(&merged, None, &data);
            let off = (whole.loss - after.loss).abs();
            assert!(off < 1e-5, "{model}, {method}: {whole:?} {after:?}");
        }
        Err(error) => assert!(inserted.contains(&method), "{model}, {method}: {error}"),
    }
}

const LINEAR: &[&str] = &["in_proj", "out_proj"];

#[test]
fn methods_train_on_mamba2() {
    for model in ["mamba2_tiny", "mamba2_plain"] {
        check(model, "lora", json!({ "r": 2 }), None);
        check(model, "dora", json!({ "r": 2 }), Some(LINEAR));
        check(
            model,
            "bitfit",
            json!({}),
            Some(&["bias", "dt_bias", "A_log", "D"]),
        );
        check(
            model,
            "initial_state",
            json!({}),
            Some(&["state_start", "conv_start"]),
        );
        check(model, "state_offset", json!({}), None);
        check(model, "state_offset", json!({}), Some(&["state_output"]));
        check(model, "affix", json!({}), None);
        check(model, "prodial", json!({ "r": 2, "block_width": 4 }), None);
        check(model, "lorap_x", json!({ "r": 2, "lora_alpha": 2 }), None);
        for preset in ["ssm", "projections", "all", "ssm_full", "norms"] {
            check(
                model,
                "ssm_components",
                json!({ "preset": preset, "r": 2 }),
                None,
            );
        }
        check(model, "waveft", json!({ "n_frequency": 24 }), Some(LINEAR));
        check(model, "shira", json!({ "r": 2 }), Some(LINEAR));
    }
}

/// Of a model whose head is its table of tokens, a file that adapts the table alone means a head of its own, as PEFT
/// takes it, whoever named the table: the user, the method, or a part of several.
#[test]
fn tables_that_methods_name_by_themselves_leave_the_head() {
    check("mamba_tiny", "sll_lora", json!({ "r": 2 }), None);
    let tied = json!({ "r": 2, "ensure_weight_tying": true });
    check("mamba_tiny", "sll_lora", tied, None);
    for (model, table) in [
        ("mamba_tiny", "embeddings"),
        ("llama_tiny_tied", "embed_tokens"),
    ] {
        for kept in [false, true] {
            let parts = json!({ "parts": [
                { "method": "lora", "target_modules": [table], "r": 2, "ensure_weight_tying": kept },
                { "method": "ln_tuning" },
            ] });
            check(model, "several", parts, None);
        }
    }
}

#[test]
fn what_peft_refuses_on_a_mamba_is_not_said_to_load_there() {
    let (dir, folder, data) = workspace("mamba_tiny");
    for (target, loads) in [("x_proj", true), ("out_proj", false)] {
        let output = dir.path().join(target);
        let mut settings = settings(&folder, &data, &output, "lora");
        settings.target_modules = TargetModules::List(vec![target.into()]);
        train(&settings, &mut ()).unwrap();
        let card = std::fs::read_to_string(output.join("README.md")).unwrap();
        assert_eq!(card.contains("PeftModel.from_pretrained"), loads, "{card}");
        assert_eq!(card.contains("library_name: peft"), loads, "{card}");
        assert_eq!(
            card.contains("refuses lora on the `out_proj`"),
            !loads,
            "{card}"
        );
        let converted = convert(&ConvertOptions {
            model: &folder,
            adapter: &output,
            output: &dir.path().join(format!("{target}-lora")),
            to: AdapterFormat::Lora,
            any_base: false,
            overwrite: false,
            device: &cpu(),
        });
        assert_eq!(
            converted.unwrap().refused_by_peft,
            (!loads).then_some("out_proj")
        );
    }
}

#[test]
fn adapters_of_presets_are_continued_by_their_names() {
    for (preset, of, other) in [
        ("sll_lora", "lora", "dora"),
        ("lorap_x", "ssm_components", "sdt"),
    ] {
        let (dir, folder, data) = workspace("mamba_tiny");
        let output = dir.path().join("first");
        train(&settings(&folder, &data, &output, preset), &mut ()).unwrap();
        for method in [preset, of] {
            let mut settings = settings(&folder, &data, &dir.path().join(method), method);
            settings.adapter = Some(output.clone());
            train(&settings, &mut ()).unwrap_or_else(|error| panic!("{method}: {error}"));
        }
        let mut settings = settings(&folder, &data, &dir.path().join(other), other);
        settings.adapter = Some(output);
        let error = train(&settings, &mut ()).unwrap_err().to_string();
        assert!(error.contains("give the same method"), "{error}");
    }
}

#[test]
fn methods_train_on_falcon_mamba() {
    let model = "falcon_mamba_tiny";
    check(model, "lora", json!({ "r": 2 }), None);
    check(model, "sll_lora", json!({ "r": 2 }), None);
    check(model, "additional_scan", json!({ "extra_states": 2 }), None);
    check(model, "state_offset", json!({}), None);
    for preset in ["ssm", "projections", "all", "ssm_full", "norms"] {
        check(
            model,
            "ssm_components",
            json!({ "preset": preset, "r": 2 }),
            None,
        );
    }
    let own = json!({ "channels": 0.25, "states": 0.5, "warm_up_steps": 3, "r": 2 });
    check(model, "sdlora", own, None);
}

#[test]
fn methods_of_states_of_channels_say_why_mamba2_has_none() {
    let (dir, folder, data) = workspace("mamba2_plain");
    for (method, word) in [
        ("sdt", "no states to choose from"),
        ("sdlora", "no states to choose from"),
        ("additional_scan", "no more can be put"),
    ] {
        let settings = settings(&folder, &data, &dir.path().join(method), method);
        for error in [
            plan(&settings).err().map(|error| error.to_string()),
            train(&settings, &mut ())
                .err()
                .map(|error| error.to_string()),
        ] {
            let error = error.unwrap_or_else(|| panic!("{method} is taken"));
            assert!(error.contains(word), "{method}: {error}");
            // By the name that was asked for, whichever part of it objects.
            assert!(!error.contains("sdt:") || method == "sdt", "{error}");
        }
    }
    let mut settings = settings(&folder, &data, &dir.path().join("pieces"), "ssm_components");
    settings.method_config.insert("lora".into(), json!(["x_B"]));
    let error = train(&settings, &mut ()).unwrap_err().to_string();
    assert!(error.contains("x_proj"), "{error}");
}

/// LoRA on pieces is LoRA on the layers that the projection is made of: other pieces' rows stay what they are.
#[test]
fn pieces_change_their_outputs_only_and_presets_are_saved_as_what_they_are() {
    let (dir, folder, data) = workspace("mamba_tiny");
    let output = dir.path().join("out");
    let mut run = settings(&folder, &data, &output, "ssm_components");
    for (key, value) in [
        ("lora", json!(["x_B", "in_z"])),
        ("full", json!(["D"])),
        ("r", json!(2)),
    ] {
        run.method_config.insert(key.into(), value);
    }
    train(&run, &mut ()).unwrap();
    let written = AdapterConfig::read(&output).unwrap();
    assert_eq!(written.fields()["lora"], json!(["x_B", "in_z"]));
    assert_eq!(written.fields()["pieces"]["x_proj"]["B"], json!([2, 6]));
    let merged = dir.path().join("merged");
    let device = cpu();
    merge(&MergeOptions::new(&folder, &output, &merged, &device)).unwrap();
    let [before, after] = [&folder, &merged].map(|path| Checkpoint::open(path).unwrap());
    let changed: Vec<String> = before
        .names()
        .filter(|name| before.to_f32(name).unwrap() != after.to_f32(name).unwrap())
        .map(str::to_owned)
        .collect();
    assert_eq!(changed.len(), 6, "{changed:?}");
    for (name, inputs, rows) in [("x_proj", 32, 2..6), ("in_proj", 16, 32..64)] {
        let name = format!("backbone.layers.1.mixer.{name}.weight");
        let [old, new] = [&before, &after].map(|file| file.to_f32(&name).unwrap());
        for (row, (old, new)) in old.chunks(inputs).zip(new.chunks(inputs)).enumerate() {
            assert_eq!(old != new, rows.contains(&row), "{name}, row {row}");
        }
    }
    // LoRAp(X) is one of them, and its files are read as the same method's.
    let (dir, folder, data) = workspace("mamba_tiny");
    let output = dir.path().join("lorap");
    train(&settings(&folder, &data, &output, "lorap_x"), &mut ()).unwrap();
    let written = AdapterConfig::read(&output).unwrap();
    assert_eq!(
        (written.peft_type(), &written.fields()["r"]),
        ("SSM_COMPONENTS", &json!(64))
    );
}

/// The file of llama.cpp's conversion: `A_log` as `-exp`, the convolution without its middle dimension, and of Mamba-2 one number
/// a head as a column and the norm of the gated channels by groups.
fn gguf(from: &Path, path: &Path) {
    let config = std::fs::read_to_string(from.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let kind = config["model_type"].as_str().unwrap();
    let dual = kind == "mamba2";
    let size = |field: &str| config[field].as_u64().unwrap() as usize;
    let checkpoint = Checkpoint::open(from).unwrap();
    let own = |name: &str| -> String {
        let name = name
            .replace("backbone.embeddings", "token_embd")
            .replace("backbone.norm_f", "output_norm")
            .replace("lm_head", "output")
            .replace("backbone.layers", "blk");
        [
            ("mixer.in_proj", "ssm_in"),
            ("mixer.conv1d", "ssm_conv1d"),
            ("mixer.x_proj", "ssm_x"),
            ("mixer.dt_proj", "ssm_dt"),
            ("mixer.dt_bias", "ssm_dt.bias"),
            ("mixer.norm", "ssm_norm"),
            ("mixer.out_proj", "ssm_out"),
            ("mixer.A_log", "ssm_a"),
            ("mixer.D", "ssm_d"),
            (".norm.", ".attn_norm."),
        ]
        .iter()
        .fold(name, |name, (hf, own)| name.replace(hf, own))
    };
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for name in checkpoint.names() {
        let mut shape = checkpoint.info(name).unwrap().shape;
        let mut values = checkpoint.to_f32(name).unwrap();
        if name.ends_with("conv1d.weight") {
            shape.remove(1);
        }
        if name.ends_with("A_log") {
            values.iter_mut().for_each(|value| *value = -value.exp());
        }
        match name.rsplit_once("mixer.").map(|(_, part)| part) {
            Some("A_log" | "D") if dual => shape.push(1),
            Some("norm.weight") => shape = vec![size("n_groups"), shape[0] / size("n_groups")],
            _ => {}
        }
        tensors.push((own(name), shape, values));
    }
    let number = |value: u32| GgufValue::U32(value);
    let letters = ('a'..='z').map(String::from);
    let tokens = ["<unk>", "<s>", "</s>", "\u{120}"].map(String::from);
    let tokens = tokens.into_iter().chain(letters);
    let tokens = tokens.chain([".".into(), "th".into()]).collect();
    let mut types = vec![1; 32];
    types[..3].fill(3);
    let architecture = if dual { "mamba2" } else { "mamba" };
    let mut own = vec![
        ("block_count", number(2)),
        ("context_length", number(1 << 20)),
        ("embedding_length", number(16)),
        ("feed_forward_length", number(0)),
        ("attention.head_count", number(0)),
        ("ssm.conv_kernel", number(4)),
        ("ssm.inner_size", number(32)),
        ("ssm.state_size", number(4)),
        ("attention.layer_norm_rms_epsilon", GgufValue::F32(1e-5)),
    ];
    if dual {
        own.push(("ssm.time_step_rank", number(size("num_heads") as u32)));
        own.push(("ssm.group_count", number(size("n_groups") as u32)));
    } else {
        own.push(("ssm.time_step_rank", number(2)));
    }
    if kind == "falcon_mamba" {
        own.push(("ssm.dt_b_c_rms", GgufValue::Bool(true)));
    }
    let own: Vec<(String, GgufValue)> = own
        .into_iter()
        .map(|(key, value)| (format!("{architecture}.{key}"), value))
        .collect();
    let mut metadata: Vec<(&str, GgufValue)> = vec![
        ("general.architecture", architecture.into()),
        ("tokenizer.ggml.model", "gpt2".into()),
        ("tokenizer.ggml.pre", "gpt-2".into()),
        ("tokenizer.ggml.tokens", GgufValue::Strings(tokens)),
        ("tokenizer.ggml.token_type", GgufValue::I32s(types)),
        (
            "tokenizer.ggml.merges",
            GgufValue::Strings(vec!["t h".into()]),
        ),
        ("tokenizer.ggml.bos_token_id", number(1)),
        ("tokenizer.ggml.eos_token_id", number(2)),
        ("tokenizer.ggml.unknown_token_id", number(0)),
    ];
    metadata.extend(own.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let specs = tensors.iter().map(|(name, shape, _)| GgufTensorSpec {
        name: name.clone(),
        kind: BlockType::F32,
        shape: shape.clone(),
    });
    let mut writer = GgufWriter::create(path, &metadata, specs.collect()).unwrap();
    for (name, _, values) in &tensors {
        let bytes = BlockType::F32.encode(values).unwrap();
        writer.write(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn a_mamba_in_a_gguf_file_is_that_of_its_folder_and_can_be_trained_and_merged() {
    let (dir, _, data) = workspace("mamba_tiny");
    let cases = golden("ssm/cases.json");
    let texts = Texts::of(cases["sequences"].as_array().unwrap());
    let device = cpu();
    let file: PathBuf = dir.path().join("mamba.gguf");
    gguf(&goldens().join("mamba_tiny"), &file);
    let model = load(&file, FloatDType::F64, &device);
    let wanted = flat(&cases["mamba_tiny"]["loss_f64"]);
    // Logarithms come back from single precision.
    assert_close("loss", &[texts.loss(&model, &device)], &wanted, 1e-6);
    let output = dir.path().join("out");
    let mut run = settings(&file, &data, &output, "sdlora");
    for (key, value) in [
        ("warm_up_steps", json!(3)),
        ("r", json!(2)),
        ("channels", json!(0.25)),
    ] {
        run.method_config.insert(key.into(), value);
    }
    train(&run, &mut ()).unwrap();
    let (_, before) = measured(&file, None, &data);
    let (_, after) = measured(&file, Some(&output), &data);
    assert!(after.loss < before.loss, "{after:?} {before:?}");
    let merged = dir.path().join("merged");
    merge(&MergeOptions::new(&file, &output, &merged, &device)).unwrap();
    let (_, whole) = measured(&merged, None, &data);
    assert!(
        (whole.loss - after.loss).abs() < 1e-5,
        "{whole:?} {after:?}"
    );
}

#[test]
fn a_falcon_mamba_in_a_gguf_file_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let from = goldens().join("falcon_mamba_tiny");
    let file = dir.path().join("falcon.gguf");
    gguf(&from, &file);
    let device = cpu();
    let cases = golden("ssm/families.json");
    let texts = Texts::of(cases["sequences"].as_array().unwrap());
    let found = texts.loss(&load(&file, FloatDType::F64, &device), &device);
    // The file has no ε of the inner norms, and the folder's is not the default.
    let wanted = flat(&cases["falcon_mamba_tiny"]["loss_f64"]);
    assert_close("loss", &[found], &wanted, 1e-2);
    assert!((found - wanted[0]).abs() > 1e-7);
}

#[test]
fn a_mamba2_in_a_gguf_file_is_that_of_its_folder_and_can_be_trained_and_merged() {
    let device = cpu();
    let cases = golden("ssm/families.json");
    let texts = Texts::of(cases["sequences"].as_array().unwrap());
    for name in ["mamba2_plain", "mamba2_tiny"] {
        let (dir, folder, data) = workspace(name);
        // Bounds of the step widths are in no file.
        let path = folder.join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config
            .as_object_mut()
            .unwrap()
            .remove("time_step_limit")
            .unwrap();
        std::fs::write(&path, config.to_string()).unwrap();
        let file = dir.path().join("mamba2.gguf");
        gguf(&folder, &file);
        let [found, wanted] = [&file, &folder]
            .map(|path| texts.logits(&load(path, FloatDType::F64, &device), &device));
        // Logarithms come back from single precision.
        assert_close(name, &found, &wanted, 1e-6);
        let output = dir.path().join("out");
        let mut run = settings(&file, &data, &output, "lora");
        run.method_config.insert("r".into(), json!(2));
        train(&run, &mut ()).unwrap();
        let (_, before) = measured(&file, None, &data);
        let (_, after) = measured(&file, Some(&output), &data);
        assert!(after.loss < before.loss, "{after:?} {before:?}");
        let merged = dir.path().join("merged");
        merge(&MergeOptions::new(&file, &output, &merged, &device)).unwrap();
        let (_, whole) = measured(&merged, None, &data);
        let off = (whole.loss - after.loss).abs();
        assert!(off < 1e-5, "{whole:?} {after:?}");
    }
}
