//! Adapters in files.

use burn::tensor::FloatDType;
use peft_core::{
    AdapterError, Method, NameMap,
    format::{AdapterConfig, AdapterFile, TargetModules, TargetSpec, adapter::join_key},
    load_adapter, read_adapter, save_adapter, shared_key,
};

use crate::model::{Case, assert_close, device, values};

pub fn config(case: &Case) -> AdapterConfig {
    let targets = TargetSpec::new(TargetModules::List(vec!["layer".into()]));
    let mut builder = AdapterConfig::builder(case.method.peft_type()).target(&targets);
    for (key, value) in case.method.config() {
        builder = builder.field(&key, value);
    }
    builder.build().unwrap()
}

pub fn round_trip(case: &Case) {
    let device = device();
    let names = NameMap::identity();
    let model = case.trained(FloatDType::F32, &device);
    let dir = tempfile::tempdir().unwrap();
    save_adapter(
        &model,
        dir.path(),
        &config(case),
        case.method.as_ref(),
        &names,
    )
    .unwrap();

    // What the method says beforehand is what came out.
    let spec = case.method.describe(&case.target(FloatDType::F32)).unwrap();
    let cost = model.adapter().cost(&case.target(FloatDType::F32));
    assert_eq!(spec.cost.parameters, cost.parameters);
    assert!(spec.cost.saved_per_row >= cost.saved_per_row);
    let file = AdapterFile::read(dir.path()).unwrap();
    let shared = case.method.describe_shared([case.inputs, case.outputs]);
    assert_eq!(spec.tensors.len() + shared.len(), file.tensors.len());
    for (name, info) in &shared {
        let tensor = file.tensor(&shared_key(name)).unwrap();
        assert_eq!((tensor.dtype, &tensor.shape), (info.dtype, &info.shape));
    }
    for (suffix, info) in &spec.tensors {
        let tensor = file.tensor(&join_key("layer", suffix)).unwrap();
        assert_eq!((tensor.dtype, &tensor.shape), (info.dtype, &info.shape));
    }

    let x = case.input(&device).cast(FloatDType::F32);
    let written = values(model.forward(x.clone()));
    let config = AdapterConfig::read(dir.path()).unwrap();
    let load = |method: &dyn Method| {
        let loaded = read_adapter(dir.path(), config.clone(), method).unwrap();
        let base = case.base(FloatDType::F32, &device);
        load_adapter(base, &loaded, method, &names, &device)
            .unwrap()
            .0
    };
    let same = load(case.method.as_ref());
    assert_eq!(values(same.forward(x.clone())), written);

    // From the file alone: how an update is applied need not be in it, and may round otherwise.
    let method = peft_methods::from_config(&config).unwrap();
    let again = load(method.as_ref());
    assert_close("from file", &values(again.forward(x)), &written, 1e-5);
    let second = tempfile::tempdir().unwrap();
    save_adapter(&again, second.path(), &config, method.as_ref(), &names).unwrap();
    for file in ["adapter_model.safetensors", "adapter_config.json"] {
        let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(file)).unwrap();
        assert_eq!(read(&dir), read(&second), "{file}");
    }
}

pub fn broken(case: &Case) {
    let device = device();
    let names = NameMap::identity();
    let model = case.trained(FloatDType::F32, &device);
    let dir = tempfile::tempdir().unwrap();
    let config = config(case);
    save_adapter(&model, dir.path(), &config, case.method.as_ref(), &names).unwrap();
    let path = dir.path().join("adapter_model.safetensors");
    let whole = AdapterFile::read(dir.path()).unwrap();
    let load = |file: &AdapterFile| {
        file.write(&path).unwrap();
        let loaded = read_adapter(dir.path(), config.clone(), case.method.as_ref())?;
        let base = case.base(FloatDType::F32, &device);
        load_adapter(base, &loaded, case.method.as_ref(), &names, &device).map(drop)
    };
    for key in whole.tensors.keys() {
        let mut file = whole.clone();
        let bytes = &mut file.tensors[key].bytes;
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        // NaN among floats; among integers the same bits are a place that no weight has.
        assert!(
            matches!(
                load(&file),
                Err(AdapterError::NotFinite { .. } | AdapterError::Places { .. })
            ),
            "{key}"
        );
        let mut file = whole.clone();
        let tensor = &mut file.tensors[key];
        tensor.shape.insert(0, 1);
        assert!(
            matches!(load(&file), Err(AdapterError::Shape { .. })),
            "{key}"
        );
        let mut file = whole.clone();
        let tensor = file.tensors.swap_remove(key).unwrap();
        let elsewhere = key.replacen("base_model.", "base_model.elsewhere.", 1);
        file.tensors.insert(elsewhere, tensor);
        assert!(load(&file).is_err(), "{key}");
    }
}

pub fn settings(case: &Case) {
    let written = case.method.config();
    let again = (case.entry.build)(&written).unwrap();
    assert_eq!(again.config(), written);
    let config = config(case);
    assert_eq!(
        peft_methods::from_config(&config).unwrap().config(),
        written
    );
    // What the method does not know must not be passed over.
    let mut fields = config.fields().clone();
    fields.insert("use_something_else".into(), true.into());
    let strange = AdapterConfig::from_fields("adapter_config.json".as_ref(), fields).unwrap();
    let error = peft_methods::from_config(&strange).unwrap_err().to_string();
    assert!(error.contains("use_something_else"), "{error}");
}
