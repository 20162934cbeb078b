//! URLs of studies: no part that may be a password's is ever shown.

use proptest::prelude::*;

use super::*;

#[test]
fn a_url_has_a_server_and_a_study() {
    let url = "postgres://me:se%3Acret@base:5433/search?application_name=x&study=a%20b%25&password=secret";
    let address: Address = url.parse().unwrap();
    assert_eq!(address.study(), "a b%");
    let shown = address.to_string();
    assert_eq!(
        shown,
        "postgres://me@base:5433/search?application_name=x&study=a%20b%25"
    );
    assert_eq!(shown.parse::<Address>().unwrap().to_string(), shown);
    for wrong in [
        "postgres://base/search",
        "postgres:///search?study=a",
        "postgres://base/search?study=",
        "postgres://base/search?study=%0a",
        "postgres://base/search?study=%ff",
        "postgres://base/search?study=a&study=b",
        "postgres://base:secret/search?study=a",
        "postgres://me:sec@ret@base/search?study=a",
        "postgres://base/search?secret=1&study=a",
        "postgres://base/search?sslmode=prefer&study=a",
        "postgres://base/search?sslmode=secret&study=a",
        "secret",
    ] {
        let error = wrong.parse::<Address>().unwrap_err().to_string();
        let leaks = error.contains("secret") || error.contains("ret@");
        assert!(!leaks && error.contains("expected postgres://"), "{error}");
    }
    let long = format!("postgres://base/search?study={}", "a".repeat(201));
    assert!(long.parse::<Address>().is_err());
}

proptest! {
    /// Whatever stands where a password stands is in no text that is shown.
    #[test]
    fn no_password_is_shown(password in "[!-~]{6,20}", within in any::<bool>()) {
        let url = match within {
            true => format!("postgres://me:{password}@base/search?study=a"),
            false => format!("postgres://base/search?study=a&password={password}"),
        };
        let (shown, form) = match url.parse::<Address>() {
            Ok(address) => (format!("{address} {address:?}"), String::new()),
            Err(error) => (
                format!("{error} {error:?}"),
                "postgres://".parse::<Address>().unwrap_err().to_string(),
            ),
        };
        // What every message has says nothing.
        prop_assume!(!form.contains(&password));
        prop_assert!(!shown.contains(&password), "{}", shown);
    }

    /// No text is more than refused.
    #[test]
    fn any_text_is_a_url_or_is_refused(text in "(postgres(ql)?://)?[ -~%@:/?&=é]{0,60}(study=a)?") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert!(!address.study().is_empty());
        }
    }
}
