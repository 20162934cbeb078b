//! Rows of language models, from files to flags of tokens.

mod common;

use common::{BOS, EOS, bytes};
use peft_data::{
    CausalOptions, ChatTemplate, Clock, ColumnMap, DataError, Dataset, Format, Labels, LoadOptions,
    LoadReport, LossOn, Marks, MaskKind, Parts, Preview, RowReader, SampleBy, Task, TextTokenizer,
    TooLong,
};
use proptest::prelude::*;
use std::io::Cursor;
use std::path::Path;

fn reader(text: &str, format: Format) -> RowReader {
    let stream = Box::new(Cursor::new(text.as_bytes().to_vec()));
    RowReader::new(stream, "data", format, true).unwrap()
}

fn options(max_length: usize) -> LoadOptions<'static> {
    LoadOptions::new(Task::CausalLm, max_length)
}

type Loaded = Result<(Dataset, LoadReport), DataError>;

fn load(
    text: &str,
    format: Format,
    options: &LoadOptions<'_>,
    tokenizer: &TextTokenizer,
) -> Loaded {
    Dataset::from_reader(reader(text, format), options, tokenizer)
}

/// Rows as text, with brackets around what is predicted.
fn marked(set: &Dataset, tokenizer: &TextTokenizer) -> Vec<String> {
    let mut rows = Vec::new();
    for row in 0..set.len() {
        let batch = set.batch(&[row]).unwrap();
        let Labels::Tokens { trained } = batch.labels else {
            panic!("no flags");
        };
        let (mut out, mut before) = (String::new(), false);
        for (&id, trained) in batch.ids.iter().zip(trained) {
            if trained != before {
                out.push_str(if trained { "[" } else { "]" });
                before = trained;
            }
            out.push_str(&tokenizer.decode(&[id], false).unwrap());
        }
        out.push_str(if before { "]" } else { "" });
        rows.push(out);
    }
    rows
}

#[test]
fn texts_end_and_their_first_token_is_given() {
    let rows = "{\"text\": \"ab\"}\n{\"text\": \" \"}\n{\"text\": \"c</s>\"}\n{\"text\": \"d\"}\n";
    let tokenizer = bytes(false);
    let (set, report) = load(rows, Format::Jsonl, &options(8), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["a[b</s>]", "c[</s>]", "d[</s>]"]);
    let causal = report.causal.unwrap();
    assert_eq!((report.rows, report.empty_texts), (3, 1));
    assert_eq!((causal.tokens, causal.targets), (7, 4));
    assert_eq!(
        (set.targets(), causal.shape.as_str()),
        (4, "text in column `text`")
    );

    let tokenizer = bytes(true);
    let (set, _) = load(rows, Format::Jsonl, &options(8), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer)[0], "<s>[ab</s>]");
    assert_eq!(set.ids(0).unwrap(), [BOS, 97, 98, EOS]);
    // Without the end, one token alone has nothing to predict.
    let mut bare = options(8);
    bare.causal.append_eos = false;
    let (set, report) = load(rows, Format::Jsonl, &bare, &bytes(false)).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["a[b]", "c[</s>]"]);
    assert_eq!(report.causal.unwrap().dropped_without_target, 1);
}

#[test]
fn long_rows_are_cut_split_or_dropped_and_counted() {
    let rows = "{\"text\": \"abcdefg\"}\n{\"text\": \"xy\"}\n";
    let tokenizer = bytes(true);
    let (set, report) = load(rows, Format::Jsonl, &options(4), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["<s>[abc]", "<s>[xy</s>]"]);
    let cut = report.causal.unwrap().cut;
    assert_eq!((cut.rows, cut.tokens), (1, 5));
    assert_eq!((report.truncated_rows, report.truncated_tokens), (1, 5));

    let mut o = options(4);
    o.causal.too_long = Some(TooLong::Drop);
    let (set, report) = load(rows, Format::Jsonl, &o, &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["<s>[xy</s>]"]);
    assert_eq!(report.causal.unwrap().dropped_too_long, 1);

    o.causal.too_long = Some(TooLong::Split);
    let (set, report) = load(rows, Format::Jsonl, &o, &tokenizer).unwrap();
    let want = ["<s>[abc]", "c[def]", "f[g</s>]", "<s>[xy</s>]"];
    assert_eq!(marked(&set, &tokenizer), want);
    assert_eq!(report.causal.unwrap().split_texts, 1);
    // A window of four tokens and a stride of two.
    o.causal.overlap = 2;
    let (set, _) = load(rows, Format::Jsonl, &o, &tokenizer).unwrap();
    let want = ["<s>[abc]", "bc[de]", "de[fg]", "fg[</s>]", "<s>[xy</s>]"];
    assert_eq!(marked(&set, &tokenizer), want);
}

