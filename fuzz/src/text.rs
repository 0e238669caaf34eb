//! What a person's terminal must never be sent, and what stands in its place: said again here, so that writer and
//! check share nothing.

/// Returns whether a character steers a terminal, shows nothing, or turns the direction of writing.
pub fn is_hostile(character: char) -> bool {
    let number = u32::from(character);
    // C0, DEL and C1.
    let is_control = number < 0x20 || (0x7f..0xa0).contains(&number);
    let is_format = matches!(number,
        0xad | 0x61c | 0x180e | 0xfeff
        | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f
        | 0xfff9..=0xfffb | 0xe0000..=0xe007f);
    is_control || is_format
}

/// Writes hostile characters out as `\u{1b}`.
pub fn shown(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if is_hostile(character) {
            shown.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A name as a label of a series: line feeds stay, 128 characters do.
pub fn as_label(name: &str) -> String {
    let lines: Vec<String> = name.split('\n').map(shown).collect();
    lines.join("\n").chars().take(128).collect()
}

/// A name in a drawing: `<U+202E>`, 200 characters.
pub fn as_drawn(name: &str) -> String {
    let mut drawn = String::new();
    for character in name.chars().take(200) {
        if is_hostile(character) {
            drawn.push_str(&format!("<U+{:04X}>", u32::from(character)));
        } else {
            drawn.push(character);
        }
    }
    if name.chars().nth(200).is_some() {
        drawn.push('…');
    }
    drawn
}

/// The same text with something harmless in the place of each hostile character, different for each.
pub fn harmless(text: &str) -> String {
    let replaced = |character: char| {
        let number = u32::from(character);
        // The private use planes.
        let other = if number < 0x1_0000 { 0xf_0000 + number } else { 0x10_0000 + (number & 0xfff) };
        char::from_u32(other).unwrap_or('?')
    };
    text.chars()
        .map(|character| if is_hostile(character) { replaced(character) } else { character })
        .collect()
}

/// Panics where a text would steer a terminal. Colours are ours: `ESC [ number m`.
pub fn is_fit_for_a_terminal(text: &str, is_coloured: bool) {
    let mut rest = text;
    while let Some(at) = rest.find(|character| is_hostile(character) && character != '\n') {
        let colour = rest[at..].strip_prefix("\u{1b}[").and_then(|behind| {
            let digits = behind.bytes().take_while(u8::is_ascii_digit).count();
            behind[digits..].strip_prefix('m').filter(|_| (1..=2).contains(&digits))
        });
        rest = match colour {
            Some(behind) if is_coloured => behind,
            Some(_) | None => panic!("{:?} reaches the terminal", rest[at..].chars().next()),
        };
    }
}

/// Panics where serialized JSON holds what would steer the terminal it is printed on.
pub fn is_fit_json(text: &str) -> serde_json::Value {
    is_fit_for_a_terminal(text, false);
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
