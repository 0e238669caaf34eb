//! How wide texts are, as far as that can be known without a font.

/// Returns about how wide a text is at 13 pixels of a sans serif, a little more than it will be.
pub(crate) fn width_of(text: &str) -> i64 {
    text.chars().map(width_of_letter).sum::<i64>() / 10
}

/// In tenths of a pixel.
fn width_of_letter(letter: char) -> i64 {
    match letter {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | '(' | ')' | '['
        | ']' | '/' | ' ' | '-' | 'I' => 45,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 112,
        'A'..='Z' => 88,
        letter if letter.is_ascii() => 75,
        _ => 132,
    }
}

/// Returns as much of a text as is no wider.
pub(crate) fn fitting(text: &str, width: i64) -> String {
    if width_of(text) <= width {
        return text.to_owned();
    }
    let (mut used, mut kept) = (0, String::new());
    for letter in text.chars() {
        used += width_of_letter(letter);
        if used / 10 > width - 12 {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}
