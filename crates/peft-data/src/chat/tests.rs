use super::*;
use crate::DataError;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

const JULY: Clock = Clock::Fixed(CivilTime {
    year: 2024,
    month: 7,
    day: 26,
    hour: 12,
    minute: 3,
    second: 4,
});

fn of_text(text: &str) -> ChatTemplate {
    let template = ChatTemplate::new(Path::new("t"), [("default", text.to_owned())], JULY);
    let template = template.unwrap().with_value("bos_token", json!("<s>"));
    template.with_value("eos_token", json!("</s>"))
}

fn golden(name: &str) -> ChatTemplate {
    let path = goldens().join(format!("templates/{name}.jinja"));
    of_text(&fs::read_to_string(path).unwrap())
}

fn conversation(messages: &Value, tools: Value) -> Conversation {
    let messages = messages.as_array().unwrap().iter().cloned();
    Conversation {
        messages: messages.map(|m| Message::read(m).unwrap()).collect(),
        tools,
        ..Conversation::default()
    }
}

fn assistants(conversation: &Conversation) -> Vec<usize> {
    let turns = conversation.messages.iter().enumerate();
    let turns = turns.filter(|(_, turn)| turn.role() == "assistant");
    turns.map(|(turn, _)| turn).collect()
}

/// Bytes of a text to characters.
fn characters(text: &str, range: &Range<usize>) -> [usize; 2] {
    [range.start, range.end].map(|at| text[..at].chars().count())
}

