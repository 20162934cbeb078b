//! What may be replaced.

use std::fs;
use std::path::Path;

use crate::common::{Workspace, done, refused};
use crate::train;

#[test]
fn nothing_is_replaced_that_the_command_did_not_write() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    // Of the user.
    fs::create_dir(&out).unwrap();
    fs::write(work.path("out/README.md"), "my notes").unwrap();
    fs::write(work.path("out/train.log"), "").unwrap();
    let told = refused(&train(&model, &rows, &out, &[]));
    assert!(
        told.contains("`README.md`") && told.contains("--output"),
        "{told}"
    );
    assert_eq!(
        fs::read_to_string(work.path("out/README.md")).unwrap(),
        "my notes"
    );
    assert!(!refused(&train(&model, &rows, &out, &["--overwrite"])).is_empty());
    fs::remove_file(work.path("out/README.md")).unwrap();
    // What a run does not write is in nobody's way.
    done(&train(&model, &rows, &out, &[]));

    let weights = || fs::read(work.path("out/adapter_model.safetensors")).unwrap();
    let before = weights();
    let told = refused(&train(&model, &rows, &out, &["--rank", "4"]));
    assert!(
        told.contains("a finished run of 2 steps") && told.contains("--overwrite"),
        "{told}"
    );
    assert_eq!(weights(), before);
    done(&train(&model, &rows, &out, &["--rank", "4", "--overwrite"]));
    assert_ne!(weights(), before);

    let told = refused(&train(&model, &rows, &model, &[]));
    assert!(told.contains("`config.json`"), "{told}");
    assert!(!Path::new(&work.path("model/run.toml")).exists());
}

#[test]
fn predictions_replace_predictions_and_nothing_else() {
    let work = Workspace::new();
    let [model, rows, out] = ["model", "rows.csv", "out"].map(|name| work.path(name));
    work.train("out", &["--steps", "1", "--threads", "1"]);
    let to = |file: &str, more: &[&str]| -> Vec<String> {
        let fixed = [
            "predict",
            "--model",
            &model,
            "--adapter",
            &out,
            "--data",
            &rows,
        ];
        let all = [&fixed[..], &["--output", file], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let refuse = |file: &str, more: &[&str]| {
        let all = to(file, more);
        refused(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let run = |file: &str, more: &[&str]| {
        let all = to(file, more);
        done(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let data = fs::read(&rows).unwrap();
    for more in [&[][..], &["--overwrite"]] {
        assert!(refuse(&rows, more).contains("the file of --data"));
    }
    assert_eq!(fs::read(&rows).unwrap(), data);
    let notes = work.path("notes.txt");
    fs::write(&notes, "mine").unwrap();
    assert!(refuse(&notes, &["--overwrite"]).contains("something else"));
    let file = work.path("predicted.jsonl");
    run(&file, &[]);
    let whole = fs::read(&file).unwrap();
    assert!(refuse(&file, &[]).contains("--overwrite"));
    run(&file, &["--overwrite"]);
    assert_eq!(fs::read(&file).unwrap(), whole);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{FileTypeExt, symlink};
        run("/dev/null", &[]);
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
        assert_eq!(run("/dev/stdout", &[]).as_bytes(), whole);
        let link = work.path("link");
        symlink(&rows, &link).unwrap();
        assert!(refuse(&link, &["--overwrite"]).contains("the file of --data"));
    }
}
