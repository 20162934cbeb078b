//! The readers under test: bytes in, an error or success out.

use peft_data::{
    CausalOptions, ChatTemplate, Clock, ColumnMap, Conversation, DataError, Dataset, Format,
    LoadOptions, LossOn, Marks, Message, Parts, Preview, RowReader, Task, TextTokenizer, TooLong,
};
use std::cell::RefCell;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use tempfile::TempDir;

/// Rows looked at: a damaged number of rows may promise billions.
const ROWS: usize = 2000;

pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]) -> Result<(), DataError>,
    /// Pieces of the format.
    pub words: &'static [&'static str],
    /// Bytes that one input may take at most.
    pub memory: usize,
}

const JSON: &[&str] = &[
    "{\"text\":\"a\",\"label\":1}\n",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ":",
    ",",
    "\\u0000",
    "\\ud800",
    "[1.0,0.0]",
    "[[1]]",
    "\n",
];
const TOKENIZER: &[&str] = &[
    "null",
    "true",
    "false",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "[UNK]",
    "\"vocab\"",
    "\"merges\"",
    "\"type\"",
    "\"BPE\"",
    "\"WordPiece\"",
    "\"Unigram\"",
    "\"WordLevel\"",
    "\"Sequence\"",
    "\"ByteLevel\"",
    "\"Replace\"",
    "\"Regex\"",
    "\"String\"",
    "\"(((\"",
    "\"\\\\p{L}+\"",
    "##",
    "\\u0120",
];

const CHAT: &[&str] = &[
    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n",
    "\"conversations\"",
    "\"from\":\"gpt\"",
    "\"value\"",
    "\"prompt\"",
    "\"completion\"",
    "\"tools\":[{}]",
    "\"tool_calls\":[]",
    "{\"type\":\"text\",\"text\":\"x\"}",
    "null",
    "[",
    "]",
    "{",
    "}",
    "[[1,{}]]",
    "\"",
    ":",
    ",",
    "\\ue000",
    "\u{E001}",
    "\n",
];
const JINJA: &[&str] = &[
    "{%- for m in messages %}",
    "{% endfor %}",
    "{% generation %}",
    "{%- endgeneration -%}",
    "{% if true %}",
    "{% endif %}",
    "{{ m.content | trim }}",
    "{{ messages | tojson }}",
    "{% set ns = namespace(a=messages) %}",
    "{% set ns.a = ns.a ~ ns.a %}",
    "range(9999999)",
    "{% macro f() %}",
    "{% endmacro %}",
    "raise_exception('x')",
    "strftime_now('%d')",
    "{#",
    "#}",
    "{{",
    "}}",
    "'",
    "-",
];

pub const TARGETS: &[Target] = &[
    Target {
        name: "csv",
        run: csv,
        words: &["\"", "\"\"", ",", "\r\n", "\u{FEFF}", "text,label\n"],
        memory: 1 << 25,
    },
    Target {
        name: "tsv",
        run: tsv,
        words: &["\t", "\r\n", "\u{FEFF}", "\"", "text\tlabel\n"],
        memory: 1 << 25,
    },
    Target {
        name: "jsonl",
        run: jsonl,
        words: JSON,
        memory: 1 << 25,
    },
    Target {
        name: "text",
        run: text,
        words: &["\r\n", "\u{FEFF}", "\u{2028}"],
        memory: 1 << 25,
    },
    #[cfg(feature = "parquet")]
    Target {
        name: "parquet",
        run: parquet,
        words: &["PAR1", "PARE"],
        memory: 1 << 28,
    },
    Target {
        name: "load",
        run: load,
        words: JSON,
        memory: 1 << 25,
    },
    Target {
        name: "causal",
        run: causal,
        words: CHAT,
        memory: 1 << 26,
    },
    Target {
        name: "chat_template",
        run: chat_template,
        words: JINJA,
        // Fuel allows 64 bytes a unit, twice: what is made and what is written.
        memory: 1 << 30,
    },
    Target {
        name: "tokenizer_json",
        run: tokenizer_json,
        words: TOKENIZER,
        memory: 1 << 28,
    },
    Target {
        name: "vocab_txt",
        run: vocab_txt,
        words: &["[UNK]\n", "[CLS]\n", "##", "\n\n", "\u{120}"],
        memory: 1 << 28,
    },
    Target {
        name: "byte_bpe",
        run: byte_bpe,
        words: TOKENIZER,
        memory: 1 << 28,
    },
    Target {
        name: "tokenizer_config",
        run: tokenizer_config,
        words: TOKENIZER,
        memory: 1 << 28,
    },
];

