//! A run that is interrupted, however often and wherever, ends in the bits of one that is not.

use std::path::{Path, PathBuf};

use peft_format::AdapterFile;
use peft_run::{Event, Progress, RunConfig, RunError, RunReport, ScheduleKind, methods, train};
use peft_train::TrainerState;
use proptest::prelude::*;

use crate::{
    common::goldens,
    output::{self, Content},
    tiny::{config, workspace},
};

/// Asks to stop after so many steps.
#[derive(Debug, Default)]
pub struct Stop {
    after: Option<u64>,
    steps: u64,
    notices: Vec<String>,
}

impl Stop {
    pub fn after(steps: u64) -> Self {
        Self {
            after: Some(steps),
            ..Self::default()
        }
    }

    /// Whether a notice had these words.
    pub fn told(&self, words: &str) -> bool {
        self.notices.iter().any(|notice| notice.contains(words))
    }
}

impl Progress for Stop {
    fn event(&mut self, event: &Event) {
        if let Event::Step { .. } | Event::WarmUp { .. } = event {
            self.steps += 1;
        }
    }

    fn notice(&mut self, text: &str) {
        self.notices.push(text.to_owned());
    }

    fn should_stop(&self) -> bool {
        self.after == Some(self.steps)
    }
}

/// Runs in a pool of so many threads.
pub fn run(config: &RunConfig, threads: usize, stop: &mut Stop) -> Result<RunReport, RunError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    let watch = std::sync::Mutex::new(stop);
    pool.install(|| train(config, *watch.lock().unwrap()))
}

/// A run with everything in it that has a state: dropout, parts of batches, selection, a schedule.
fn eventful(model: &Path, data: &Path, output: &Path) -> RunConfig {
    let mut config = config(model, data, output);
    config.eval_data = Some(data.to_owned());
    config.epochs = 2.4;
    config.grad_accumulation = 2;
    config.schedule = ScheduleKind::Cosine;
    config.weight_decay = 0.01;
    config.model_dropout = Some(0.1);
    config
        .method_config
        .insert("lora_dropout".into(), 0.1.into());
    config
}

/// What an output folder holds, without times.
pub fn content(folder: &Path) -> Content {
    output::content(folder).unwrap()
}

#[track_caller]
pub fn assert_same(a: &Content, b: &Content) {
    if let Some(difference) = output::difference(a, b) {
        panic!("{difference}");
    }
}

#[test]
fn interruptions_at_any_steps_and_threads_change_no_bit() {
    let (dir, model, data) = workspace();
    let whole = dir.path().join("whole");
    let report = run(&eventful(&model, &data, &whole), 1, &mut Stop::default()).unwrap();
    let expected = content(&whole);
    assert!(report.steps > 12, "{report:?}");
    assert!(expected.contains_key(Path::new("last/adapter_model.safetensors")));

    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        ProptestConfig::with_cases(8),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let sessions = prop::collection::vec((0u64..9, prop::sample::select(vec![1, 2, 4])), 1..5);
    let saves = prop::sample::select(vec![None, Some(1), Some(3)]);
    let case = std::cell::Cell::new(0);
    runner
        .run(&(sessions, saves), |(sessions, save_steps)| {
            case.set(case.get() + 1);
            let output = dir.path().join(format!("case{}", case.get()));
            let mut config = eventful(&model, &data, &output);
            config.save_steps = save_steps;
            let mut done = None;
            for (steps, threads) in sessions {
                let mut stop = Stop::after(steps);
                match run(&config, threads, &mut stop) {
                    Err(RunError::Interrupted { .. }) => {}
                    Ok(report) => done = Some(report),
                    Err(error) => panic!("{error}"),
                }
                config.resume = true;
            }
            let last = run(&config, 2, &mut Stop::default()).unwrap();
            prop_assert_eq!(&last, &report);
            prop_assert!(done.is_none_or(|done| done == report));
            assert_same(&expected, &content(&output));
            std::fs::remove_dir_all(&output).unwrap();
            Ok(())
        })
        .unwrap();
}

/// Methods of state-space models.
pub const OF_STATES: [&str; 10] = [
    "sdt",
    "sdlora",
    "ssm_components",
    "lorap_x",
    "sll_lora",
    "prodial",
    "initial_state",
    "state_offset",
    "additional_scan",
    "affix",
];