#[test]
fn plain_text_is_one_document_paragraphs_or_lines() {
    let (text, tokenizer) = ("ab\r\nc\n\n\nd", bytes(false));
    let by = |sample_by| {
        let mut o = options(100);
        o.causal.sample_by = sample_by;
        let (set, _) = load(text, Format::Text, &o, &tokenizer).unwrap();
        marked(&set, &tokenizer)
    };
    assert_eq!(by(SampleBy::Document), ["a[b\nc\n\n\nd</s>]"]);
    assert_eq!(by(SampleBy::Paragraph), ["a[b\nc</s>]", "d[</s>]"]);
    assert_eq!(by(SampleBy::Line), ["a[b</s>]", "c[</s>]", "d[</s>]"]);
    let empty = load("\n \n", Format::Text, &options(9), &tokenizer).unwrap_err();
    assert!(empty.to_string().contains("no data rows"), "{empty}");
}

#[test]
fn parts_and_subsets_and_spilled_rows_are_those_of_the_whole() {
    let text: String = (0..400)
        .map(|i| format!("line {i}, {}\n", "x".repeat(i % 17)))
        .collect();
    let tokenizer = bytes(true);
    for format in [Format::Text, Format::Jsonl] {
        let text = match format {
            Format::Text => text.clone(),
            _ => text
                .lines()
                .map(|line| format!("{{\"prompt\": \"{line}\", \"completion\": \" yes\"}}\n"))
                .collect(),
        };
        let o = options(24);
        let (whole, report) = load(&text, format, &o, &tokenizer).unwrap();
        let spilled = LoadOptions {
            spill: 64,
            ..o.clone()
        };
        let (spilled, _) = load(&text, format, &spilled, &tokenizer).unwrap();
        assert!(spilled.is_spilled() && spilled == whole);
        let mut parts = Parts::new(reader(&text, format), &o, &tokenizer, 7).unwrap();
        let sets: Vec<Dataset> = parts.by_ref().map(Result::unwrap).collect();
        assert!(format == Format::Text || sets.len() > 20);
        assert!(format == Format::Text || sets.iter().all(|set| set.len() <= 7));
        let rows: Vec<String> = sets
            .iter()
            .flat_map(|set| marked(set, &tokenizer))
            .collect();
        assert_eq!(rows, marked(&whole, &tokenizer));
        assert_eq!(parts.report(), report);
        let (fit, select) = whole.split_sets(0.25, 3).unwrap();
        assert_eq!(fit.targets() + select.targets(), whole.targets());
        let subset = whole.subset(&[5, 2]).unwrap();
        assert_eq!(
            marked(&subset, &tokenizer)[1],
            marked(&whole, &tokenizer)[2]
        );
        let limited = LoadOptions {
            limit: Some(3),
            ..o.clone()
        };
        assert_eq!(
            load(&text, format, &limited, &tokenizer).unwrap().0.len(),
            3
        );
    }
}