fn rows(bytes: &[u8], format: Format) -> Result<(), DataError> {
    // The first byte's parity says whether there is a header: both ways get their share.
    let header = bytes.first().is_none_or(|b| b % 2 == 0);
    let stream = Box::new(Cursor::new(bytes.to_vec()));
    for row in RowReader::new(stream, "f", format, header)?.take(ROWS) {
        let row = row?;
        assert_eq!(row.names().len(), row.iter().count());
    }
    Ok(())
}

fn csv(bytes: &[u8]) -> Result<(), DataError> {
    rows(bytes, Format::Csv)
}

fn tsv(bytes: &[u8]) -> Result<(), DataError> {
    rows(bytes, Format::Tsv)
}

fn jsonl(bytes: &[u8]) -> Result<(), DataError> {
    rows(bytes, Format::Jsonl)
}

fn text(bytes: &[u8]) -> Result<(), DataError> {
    rows(bytes, Format::Text)
}

#[cfg(feature = "parquet")]
fn parquet(bytes: &[u8]) -> Result<(), DataError> {
    let reader = RowReader::parquet(Cursor::new(bytes.to_vec()), "f")?;
    for name in reader.names().unwrap_or_default() {
        let _ = reader.class_names(name);
    }
    for row in reader.take(ROWS) {
        let row = row?;
        assert_eq!(row.names().len(), row.iter().count());
    }
    Ok(())
}

/// JSON lines under every task, up to token ids and counts.
fn load(bytes: &[u8]) -> Result<(), DataError> {
    thread_local! {
        static TOKENIZER: TextTokenizer = {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordpiece");
            TextTokenizer::from_dir(&folder).unwrap()
        };
    }
    let tasks = [Task::Classify, Task::Regress, Task::MultiLabel];
    let task = tasks[bytes.len() % 3];
    let open = || {
        RowReader::new(
            Box::new(Cursor::new(bytes.to_vec())),
            "f",
            Format::Jsonl,
            true,
        )
    };
    let several = bytes.len().is_multiple_of(5);
    let options = LoadOptions {
        columns: ColumnMap {
            label: several.then(|| "a,b".to_owned()),
            ..ColumnMap::default()
        },
        limit: Some(50),
        spill: if bytes.len().is_multiple_of(2) {
            16
        } else {
            1 << 20
        },
        ..LoadOptions::new(task, 12)
    };
    TOKENIZER.with(|tokenizer| {
        let loaded = Dataset::from_reader(open()?, &options, tokenizer);
        let preview = Preview::from_reader(open()?, &options, tokenizer, 2);
        assert_eq!(loaded.is_ok(), preview.is_ok());
        let (set, report) = loaded?;
        let all: Vec<usize> = (0..set.len()).collect();
        let batch = set.batch(&all)?;
        assert_eq!((batch.rows(), report.rows), (set.len(), set.len()));
        assert_eq!(batch.labels.len(), set.len());
        Ok(())
    })
}