#[test]
fn every_method_resumes_to_the_same_bits() {
    let (dir, model, data) = workspace();
    // Nothing of a BERT is a state-space model's.
    let mut others = Vec::new();
    let of_text = |one: &&methods::Entry| !OF_STATES.contains(&one.name);
    for entry in methods::METHODS.iter().filter(of_text) {
        let run_in = |name: &str, stops: &[u64], recompute: bool| {
            let output = dir.path().join(name);
            let mut config = config(&model, &data, &output);
            config.method = entry.name.to_owned();
            // Few enough for the tiny model's matrices.
            for (key, value) in [
                ("n_frequency", 24),
                ("block_size", 8),
                ("r", 8),
                ("num_heads", 4),
            ] {
                if entry.keys.contains(&key) {
                    config.method_config.insert(key.into(), value.into());
                }
            }
            config.steps = Some(8);
            for steps in stops {
                let error = run(&config, 2, &mut Stop::after(*steps)).unwrap_err();
                assert!(matches!(error, RunError::Interrupted { .. }), "{error}");
                config.resume = true;
                config.recompute = recompute;
            }
            run(&config, 1, &mut Stop::default()).unwrap();
            let found = content(&output);
            std::fs::remove_dir_all(&output).unwrap();
            found
        };
        let whole = run_in("whole", &[], false);
        assert_same(&whole, &run_in("parts", &[0, 3, 2], false));
        // Blocks that are computed again for their gradients give the same, too.
        if let Some(difference) =
            output::difference(&whole, &run_in("recomputed", &[0, 3, 2], true))
        {
            others.push(format!("{}: {difference}", entry.name));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

#[test]
fn saved_states_agree_in_weights_and_moments() {
    let (dir, model, data) = workspace();
    let at = |name: &str, stops: &[u64]| {
        let output = dir.path().join(name);
        let mut config = eventful(&model, &data, &output);
        for steps in stops {
            let error = run(&config, 1, &mut Stop::after(*steps)).unwrap_err();
            assert!(matches!(error, RunError::Interrupted { .. }), "{error}");
            config.resume = true;
        }
        TrainerState::read(&output.join("checkpoint/tensors.safetensors")).unwrap()
    };
    let once = at("once", &[11]);
    let often = at("often", &[3, 0, 5, 3]);
    assert_eq!(once.step, 11);
    assert_eq!(once.optimizer.means.len(), once.parameters.len());
    assert_eq!(once, often);
    assert_ne!(once, at("other", &[10]));
}

#[test]
fn a_finished_run_says_so_and_gives_its_result_again() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    config.steps = Some(4);
    let report = run(&config, 1, &mut Stop::default()).unwrap();
    let before = content(&output);
    assert!(!output.join("checkpoint/tensors.safetensors").exists());
    config.resume = true;
    // Killed at the very end, it may have left the folder that its last checkpoint replaced.
    std::fs::create_dir(output.join(".checkpoint.old")).unwrap();
    let mut stop = Stop::default();
    assert_eq!(run(&config, 1, &mut stop).unwrap(), report);
    assert!(
        stop.notices.concat().contains("finished"),
        "{:?}",
        stop.notices
    );
    assert_same(&before, &content(&output));
    // Afresh, it is replaced only where that is asked for.
    config.resume = false;
    let error = run(&config, 1, &mut Stop::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a finished run of 4 steps") && error.contains("`overwrite`"),
        "{error}"
    );
    assert_same(&before, &content(&output));
    config.overwrite = true;
    assert_eq!(run(&config, 1, &mut Stop::default()).unwrap(), report);
    assert_same(&before, &content(&output));
}

#[test]
fn work_is_not_lost_nor_gone_on_with_by_mistake() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    let refused = |config: &RunConfig| train(config, &mut ()).unwrap_err().to_string();
    config.resume = true;
    assert!(refused(&config).contains("no run to resume"));
    assert!(!output.exists());
    config.resume = false;
    run(&config, 1, &mut Stop::after(3)).unwrap_err();
    let state = content(&output);
    let error = refused(&config);
    assert!(
        error.contains("`resume`") && error.contains("after step 3"),
        "{error}"
    );

    config.resume = true;
    let changed = |change: &dyn Fn(&mut RunConfig), what: &str, values: &[&str]| {
        let mut other = config.clone();
        change(&mut other);
        let error = refused(&other);
        assert!(error.starts_with(what), "{error}");
        assert!(values.iter().all(|value| error.contains(value)), "{error}");
    };
    changed(&|c| c.seed = 7, "`seed`", &["0", "7"]);
    changed(
        &|c| c.learning_rate = Some(0.02),
        "`learning_rate`",
        &["0.01", "0.02"],
    );
    changed(&|c| c.epochs = 5.0, "`steps` (or `epochs`)", &["56", "70"]);
    changed(&|c| c.batch_size = 8, "`steps`", &["56"]);
    changed(
        &|c| c.schedule = ScheduleKind::Constant,
        "`schedule`",
        &["linear", "constant"],
    );
    changed(&|c| c.max_length = 12, "`max_length`", &["24", "12"]);
    changed(
        &|c| drop(c.method_config.insert("r".into(), 4.into())),
        "`r`",
        &["8", "4"],
    );
    changed(
        &|c| c.eval_data = Some(data.clone()),
        "`eval_data`",
        &["nothing", "bytes"],
    );
    changed(
        &|c| c.adapter = Some(output.join("last")),
        "`adapter`",
        &["false", "true"],
    );
    let rows = std::fs::read(&data).unwrap();
    std::fs::write(&data, [&rows[..], b"word9 good,praise\n"].concat()).unwrap();
    // A row more is also a batch more in some epochs: whichever is noticed first is named.
    changed(&|_| {}, "`", &["was started with"]);
    std::fs::write(&data, rows).unwrap();
    assert_same(&state, &content(&output));

    // What does not count may change.
    config.recompute = true;
    config.save_steps = Some(2);
    let elsewhere = dir.path().join("elsewhere.csv");
    std::fs::rename(&data, &elsewhere).unwrap();
    config.data = elsewhere;
    run(&config, 2, &mut Stop::default()).unwrap();
}

#[test]
fn a_run_without_a_first_checkpoint_starts_over_and_an_adapter_alone_does_not() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    config.steps = Some(2);
    config.resume = true;
    std::fs::create_dir(&output).unwrap();
    std::fs::write(output.join("metrics.jsonl"), "{\"event\":").unwrap();
    let mut stop = Stop::default();
    run(&config, 1, &mut stop).unwrap();
    assert!(
        stop.notices.concat().contains("beginning"),
        "{:?}",
        stop.notices
    );
    std::fs::remove_dir_all(output.join("checkpoint")).unwrap();
    let error = train(&config, &mut ()).unwrap_err().to_string();
    assert!(error.contains("`adapter`"), "{error}");
}