#[test]
fn completions_are_predicted_with_their_end() {
    let rows = "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n{\"prompt\": \"\", \"completion\": \"ab\"}\n\
                {\"prompt\": \"q\", \"completion\": \"\"}\n";
    let tokenizer = bytes(true);
    let (set, report) = load(rows, Format::Jsonl, &options(40), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["<s>1+1=[2</s>]", "<s>[ab</s>]"]);
    assert_eq!(report.empty_texts, 1);
    let mut all = options(40);
    all.causal.loss_on = Some(LossOn::All);
    let (set, _) = load(rows, Format::Jsonl, &all, &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer)[0], "<s>[1+1=2</s>]");
    // The answer is cut off: the row is dropped, and said to be.
    let error = load(rows, Format::Jsonl, &options(5), &tokenizer);
    let (set, report) = error.unwrap();
    let causal = report.causal.unwrap();
    assert_eq!(
        (
            set.len(),
            causal.dropped_without_target,
            causal.dropped_beyond_length,
            causal.cut.lost_answers
        ),
        (1, 0, 1, 1)
    );
    assert_eq!((causal.left_out(), report.empty_texts), (1, 1));
    // Of all rows that are left out, why.
    let long = "{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n";
    let error = load(long, Format::Jsonl, &options(5), &tokenizer).unwrap_err();
    let want = "0 have nothing to predict, 1 are too long for 5 tokens, 0 are empty";
    assert!(error.to_string().contains(want), "{error}");
    // Any two columns may be named; GSM8K's are known.
    let csv = "question,answer,x\nq?,a!,1\n";
    let (set, report) = load(csv, Format::Csv, &options(40), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["<s>q?[a!</s>]"]);
    assert_eq!(
        report.causal.unwrap().shape,
        "prompt in column `question`, completion in `answer`"
    );
    let named = LoadOptions {
        columns: ColumnMap {
            text: Some("x".into()),
            label: Some("answer".into()),
            ..ColumnMap::default()
        },
        ..options(40)
    };
    let (set, _) = load(csv, Format::Csv, &named, &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), ["<s>1[a!</s>]"]);
}

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + \
                      '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}\
                      {{ '<|im_start|>assistant\n' }}{% endif %}";

fn template(text: &str, tokenizer: &TextTokenizer) -> ChatTemplate {
    let template = ChatTemplate::new(
        Path::new("t"),
        [("default", text.to_owned())],
        Clock::System,
    );
    template.unwrap().with_tokens_of(tokenizer)
}

fn chat<'a>(template: &'a ChatTemplate, loss_on: Option<LossOn>) -> LoadOptions<'a> {
    LoadOptions {
        causal: CausalOptions {
            template: Some(template),
            loss_on,
            ..CausalOptions::default()
        },
        ..LoadOptions::new(Task::CausalLm, 400)
    }
}

#[test]
fn what_the_assistant_says_is_predicted_whatever_the_shape() {
    let tokenizer = bytes(true);
    let template = template(CHATML, &tokenizer);
    let turns = r#"[{"role":"user","content":"a"},{"role":"assistant","content":" b\n"},{"role":"user","content":"c"},{"role":"model","content":"d","name":null}]"#;
    let rows = format!("{{\"messages\": {turns}}}\n");
    let begin = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    let middle = "\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n";
    let want = format!("{begin}[ b\n<|im_end|>]{middle}[d<|im_end|>]\n");
    let (set, report) = load(&rows, Format::Jsonl, &chat(&template, None), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), std::slice::from_ref(&want));
    let causal = report.causal.unwrap();
    assert_eq!(causal.found, [(MaskKind::Sentinels, 1)]);
    assert_eq!(
        causal.roles,
        [("user".to_owned(), 2), ("assistant".to_owned(), 2)]
    );
    let last = chat(&template, Some(LossOn::Last));
    let (set, _) = load(&rows, Format::Jsonl, &last, &tokenizer).unwrap();
    let only = format!("{begin} b\n<|im_end|>{middle}[d<|im_end|>]\n");
    assert_eq!(marked(&set, &tokenizer), std::slice::from_ref(&only));
    let all = chat(&template, Some(LossOn::All));
    let (set, _) = load(&rows, Format::Jsonl, &all, &tokenizer).unwrap();
    assert_eq!(set.targets() + 1, set.tokens());

    // The same as ShareGPT, as JSON in CSV, and as prompt and completion.
    let share = r#"{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":" b\n"},{"from":"human","value":"c"},{"from":"gpt","value":"d"}]}"#;
    let (set, _) = load(share, Format::Jsonl, &chat(&template, None), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), std::slice::from_ref(&want));
    let csv = format!("messages\n\"{}\"\n", turns.replace('"', "\"\""));
    let (set, _) = load(&csv, Format::Csv, &chat(&template, None), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), [want]);
    let asked = r#"{"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":" b\n"},{"role":"user","content":"c"}],"completion":[{"role":"assistant","content":"d"}]}"#;
    let (set, _) = load(asked, Format::Jsonl, &chat(&template, None), &tokenizer).unwrap();
    assert_eq!(marked(&set, &tokenizer), [only]);
}

