//! Texts that models generate, of checkpoints of which HF transformers generated the same.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use burn::tensor::Device;
use peft_run::{
    BaseOptions, Chat, Finish, Generated, GenerationConfig, Generator, GeneratorModel,
    OpenGenerator, Prompt, RunError, TaskFile,
    core::{AdapterChoice, set_active},
    data::{ChatTemplate, Clock, Conversation, Message, Task, TextTokenizer},
    models::{HeadKind, Model, ModelFolder},
};
use serde_json::Value;

use crate::common::*;

const IDS: [u32; 8] = [1, 5, 9, 3, 30, 7, 7, 12];

/// A tiny model, with the tokenizer of those that have one.
fn opened(name: &str) -> GeneratorModel {
    let folder = ModelFolder::open(&goldens().join(name)).unwrap();
    let (model, _) = Model::load(&folder, HeadKind::Language, 0, &Device::flex()).unwrap();
    GeneratorModel {
        model,
        tokenizer: TextTokenizer::from_dir(&goldens().join("llama_tiny")).unwrap(),
        roster: None,
        config: GenerationConfig::default(),
    }
}

fn prompts(ids: &[&[u32]]) -> Vec<Prompt> {
    let prompt = |ids: &&[u32]| Prompt {
        ids: ids.to_vec(),
        choice: None,
    };
    ids.iter().map(prompt).collect()
}

/// What comes of prompts, a few at a time, and that what was shown is it.
#[track_caller]
fn run(generator: &Generator, prompts: &[Prompt], at_once: usize) -> Vec<Generated> {
    let mut shown = vec![String::new(); prompts.len()];
    let mut show = |number: usize, text: &str| {
        shown[number] += text;
        ControlFlow::Continue(())
    };
    let generated = generator.run(prompts, at_once, &mut show).unwrap();
    for (shown, generated) in shown.iter().zip(&generated) {
        assert_eq!(*shown, generated.text);
    }
    generated
}

fn refused(generator: &Generator, prompts: &[Prompt]) -> String {
    let mut show = |_: usize, _: &str| ControlFlow::Continue(());
    generator
        .run(prompts, 8, &mut show)
        .unwrap_err()
        .to_string()
}