/// `tests/goldens/mint_chat.py` wrote the expectations with transformers itself.
#[test]
fn renderings_equal_transformers() {
    let text = fs::read_to_string(goldens().join("rendered.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let (mut masks, mut refused) = (0, 0);
    for case in all["cases"].as_array().unwrap() {
        let name = case["conversation"].as_str().unwrap();
        let template = golden(case["template"].as_str().unwrap());
        let tools = if name == "tools" {
            all["tools"].clone()
        } else {
            Value::Null
        };
        let talk = conversation(&all["conversations"][name], tools);
        let prompt = case["generation_prompt"].as_bool().unwrap();
        let got = template.render(&talk, prompt);
        let at = format!("{} of {name}, {prompt}", case["template"]);
        match case["text"].as_str() {
            Some(want) => assert_eq!(got.unwrap(), want, "{at}"),
            None => {
                refused += 1;
                let error = got.unwrap_err().to_string();
                // Templates say why; Python's own complaints have other words here.
                let why = case["error"].as_str().unwrap();
                let own = why.contains("supported") || why.contains("alternate");
                assert!(!own || error.contains(why), "{at}: {error} / {why}");
            }
        }
        if let (Some(mask), false) = (case["mask"].as_array(), prompt) {
            let (text, blocks) = template.with_blocks(&talk).unwrap();
            let blocks: Vec<_> = blocks.iter().map(|b| characters(&text, b)).collect();
            assert_eq!(json!(blocks), json!(mask), "{at}");
            masks += 1;
        }
    }
    assert!(masks >= 10 && refused >= 10, "{masks} {refused}");
}

/// Answers of a template: how they were found, and what they are.
fn answers(template: &ChatTemplate, messages: Value) -> Result<(MaskKind, Vec<String>), DataError> {
    let talk = conversation(&messages, Value::Null);
    let found = template.render_answers(&talk, &assistants(&talk))?;
    let texts = found
        .answers
        .iter()
        .map(|range| found.text[range.clone()].to_owned());
    Ok((found.found.unwrap(), texts.collect()))
}

fn talk(first: &str, second: &str) -> Value {
    json!([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": first},
           {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": second}])
}

#[test]
fn answers_are_found_in_every_template() {
    let names = [
        "chatml",
        "gemma",
        "llama2",
        "llama3",
        "llama3_1",
        "llama3_2",
        "mistral_v1",
        "phi3",
        "qwen2_5",
        "qwen3",
        "zephyr",
    ];
    for name in names {
        let (kind, found) = answers(&golden(name), talk("2+2?", "4")).unwrap();
        assert_eq!(kind, MaskKind::Sentinels, "{name}");
        assert_eq!(found, ["2+2?", "4"], "{name}");
        let (kind, found) = answers(&golden(name), talk(" \n a", "b \n")).unwrap();
        let trimmed = found == ["a", "b"];
        assert!(
            trimmed || found == [" \n a", "b \n"],
            "{name} {kind:?}: {found:?}"
        );
    }
    for (name, want) in [
        ("gemma_training", ["4<end_of_turn>\n", "5<end_of_turn>\n"]),
        (
            "qwen3_training",
            [
                "<think>\n\n</think>\n\n4<|im_end|>\n",
                "<think>\n\n</think>\n\n5<|im_end|>\n",
            ],
        ),
    ] {
        let (kind, found) = answers(&golden(name), talk("4", "5")).unwrap();
        assert_eq!(
            (kind, found),
            (MaskKind::Generation, want.map(str::to_owned).into())
        );
    }
}

#[test]
fn thoughts_that_a_template_deletes_are_an_error_except_in_the_last_turn() {
    let thoughts = talk("<think>\nhm\n</think>\n\n4", "<think>\nso\n</think>\n\n5");
    let error = answers(&golden("qwen3"), thoughts.clone())
        .unwrap_err()
        .to_string();
    assert!(error.contains("{% generation %}"), "{error}");
    let talk = conversation(&thoughts, Value::Null);
    let last = golden("qwen3").render_answers(&talk, &[3]).unwrap();
    assert_eq!(last.found, Some(MaskKind::Prefixes));
    assert_eq!(
        &last.text[last.answers[0].clone()],
        "<think>\nso\n</think>\n\n5<|im_end|>\n"
    );
}

#[test]
fn named_templates_are_found_in_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    let open = || ChatTemplate::from_dir(dir.path(), JULY);
    let hello = Conversation::new(vec![Message::new("user", "x")]);
    let with_tools = Conversation {
        tools: json!([{"name": "f"}]),
        ..hello.clone()
    };
    assert!(open().unwrap().is_none());
    write(
        "tokenizer_config.json",
        r#"{"chat_template": "one\r\n{{ messages[0].role }}"}"#,
    );
    assert_eq!(
        open().unwrap().unwrap().render(&hello, false).unwrap(),
        "one\nuser"
    );
    let several = r#"{"chat_template": [{"name": "default", "template": "d"},
                      {"name": "tool_use", "template": "t{{ tools | tojson }}"}]}"#;
    write("tokenizer_config.json", several);
    let template = open().unwrap().unwrap();
    assert_eq!(template.render(&hello, false).unwrap(), "d");
    assert_eq!(
        template.render(&with_tools, false).unwrap(),
        "t[{\"name\": \"f\"}]"
    );
    write("chat_template.jinja", "file");
    fs::create_dir(dir.path().join("additional_chat_templates")).unwrap();
    write(
        "additional_chat_templates/rag.jinja",
        "rag{{ add_generation_prompt }}",
    );
    let template = open().unwrap().unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["default", "rag"]);
    assert_eq!(template.render(&hello, true).unwrap(), "file");
    assert!(open().unwrap().unwrap().named("x").is_err());
    let rag = template.named("rag").unwrap();
    assert_eq!(rag.render(&hello, true).unwrap(), "ragTrue");
    write("chat_template.jinja", "{% if %}");
    assert!(
        open()
            .unwrap_err()
            .to_string()
            .contains("chat_template.jinja")
    );
    let path = Path::new("m.gguf");
    assert!(ChatTemplate::from_json(path, json!(3), JULY).is_err());
    assert!(ChatTemplate::from_json(path, json!([{"name": "a"}]), JULY).is_err());
}

#[test]
fn hostile_templates_end_soon() {
    let hello = Conversation::new(vec![Message::new("user", "x")]);
    for text in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(60) %}\
         {% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{{ 'a' * 1000000000 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages | tojson(indent=-1) }}{{ [] | tojson(x=1) }}",
        "{% include 'default' %}",
        "{{ strftime_now('%Q') }}",
        "{{ undefined_thing.x }}",
    ] {
        let error = of_text(text).render(&hello, false).unwrap_err().to_string();
        assert!(error.len() < 1000, "{text}: {error}");
    }
    let time = of_text("{{ strftime_now('%d %b %Y') }}").render(&hello, false);
    assert_eq!(time.unwrap(), "26 Jul 2024");
    let none = "{{ tools is iterable }} {{ tools is none }} {{ [] is iterable }}";
    let got = of_text(none).render(&hello, false).unwrap();
    assert_eq!(got, "False True True");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is found are the answers, in order, whatever is said.
    #[test]
    fn answers_are_what_was_said(
        said in prop::collection::vec("[ \n]{0,2}[a-z<>|é\u{E000}]{0,6}[ \n]{0,2}", 1..5),
        name in prop::sample::select(vec!["chatml", "llama3", "phi3", "qwen2_5"]),
    ) {
        let mut messages = Vec::new();
        for (turn, text) in said.iter().enumerate() {
            messages.push(Message::new("user", &format!("q{turn}")));
            messages.push(Message::new("assistant", text));
        }
        let talk = Conversation::new(messages);
        let template = golden(name);
        // Sometimes it cannot be said; then there is an error and no guess.
        if let Ok(found) = template.render_answers(&talk, &assistants(&talk)) {
            prop_assert_eq!(&found.text, &template.render(&talk, false).unwrap());
            prop_assert_eq!(found.answers.len(), said.len());
            for (range, text) in found.answers.iter().zip(&said) {
                let got = &found.text[range.clone()];
                let inner = got.split("<|").next().unwrap_or(got);
                let plain = !text.contains("<|");
                prop_assert!(!plain || inner.trim() == text.trim(), "{:?} {:?}", got, text);
            }
        }
    }
}
