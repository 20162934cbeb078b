//! Whole studies.

use std::{fs, path::Path};

use peft_run::{Event, Prepared, RunConfig, RunFolder, RunStatus};
use peft_search::{
    Bayes, Outcome, Settings,
    runs::{
        AutoPeftSpace, Cost, Ended, FrontEntry, RunSpace, RunStudy, RunsError, SearchConfig,
        SpaceChoice, View, Worked,
    },
    study::{Budget, Ending, Limit, Study},
};

use crate::Work;

fn config(run: RunConfig, trials: u64) -> SearchConfig {
    let methods = ["lora", "bottleneck", "bitfit", "sdctft"]
        .map(str::to_owned)
        .to_vec();
    SearchConfig {
        sampler: Settings::Bayes(Bayes {
            initial: 3,
            samples: 2,
            ..Bayes::default()
        }),
        seed: 3,
        budget: Budget {
            trials: Some(trials),
            ..Budget::default()
        },
        ..SearchConfig::new(run, SpaceChoice::Workspace { methods })
    }
}

/// Events of a study, without times and workers.
fn events(folder: &Path) -> Vec<String> {
    let study = Study::look(folder).unwrap();
    let events = study.events().iter();
    events
        .map(|event| serde_json::to_string(event).unwrap())
        .collect()
}

fn finish(config: &SearchConfig) -> (RunStudy, Vec<FrontEntry>) {
    let mut study = RunStudy::begin(config, &mut ()).unwrap();
    let worked = study.work(&mut ()).unwrap();
    assert_eq!(worked, Worked::Ended(Ending::Spent(Limit::Trials)));
    let front = study.score(&mut ()).unwrap();
    (study, front)
}

/// Asks to stop after so many steps of runs.
struct Impatient(usize);

impl View for Impatient {
    fn begins(&mut self, _: u64, _: &str) {}

    fn event(&mut self, event: &Event) {
        if let Event::Step { .. } = event {
            self.0 = self.0.saturating_sub(1);
        }
    }