#[test]
fn greedy_ids_are_the_reference_s_alone_and_together() {
    let device = Device::flex();
    let text = std::fs::read_to_string(goldens().join("generation.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    let ids = |value: &Value| -> Vec<Vec<u32>> { serde_json::from_value(value.clone()).unwrap() };
    let mut compared = 0;
    for (folder, row) in [
        ("llama_tiny", "llama"),
        ("llama_tiny_tied", "llama_tied"),
        ("mamba_tiny", "mamba_tiny"),
    ] {
        let opened = opened(folder);
        let cases = golden["greedy"].as_array().unwrap().iter();
        for case in cases.filter(|case| case["model"] == row) {
            let settings = &case["settings"];
            let config = GenerationConfig {
                max_tokens: 24,
                repetition_penalty: settings["repetition_penalty"].as_f64().unwrap_or(1.0),
                no_repeat_ngram_size: settings["no_repeat_ngram_size"].as_u64().unwrap_or(0)
                    as usize,
                ..GenerationConfig::default()
            };
            let generator = opened.generator(config, &device);
            let (begun, expected) = (ids(&case["prompts"]), ids(&case["ids"]));
            let begun: Vec<&[u32]> = begun.iter().map(Vec::as_slice).collect();
            for at_once in [1, 2, 8] {
                let found = run(&generator, &prompts(&begun), at_once);
                for (found, expected) in found.iter().zip(&expected) {
                    // The reference is cut where two scores are too near to tell.
                    let same = &found.ids[..expected.len()];
                    assert_eq!(same, expected, "{folder} {settings}");
                    assert_eq!(found.finish, Finish::MaxTokens);
                    compared += expected.len();
                }
            }
        }
    }
    assert!(compared > 3 * 350, "{compared}");
}

#[test]
fn long_prompts_are_read_in_parts_beside_short_ones() {
    let device = Device::flex();
    let opened = opened("mamba_tiny");
    let long: Vec<u32> = (0..1300u32).map(|i| (i * i + 3 * i) % 32).collect();
    let config = GenerationConfig {
        max_tokens: 12,
        ..GenerationConfig::default()
    };
    let generator = opened.generator(config, &device);
    let all = prompts(&[&IDS, &long, &[2], &long[..700]]);
    let together = run(&generator, &all, 4);
    for (prompt, together) in all.iter().zip(&together) {
        let alone = run(&generator, std::slice::from_ref(prompt), 1);
        assert_eq!(alone[0], *together);
    }
}

#[test]
fn draws_depend_on_the_seed_and_not_on_the_batch() {
    let device = Device::flex();
    let opened = opened("llama_tiny");
    let drawn = |seed: u64| GenerationConfig {
        max_tokens: 20,
        do_sample: true,
        top_k: 0,
        seed,
        ..GenerationConfig::default()
    };
    let of = |seed: u64, at_once: usize| {
        let generator = opened.generator(drawn(seed), &device);
        run(&generator, &prompts(&[&IDS, &IDS, &[1, 4]]), at_once)
    };
    let first = of(1, 3);
    assert_eq!(first, of(1, 1));
    assert_eq!(first, of(1, 2));
    assert_ne!(first, of(2, 3));
    assert_ne!(first[0], first[1], "equal prompts draw for themselves");

    // Prompts that come in parts draw as they do together.
    let later = Generator {
        first: 1,
        ..opened.generator(drawn(1), &device)
    };
    assert_eq!(run(&later, &prompts(&[&IDS, &[1, 4]]), 1), first[1..]);
}

#[test]
fn texts_end_by_tokens_stop_strings_and_positions() {
    let device = Device::flex();
    let opened = opened("llama_tiny");
    let of = |config: GenerationConfig| {
        let generator = opened.generator(config, &device);
        run(&generator, &prompts(&[&IDS]), 1).remove(0)
    };
    let all = of(GenerationConfig {
        max_tokens: 500,
        ..GenerationConfig::default()
    });
    // 64 positions: 56 tokens behind the prompt are read, and one more is predicted.
    assert_eq!((all.finish, all.ids.len()), (Finish::Context, 57));
    assert_eq!(all.finish.name(), "context");

    let end = all.ids[5];
    let at = all.ids.iter().position(|id| *id == end).unwrap();
    let ended = of(GenerationConfig {
        eos_token_ids: vec![31, end],
        ..GenerationConfig::default()
    });
    assert_eq!(ended.finish, Finish::EndToken);
    assert_eq!(ended.ids, all.ids[..=at]);
    assert!(all.text.starts_with(&ended.text) && ended.text.len() < all.text.len());
    let later = of(GenerationConfig {
        eos_token_ids: vec![end],
        min_tokens: at + 1,
        ..GenerationConfig::default()
    });
    assert!(later.ids.len() > at + 1);

    let whole: Vec<char> = all.text.chars().collect();
    let stop: String = whole[4..7].iter().collect();
    let stopped = of(GenerationConfig {
        stop: vec!["never".into(), stop.clone()],
        ..GenerationConfig::default()
    });
    assert_eq!(stopped.finish, Finish::StopString);
    assert_eq!(stopped.text, all.text[..all.text.find(&stop).unwrap()]);
    assert_eq!(stopped.finish.name(), "stop");
}

#[test]
fn a_caller_may_stop() {
    let device = Device::flex();
    let opened = opened("llama_tiny");
    let generator = opened.generator(GenerationConfig::default(), &device);
    let mut left = 3;
    let mut show = |_: usize, _: &str| {
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    };
    let found = generator
        .run(&prompts(&[&IDS, &IDS]), 8, &mut show)
        .unwrap();
    assert!(found.iter().all(|text| text.finish == Finish::Interrupted));
    assert_eq!(found[0].ids.len(), 2);

    let stop = AtomicBool::new(true);
    let generator = Generator {
        stop: Some(&stop),
        ..generator
    };
    let found = run(&generator, &prompts(&[&IDS]), 1);
    assert_eq!(
        (found[0].finish, found[0].ids.len()),
        (Finish::Interrupted, 0)
    );
    stop.store(false, Ordering::SeqCst);
    assert!(!run(&generator, &prompts(&[&IDS]), 1)[0].ids.is_empty());
}

#[test]
fn prompts_that_make_no_sense_are_told_by_their_number() {
    let device = Device::flex();
    let opened = opened("llama_tiny");
    let generator = opened.generator(GenerationConfig::default(), &device);
    for (ids, told) in [
        (&[][..], "no tokens"),
        (&[1, 77], "token 77"),
        (&[1; 65], "65 tokens, but the model has positions for 64"),
    ] {
        let error = refused(&generator, &prompts(&[&IDS, ids]));
        assert!(
            error.starts_with("prompt 1: ") && error.contains(told),
            "{error}"
        );
    }
    for (config, told) in [
        (
            GenerationConfig {
                max_tokens: 0,
                ..generator.config.clone()
            },
            "max_tokens",
        ),
        (
            GenerationConfig {
                stop: vec![String::new()],
                ..generator.config.clone()
            },
            "stop",
        ),
        (
            GenerationConfig {
                top_p: -0.1,
                ..generator.config.clone()
            },
            "top_p",
        ),
        (
            GenerationConfig {
                do_sample: true,
                temperature: f64::NAN,
                ..generator.config.clone()
            },
            "temperature",
        ),
    ] {
        let error = refused(&opened.generator(config, &device), &prompts(&[&IDS]));
        assert!(error.contains(told), "{error}");
    }
}

fn adapter(name: &str) -> PathBuf {
    goldens().join("causal/adapters").join(name)
}

fn open(model: &str, adapters: &[(Option<&str>, &Path)]) -> Result<GeneratorModel, RunError> {
    GeneratorModel::open(&OpenGenerator {
        model: &goldens().join(model),
        adapters,
        any_base: true,
        base: BaseOptions::default(),
        device: &Device::flex(),
    })
}

#[test]
fn texts_pass_through_the_adapters_that_they_choose() {
    let device = Device::flex();
    let (one, other) = (adapter("lora_all_linear"), adapter("dora_qv"));
    let set = open(
        "llama_tiny",
        &[(Some("one"), &one), (Some("other"), &other)],
    )
    .unwrap();
    assert_eq!(set.config.eos_token_ids, [2]);
    let config = GenerationConfig {
        max_tokens: 24,
        ..GenerationConfig::default()
    };
    let generator = set.generator(config.clone(), &device);
    let chosen = |ids: &[u32], name: &str| Prompt {
        ids: ids.to_vec(),
        choice: Some(AdapterChoice::one(name)),
    };
    let mut all = Vec::new();
    for name in ["one", "__base__", "other", "one"] {
        all.extend([chosen(&IDS, name), chosen(&[1, 4], name)]);
    }
    let together = run(&generator, &all, 8);
    for (prompt, together) in all.iter().zip(&together) {
        let alone = run(&generator, std::slice::from_ref(prompt), 1);
        assert_eq!(alone[0], *together);
    }
    // As models with one adapter, or with none.
    let plain = prompts(&[&IDS, &[1, 4]]);
    let base = open("llama_tiny", &[]).unwrap();
    assert_eq!(
        run(&base.generator(config.clone(), &device), &plain, 2),
        together[2..4]
    );
    for (folder, range) in [(&one, 0..2), (&other, 4..6)] {
        let single = open("llama_tiny", &[(None, folder)]).unwrap();
        let found = run(&single.generator(config.clone(), &device), &plain, 2);
        assert_eq!(found, together[range]);
    }
    assert_ne!(
        together[0].ids, together[2].ids,
        "the adapter does something"
    );
    // The first is active, until another is.
    assert_eq!(run(&generator, &plain, 2), together[..2]);
    let model = set_active(set.model.clone(), &AdapterChoice::one("other")).unwrap();
    let generator = Generator {
        model: &model,
        ..generator
    };
    assert_eq!(run(&generator, &plain, 2), together[4..6]);
    let error = refused(&generator, &[chosen(&IDS, "third")]);
    assert!(error.contains("third"), "{error}");
}

#[test]
fn models_and_adapters_for_something_else_are_refused() {
    let refused = |model: &str, adapters: &[(Option<&str>, &Path)]| {
        open(model, adapters).unwrap_err().to_string()
    };
    let error = refused("models/bert", &[]);
    assert!(error.contains("`bert` is an encoder"), "{error}");
    let temp = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(adapter("lora_qv").join(file), temp.path().join(file)).unwrap();
    }
    let task = TaskFile {
        task: Task::Classify,
        labels: vec!["a".into(), "b".into()],
        max_length: 32,
    };
    task.write(temp.path()).unwrap();
    for name in [None, Some("mine")] {
        let error = refused("llama_tiny", &[(name, temp.path())]);
        let told = "was trained for classify, not to predict the next token";
        assert!(error.contains(told), "{error}");
    }
    let one = adapter("lora_qv");
    let error = refused("llama_tiny", &[(None, &one), (Some("b"), &one)]);
    assert!(error.contains("need names"), "{error}");
}

/// A folder of a model, one of whose tensors holds a number that is none.
fn broken(model: &str, tensor: &str) -> tempfile::TempDir {
    let temp = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(goldens().join(model).join(file), temp.path().join(file)).unwrap();
    }
    let mut bytes = std::fs::read(goldens().join(model).join("model.safetensors")).unwrap();
    let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
    let start = 8 + size + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(temp.path().join("model.safetensors"), bytes).unwrap();
    temp
}