#[test]
fn damage_is_noticed_and_half_done_replacements_are_finished() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = config(&model, &data, &output);
    config.steps = Some(20);
    run(&config, 1, &mut Stop::after(16)).unwrap_err();
    config.resume = true;
    let checkpoint = output.join("checkpoint");
    let broken = |name: &str, bytes: &[u8], word: &str| {
        let path = checkpoint.join(name);
        let old = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let error = train(&config, &mut ()).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(name), "{error}");
        std::fs::write(&path, old).unwrap();
    };
    broken("state.json", b"{", "EOF");
    broken("state.json", b"{}", "version");
    broken("state.json", b"{\"version\": 3}", "format is 3");
    broken("state.json", b"{\"version\": 1, \"x\": 0}", "unknown field");
    let tensors = std::fs::read(checkpoint.join("tensors.safetensors")).unwrap();
    broken(
        "tensors.safetensors",
        &tensors[..tensors.len() / 2],
        "bytes",
    );
    let mut flipped = tensors;
    *flipped.last_mut().unwrap() ^= 1;
    broken("tensors.safetensors", &flipped, "what was written");

    // Killed between the two renames of a replacement, with a later adapter already in place.
    std::fs::rename(&checkpoint, output.join(".checkpoint.old")).unwrap();
    std::fs::create_dir(output.join(".checkpoint.tmp-1-0123abcd-0")).unwrap();
    std::fs::write(output.join(".task.json.tmp-1-0123abcd-1"), "{").unwrap();
    std::fs::write(output.join("adapter_model.safetensors"), "of a later step").unwrap();
    let log = output.join("metrics.jsonl");
    let more = std::fs::read_to_string(&log).unwrap() + "{\"event\":\"step\"";
    std::fs::write(&log, more).unwrap();
    let report = run(&config, 1, &mut Stop::default()).unwrap();
    let whole = dir.path().join("whole");
    (config.output, config.resume) = (whole.clone(), false);
    assert_eq!(run(&config, 1, &mut Stop::default()).unwrap(), report);
    assert_same(&content(&whole), &content(&output));
}

