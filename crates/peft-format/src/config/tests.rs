use crate::Bias;

use super::*;
use crate::targets::{Exclude, TargetModules};

fn parse(text: &str) -> Result<AdapterConfig> {
    AdapterConfig::parse(Path::new("dir/adapter_config.json"), text)
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn keys_keep_their_order_and_values() {
    let text = "{\n  \"z_new\": {\n    \"b\": 1,\n    \"a\": [\n      0.1\n    ]\n  },\n  \
                \"peft_type\": \"LORA\",\n  \"r\": 8,\n  \"empty\": []\n}";
    assert_eq!(parse(text).unwrap().write_to_string(), text);
}

#[test]
fn accessors_say_what_they_expected() {
    let config = parse(
        r#"{"peft_type":"lora","r":8,"alpha":16.0,"half":0.5,"neg":-1,"s":"x","b":true,"n":null,
            "rank_pattern":{"q":4,"v":2},"bad_pattern":{"(":1},"mixed":{"q":"x"},"target_modules":["q"]}"#,
    )
    .unwrap();
    assert_eq!(config.peft_type(), "LORA");
    assert_eq!(config.usize_field("r").unwrap(), 8);
    assert_eq!(config.usize_field("alpha").unwrap(), 16);
    assert_eq!(config.f64_field("half").unwrap(), 0.5);
    assert_eq!(config.string_field("s").unwrap(), "x");
    assert!(config.bool_field("b").unwrap());
    assert_eq!(config.opt_usize_field("n").unwrap(), None);
    assert_eq!(config.opt_usize_field("gone").unwrap(), None);
    for key in ["half", "neg", "s", "n", "gone"] {
        let message = config.usize_field(key).unwrap_err().to_string();
        assert!(
            message.contains(&format!("key `{key}`")) && message.contains("whole"),
            "{message}"
        );
        assert!(message.contains("dir/adapter_config.json"), "{message}");
    }
    let ranks = config.pattern_field::<usize>("rank_pattern").unwrap();
    assert_eq!(ranks.get("layers.0.v").unwrap(), Some(&2));
    assert!(config.pattern_field::<usize>("gone").unwrap().is_empty());
    assert!(config.pattern_field::<f64>("bad_pattern").is_err());
    assert!(
        config
            .pattern_field::<f64>("mixed")
            .unwrap_err()
            .to_string()
            .contains("mixed[q]")
    );
    assert!(config.pattern_field::<f64>("s").is_err());
}

#[test]
fn targets_take_every_form() {
    let config = parse(
        r#"{"peft_type":"LORA","target_modules":["q","v"],"exclude_modules":"x.*",
            "layers_to_transform":3,"layers_pattern":"layers","modules_to_save":["score"]}"#,
    )
    .unwrap();
    let target = config.target();
    assert_eq!(
        target.modules,
        TargetModules::List(vec!["q".into(), "v".into()])
    );
    assert_eq!(target.exclude, Some(Exclude::Regex("x.*".into())));
    assert_eq!(target.layers_to_transform.as_deref(), Some(&[3][..]));
    assert_eq!(config.modules_to_save(), ["score"]);
    let of = |value: &str| {
        let text = format!(r#"{{"peft_type":"LORA","target_modules":{value}}}"#);
        parse(&text).map(|c| c.target().modules.clone())
    };
    assert_eq!(of("\"ALL-linear\"").unwrap(), TargetModules::AllLinear);
    assert_eq!(of("\".*q\"").unwrap(), TargetModules::Regex(".*q".into()));
    assert_eq!(of("null").unwrap(), TargetModules::Unspecified);
    assert!(of("3").is_err() && of("[1]").is_err() && of("\"(\"").is_err());
}