#[test]
fn scores_that_are_no_numbers_are_told_with_the_block() {
    let device = Device::flex();
    let temp = broken("llama_tiny", "model.layers.1.mlp.up_proj.weight");
    let opened = open(temp.path().to_str().unwrap(), &[]).unwrap();
    let generator = opened.generator(opened.config.clone(), &device);
    let error = refused(&generator, &prompts(&[&IDS]));
    assert!(
        error.contains("after 8 tokens") && error.contains("`model.layers.1`"),
        "{error}"
    );
}

const TEMPLATE: &str = "{% for m in messages %}{{ m['role'][0] }}. {{ m['content'] }}</s>\
                        {% endfor %}{% if add_generation_prompt %}a. {% endif %}";

fn template() -> ChatTemplate {
    ChatTemplate::new(
        Path::new("test"),
        [("default", TEMPLATE.to_owned())],
        Clock::System,
    )
    .unwrap()
}

#[test]
fn a_conversation_goes_on_as_if_it_were_read_anew() {
    let device = Device::flex();
    for folder in ["llama_tiny", "mamba_tiny"] {
        let opened = opened(folder);
        let config = GenerationConfig {
            max_tokens: 6,
            ..GenerationConfig::default()
        };
        let generator = opened.generator(config, &device);
        let template = template();
        let mut chat = Chat::new(&template, Some("b"));
        let mut messages = vec![Message::new("system", "b")];
        for text in ["hi", "a cat", "x"] {
            let mut shown = String::new();
            let mut show = |text: &str| {
                shown += text;
                ControlFlow::Continue(())
            };
            let answer = chat.say(&generator, text, &mut show).unwrap();
            assert_eq!(shown, answer.text);
            messages.push(Message::new("user", text));
            let whole = template
                .render(&Conversation::new(messages.clone()), true)
                .unwrap();
            let ids = opened.tokenizer.encode_whole(&whole, false).unwrap();
            let anew = run(&generator, &prompts(&[&ids]), 1).remove(0);
            assert_eq!(answer, anew, "{folder} {text}");
            messages.push(Message::new("assistant", &answer.text));
            assert_eq!(chat.messages(), messages);
        }
    }
}