#[test]
fn alpaca_with_a_template_and_without() {
    let row =
        r#"{"instruction":"add","input":"1 2","output":"3","system":"s","history":[["p","q"]]}"#;
    let tokenizer = bytes(false);
    let template = template(CHATML, &tokenizer);
    let (set, report) = load(row, Format::Jsonl, &chat(&template, None), &tokenizer).unwrap();
    let want = "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\np<|im_end|>\n\
                <|im_start|>assistant\nq<|im_end|>\n<|im_start|>user\nadd\n1 2<|im_end|>\n\
                <|im_start|>assistant\n[3<|im_end|>]\n";
    assert_eq!(marked(&set, &tokenizer), [want]);
    assert_eq!(report.causal.unwrap().loss_on, "the completion");
    let error = load(row, Format::Jsonl, &options(400), &tokenizer).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row 1 (line 1), column `history`"),
        "{error}"
    );
    let row = r#"{"instruction":"add","input":"1 2","output":"3"}"#;
    let (set, _) = load(row, Format::Jsonl, &options(400), &tokenizer).unwrap();
    assert!(
        marked(&set, &tokenizer)[0]
            .ends_with("### Instruction:\nadd\n\n### Input:\n1 2\n\n### Response:\n[3</s>]")
    );
}

#[test]
fn wrong_rows_are_named() {
    let tokenizer = bytes(false);
    let template = template(CHATML, &tokenizer);
    let good = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
    let error = |bad: &str| {
        let rows = format!("{good}\n{bad}\n");
        load(&rows, Format::Jsonl, &chat(&template, None), &tokenizer)
            .unwrap_err()
            .to_string()
    };
    for (bad, part) in [
        (
            r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
            "`image_url`",
        ),
        (
            r#"{"messages":[{"content":"a"}]}"#,
            "neither `role` nor `from`",
        ),
        (
            r#"{"messages":[{"role":"user"}]}"#,
            "neither `content` nor `value`",
        ),
        (r#"{"messages":["a"]}"#, "another value"),
        (
            r#"{"messages":{"role":"user"}}"#,
            "expected a list of turns",
        ),
        (r#"{"messages":null}"#, "found nothing"),
        (
            r#"{"messages":[{"from":"function_call","value":"x"}]}"#,
            "function_call",
        ),
        (
            r#"{"messages":[{"role":"user","content":3}]}"#,
            "expected text as content",
        ),
    ] {
        let text = error(bad);
        assert!(
            text.contains("row 2 (line 2)") && text.contains(part),
            "{text}"
        );
    }
    let silent = r#"{"messages":[{"role":"user","content":"a"}]}"#;
    let rows = format!("{good}\n{silent}\n{{\"messages\":[]}}\n");
    let (set, report) = load(&rows, Format::Jsonl, &chat(&template, None), &tokenizer).unwrap();
    let causal = report.causal.unwrap();
    assert_eq!(
        (set.len(), causal.dropped_without_target, report.empty_texts),
        (1, 1, 1)
    );
}

#[test]
fn conversations_without_template_or_answer_are_explained() {
    let row = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
    let tokenizer = bytes(false);
    let error = load(row, Format::Jsonl, &options(9), &tokenizer)
        .unwrap_err()
        .to_string();
    assert!(error.contains("need a chat template"), "{error}");
    // The template writes how long the answer is: no way leads to it.
    let vague = template("{{ messages[-1].content | length }}", &tokenizer);
    let error = load(row, Format::Jsonl, &chat(&vague, None), &tokenizer).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row 1 (line 1): the chat template changes"),
        "{error}"
    );
    let strict = template(
        "{{ raise_exception('no ' ~ messages[0].role) }}",
        &tokenizer,
    );
    let error = load(row, Format::Jsonl, &chat(&strict, None), &tokenizer).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("refuses the conversation: no user"),
        "{error}"
    );
    let mut completion = chat(&strict, Some(LossOn::Completion));
    completion.require_labels = true;
    let error = load(row, Format::Jsonl, &completion, &tokenizer).unwrap_err();
    assert!(error.to_string().contains("has no completion"), "{error}");
}

