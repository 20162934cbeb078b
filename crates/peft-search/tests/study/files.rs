use std::time::Duration;

use peft_search::study::*;
use peft_search::*;

use crate::toy::*;

/// Journals that nobody writes: refused with a reason, never a panic.
#[test]
fn strange_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = begin(folder.path(), description(4)).unwrap();
    study
        .work(&mut train, Duration::from_millis(1), &mut |_| true)
        .unwrap();
    drop(study);
    let path = folder.path().join(JOURNAL);
    let good = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let refused = |text: String| {
        std::fs::write(&path, text).unwrap();
        Study::look(folder.path())
            .err()
            .map(|error| error.to_string())
    };
    assert_eq!(refused(good.clone()), None);
    // Where it is and what to do is told of lines that are good each for itself, too.
    let told = |text: String, line: usize| {
        let (error, journal) = (refused(text).unwrap(), path.display().to_string());
        let place = format!("`{journal}`, line {line}: ");
        assert!(
            error.starts_with(&place) && error.contains("cut it off before this line"),
            "{error}"
        );
    };
    let doubled = |at: usize| [&lines[..=at], &lines[at..]].concat().join("\n") + "\n";
    let find = |what: &str| lines.iter().position(|line| line.contains(what)).unwrap();
    for what in ["asked", "lease", "reported", "told"] {
        told(doubled(find(what)), find(what) + 2);
    }
    let lease = find("\"token\":1");
    told(good.replacen("\"token\":1", "\"token\":50", 1), lease + 1);
    // Any line left out or doubled: leases count, trials are numbered, reports ascend. Only of a trial whose report or end is
    // missing nobody can tell that it is not merely running.
    for at in 0..lines.len() - 1 {
        let without: Vec<&str> = lines
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .map(|(_, l)| *l)
            .collect();
        let of_one = lines[at].contains("reported") || lines[at].contains("told");
        assert!(
            of_one || refused(without.join("\n") + "\n").is_some(),
            "without {}",
            lines[at]
        );
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        assert!(
            refused(doubled.join("\n") + "\n").is_some(),
            "twice {}",
            lines[at]
        );
    }
    for (from, to) in [
        ("\"configuration\":[", "\"configuration\":[99,"),
        ("\"configuration\":[", "\"configuration\":[4294967296,"),
        ("\"known\":[", "\"known\":[\"nan\","),
        ("\"trial\":1", "\"trial\":18446744073709551615"),
        ("\"measured\":[", "\"measured\":[1,2,3,"),
        ("\"worker\":\"", "\"worker\":\"../../"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        let looked = refused(text);
        // A worker's name is looked at when somebody asks whether it is there.
        assert!(looked.is_some() || from.contains("worker"), "{from}");
    }
    let worker = lines[1].replace("\"worker\":\"", "\"worker\":\"../../");
    std::fs::write(&path, format!("{}\n{worker}\n", lines[0])).unwrap();
    let mut study = begin(folder.path(), description(4)).unwrap();
    assert!(study.ask().is_err());

    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("\"attempts\": 3", "\"attempts\": 0"),
        ("\"seed\"", "\"sead\""),
        ("\"grace\": 1", "\"grace\": 0"),
        ("\"reference\": [", "\"reference\": [1.0,"),
        ("\"full\": 9", "\"full\": 8"),
    ] {
        let path = folder.path().join(DESCRIPTION);
        let good = std::fs::read_to_string(&path).unwrap();
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        std::fs::write(&path, bad).unwrap();
        assert!(Description::read(folder.path()).is_err(), "{to}");
        std::fs::write(&path, good).unwrap();
    }
    assert!(Study::look(&folder.path().join("nowhere")).is_err());
}

/// A journal that was lost is not begun anew over the trials that it told of.
#[test]
fn trials_without_their_journal_are_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    begin(path, description(4)).unwrap().ask().unwrap();
    let journal = std::fs::read(path.join(JOURNAL)).unwrap();
    std::fs::create_dir(path.join("trials")).unwrap();
    let lost = || {
        let begun = begin(path, description(4)).err();
        let looked = Study::look(path).err();
        assert_eq!(begun, looked);
        begun.map(|error| error.to_string())
    };
    for name in ["trials/000000", "front.json"] {
        // An empty folder is no trial.
        std::fs::write(path.join(JOURNAL), "").unwrap();
        assert_eq!(lost(), None);
        std::fs::write(path.join(name), "").unwrap();
        for missing in [false, true] {
            if missing {
                std::fs::remove_file(path.join(JOURNAL)).unwrap();
            }
            let error = lost().unwrap();
            assert!(
                error.contains(JOURNAL) && error.contains("put the journal back"),
                "{error}"
            );
        }
        std::fs::write(path.join(JOURNAL), &journal).unwrap();
        assert_eq!(lost(), None);
        std::fs::remove_file(path.join(name)).unwrap();
    }
}

/// Of a reason that would fill the journal the beginning is kept.
#[test]
fn a_long_reason_is_shortened() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = begin(folder.path(), description(4)).unwrap();
    let Next::Run(assignment) = study.ask().unwrap() else {
        panic!("nothing to do")
    };
    let reason = "ä".repeat(1 << 20);
    study.tell(&assignment, Outcome::Failed { reason }).unwrap();
    let study = Study::look(folder.path()).unwrap();
    let expected = "ä".repeat(4000) + " …";
    assert_eq!(
        study.history().trials()[0].outcome,
        Some(Outcome::Failed { reason: expected })
    );
}

/// The function of the known objectives must be the one that the study began with.
#[test]
fn a_study_does_not_go_on_with_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = begin(folder.path(), description(4)).unwrap();
    study.ask().unwrap();
    drop(study);
    let larger = AutoPeft {
        parameters: 200_000_000,
        ..AutoPeft::BERT_BASE
    };
    let problem = larger.problem(Scale::Log10, [40.0, 0.6]).unwrap();
    let error = Study::open(folder.path(), problem)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("the model and the settings"), "{error}");
}
