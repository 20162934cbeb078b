use super::*;

fn list(names: &[&str]) -> TargetSpec {
    TargetSpec::new(TargetModules::List(
        names.iter().map(ToString::to_string).collect(),
    ))
}

fn bert() -> Vec<ModuleInfo> {
    let mut modules = vec![ModuleInfo::new("", ModuleKind::Other)];
    for layer in 0..2 {
        let at = |leaf: &str| format!("bert.encoder.layer.{layer}.attention.{leaf}");
        modules.push(ModuleInfo::new(at("self"), ModuleKind::Other));
        for leaf in ["self.query", "self.key", "self.value", "output.dense"] {
            modules.push(ModuleInfo::new(at(leaf), ModuleKind::Linear));
        }
    }
    modules.push(ModuleInfo::new("classifier", ModuleKind::Other));
    modules.push(ModuleInfo::new("classifier.dense", ModuleKind::Linear));
    modules
}

#[test]
fn lists_resolve_in_model_order_and_report_idle_entries() {
    let found = list(&["value", "query", "qurey"])
        .resolve(&bert(), Default::default())
        .unwrap();
    assert_eq!(found.matched.len(), 4);
    assert!(found.matched[0].ends_with("0.attention.self.query"));
    assert_eq!(found.unmatched, ["qurey"]);
    assert!(
        found
            .near
            .unwrap()
            .to_string()
            .contains("did you mean `query`")
    );
}

#[test]
fn an_entry_that_is_left_out_as_a_whole_is_not_idle() {
    let spec = TargetSpec {
        exclude: Some(Exclude::List(vec!["value".into()])),
        ..list(&["value", "query", "qurey"])
    };
    let found = spec.resolve(&bert(), Default::default()).unwrap();
    assert_eq!(found.matched.len(), 2);
    assert_eq!(found.unmatched, ["qurey"]);
}

#[test]
fn no_match_lists_what_there_is() {
    let error = list(&["q_proj"])
        .resolve(&bert(), Default::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("q_proj") && error.contains("query (2)"),
        "{error}"
    );
    assert!(error.contains("dense (3)"), "{error}");
    let none = TargetSpec::new(TargetModules::Unspecified);
    assert!(matches!(
        none.resolve(&bert(), Default::default()),
        Err(TargetError::NoMatch { .. })
    ));
    let empty = list(&["a"])
        .resolve(&[], Default::default())
        .unwrap_err()
        .to_string();
    assert!(empty.contains("none of the modules"), "{empty}");
    // Of what is no linear layer, too.
    let biases = ["query", "key"]
        .map(|name| ModuleInfo::new(format!("layer.0.self.{name}.bias"), ModuleKind::Parameter));
    let options = ResolveOptions {
        heads: &[],
        supported: &[ModuleKind::Parameter],
    };
    let error = list(&["query"]).resolve(&biases, options).unwrap_err();
    let told = "what the method adapts here: query.bias (1), key.bias (1)";
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn all_linear_spares_heads_and_saved_modules() {
    let mut spec = TargetSpec::new(TargetModules::AllLinear);
    let all = spec.resolve(&bert(), Default::default()).unwrap();
    assert_eq!(all.matched.len(), 9);
    let options = ResolveOptions {
        heads: &["classifier"],
        ..Default::default()
    };
    assert_eq!(spec.resolve(&bert(), options).unwrap().matched.len(), 8);
    spec.modules_to_save = vec!["classifier".into()];
    spec.exclude = Some(Exclude::List(vec!["key".into()]));
    assert_eq!(
        spec.resolve(&bert(), Default::default())
            .unwrap()
            .matched
            .len(),
        6
    );
}

#[test]
fn containers_and_foreign_kinds_are_refused() {
    let error = list(&["self"])
        .resolve(&bert(), Default::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("attention.self`") && error.contains("Other"),
        "{error}"
    );
}

#[test]
fn layer_settings_need_a_list() {
    for modules in [TargetModules::Regex(".*".into()), TargetModules::AllLinear] {
        let mut spec = TargetSpec::new(modules);
        spec.layers_to_transform = Some(vec![1]);
        assert!(matches!(spec.compile(), Err(TargetError::Setting { .. })));
    }
    let mut spec = list(&["query"]);
    spec.layers_pattern = Some(vec!["layer".into()]);
    assert!(matches!(spec.compile(), Err(TargetError::Setting { .. })));
    spec.layers_to_transform = Some(vec![1]);
    assert_eq!(
        spec.resolve(&bert(), Default::default())
            .unwrap()
            .matched
            .len(),
        1
    );
}

#[test]
fn command_line_forms() {
    let parse = |text| TargetModules::parse_cli(text);
    assert_eq!(parse("query, value"), Ok(list(&["query", "value"]).modules));
    assert_eq!(parse("self.query"), Ok(list(&["self.query"]).modules));
    assert_eq!(parse("All-Linear"), Ok(TargetModules::AllLinear));
    assert_eq!(parse("regex:a.b"), Ok(TargetModules::Regex("a.b".into())));
    assert_eq!(
        parse(".*(q|v),x"),
        Ok(TargetModules::Regex(".*(q|v),x".into()))
    );
    for bad in ["", "a,,b", ",", "regex:(", "*q"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn hostile_patterns_fail_instead_of_hanging() {
    let regex = |p: &str| TargetSpec::new(TargetModules::Regex(p.into()));
    let nested = format!("{}a{}", "(".repeat(2000), ")".repeat(2000));
    for bad in [
        "(",
        r"\d{1000}{1000}{1000}",
        &"a".repeat(PATTERN_LIMIT + 1),
        &nested,
        "[z-a]",
    ] {
        let error = regex(bad).compile().unwrap_err().to_string();
        assert!(
            error.contains("target_modules") && error.len() < 600,
            "{error}"
        );
    }
    let slow = regex("(?=a)(a*)*(?!a)b|((a*)*)*(?<!c)$x")
        .compile()
        .unwrap();
    let started = std::time::Instant::now();
    let _ = slow.matches(&"a".repeat(200));
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn pattern_values_take_the_first_key_that_fits() {
    let map: indexmap::IndexMap<&str, u8> = [("q_proj", 1), (r"layers\.1\..*", 2)].into();
    assert_eq!(pattern_value(&map, "m.layers.1.q_proj"), Ok(Some(&1)));
    assert_eq!(pattern_value(&map, "m.layers.1.v_proj"), Ok(Some(&2)));
    assert_eq!(pattern_value(&map, "m.layers.1"), Ok(None));
    let literal: indexmap::IndexMap<&str, u8> = [("a+b", 3)].into();
    assert_eq!(pattern_value(&literal, "a+b"), Ok(Some(&3)));
}

proptest::proptest! {
    #[test]
    fn any_text_compiles_or_fails_without_panic(text in ".{0,24}", path in "[a-z.0-9_]{0,24}") {
        if let Ok(matcher) = TargetSpec::new(TargetModules::Regex(text.clone())).compile() {
            let _ = matcher.matches(&path);
        }
        let _ = TargetModules::parse_cli(&text);
        let _ = PatternMap::new("x", [(text, 1)]).map(|m| m.get(&path).map(|v| v.copied()));
    }
}