#[test]
fn a_preview_shows_what_is_predicted() {
    let row = "{\"prompt\": \"é\\u001b[31m\", \"completion\": \"ok\"}\n";
    let tokenizer = bytes(true);
    let preview = Preview::from_reader(reader(row, Format::Jsonl), &options(40), &tokenizer, 5);
    let preview = preview.unwrap();
    let plain = preview.first[0].marked(&Marks::PLAIN);
    assert_eq!(plain, "<s>é\\u{1b}[31m[[ok</s>]]");
    let colour = preview.first[0].marked(&Marks::ANSI);
    assert!(colour.ends_with("\u{1b}[32mok</s>\u{1b}[0m"), "{colour:?}");
    let spans = &preview.first[0].spans;
    assert_eq!(
        (spans.len(), spans[1].tokens, spans[1].trained),
        (2, 3, true)
    );
    assert_eq!((preview.rows, preview.complete), (1, true));
    assert_eq!(preview.causal.unwrap().targets, 3);
}

#[test]
fn tokens_may_be_given_themselves() {
    let rows = [
        (vec![5u32, 6, 7], vec![true, false, true]),
        (vec![8, 9], vec![false, true]),
    ];
    let of = |rows: &[(Vec<u32>, Vec<bool>)]| {
        Dataset::from_tokens(rows.iter().map(|(a, b)| (a.as_slice(), b.as_slice())))
    };
    let set = of(&rows).unwrap();
    let Labels::Tokens { trained } = set.batch(&[1, 0]).unwrap().labels else {
        panic!("no flags");
    };
    assert_eq!(trained, [false, true, false, false, true]);
    assert!(matches!(
        of(&[(vec![1], vec![])]),
        Err(DataError::LabelCount { .. })
    ));
    assert!(matches!(
        of(&[(vec![], vec![])]),
        Err(DataError::NoTokens { .. })
    ));
    assert!(matches!(of(&[]), Err(DataError::Empty { .. })));
}

#[test]
fn ids_come_back_as_text_one_by_one() {
    let tokenizer = bytes(false);
    let text = "naïve 🙂\u{FFFD} end";
    let ids = tokenizer.encode(text, None, 100).unwrap().ids;
    let mut stream = tokenizer.decode_stream(true);
    let mut got = String::new();
    for &id in ids.iter().chain(&[EOS]) {
        got.push_str(&stream.push(id).unwrap());
    }
    got.push_str(&stream.finish().unwrap());
    assert_eq!(got, text);
    // Half a character at the end is not lost.
    let mut stream = tokenizer.decode_stream(true);
    assert_eq!(stream.push(0xF0).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{FFFD}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing is lost, and nothing is predicted twice.
    #[test]
    fn split_texts_join_again(text in "[a-z \n]{1,200}", max_length in 2usize..30, overlap in 1usize..9) {
        let tokenizer = bytes(true);
        let mut o = options(max_length.max(3));
        o.causal.overlap = overlap;
        let whole = match load(&text, Format::Text, &options(10_000), &tokenizer) {
            Ok((whole, _)) => whole,
            Err(_) => return Ok(()),
        };
        let (set, report) = load(&text, Format::Text, &o, &tokenizer).unwrap();
        let overlap = overlap.min(o.max_length - 1);
        let mut ids = Vec::new();
        for row in 0..set.len() {
            let kept = if row == 0 { 0 } else { overlap };
            ids.extend_from_slice(&set.ids(row).unwrap()[kept..]);
        }
        prop_assert_eq!(&ids, whole.ids(0).unwrap());
        prop_assert_eq!(set.targets(), whole.targets());
        prop_assert_eq!(report.causal.unwrap().targets, ids.len() - 1);
        prop_assert!(set.lengths().iter().all(|length| *length <= o.max_length));
    }
}