    fn ended(&mut self, _: &Ended<'_>) {}

    fn notice(&mut self, _: &str) {}

    fn should_stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_study_ends_with_a_front_scored_on_rows_that_chose_nothing() {
    let work = Work::new();
    let run = RunConfig {
        eval_data: Some(work.path("report.csv")),
        ..work.run("study")
    };
    let (study, front) = finish(&config(run, 7));
    let folder = work.path("study");
    let history = study.study().history();
    assert_eq!(history.trials().len(), 7);
    assert!(!front.is_empty());
    // LoRA as it is by default comes first.
    let first = &history.trials()[0];
    let settings = study.settings(&first.configuration).unwrap();
    assert_eq!(settings.method, "lora");
    assert!(settings.method_config.is_empty() && settings.learning_rate.is_none());
    for entry in &front {
        let report = entry.report.as_ref().unwrap();
        assert_eq!(report["rows"], 240, "{entry:?}");
        let adapter = folder.join(&entry.adapter);
        assert!(adapter.join("adapter_model.safetensors").exists());
    }
    // Adapters of the others are gone, their logs are there.
    for trial in history.trials() {
        let trial_folder = folder.join(format!("trials/{:06}", trial.number));
        assert!(trial_folder.join("metrics.jsonl").exists());
        let kept = front.iter().any(|entry| entry.trial == trial.number);
        let weights = trial_folder.join("adapter_model.safetensors");
        assert_eq!(weights.exists(), kept, "trial {}", trial.number);
        // What it came to is there, and nothing says that there is an adapter.
        let run = RunFolder::read(&trial_folder).unwrap();
        assert!(run.kept().is_some(), "trial {}", trial.number);
        if let Some(Outcome::Complete { .. }) = trial.outcome {
            assert_eq!(run.status, RunStatus::Finished, "trial {}", trial.number);
        }
        assert_eq!(trial_folder.join("README.md").exists(), kept);
        // The rows that report were not opened in it.
        let log = fs::read_to_string(trial_folder.join("metrics.jsonl")).unwrap();
        assert!(!log.contains("\"report\""));
    }
    assert_eq!(FrontEntry::read(&folder).unwrap(), front);
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(page.contains("accuracy (report rows)"), "{page}");
    for link in ["src=\"http", "href=\"http", "url(http"] {
        assert!(!page.contains(link), "{link}");
    }
}

#[test]
fn a_third_objective_is_planned_or_measured() {
    let work = Work::new();
    for cost in Cost::ALL {
        let asked = SearchConfig {
            cost: Some(cost),
            ..config(work.run(&format!("study-{cost}")), 6)
        };
        let (study, front) = finish(&asked);
        assert!(!front.is_empty());
        let problem = study.study().problem();
        assert_eq!(problem.objectives().len(), 3);
        for trial in study.study().history().trials() {
            let values = trial.known[0];
            let measured = match &trial.outcome {
                Some(Outcome::Complete { measured }) => measured.clone(),
                _ => continue,
            };
            match cost {
                // With the head.
                Cost::TrainedValues => assert!(trial.known[1] > values),
                Cost::Memory => assert!(trial.known[1] > 1e6, "{:?}", trial.known),
                Cost::StepTime => assert!(measured[1] > 0.0 && measured[1] < 60.0),
            }
            assert_eq!(
                measured.len() + trial.known.len(),
                3,
                "{cost}: {measured:?} {:?}",
                trial.known
            );
        }
        // The same command goes on, and a worker joins.
        RunStudy::begin(&asked, &mut ()).unwrap();
        RunStudy::join(&work.path(&format!("study-{cost}")), None, &mut ()).unwrap();
    }
}

#[test]
fn a_study_that_is_interrupted_anywhere_goes_on_to_the_same() {
    let work = Work::new();
    let (_, calm) = finish(&config(work.run("calm"), 6));
    let hindered = config(work.run("hindered"), 6);
    let mut stops = 0;
    loop {
        let mut study = RunStudy::begin(&hindered, &mut ()).unwrap();
        match study.work(&mut Impatient(17)).unwrap() {
            Worked::Interrupted => stops += 1,
            Worked::Ended(_) => {
                let front = study.score(&mut ()).unwrap();
                assert_eq!(front, calm);
                break;
            }
        }
    }
    assert!(stops > 4, "{stops}");
    assert_eq!(events(&work.path("hindered")), events(&work.path("calm")));
}

#[test]
fn equal_trials_are_run_once() {
    let work = Work::new();
    let cached = |output: &str| SearchConfig {
        cache: Some(work.path("cache")),
        ..config(work.run(output), 5)
    };
    let (_, first) = finish(&cached("first"));
    let complete = fs::read_dir(work.path("cache")).unwrap().count();
    assert!(complete >= 1);
    let (study, second) = finish(&cached("second"));
    assert_eq!(events(&work.path("first")), events(&work.path("second")));
    // Of the trials only those of the front were run, for their adapters.
    let figures = |front: &[FrontEntry]| -> Vec<_> {
        let all = front.iter();
        all.map(|entry| (entry.trial, entry.values, entry.selection))
            .collect()
    };
    assert_eq!(figures(&first), figures(&second));
    for trial in study.study().history().trials() {
        let folder = work
            .path("second")
            .join(format!("trials/{:06}", trial.number));
        let on_front = second.iter().any(|entry| entry.trial == trial.number);
        if let Some(Outcome::Complete { .. }) = trial.outcome {
            assert_eq!(folder.exists(), on_front, "trial {}", trial.number);
        }
    }
}

#[test]
fn trials_that_cannot_be_are_failed_ones() {
    let work = Work::new();
    let file = work.path("space.toml");
    fs::write(
        &file,
        "[[parameters]]\nname = \"method_config.r\"\nvalues = [2, 4]\n\n\
         [[parameters]]\nname = \"target_modules\"\nchoices = [\"query\", \"query,value\", \"nowhere\"]\n",
    )
    .unwrap();
    let space = SpaceChoice::read(&file.to_string_lossy(), &[]).unwrap();
    let search = SearchConfig {
        space,
        budget: Budget::default(),
        ..config(work.run("study"), 6)
    };
    let mut study = RunStudy::begin(&search, &mut ()).unwrap();
    assert_eq!(
        study.work(&mut ()).unwrap(),
        Worked::Ended(Ending::Exhausted)
    );
    let trials = study.study().history().trials();
    assert_eq!(trials.len(), 6);
    let failed = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Failed { .. }));
    assert_eq!(
        trials.iter().filter(|trial| failed(&trial.outcome)).count(),
        2
    );
    let best = study.score(&mut ()).unwrap();
    assert!(best.iter().all(|entry| entry.settings["method"] == "lora"));
    assert!(
        best.iter()
            .any(|entry| entry.settings["method_config"]["r"] == 2)
    );
}