/// Conversations, prompts and texts under a template, whole, in parts and for a look.
fn causal(bytes: &[u8]) -> Result<(), DataError> {
    thread_local! {
        static TOKENIZER: TextTokenizer = {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bpe");
            TextTokenizer::from_dir(&folder).unwrap()
        };
        static TEMPLATE: ChatTemplate = template(
            b"{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>\n{% endfor %}"
        )
        .unwrap();
    }
    let open = || {
        let stream = Box::new(Cursor::new(bytes.to_vec()));
        RowReader::new(stream, "f", Format::Jsonl, true)
    };
    let losses = [
        None,
        Some(LossOn::All),
        Some(LossOn::Last),
        Some(LossOn::Completion),
    ];
    TOKENIZER.with(|tokenizer| {
        TEMPLATE.with(|template| {
            let options = LoadOptions {
                limit: Some(50),
                spill: 64,
                causal: CausalOptions {
                    template: (!bytes.len().is_multiple_of(7)).then_some(template),
                    loss_on: losses[bytes.len() % 4],
                    too_long: [None, Some(TooLong::Split), Some(TooLong::Drop)][bytes.len() % 3],
                    ..CausalOptions::default()
                },
                ..LoadOptions::new(Task::CausalLm, 24)
            };
            let loaded = Dataset::from_reader(open()?, &options, tokenizer);
            let preview = Preview::from_reader(open()?, &options, tokenizer, 2);
            assert_eq!(loaded.is_ok(), preview.is_ok());
            let (set, report) = loaded?;
            preview?.first.iter().for_each(|row| {
                assert!(!row.marked(&Marks::PLAIN).contains('\u{1b}'));
            });
            let parts = Parts::new(open()?, &options, tokenizer, 3)?;
            let parts = parts.map(|part| part.map(|part| part.len()));
            assert_eq!(parts.sum::<Result<usize, _>>()?, set.len());
            let causal = report.causal.unwrap();
            assert_eq!((report.rows, causal.targets), (set.len(), set.targets()));
            assert!(causal.targets >= set.len() && set.lengths().iter().all(|l| *l <= 24));
            Ok(())
        })
    })
}

fn template(bytes: &[u8]) -> Result<ChatTemplate, DataError> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    ChatTemplate::new(Path::new("f"), [("default", text)], Clock::System)
}

/// A template, which then gets a conversation.
fn chat_template(bytes: &[u8]) -> Result<(), DataError> {
    let turns = [
        ("user", "a"),
        ("assistant", " b\n"),
        ("user", "c"),
        ("assistant", "d"),
    ];
    let turns = turns.map(|(role, content)| Message::new(role, content));
    let rendered = template(bytes)?.render_answers(&Conversation::new(turns.into()), &[1, 3])?;
    for answer in rendered.answers {
        assert!(rendered.text.get(answer).is_some());
    }
    Ok(())
}

/// Writes the files into a folder of this thread and opens the tokenizer there.
fn folder(files: &[(&str, &[u8])]) -> Result<(), DataError> {
    thread_local! {
        static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
    }
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| {
            // In memory where the system offers that: a million files are many.
            tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap()
        });
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let tokenizer = TextTokenizer::from_dir(folder.path())?;
        tokenizer
            .encode("abc [UNK] film, <s>", Some("a b"), 12)
            .map(|_| ())
    })
}

const VOCAB: &[u8] = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n##c\nfilm\n";
const MERGES: &[u8] = b"#version: 0.2\na b\nab c\n";
const BPE: &[u8] =
    br#"{"<s>":0,"<pad>":1,"</s>":2,"<unk>":3,"<mask>":4,"a":5,"b":6,"c":7,"ab":8,"abc":9}"#;

fn tokenizer_json(bytes: &[u8]) -> Result<(), DataError> {
    folder(&[("tokenizer.json", bytes)])
}

fn vocab_txt(bytes: &[u8]) -> Result<(), DataError> {
    folder(&[("vocab.txt", bytes)])
}

/// The vocabulary and the merges, whichever the bytes look like.
fn byte_bpe(bytes: &[u8]) -> Result<(), DataError> {
    match bytes.first() {
        Some(b'{') => folder(&[("vocab.json", bytes), ("merges.txt", MERGES)]),
        _ => folder(&[("vocab.json", BPE), ("merges.txt", bytes)]),
    }
}

/// One of the three small files beside a vocabulary.
fn tokenizer_config(bytes: &[u8]) -> Result<(), DataError> {
    let names = [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ];
    folder(&[("vocab.txt", VOCAB), (names[bytes.len() % 3], bytes)])
}
