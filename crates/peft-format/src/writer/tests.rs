use std::collections::HashMap;

use proptest::prelude::*;
use safetensors::tensor::TensorView;

use super::*;

type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn ours(path: &Path, tensors: &[Tensor], metadata: &Metadata) -> Result<()> {
    let specs = tensors
        .iter()
        .map(|t| TensorSpec::new(&*t.0, t.1, &*t.2))
        .collect();
    let mut writer = SafetensorsWriter::create(path, specs, metadata)?;
    for spec in writer.order().cloned().collect::<Vec<_>>() {
        let tensor = tensors.iter().find(|t| t.0 == spec.name).unwrap();
        writer.write(&spec.name, &tensor.3)?;
    }
    writer.finish()
}

fn arbitrary() -> impl Strategy<Value = Vec<Tensor>> {
    let dtypes = [
        Dtype::U8,
        Dtype::BOOL,
        Dtype::F16,
        Dtype::BF16,
        Dtype::F32,
        Dtype::I64,
        Dtype::F64,
    ];
    let tensor = (
        "[a-z\"\\\\é./_]{1,12}",
        0..dtypes.len(),
        prop::collection::vec(0usize..4, 0..4),
    );
    prop::collection::vec(tensor, 0..8).prop_map(move |list| {
        let unique: HashMap<_, _> = list
            .into_iter()
            .map(|(name, d, shape)| (name, (dtypes[d], shape)))
            .collect();
        unique
            .into_iter()
            .map(|(name, (dtype, shape))| {
                let len = shape.iter().product::<usize>() * dtype.bitsize() / 8;
                (name, dtype, shape, (0..len).map(|i| i as u8).collect())
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_bytes_are_the_official_ones(tensors in arbitrary(), with_metadata: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let one = [("format".to_string(), "pt".to_string())];
        let metadata: Metadata = if with_metadata { one.clone().into() } else { [].into() };
        ours(&path, &tensors, &metadata).unwrap();
        let views = tensors
            .iter()
            .map(|t| (&*t.0, TensorView::new(t.1, t.2.clone(), &t.3).unwrap()));
        let official =
            safetensors::serialize(views, with_metadata.then(|| HashMap::from(one))).unwrap();
        prop_assert_eq!(std::fs::read(&path).unwrap(), official);
    }
}

#[test]
fn misuse_is_an_error_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let none = Metadata::new();
    let create = |specs| SafetensorsWriter::create(&path, specs, &none);
    let a = || TensorSpec::new("a", Dtype::F32, [2]);
    let b = || TensorSpec::new("b", Dtype::F32, [0]);
    let mut writer = create(vec![b(), a()]).unwrap();
    assert!(
        writer
            .write("b", &[])
            .unwrap_err()
            .to_string()
            .contains("tensor `a`")
    );
    assert!(
        writer
            .write("a", &[0; 7])
            .unwrap_err()
            .to_string()
            .contains("8 bytes")
    );
    writer.write_part("a", &[0; 3]).unwrap();
    assert!(writer.write("a", &[0; 8]).is_err());
    assert!(writer.write_part("a", &[0; 6]).is_err());
    writer.write_part("a", &[0; 5]).unwrap();
    assert!(
        writer
            .finish()
            .unwrap_err()
            .to_string()
            .contains("all 2 tensors")
    );
    assert!(create(vec![a(), a()]).is_err());
    assert!(create(vec![a(), TensorSpec::new("a", Dtype::U8, [1])]).is_err());
    assert!(create(vec![TensorSpec::new("__metadata__", Dtype::U8, [1])]).is_err());
    assert!(create(vec![TensorSpec::new("h", Dtype::F32, [usize::MAX, 2])]).is_err());
    assert!(create(vec![TensorSpec::new("h", Dtype::F4, [3])]).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// The names of a folder's files.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_large_model_is_in_the_files_that_hugging_face_makes() {
    let sizes = [
        ("e", 10),
        ("a", 3),
        ("b", 4),
        ("c", 12),
        ("d", 2),
        ("f", 1),
        ("g", 9),
    ];
    let specs = || {
        let specs = sizes.iter();
        specs
            .map(|(name, size)| TensorSpec::new(*name, Dtype::F32, [*size]))
            .collect()
    };
    let written = |folder: &Path, limit| {
        let mut writer = ModelWriter::create(folder, specs(), &Metadata::new(), limit).unwrap();
        while let Some(next) = writer.next().cloned() {
            let values = vec![next.name.as_bytes()[0]; 4 * next.shape[0]];
            writer.write(&next.name, &values).unwrap();
        }
        writer.finish().unwrap();
    };
    let dir = tempfile::tempdir().unwrap();
    written(dir.path(), 40);
    let index = std::fs::read_to_string(dir.path().join(INDEX_NAME)).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    // huggingface_hub 2.4's split_torch_state_dict_into_shards of the same tensors and limit.
    let file = |place| format!("model-0000{place}-of-00004.safetensors");
    let expected = [
        ("a", 3),
        ("b", 3),
        ("c", 2),
        ("d", 3),
        ("e", 1),
        ("f", 3),
        ("g", 4),
    ];
    let expected: serde_json::Map<_, _> = expected
        .map(|(name, place)| (name.to_owned(), file(place).into()))
        .into_iter()
        .collect();
    assert_eq!(index["weight_map"], serde_json::Value::Object(expected));
    assert_eq!(index["metadata"]["total_size"], 164);
    assert_eq!(index["metadata"]["total_parameters"], 41);
    let mut files: Vec<String> = (1..=4).map(file).collect();
    files.push(INDEX_NAME.into());
    assert_eq!(names(dir.path()), files);
    assert!(files[..4].iter().all(|name| is_shard(name)));
    assert!(!is_shard(MODEL_NAME) && !is_shard("model-1-of-2.safetensors"));
    let checkpoint = crate::Checkpoint::open(dir.path()).unwrap();
    for (name, size) in sizes {
        let bytes = checkpoint.bytes(name).unwrap();
        assert_eq!(*bytes, vec![name.as_bytes()[0]; 4 * size], "{name}");
    }
    // What fits is one file.
    let one = tempfile::tempdir().unwrap();
    written(one.path(), 164);
    assert_eq!(names(one.path()), [MODEL_NAME]);
    let whole = std::fs::read(one.path().join(MODEL_NAME)).unwrap();
    written(one.path(), SHARD_SIZE);
    assert_eq!(std::fs::read(one.path().join(MODEL_NAME)).unwrap(), whole);
}

#[test]
fn a_model_in_several_files_has_all_its_tensors_or_no_index() {
    let dir = tempfile::tempdir().unwrap();
    let specs = || {
        ["a", "b"]
            .map(|name| TensorSpec::new(name, Dtype::U8, [3]))
            .to_vec()
    };
    let create = |limit| ModelWriter::create(dir.path(), specs(), &Metadata::new(), limit);
    let error = create(0).unwrap_err().to_string();
    assert!(error.contains("0 bytes"), "{error}");
    let mut writer = create(3).unwrap();
    assert!(writer.write("b", &[0; 3]).is_err());
    let mut writer = create(3).unwrap();
    writer.write("a", &[0; 3]).unwrap();
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("tensor `b`"), "{error}");
    assert_eq!(names(dir.path()), ["model-00001-of-00002.safetensors"]);
    let huge = TensorSpec::new("h", Dtype::F32, [usize::MAX, 2]);
    assert!(ModelWriter::create(dir.path(), vec![huge], &Metadata::new(), 9).is_err());
}