#[test]
fn a_turn_that_cannot_be_answered_is_taken_back() {
    let device = Device::flex();
    let opened = opened("llama_tiny");
    let config = GenerationConfig {
        max_tokens: 4,
        ..GenerationConfig::default()
    };
    let generator = opened.generator(config, &device);
    let template = template();
    let mut chat = Chat::new(&template, None);
    let mut show = |_: &str| ControlFlow::Continue(());
    chat.say(&generator, "hi", &mut show).unwrap();
    let error = chat
        .say(&generator, &"long ".repeat(40), &mut show)
        .unwrap_err();
    assert!(error.to_string().contains("positions for 64"), "{error}");
    assert_eq!(chat.messages().len(), 2);
    assert!(
        !chat
            .say(&generator, "yo", &mut show)
            .unwrap()
            .ids
            .is_empty()
    );
}

/// Expectations are what transformers generates with the decoded weights.
#[test]
#[ignore = "needs SmolLM2-135M-Instruct.Q4_1.gguf, PEFT_TEST_SMOLLM2"]
fn a_real_model_generates_the_reference_s_tokens() {
    let device = Device::flex();
    let path = std::env::var_os("PEFT_TEST_SMOLLM2").expect("PEFT_TEST_SMOLLM2 names the file");
    let path = PathBuf::from(path);
    let opened = open(path.to_str().unwrap(), &[]).unwrap();
    let config = GenerationConfig {
        max_tokens: 20,
        ..opened.config.clone()
    };
    let generator = opened.generator(config, &device);
    let template = peft_run::chat_template(&path, &opened.tokenizer).unwrap();
    let template = template.unwrap();
    let conversation = Conversation::new(vec![Message::new("user", "Name three primes.")]);
    let talk = template.render(&conversation, true).unwrap();
    let begun = [
        generator.encode("The capital of France is").unwrap(),
        generator
            .encode("def fib(n):\n    if n < 2:\n        return n\n    return")
            .unwrap(),
        opened.tokenizer.encode_whole(&talk, false).unwrap(),
    ];
    let expected: [&[u32]; 3] = [
        &[
            7042, 30, 198, 198, 504, 2988, 314, 42, 216, 34, 32, 33, 40, 29, 32, 33, 29, 34, 34,
            216,
        ],
        &[
            3987, 24, 94, 731, 216, 34, 25, 198, 198, 19, 4246, 260, 1517, 198, 3272, 24, 38572,
            24, 33, 32,
        ],
        &[
            504, 808, 9552, 314, 216, 34, 28, 284, 260, 1796, 9552, 314, 216, 35, 30, 2,
        ],
    ];
    let begun: Vec<&[u32]> = begun.iter().map(Vec::as_slice).collect();
    for at_once in [1, 3] {
        let found = run(&generator, &prompts(&begun), at_once);
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.ids, expected);
        }
        assert_eq!(found[2].finish, Finish::EndToken);
        assert_eq!(
            found[2].text,
            "The first prime is 2, and the second prime is 3."
        );
    }
}
