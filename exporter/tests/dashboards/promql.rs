//! As much of PromQL as it takes to say which metrics and labels an expression names.

use std::collections::BTreeSet;

/// A metric as one expression asks for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    /// Labels compared, and with what.
    pub(crate) matchers: Vec<(String, String)>,
    /// The function it is the argument of, `rate`; empty where there is none.
    pub(crate) within: String,
    /// `[$__range]`, or empty.
    pub(crate) range: String,
}

/// What an expression names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) selectors: Vec<Selector>,
    /// Labels it groups or joins by.
    pub(crate) grouped: BTreeSet<String>,
    /// Labels it makes, by `label_replace` and `label_join`.
    pub(crate) made: BTreeSet<String>,
    /// Labels it makes them of.
    pub(crate) read: BTreeSet<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// Reads an expression. What it does not understand it takes for something else, and the test that asks complains.
pub(crate) fn names(expr: &str) -> Names {
    let tokens = tokens(expr);
    let mut names = Names::default();
    // Open brackets: the function before each, and the texts of its own arguments.
    let mut open: Vec<(String, Vec<String>)> = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(word) => {
                let next = tokens.get(at);
                if is_metric(word) {
                    let within = open.last().map_or(String::new(), |(function, _)| function.clone());
                    let mut selector =
                        Selector { metric: word.clone(), matchers: Vec::new(), within, range: String::new() };
                    if next == Some(&Token::Sign('{')) {
                        at += 1;
                        while let Some(Token::Word(label)) = tokens.get(at) {
                            // A label, one or two signs, a text, perhaps a comma.
                            let text = (at..).find_map(|place| match tokens.get(place) {
                                Some(Token::Text(text)) => Some((place, text.clone())),
                                None => Some((place, String::new())),
                                Some(Token::Word(_) | Token::Sign(_)) => None,
                            });
                            let (place, text) = text.unwrap_or_default();
                            selector.matchers.push((label.clone(), text));
                            at = place + 1;
                            if tokens.get(at) == Some(&Token::Sign(',')) {
                                at += 1;
                            }
                        }
                        at += 1;
                    }
                    if tokens.get(at) == Some(&Token::Sign('['))
                        && let Some(Token::Word(range)) = tokens.get(at + 1)
                    {
                        selector.range.clone_from(range);
                        at += 3;
                    }
                    names.selectors.push(selector);
                } else if matches!(
                    word.as_str(),
                    "by" | "without" | "on" | "ignoring" | "group_left" | "group_right"
                ) && next == Some(&Token::Sign('('))
                {
                    at += 1;
                    while let Some(token) = tokens.get(at) {
                        at += 1;
                        match token {
                            Token::Word(label) => drop(names.grouped.insert(label.clone())),
                            Token::Sign(')') => break,
                            Token::Sign(_) | Token::Text(_) => {}
                        }
                    }
                } else if next == Some(&Token::Sign('(')) {
                    at += 1;
                    open.push((word.clone(), Vec::new()));
                }
            }
            Token::Text(text) => {
                if let Some((_, texts)) = open.last_mut() {
                    texts.push(text.clone());
                }
            }
            Token::Sign('(') => open.push((String::new(), Vec::new())),
            Token::Sign(')') => {
                let (function, texts) = open.pop().unwrap_or_default();
                let (made, read) = match function.as_str() {
                    "label_replace" => (texts.first(), texts.get(2..3)),
                    "label_join" => (texts.first(), texts.get(2..)),
                    _ => (None, None),
                };
                names.made.extend(made.cloned());
                names.read.extend(read.unwrap_or_default().iter().cloned());
            }
            Token::Sign(_) => {}
        }
    }
    names
}

fn is_metric(word: &str) -> bool {
    word.starts_with("portolan_")
        || word.starts_with("portolan:")
        || matches!(word, "up" | "scrape_duration_seconds")
}

fn tokens(expr: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expr.chars().peekable();
    while let Some(sign) = rest.next() {
        if sign == '"' {
            let text: String = std::iter::from_fn(|| rest.next_if(|sign| *sign != '"')).collect();
            rest.next();
            tokens.push(Token::Text(text));
        } else if sign.is_ascii_alphanumeric() || "_:$".contains(sign) {
            let is_of_word = |sign: &char| sign.is_ascii_alphanumeric() || "_:.".contains(*sign);
            let word: String =
                std::iter::once(sign).chain(std::iter::from_fn(|| rest.next_if(is_of_word))).collect();
            tokens.push(Token::Word(word));
        } else if !sign.is_whitespace() {
            tokens.push(Token::Sign(sign));
        }
    }
    tokens
}
