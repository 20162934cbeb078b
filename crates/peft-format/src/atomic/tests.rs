use std::fs;
use std::io::Write;

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_replaced_whole_and_leaves_nothing_beside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    write_atomic_bytes(&path, b"one").unwrap();
    write_atomic_bytes(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    let failed = write_atomic(&path, |w| {
        w.write_all(b"half")?;
        Err(io::ErrorKind::Other.into())
    });
    assert!(failed.unwrap_err().to_string().contains("a.txt"));
    assert_eq!(fs::read(&path).unwrap(), b"two");
    drop(AtomicFile::create(&path).unwrap().write(b"dropped"));
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn a_missing_parent_and_a_nameless_path_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    assert!(write_atomic_bytes(&dir.path().join("no/a"), b"").is_err());
    assert!(write_atomic_bytes(Path::new("/"), b"").is_err());
    assert!(write_atomic_bytes(Path::new(".."), b"").is_err());
}

#[test]
fn a_directory_is_replaced_whole() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("deep/out");
    for content in ["one", "two"] {
        let dir = AtomicDir::create(&target).unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub").join(content), content).unwrap();
        dir.commit().unwrap();
        assert_eq!(names(&target.join("sub")), [content]);
    }
    drop(AtomicDir::create(&target).unwrap());
    assert_eq!(names(target.parent().unwrap()), ["out"]);
    fs::write(root.path().join("file"), "").unwrap();
    assert!(AtomicDir::create(&root.path().join("file")).is_err());
}

#[test]
fn a_crash_between_the_renames_is_undone() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("out");
    // The state of the second row of the table in `AtomicDir`.
    fs::create_dir(root.path().join(".out.old")).unwrap();
    fs::write(root.path().join(".out.old/a"), "old").unwrap();
    assert!(AtomicDir::recover(&target).unwrap());
    assert_eq!(fs::read(target.join("a")).unwrap(), b"old");
    assert!(!AtomicDir::recover(&target).unwrap());
    // The third row: a leftover beside a good target goes with the next commit, or at once.
    let old = root.path().join(".out.old");
    fs::create_dir(&old).unwrap();
    AtomicDir::create(&target).unwrap().commit().unwrap();
    assert_eq!(names(root.path()), ["out"]);
    fs::create_dir(&old).unwrap();
    AtomicDir::settle(&target).unwrap();
    assert_eq!(names(root.path()), ["out"]);
    // The second row once more.
    fs::rename(&target, &old).unwrap();
    AtomicDir::settle(&target).unwrap();
    assert_eq!(names(root.path()), ["out"]);
}

#[test]
fn leftovers_of_a_crash_go_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    // A crash runs no destructor.
    std::mem::forget(AtomicDir::create(&root.path().join("out")).unwrap());
    std::mem::forget(AtomicFile::create(&root.path().join("a.txt")).unwrap());
    let kept = [
        ".a.tmp-1-0123abcd",
        ".a.tmp-mine",
        ".hidden",
        ".notes.old",
        "b.tmp-1-0123abcd-0",
    ];
    for name in kept {
        fs::write(root.path().join(name), "mine").unwrap();
    }
    assert_eq!(remove_leftovers(root.path()).unwrap(), 2);
    assert_eq!(names(root.path()), kept);
    assert_eq!(remove_leftovers(root.path()).unwrap(), 0);
    assert_eq!(remove_leftovers(&root.path().join("nowhere")).unwrap(), 0);
}

#[test]
fn a_folder_begun_by_a_process_that_is_gone_makes_room_for_the_next() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("out");
    let living = AtomicDir::create(&target).unwrap();
    // No process has a number of so many digits.
    let gone = root.path().join(".out.tmp-99999999999-0123abcd-0");
    let others = root.path().join(".other.tmp-99999999999-0123abcd-0");
    for folder in [&gone, &others] {
        fs::create_dir(folder).unwrap();
    }
    drop(AtomicDir::create(&target).unwrap());
    assert!(living.path().exists() && others.exists());
    assert_eq!(gone.exists(), !cfg!(target_os = "linux"));
}
