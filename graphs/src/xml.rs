//! Text for XML.

use crate::style::visible;

/// Escapes a text for elements and for attributes between double quotes; what cannot be seen, or may not stand in XML
/// at all, is written out as `<U+0000>` first.
///
/// # Sources
///
/// Extensible Markup Language 1.0, fifth edition: sections 2.2 (characters) and 2.4.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_attribute_or_begins_an_element() {
        assert_eq!(escaped("a<b>\"&'\u{ffff}"), "a&lt;b&gt;&quot;&amp;&#39;\u{fffd}");
        assert_eq!(escaped("nul\0"), "nul&lt;U+0000&gt;");
    }
}
