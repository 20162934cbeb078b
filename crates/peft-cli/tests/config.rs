//! Settings from files: the same names, the same meaning, and mistakes that say where they are.

mod common;

use std::path::Path;

use common::{Workspace, done, peft, refused, stdout};
use serde_json::Value;

fn write(work: &Workspace, name: &str, text: &str) -> String {
    let path = work.path(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The lines of `config validate` for a file that must be refused.
#[track_caller]
fn invalid(arguments: &[&str]) -> Vec<String> {
    let output = peft(&[&["config", "validate"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    stdout(&output).lines().map(str::to_owned).collect()
}

fn adapter(work: &Workspace, output: &str) -> [Vec<u8>; 3] {
    let files = [
        "adapter_model.safetensors",
        "adapter_config.json",
        "last/adapter_model.safetensors",
    ];
    files.map(|file| std::fs::read(Path::new(&work.path(output)).join(file)).unwrap())
}

#[test]
fn the_file_of_a_run_makes_the_same_bits() {
    let work = Workspace::new();
    let flags = [
        "--steps",
        "7",
        "--rank",
        "3",
        "--adapter-dropout",
        "0.1",
        "--batch-size",
        "9",
        "--seed",
        "18446744073709551615",
        "--target-modules",
        "query,dense",
        "--exclude-modules",
        "pooler.dense",
        "--rank-pattern",
        "query=2",
        "--rank-pattern",
        r"layer\.0\..*=5",
        "--layers",
        "0-1",
        "--warmup",
        "0.123456789012345678",
        "--threads",
        "1",
    ];
    work.train("out", &flags);
    let record = work.path("out/run.toml");
    let again = work.path("again");
    done(&["train", "--config", &record, &format!("output={again}")]);
    assert_eq!(adapter(&work, "out"), adapter(&work, "again"));

    // The defaults that depend on the method and the model are written out.
    let text = std::fs::read_to_string(&record).unwrap();
    for line in [
        "learning_rate = 0.002",
        "lora_alpha = 16",
        "device = \"cpu\"",
        "r = 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    // The two records differ in what they must differ in.
    let other = std::fs::read_to_string(work.path("again/run.toml")).unwrap();
    assert_eq!(text.replace(&work.path("out"), &again), other);
    assert_eq!(
        done(&["config", "validate", &record]),
        format!("{record}: OK\n")
    );
}

#[test]
fn defaults_file_flags_and_arguments_overrule_one_another() {
    let work = Workspace::new();
    let [model, rows] = ["model", "rows.csv"].map(|name| work.path(name));
    let settings = format!(
        "model: {model}\ndata: {rows}\nsteps: 1\nbatch_size: 4\nmax_length: 8\nseed: 4\n\
         recompute: true\ntarget_modules: [query]\nmethod_config:\n  r: 2\n  lora_alpha: 3\n"
    );
    let file = write(&work, "run.yaml", &settings);
    let record = |name: &str, more: &[&str]| {
        let out = work.path(name);
        done(&[&["train", "--config", &file, "--output", &out], more].concat());
        std::fs::read_to_string(work.path(name) + "/run.toml").unwrap()
    };
    let has = |text: &str, line: &str| assert!(text.lines().any(|l| l == line), "{line}: {text}");
    let plain = record("plain", &[]);
    for line in [
        "batch_size = 4",
        "epochs = 3.0",
        "r = 2",
        "target_modules = [\"query\"]",
    ] {
        has(&plain, line);
    }
    let more = [
        "--batch-size",
        "5",
        "--rank",
        "6",
        "--recompute=false",
        "--max-length",
        "9",
    ];
    let flags = record("flags", &more);
    for line in [
        "batch_size = 5",
        "r = 6",
        "recompute = false",
        "lora_alpha = 3",
        "seed = 4",
    ] {
        has(&flags, line);
    }
    let last = [
        "batch_size=6",
        "method_config.r=7",
        "target_modules=value,key",
        "max_length=",
        "method_config.rank_pattern.value=1",
    ];
    let arguments = record("arguments", &[&more[..], &last].concat());
    for line in [
        "batch_size = 6",
        "r = 7",
        "target_modules = [\"value\", \"key\"]",
        "recompute = false",
        "rank_pattern = { value = 1 }",
    ] {
        has(&arguments, line);
    }
    // The default, cut to what the model can take.
    has(&arguments, "max_length = 40");
}

#[test]
fn mistakes_in_a_file_have_their_line() {
    let work = Workspace::new();
    let [model, rows] = ["model", "rows.csv"].map(|name| work.path(name));
    let head = format!("model = '{model}'\ndata = '{rows}'\noutput = 'nowhere'\n");
    let cases = [
        ("lerning_rate = 1e-3", "`learning_rate`?"),
        ("batch-size = 8", "`batch_size`?"),
        (
            "batch_size = 'x'",
            "expected a whole number, not negative, found the text `x`",
        ),
        ("batch_size = 0", "0 is too few"),
        ("learning_rate = -1", "-1 is no rate"),
        ("recompute = 'yes'", "expected true or false"),
        ("schedule = 'stepwise'", "one of linear, cosine, constant"),
        (
            "task = 'classification'",
            "one of classify, regress, multi-label",
        ),
        ("device = 'tpu'", "auto, cpu"),
        ("layers = '3-1'", "no range of layers"),
        ("target_modules = '('", "regular expression"),
        ("target_modules = []", "names of modules"),
        ("method = 'lroa'", "`lora`?"),
        ("method_config = 3", "names, each with"),
        ("model_dropout = 1", "no probability"),
        ("seed = 1.5", "whole number"),
        ("eval_data = 'nowhere.csv'", "no such file"),
        ("adapter = 'nowhere'", "no adapter folder"),
        ("resume = true", "no setting `resume`"),
        ("method_config.rank = 8", "`r`?"),
        ("method_config.r = 0", "rank is 0"),
        ("method_config.r = -1", "whole number"),
        (
            "method_config.rank_pattern = { query = 'x' }",
            "found the text `x`",
        ),
    ];
    for (line, word) in cases {
        let file = write(&work, "run.toml", &format!("{head}{line}\n"));
        let found = invalid(&[&file]);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{file}, line 4")),
            "{found:?}"
        );
        assert!(found[0].contains(word), "{line}: {found:?}");
    }
    let file = write(
        &work,
        "run.toml",
        &format!("{head}epochs = 'a'\n[method_config]\nlora_alpa = 1\n"),
    );
    let found = invalid(&[&file, "clip=-1"]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[1].contains("line 6") && found[1].contains("`lora_alpha`?"),
        "{found:?}"
    );
    assert!(found[2].starts_with("`clip=-1`: "), "{found:?}");
    let line = refused(&["train", "--config", &file]);
    assert!(line.contains("line 4") && line.contains("1 more"), "{line}");
    assert!(!Path::new("nowhere").exists());
    let line = refused(&["train", "--model", &model, "--data", &rows]);
    assert!(line.contains("--output: not given"), "{line}");
    let line = refused(&[
        "train",
        "--config",
        &file,
        "epochs=1",
        "method_config.lora_alpa=",
        "x",
    ]);
    assert!(line.contains("batch_size=8"), "{line}");
}

#[test]
fn every_method_has_its_own_flags() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    let run = [
        "train", "--model", &model, "--data", &rows, "--output", &out, "--steps", "1",
    ];
    let method = ["--method", "fourierft"];
    let more = [
        "--n-frequency",
        "12",
        "--scaling",
        "100",
        "--init-weights=true",
    ];
    done(&[&run[..], &method, &more].concat());
    let record = std::fs::read_to_string(work.path("out/run.toml")).unwrap();
    for line in ["n_frequency = 12", "scaling = 100", "random_loc_seed = 777"] {
        assert!(
            record.lines().any(|found| found == line),
            "{line}: {record}"
        );
    }
    let line = refused(&[&run[..], &method, &["--rank", "8"]].concat());
    assert!(
        line.contains("--rank: fourierft has no such setting"),
        "{line}"
    );
    let line = refused(&[&run[..], &method, &["method_config.n_freqency=8"]].concat());
    assert!(line.contains("`n_frequency`?"), "{line}");
    // A word of one method may be a switch of another.
    let line = refused(&[&run[..], &method, &["--init-weights", "gaussian"]].concat());
    assert!(line.contains("true or false"), "{line}");
}

#[test]
fn hostile_files_are_refused_in_one_line() {
    let work = Workspace::new();
    let size = 200_000;
    let laughs: String = ('b'..='z')
        .zip('a'..)
        .map(|(name, last)| {
            format!(
                "{name}: &{name} [{}]\n",
                vec![format!("*{last}"); 9].join(", ")
            )
        })
        .collect();
    let files = [
        ("deep.toml", format!("a = {}", "[".repeat(size))),
        ("deep.yaml", "[".repeat(size)),
        (
            "block.yaml",
            (0..600).map(|i| format!("{}a:\n", " ".repeat(i))).collect(),
        ),
        ("laughs.yaml", format!("a: &a [x, x]\n{laughs}")),
        ("large.toml", "#".repeat(1 << 20)),
        (
            "escape.toml",
            "model = \"\u{1b}[2J\"\n\"a\u{1b}[2Jb\" = 1\n".into(),
        ),
        ("no.ini", "a = 1".into()),
    ];
    for (name, text) in files {
        let file = write(&work, name, &text);
        let line = refused(&["train", "--config", &file]);
        assert!(line.len() < 600 && !line.contains('\u{1b}'), "{line}");
    }
    let nowhere = work.path("nowhere.toml");
    assert!(refused(&["train", "--config", &nowhere]).contains("nowhere.toml"));
    assert!(refused(&["config", "validate", &nowhere]).contains("nowhere.toml"));
}

#[test]
fn relative_paths_mean_the_current_folder() {
    let work = Workspace::new();
    std::fs::create_dir(work.path("settings")).unwrap();
    let text = "model = 'model'\ndata = 'rows.csv'\noutput = 'out'\nsteps = 1\n";
    let file = write(&work, "settings/run.toml", text);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_peft"))
        .args(["train", "--config", &file])
        .current_dir(work.path("."))
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    assert!(Path::new(&work.path("out/run.toml")).exists());
    assert_eq!(invalid(&[&file]).len(), 2);
}

#[test]
fn the_schema_holds_every_setting_with_its_help() {
    let schema: Value = serde_json::from_str(&done(&["config", "schema"])).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["epochs"]["default"], 3.0);
    assert_eq!(schema["properties"]["schedule"]["default"], "linear");
    let help = done(&["train", "--help-all"]);
    for (key, field) in schema["properties"].as_object().unwrap() {
        assert!(!field["description"].as_str().unwrap().is_empty(), "{key}");
        if key != "method_config" {
            assert!(
                help.contains(&format!("--{}", key.replace('_', "-"))),
                "{key}"
            );
        }
    }
    let methods = schema["properties"]["method"]["enum"].as_array().unwrap();
    let rules = schema["allOf"].as_array().unwrap();
    assert_eq!(methods.len(), rules.len());
    let lora = &rules[0]["then"]["properties"]["method_config"];
    assert_eq!(lora["additionalProperties"], false);
    assert_eq!(lora["properties"]["r"]["default"], 8);
    assert!(!schema.to_string().contains("\"x-"));
}

#[test]
fn a_printed_file_is_valid_and_changes_nothing() {
    let work = Workspace::new();
    let [model, rows] = ["model", "rows.csv"].map(|name| work.path(name));
    let file = write(&work, "run.toml", &done(&["config", "init"]));
    let paths = [format!("model={model}"), format!("data={rows}")];
    let train = |name: &str, more: &[&str]| {
        let output = format!("output={}", work.path(name));
        let paths = [paths[0].as_str(), &paths[1], &output, "steps=2"];
        done(&[&["train"], more, &paths].concat());
        adapter(&work, name)
    };
    assert_eq!(train("plain", &[]), train("printed", &["--config", &file]));
    assert!(refused(&["config", "init", "--method", "lroa"]).contains("lora"));
}

#[test]
fn every_verb_has_a_manual_page() {
    let work = Workspace::new();
    let pages = work.path("man");
    done(&["man", "--output", &pages]);
    let help = done(&["--help"]);
    let commands = help.split("Commands:").nth(1).unwrap();
    let verbs: Vec<&str> = commands
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.contains(&"train") && verbs.len() >= 8, "{verbs:?}");
    let page = |name: &str| std::fs::read_to_string(format!("{pages}/{name}.1")).unwrap();
    for verb in verbs {
        assert!(page(&format!("peft-{verb}")).contains(".SH NAME"), "{verb}");
        assert!(
            page("peft").contains(&format!("peft\\-{verb}(1)")),
            "{verb}"
        );
    }
    assert!(page("peft-data-preview").contains("Number of rows to show"));
    assert!(page("peft-train").contains("passes over the data"));
    assert_eq!(done(&["man", "data", "preview"]), page("peft-data-preview"));
    assert!(refused(&["man", "tarin"]).contains("train"));
}
