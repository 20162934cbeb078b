use super::*;
use proptest::prelude::*;
use serde_json::json;

fn toml(text: &str) -> Result<(Map<String, Value>, Lines), (usize, String)> {
    toml::read(text).map_err(|fault| (fault.line, fault.text))
}

fn yaml(text: &str) -> Result<(Map<String, Value>, Lines), (usize, String)> {
    yaml::read(text).map_err(|fault| (fault.line, fault.text))
}

#[test]
fn both_formats_read_the_same() {
    let (from_toml, lines) = toml(
        "# run\nmodel = \"m\"\nepochs = 3.0\nseed = 7\nrecompute = true\nlayers = [0, 2]\n\n\
         [method_config]\nr = 8\nrank_pattern = { query = 4 }\nlora_alpha = 1e-4\n",
    )
    .unwrap();
    let (from_yaml, yaml_lines) = yaml(
        "# run\nmodel: m\nepochs: 3.0\nseed: 7\nrecompute: true\nlayers: [0, 2]\n\n\
         method_config:\n  r: 8\n  rank_pattern: {query: 4}\n  lora_alpha: 1e-4\n",
    )
    .unwrap();
    assert_eq!(from_toml, from_yaml);
    assert_eq!(lines, yaml_lines);
    assert_eq!(
        from_toml["method_config"]["rank_pattern"],
        json!({ "query": 4 })
    );
    assert_eq!(lines["method_config.rank_pattern.query"], 10);
    assert_eq!((lines["model"], lines["method_config"]), (2, 8));
}

#[test]
fn scalars_of_yaml_follow_the_core_schema() {
    let (values, _) = yaml(
        "a: no\nb: 0x10\nc: -3\nd: .5\ne: '1'\nf: ~\ng:\nh: inf\ni: 1.2.3\nj: +12e03\nk: 18446744073709551615\n",
    )
    .unwrap();
    let expected = json!({
        "a": "no", "b": 16, "c": -3, "d": 0.5, "e": "1", "f": null, "g": null, "h": "inf",
        "i": "1.2.3", "j": 12000.0, "k": u64::MAX,
    });
    assert_eq!(Value::Object(values), expected);
    assert!(yaml("# nothing\n").unwrap().0.is_empty());
    assert!(yaml("").unwrap().0.is_empty());
}

#[test]
fn faults_have_their_line() {
    let cases = [
        (toml("a = 1\nb = \n"), 2, ""),
        (toml("a = 1\na = 2\n"), 2, "duplicate"),
        (toml("\n\na = nan\n"), 3, "finite"),
        (toml("a = 99999999999999999999\n"), 1, "64 bits"),
        (yaml("a: 1\na: 2\n"), 2, "twice"),
        (yaml("a: 1\nb: *a\n"), 2, ""),
        (yaml("a: &x 1\nb: *x\n"), 2, "aliases"),
        (yaml("a: !!int 1\n"), 1, "tags"),
        (yaml("a: 1\n---\nb: 1\n"), 2, "second"),
        (yaml("? [a]\n: 1\n"), 1, "key"),
        (yaml("a: .nan\n"), 1, "finite"),
        (yaml("a: [1, 2\n"), 2, ""),
        (yaml("- 1\n- 2\n"), 1, "key: value"),
        (yaml("a: 99999999999999999999\n"), 1, "64 bits"),
    ];
    for (number, (read, line, word)) in cases.into_iter().enumerate() {
        let (found, text) = read.expect_err("a fault");
        assert_eq!(found, line, "case {number}: {text}");
        assert!(text.contains(word), "case {number}: {text}");
    }
}

#[test]
fn bombs_are_refused_at_once() {
    let limit = SIZE_LIMIT as usize;
    for open in ["[", "{", "- ", "{a: ", "? "] {
        let text = format!("a: {}", open.repeat(limit / open.len()));
        assert!(yaml(&text).is_err(), "{open}");
        assert!(yaml(&open.repeat(limit / open.len())).is_err(), "{open}");
    }
    let indented: String = (0..700).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(yaml(&indented).unwrap_err().1.contains("deep"));
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, last) in ('b'..='z').zip('a'..) {
        laughs += &format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{last}"); 9].join(", ")
        );
    }
    assert!(yaml(&laughs).unwrap_err().1.contains("aliases"));
    for open in ["[", "{a=", "[{a="] {
        let text = format!("a = {}", open.repeat(limit / open.len()));
        assert!(toml(&text).is_err(), "{open}");
    }
    let dotted = format!("{} = 1", vec!["a"; limit / 2].join("."));
    assert!(toml(&dotted).is_err());
    assert!(
        toml(&format!("[{}]", vec!["a"; 60].join(".")))
            .unwrap_err()
            .1
            .contains("deep")
    );
}

#[test]
fn files_are_bounded_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let large = file("large.toml", &vec![b'#'; SIZE_LIMIT as usize + 1]);
    assert!(matches!(
        Document::read(&large),
        Err(FormatError::TooLarge { .. })
    ));
    let other = file("run.ini", b"a=1");
    assert!(
        Document::read(&other)
            .unwrap_err()
            .to_string()
            .contains(".toml")
    );
    assert!(Document::read(dir.path()).is_err());
    assert!(Document::read(&dir.path().join("none.toml")).is_err());
    let binary = file("run.yaml", b"a: 1\nb: \xff\n");
    let problem = Document::read(&binary).unwrap().unwrap_err().to_string();
    assert!(
        problem.contains("run.yaml, line 2: this is not UTF-8"),
        "{problem}"
    );
    let marked = file("run.yml", "\u{feff}a: 1\n".as_bytes());
    let document = Document::read(&marked).unwrap().unwrap();
    assert_eq!(document.values()["a"], 1);
    assert_eq!(
        document.origin("a"),
        Origin::File {
            path: marked,
            line: 1
        }
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in "([\\[\\]{}:,=&*!|>'\"#\\- \n\t.a-c0-9]|\\PC){0,120}") {
        let _ = (toml::read(&text), yaml::read(&text));
    }
}
