//! A model folder and rows with which a whole run takes no time.

use std::{fs, io, path::Path};

/// Make a folder of a tiny BERT with a vocabulary of its own; `goldens` are those of the workspace.
pub fn write_model(goldens: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for file in ["config.json", "model.safetensors"] {
        let from = goldens.join("models/bert_base").join(file);
        fs::copy(from, folder.join(file))?;
    }
    let mut vocab: Vec<String> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
        .map(String::from)
        .into();
    vocab.extend((vocab.len()..99).map(|i| format!("word{i}")));
    fs::write(folder.join("vocab.txt"), vocab.join("\n") + "\n")
}

/// Make a file of labelled rows that can be learned.
pub fn write_rows(path: &Path) -> io::Result<()> {
    let mut rows = "text,label\n".to_owned();
    for i in 0..240usize {
        let word = |k: usize| 7 + (i * 31 + k * 17 + i * k * 7) % 92;
        let length = 2 + i * 5 % 9;
        let mut words: Vec<String> = (0..length).map(|k| format!("word{}", word(k))).collect();
        let (sign, label) = match i % 2 {
            0 => ("good", "praise"),
            _ => ("bad", "blame"),
        };
        words.insert(i % length, sign.to_owned());
        rows += &format!("{},{label}\n", words.join(" "));
    }
    fs::write(path, rows)
}

/// Make a folder of a tiny Llama in NF4, with a tokenizer.
#[allow(dead_code)] // Each user of this file takes its part.
pub fn write_quantised_model(goldens: &Path, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (from, file) in [
        ("llama_nf4_nested", "config.json"),
        ("llama_nf4_nested", "model.safetensors"),
        ("llama_tiny", "tokenizer.json"),
        ("llama_tiny", "tokenizer_config.json"),
    ] {
        fs::copy(goldens.join(from).join(file), folder.join(file))?;
    }
    Ok(())
}

/// Make a file of texts that can be learned.
#[allow(dead_code)] // As above.
pub fn write_texts(path: &Path) -> io::Result<()> {
    let words = ["cat", "dog", "owl", "fox", "hen", "pig"];
    let rows = (0..240usize).map(|row| {
        let word = |place: usize| words[(row * (place + 1) + row / 7) % words.len()];
        format!(
            "{{\"text\": \"the {} and the {} ran.\"}}\n",
            word(0),
            word(1)
        )
    });
    fs::write(path, rows.collect::<String>())
}