/// Rows that only report are read before the first trial, and may be others until some were scored.
#[test]
fn rows_that_report_are_looked_at_first_and_replaced_until_they_are_used() {
    let work = Work::new();
    let with_rows = |rows: &str, text: &str| {
        fs::write(work.path(rows), text).unwrap();
        let run = RunConfig {
            eval_data: Some(work.path(rows)),
            ..work.run("study")
        };
        config(run, 2)
    };
    let begun = |search: &SearchConfig| RunStudy::begin(search, &mut ());
    for (text, said) in [
        ("label\npraise\n", "text"),
        ("text,label\nx,other\n", "other"),
    ] {
        let error = begun(&with_rows("wrong.csv", text))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("wrong.csv") && error.contains(said),
            "{error}"
        );
    }
    fs::remove_file(work.path("wrong.csv")).unwrap();
    assert!(!work.path("study").exists());
    let rows = fs::read_to_string(work.path("report.csv")).unwrap();
    begun(&with_rows("first.csv", &rows)).unwrap();
    let (_, front) = finish(&with_rows("second.csv", &rows));
    assert!(front.iter().all(|entry| entry.report.is_some()));
    let error = begun(&with_rows("third.csv", &rows))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("the setting `eval_data` was "), "{error}");
    assert!(error.contains("third.csv"), "{error}");
    // What a study has in several places is told once, as it is given.
    let sampler = SearchConfig {
        sampler: Settings::Bayes(Bayes::autopeft()),
        pruning: false,
        ..with_rows("second.csv", &rows)
    };
    let error = begun(&sampler).err().unwrap().to_string();
    assert!(
        error.contains("the setting `sampler` was bayes, is autopeft; "),
        "{error}"
    );
    assert!(
        error.contains("the setting `no_pruning` was false, is true; "),
        "{error}"
    );
    assert!(
        !error.contains("settings.") && !error.contains("more differ"),
        "{error}"
    );
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let work = Work::new();
    let endless = RunConfig {
        epochs: 1e30,
        ..work.run("study")
    };
    let error = RunStudy::begin(&config(endless, 2), &mut ()).err().unwrap();
    assert!(error.to_string().contains("`epochs`"), "{error}");
    let beyond = SearchConfig {
        reference: Some(2.0),
        ..config(work.run("study"), 2)
    };
    let error = RunStudy::begin(&beyond, &mut ()).err().unwrap();
    assert!(error.to_string().contains("from 0 to 1"), "{error}");
}

/// The published starts of AutoPEFT's space are configurations of it on the narrowest model, too.
#[test]
fn a_narrow_model_has_all_starts_of_autopeft() {
    let work = Work::new();
    let run = work.run("study");
    let space = AutoPeftSpace::new(&Prepared::new(&run).unwrap(), &run).unwrap();
    let starts = space.starts();
    assert_eq!(starts.len(), 5);
    let mut sizes = Vec::new();
    for start in &starts {
        space.space().check(start).unwrap();
        assert!(space.values(start) > 0.0);
        let config = space.settings(&run, start).unwrap();
        let parts = config.method_config["parts"].as_array().unwrap().clone();
        sizes.push(
            parts
                .iter()
                .map(|part| part["method"].clone())
                .collect::<Vec<_>>(),
        );
    }
    let [adapter, prefix] = ["serial_parallel", "prefix"];
    let expected = [
        vec![adapter],
        vec![adapter],
        vec![adapter, prefix],
        vec![prefix],
        vec![adapter],
    ];
    assert_eq!(sizes, expected);
}

#[test]
fn workers_join_a_study_and_others_are_refused() {
    let work = Work::new();
    let search = config(work.run("study"), 4);
    let begun = RunStudy::begin(&search, &mut ()).unwrap();
    let folder = work.path("study");
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut worker = RunStudy::join(&folder, None, &mut ()).unwrap();
                    worker.work(&mut ()).unwrap()
                })
            })
            .collect();
        for worker in workers {
            let worked = worker.join().unwrap();
            assert_eq!(worked, Worked::Ended(Ending::Spent(Limit::Trials)));
        }
    });
    drop(begun);
    let study = Study::look(&folder).unwrap();
    assert_eq!(study.history().trials().len(), 4);
    assert_eq!(study.history().running().count(), 0);
    // Other settings are another study, other data is another one's.
    let other = SearchConfig {
        run: RunConfig {
            batch_size: 8,
            ..work.run("study")
        },
        ..search.clone()
    };
    let error = RunStudy::begin(&other, &mut ()).err().unwrap().to_string();
    assert!(error.contains("holds another one"), "{error}");
    // What differs is named, however long the rest is.
    assert!(
        error.contains("the setting `batch_size` was 16, is 8;"),
        "{error}"
    );
    let rows = fs::read_to_string(work.path("rows.csv")).unwrap();
    fs::write(work.path("rows.csv"), rows + "good,praise\n").unwrap();
    let error = RunStudy::join(&folder, None, &mut ()).err().unwrap();
    assert!(matches!(error, RunsError::Setting { .. }), "{error}");
    let error = RunStudy::begin(&config(work.run("model"), 2), &mut ())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("something else than a study"),
        "{error}"
    );
}