#[test]
fn bad_files_name_the_key() {
    assert!(error("{}").contains("peft_type"));
    assert!(error(r#"{"peft_type":3}"#).contains("peft_type"));
    assert!(error(r#"{"peft_type":"LORA","peft_type":"IA3"}"#).contains("occurs twice"));
    assert!(error(r#"{"peft_type":"LORA","inference_mode":"no"}"#).contains("inference_mode"));
    assert!(error("[1]").contains("adapter_config.json"));
    assert!(error(&"[".repeat(100_000)).contains("adapter_config.json"));
    assert!(AdapterConfig::read(Path::new("/nowhere")).is_err());
}

#[test]
fn unsupported_options_are_refused_and_defaults_pass() {
    let lora = |rest: &str| parse(&format!(r#"{{"peft_type":"LORA","r":4{rest}}}"#)).unwrap();
    let known = ["r", "lora_alpha"];
    let fine = r#","use_dora":false,"loftq_config":{},"bias":"none","megatron_core":"megatron.core",
        "init_lora_weights":"gaussian","lora_dropout":0,"eva_config":null,"peft_version":"0.21.2""#;
    lora(fine).reject_unsupported(&known).unwrap();
    for (bad, near) in [
        (r#","use_dora":true"#, ""),
        (r#","init_lora_weights":"pissa""#, ""),
        (r#","layer_replication":[[0,4]]"#, ""),
        (r#","lora_alhpa":32"#, "lora_alpha"),
    ] {
        let message = lora(bad)
            .reject_unsupported(&known)
            .unwrap_err()
            .to_string();
        let key = bad.split('"').nth(1).unwrap();
        assert!(message.contains(key) && message.contains(near), "{message}");
    }
    for init in [
        "false",
        r#""orthogonal""#,
        r#""eva""#,
        r#""lora_ga""#,
        r#""mica""#,
    ] {
        let config = lora(&format!(r#","init_lora_weights":{init}"#));
        config.reject_unsupported(&known).unwrap();
        assert!(!config.fields_as_saved().contains_key("init_lora_weights"));
    }
    let bias = |word: &str| parse(&format!(r#"{{"peft_type":"LORA","bias":"{word}"}}"#));
    assert_eq!(bias("none").unwrap().target().bias, Bias::None);
    assert_eq!(bias("all").unwrap().target().bias, Bias::All);
    let only = Bias::Targets("vera_only".into());
    assert_eq!(bias("vera_only").unwrap().target().bias, only);
    assert!(only.trains("a.query.bias", |module| module == "a.query"));
    assert!(!only.trains("a.key.bias", |module| module == "a.query"));
    assert!(!only.trains("a.query.weight", |module| module == "a.query"));
    let error = bias("some").unwrap_err().to_string();
    assert!(
        error.contains("bias") && error.contains("lora_only"),
        "{error}"
    );
    lora(r#","use_dora":true"#)
        .reject_unsupported(&["r", "use_dora"])
        .unwrap();
}

#[test]
fn the_builder_writes_few_keys() {
    let mut target = TargetSpec::new(TargetModules::List(vec![
        "v".into(),
        "q".into(),
        "v".into(),
    ]));
    target.modules_to_save = vec!["classifier".into()];
    let builder = AdapterConfig::builder("LORA")
        .task_type(Some("SEQ_CLS"))
        .base_model(None)
        .target(&target)
        .field("r", 8)
        .field("lora_alpha", 16.0)
        .optional("use_rslora", false)
        .optional("rank_pattern", Map::new());
    let config = builder.build().unwrap();
    let keys: Vec<_> = config.fields().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "inference_mode",
            "lora_alpha",
            "modules_to_save",
            "peft_type",
            "r",
            "target_modules",
            "task_type"
        ]
    );
    assert_eq!(
        config.target().modules,
        TargetModules::List(vec!["q".into(), "v".into()])
    );
    assert!(AdapterConfig::builder("").build().is_err());
}

#[test]
fn set_checks_before_it_changes() {
    let mut config = parse(r#"{"peft_type":"LORA","r":1}"#).unwrap();
    config.set("r", 2).unwrap();
    assert_eq!(config.usize_field("r").unwrap(), 2);
    assert!(config.set("target_modules", 5).is_err());
    assert_eq!(config.target().modules, TargetModules::Unspecified);
}