#[test]
fn two_runs_do_not_write_to_one_folder() {
    struct Second(RunConfig, Option<String>);
    impl Progress for Second {
        fn event(&mut self, event: &Event) {
            if let Event::Step { step: 1, .. } = event {
                self.1 = Some(train(&self.0, &mut ()).unwrap_err().to_string());
            }
        }
    }
    let (dir, model, data) = workspace();
    let mut config = config(&model, &data, &dir.path().join("out"));
    config.steps = Some(2);
    let mut second = config.clone();
    second.resume = true;
    let mut second = Second(second, None);
    train(&config, &mut second).unwrap();
    let error = second.1.unwrap();
    assert!(!cfg!(unix) || error.contains("another run"), "{error}");
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_anything_is_read() {
    let (dir, _, data) = workspace();
    let nowhere = Path::new("no-model");
    for output in [
        data.clone(),
        data.join("below"),
        PathBuf::from("/proc/peft/out"),
    ] {
        let config = config(nowhere, &data, &output);
        let error = train(&config, &mut ()).unwrap_err().to_string();
        assert!(error.contains("`output`"), "{error}");
        assert!(error.starts_with(&*output.to_string_lossy()), "{error}");
    }
    let fresh = dir.path().join("a/b");
    train(&config(nowhere, &data, &fresh), &mut ()).unwrap_err();
    assert!(!dir.path().join("a").exists());
}

/// A folder of the first version, killed after step 5 of 60. Other instruction sets compute other last digits,
/// so the end is compared as numbers.
#[test]
fn a_run_of_the_first_version_goes_on() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let golden = goldens().join("run_v1");
    std::fs::create_dir_all(output.join("checkpoint")).unwrap();
    for name in [
        "run.toml",
        "metrics.jsonl",
        "checkpoint/state.json",
        "checkpoint/tensors.safetensors",
    ] {
        std::fs::copy(golden.join(name), output.join(name)).unwrap();
    }
    let mut config = config(&model, &data, &output);
    config.epochs = 3.0;
    config.steps = Some(60);
    config.save_steps = Some(5);
    config.resume = true;
    let mut stop = Stop::default();
    let report = run(&config, 1, &mut stop).unwrap();
    assert_eq!((report.steps, stop.steps), (60, 55), "{:?}", stop.notices);
    let read = |path: &Path| AdapterFile::read(path).unwrap().tensors;
    let found = read(&output);
    let expected = read(&golden.join("expected.safetensors"));
    assert!(expected.len() == 10 && expected.keys().eq(found.keys()));
    for (name, expected) in &expected {
        let pairs = expected.to_f32().unwrap().into_iter();
        for (expected, found) in pairs.zip(found[name].to_f32().unwrap()) {
            assert!(
                (expected - found).abs() < 1e-4,
                "{name}: {expected}, {found}"
            );
        }
    }
}

/// A run of an earlier version that a mended fault would change is not gone on with, and the fault is told.
#[test]
fn what_a_mended_fault_changes_is_refused_with_the_reason() {
    let (dir, model, data) = workspace();
    let output = dir.path().join("out");
    let mut config = eventful(&model, &data, &output);
    run(&config, 1, &mut Stop::after(3)).unwrap_err();
    config.resume = true;
    let path = output.join("checkpoint/state.json");
    let whole: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(whole["version"], 2);
    let refused = |config: &RunConfig, state: &serde_json::Value| {
        std::fs::write(&path, state.to_string()).unwrap();
        let error = train(config, &mut ()).unwrap_err().to_string();
        assert!(
            error.contains("begun by a version") && error.contains("afresh"),
            "{error}"
        );
        error
    };
    for (rule, reason) in [
        ("weight decay", "biases and norms"),
        ("dropout of the parts of a batch", "in another step"),
    ] {
        let mut old = whole.clone();
        let settings = old["settings"].as_object_mut().unwrap();
        assert!(settings.remove(rule).is_some(), "{settings:?}");
        let error = refused(&config, &old);
        assert!(error.contains(reason), "{error}");
    }
    // Of another processor.
    let mut other = whole.clone();
    other["settings"]["the processor"] = "abacus".into();
    std::fs::write(&path, other.to_string()).unwrap();
    let error = train(&config, &mut ()).unwrap_err().to_string();
    assert!(
        error.contains("the processor") && error.contains("abacus"),
        "{error}"
    );
    // Where nothing is known of it, and where a run is left alone by the faults, it goes on.
    let mut old = whole;
    let settings = old["settings"].as_object_mut().unwrap();
    settings.remove("the processor").unwrap();
    std::fs::write(&path, old.to_string()).unwrap();
    run(&config, 1, &mut Stop::default()).unwrap();
}

/// Of the first version it is not known which bits it computed with `recompute`.
#[test]
fn a_recomputed_run_of_the_first_version_is_refused_where_that_mattered() {
    let (dir, model, data) = workspace();
    for (method, matters) in [("adalora", true), ("lora", false)] {
        let output = dir.path().join(method);
        let mut config = config(&model, &data, &output);
        config.method = method.into();
        config.steps = Some(12);
        config.recompute = true;
        run(&config, 1, &mut Stop::after(3)).unwrap_err();
        config.resume = true;
        // What the second format says of the tensors is not what the first would have.
        let path = output.join("checkpoint/state.json");
        let state = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, state.replace("\"version\": 2", "\"version\": 1")).unwrap();
        let error = train(&config, &mut ()).unwrap_err().to_string();
        assert_eq!(
            error.contains("with `recompute` for this method"),
            matters,
            "{error}"
        );
        // Without it, it was what it is now.
        let record = output.join("run.toml");
        let text = std::fs::read_to_string(&record).unwrap();
        std::fs::write(
            &record,
            text.replace("recompute = true", "recompute = false"),
        )
        .unwrap();
        let error = train(&config, &mut ()).unwrap_err().to_string();
        assert!(error.contains("does not hold what was written"), "{error}");
    }
}
