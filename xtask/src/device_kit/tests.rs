//! The kit is whole, and made of what the driver names.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::*;

#[test]
fn the_kit_is_whole_and_packed() {
    let place = std::env::temp_dir().join(format!("device-kit-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let program = place.join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    let output = place.join("kit");
    let tests = [program.clone()];
    let parts = Parts {
        bench: &program,
        peft: None,
        tests: &tests,
    };
    let archive = assemble(&output, &parts).unwrap();
    for executable in ["run.sh", "bin/peft-bench", "bin/tests/program"] {
        let mode = fs::metadata(output.join(executable))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{executable}");
    }
    let manifest: Value =
        serde_json::from_slice(&fs::read(output.join("manifest.json")).unwrap()).unwrap();
    let listed: BTreeSet<String> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| format!("kit/{}", file["path"].as_str().unwrap()))
        .collect();
    for wanted in [
        "kit/driver/main.py",
        "kit/python/torch_bench.py",
        "kit/python/random_model.py",
        "kit/goldens/llama_tiny/config.json",
        "kit/goldens/ssm/mamba2_tiny.safetensors",
    ] {
        assert!(listed.contains(wanted), "{wanted} is not in {listed:?}");
    }
    let mut packed = tar::Archive::new(GzDecoder::new(File::open(&archive).unwrap()));
    let mut inside = BTreeSet::new();
    for entry in packed.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() {
            entry.read_to_end(&mut Vec::new()).unwrap();
            inside.insert(path);
        }
    }
    inside.remove("kit/manifest.json");
    assert_eq!(inside, listed);

    // A kit is made anew; another folder is left alone.
    assemble(&output, &parts).unwrap();
    let error = assemble(&place, &parts).unwrap_err().to_string();
    assert!(error.contains("something else than a kit"), "{error}");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn the_driver_names_no_model_that_is_not_carried() {
    let driver = files::read(&workspace::root().join("xtask/kit/driver/checks.py")).unwrap();
    let line = driver.split("MODELS = [").nth(1).unwrap();
    let models = line.split(']').next().unwrap();

    let mut count = 0;
    for entry in models.split("(\"").skip(1) {
        let model = entry.split('"').next().unwrap();
        assert!(FIXTURES.contains(&model), "{model}");
        count += 1;
    }
    assert_eq!(
        count,
        FIXTURES.iter().filter(|name| !name.contains('/')).count()
    );
}

/// A `peft-bench` of a few lines, whose device computes as `FAKE` says.
const FAKE: &str = r#"#!/usr/bin/env python3
import json, os, sys
on_device, fake = os.environ["PEFT_BENCH_DEVICE"] != "cpu", os.environ["FAKE"]
def say(answer):
    print(json.dumps(answer), flush=True)
if on_device and fake == "absent":
    say({"ready": False, "error": "no CUDA driver"})
    sys.exit(1)
say({"ready": True, "versions": {"peft": "0"}})
for line in sys.stdin:
    off = 0.1 if on_device and fake == "wrong" else 0.0
    say({"ok": True, "losses": [1.0, 0.9, 0.8, 0.7 + off]})
"#;

#[test]
fn the_driver_tells_right_from_wrong_and_from_absent() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3");
        return;
    }
    let place = std::env::temp_dir().join(format!("device-kit-driver-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let bench = place.join("fake");
    fs::write(&bench, FAKE).unwrap();
    let parts = Parts {
        bench: &bench,
        peft: None,
        tests: &[],
    };
    let kit = place.join("kit");
    assemble(&kit, &parts).unwrap();
    for (fake, step, status, result, words) in [
        ("right", "conformance", 0, "passed", ""),
        (
            "wrong",
            "conformance",
            1,
            "failed",
            "lora: differs by 1.0e-01",
        ),
        ("absent", "probe", 2, "failed", "no CUDA driver"),
    ] {
        let out = place.join(fake);
        let mut command = Command::new(kit.join("run.sh"));
        command.arg(&out).args(["--steps", step]).env("FAKE", fake);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(status), "{fake}: {ended:?}");
        let text = fs::read(out.join("result.json")).unwrap();
        let found: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(found["steps"][0]["status"], result, "{found}");
        let error = found["steps"][0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(words), "{error}");
        let table = files::read(&out.join("result.md")).unwrap();
        assert!(table.contains(&format!("| {step} | {result} |")), "{table}");
    }
    fs::remove_dir_all(&place).unwrap();
}
