//! Escaping for each output. Names come from the wire, from Docker and from files; none may steer a terminal,
//! break a line or end an attribute.
//!
//! What is *hostile* is the same everywhere: control characters, line and paragraph separators, characters that
//! are invisible, and those that turn the direction of writing (Unicode Technical Report 36, "Trojan Source").
//! Each is shown as `\u{...}`, so that a person sees that something is there.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a character must not reach an output as it is.
pub fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' // soft hyphen, Arabic letter mark, Mongolian vowel separator
            | '\u{200b}'..='\u{200f}'         // zero width, direction marks
            | '\u{2028}'..='\u{202e}'         // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'         // joiners, isolates, deprecated format characters
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}') // tags
}

/// Escapes for a terminal: one line, no control over it.
pub fn terminal(text: &str) -> Cow<'_, str> {
    escape(text, is_hostile, visible)
}

/// Escapes bytes that may not be UTF-8 for a terminal; what is no text is shown as U+FFFD.
pub fn terminal_bytes(bytes: &[u8]) -> String {
    terminal(&String::from_utf8_lossy(bytes)).into_owned()
}

/// Escapes for HTML text and for attribute values between double quotes.
pub fn html(text: &str) -> Cow<'_, str> {
    let is_special =
        |character| matches!(character, '&' | '<' | '>' | '"' | '\'' | '`') || is_hostile(character);
    escape(text, is_special, |character, into| match character {
        '&' => into.push_str("&amp;"),
        '<' => into.push_str("&lt;"),
        '>' => into.push_str("&gt;"),
        '"' => into.push_str("&quot;"),
        '\'' => into.push_str("&#39;"),
        '`' => into.push_str("&#96;"),
        other => visible(other, into),
    })
}

/// Escapes for a Prometheus label value between double quotes (text format 0.0.4): backslash, quote and line feed
/// by its rules, everything else that is hostile made visible first.
pub fn label(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'"');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let is_special = |character| matches!(character, '\\' | '"') || is_hostile(character);
    escape(text, is_special, |character, into| match character {
        '\\' => into.push_str("\\\\"),
        '"' => into.push_str("\\\""),
        '\n' => into.push_str("\\n"),
        other => {
            // The format would read a single backslash as the start of its own escape.
            into.push('\\');
            visible(other, into);
        }
    })
}

/// Escapes what a JSON serializer leaves alone. Takes serialized JSON, in which such characters can only stand
/// inside strings.
pub fn json(serialized: &str) -> Cow<'_, str> {
    // Nearly all of it is this, and looked through many bytes at a time.
    let is_plain = |chunk: &[u8]| {
        chunk.iter().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'~' | b'\n'))
    };
    if serialized.as_bytes().chunks(256).all(is_plain) {
        return Cow::Borrowed(serialized);
    }
    // Line feeds between values (pretty printing) are structure, not text.
    let is_special = |character| is_hostile(character) && character != '\n';
    escape(serialized, is_special, |character, into| {
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            push(into, format_args!("\\u{unit:04x}"));
        }
    })
}

fn escape<'a>(
    text: &'a str,
    is_special: impl Fn(char) -> bool,
    put: impl Fn(char, &mut String),
) -> Cow<'a, str> {
    let Some(start) = text.find(&is_special) else {
        return Cow::Borrowed(text);
    };
    let (plain, rest) = text.split_at(start);
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(plain);
    for character in rest.chars() {
        if is_special(character) {
            put(character, &mut escaped);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn visible(character: char, into: &mut String) {
    push(into, format_args!("\\u{{{:x}}}", u32::from(character)));
}

fn push(into: &mut String, text: std::fmt::Arguments<'_>) {
    into.write_fmt(text).expect("a String never refuses text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_gets_its_own_escapes() {
        #[rustfmt::skip]
        let cases = [
            // text              terminal             html                      label
            ("web",              "web",               "web",                    "web"),
            ("\u{1b}[2J",        "\\u{1b}[2J",        "\\u{1b}[2J",             "\\\\u{1b}[2J"),
            ("a\nb",             "a\\u{a}b",          "a\\u{a}b",               "a\\nb"),
            ("a\\b\"c",          "a\\b\"c",           "a\\b&quot;c",            "a\\\\b\\\"c"),
            ("<script>&'`",      "<script>&'`",       "&lt;script&gt;&amp;&#39;&#96;", "<script>&'`"),
            ("x\u{202e}y",       "x\\u{202e}y",       "x\\u{202e}y",            "x\\\\u{202e}y"),
            ("\u{2066}\u{9b}\0", "\\u{2066}\\u{9b}\\u{0}", "\\u{2066}\\u{9b}\\u{0}", "\\\\u{2066}\\\\u{9b}\\\\u{0}"),
            ("größe 大",         "größe 大",          "größe 大",               "größe 大"),
        ];
        for (text, for_terminal, for_html, for_label) in cases {
            assert_eq!(terminal(text), for_terminal, "terminal, {text:?}");
            assert_eq!(html(text), for_html, "html, {text:?}");
            assert_eq!(label(text), for_label, "label, {text:?}");
        }
        assert_eq!(terminal_bytes(b"a\xff\x1b"), "a\u{fffd}\\u{1b}");
    }

    #[test]
    fn escaped_json_holds_no_hostile_character_and_reads_back_as_it_was() {
        let text = "a\u{202e}b\u{7f}\u{9b}\u{e0041}\n\u{1b}\"";
        let serialized = serde_json::to_string_pretty(&[text, text]).unwrap();
        let escaped = json(&serialized);
        assert!(!escaped.chars().any(|character| is_hostile(character) && character != '\n'), "{escaped}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), [text, text]);
    }
}
