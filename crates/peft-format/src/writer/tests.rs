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
