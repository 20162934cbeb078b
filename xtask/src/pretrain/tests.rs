//! The committed models.

use peft_format::Checkpoint;

use super::Family;

#[test]
fn committed_models_are_whole_and_small() {
    for family in [Family::Mamba, Family::Mamba2] {
        let folder = family.folder();
        let weights = folder.join("model.safetensors");
        assert!(std::fs::metadata(&weights).unwrap().len() <= 8_000_000);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let values: usize = checkpoint
            .names()
            .map(|name| {
                let values = checkpoint.to_f32(name).unwrap();
                assert!(values.iter().all(|value| value.is_finite()), "{name}");
                values.len()
            })
            .sum();
        let expected = match family {
            Family::Mamba => 2_890_496,
            Family::Mamba2 => 2_866_976,
        };
        assert_eq!(values, expected, "{}", family.name());
        let own = std::fs::read(folder.join("tokenizer.json")).unwrap();
        let shared = std::fs::read(folder.join("../tokenizer.json")).unwrap();
        assert_eq!(own, shared);
    }
}
