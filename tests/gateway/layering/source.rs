//! The paths in a Rust source file, by its text.

use std::{collections::BTreeSet, iter::Peekable, vec::IntoIter};

/// A path as it is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WrittenPath {
    pub(super) segments: Vec<String>,
    /// The name that a `use` gives to it in this file; none for a path within code and for a glob import.
    pub(super) local_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    PathSeparator,
    Other(char),
}

/// The code without comments, literals and the inline modules that only tests have.
pub(super) fn code_only(source: &str) -> String {
    without_test_modules(&without_comments_and_literals(source))
}

fn without_comments_and_literals(source: &str) -> String {
    let characters: Vec<char> = source.chars().collect();
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let mut code = String::with_capacity(source.len());
    let mut index = 0;
    while index < characters.len() {
        let is_within_name = index > 0 && is_name_character(at(index - 1));
        let end = match at(index) {
            '/' if at(index + 1) == '/' => find(&characters, index, &['\n']),
            '/' if at(index + 1) == '*' => end_of_block_comment(&characters, index),
            '"' => end_of_string(&characters, index + 1),
            'r' | 'b' | 'c' if !is_within_name => {
                end_of_prefixed_string(&characters, index).unwrap_or(index)
            }
            '\'' if at(index + 1) == '\\' => find(&characters, index + 3, &['\'']) + 1,
            '\'' if at(index + 2) == '\'' => index + 3,
            _ => index,
        };
        if end > index {
            code.push(' ');
            index = end;
        } else {
            code.push(at(index));
            index += 1;
        }
    }
    code
}

fn find(characters: &[char], from: usize, wanted: &[char]) -> usize {
    let places = from..=characters.len().saturating_sub(wanted.len());
    places
        .into_iter()
        .find(|&place| characters[place..].starts_with(wanted))
        .unwrap_or(characters.len())
}

fn end_of_block_comment(characters: &[char], from: usize) -> usize {
    let mut depth = 0;
    let mut index = from;
    while index < characters.len() {
        match characters[index..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            break;
        }
    }
    index
}

/// `from` is behind the opening quote.
fn end_of_string(characters: &[char], from: usize) -> usize {
    let mut index = from;
    while index < characters.len() && characters[index] != '"' {
        index += if characters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// The end of `b"…"`, `r"…"`, `br#"…"#` and their like, if one begins here.
fn end_of_prefixed_string(characters: &[char], from: usize) -> Option<usize> {
    let mut index = from;
    let mut is_raw = false;
    while let Some('r' | 'b' | 'c') = characters.get(index) {
        is_raw |= characters[index] == 'r';
        index += 1;
    }
    let hashes = characters[index..]
        .iter()
        .take_while(|&&c| c == '#')
        .count();
    if characters.get(index + hashes) != Some(&'"') {
        return None;
    }
    let content = index + hashes + 1;
    if !is_raw {
        return (hashes == 0).then(|| end_of_string(characters, content));
    }
    let mut close = vec!['"'];
    close.resize(hashes + 1, '#');
    Some(find(characters, content, &close) + close.len())
}

fn without_test_modules(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(ATTRIBUTE) {
        let after = &rest[start + ATTRIBUTE.len()..];
        kept.push_str(&rest[..start]);
        rest = match inline_module_body(after) {
            Some(body) => &body[end_of_braces(body)..],
            None => after,
        };
    }
    kept + rest
}

/// The text from the opening brace of `mod name { … }`, if the next item is one.
fn inline_module_body(code: &str) -> Option<&str> {
    let header = &code[..code.find(['{', ';'])?];
    let is_module = header.split_whitespace().any(|word| word == "mod");
    let body = &code[header.len()..];
    (is_module && body.starts_with('{')).then_some(body)
}

fn end_of_braces(code: &str) -> usize {
    let mut depth = 0;
    for (index, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    code.len()
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(name_length) = name_length(rest) {
            tokens.push(Token::Name(rest[..name_length].to_owned()));
            name_length
        } else if rest.starts_with("::") {
            tokens.push(Token::PathSeparator);
            2
        } else {
            tokens.push(Token::Other(first));
            first.len_utf8()
        };
        rest = rest[length..].trim_start();
    }
    tokens
}

fn name_length(text: &str) -> Option<usize> {
    let length = text.find(|c| !is_name_character(c)).unwrap_or(text.len());
    (length > 0).then_some(length)
}

/// What the file brings in by `use`, and the names of the modules that it declares.
pub(super) fn declarations(code: &str) -> (Vec<WrittenPath>, BTreeSet<String>) {
    let mut uses = Vec::new();
    let mut modules = BTreeSet::new();
    let mut tokens = tokens(code).into_iter().peekable();
    while let Some(token) = tokens.next() {
        let Token::Name(keyword) = token else {
            continue;
        };
        match (keyword.as_str(), tokens.peek()) {
            ("use", Some(Token::Name(_) | Token::PathSeparator)) => {
                parse_use_tree(&mut tokens, &[], &mut uses);
            }
            ("mod", Some(Token::Name(name))) => {
                modules.insert(name.clone());
            }
            _ => {}
        }
    }
    (uses, modules)
}

fn parse_use_tree(
    tokens: &mut Peekable<IntoIter<Token>>,
    prefix: &[String],
    found: &mut Vec<WrittenPath>,
) {
    let mut segments = prefix.to_vec();
    loop {
        match tokens.next() {
            // `a::{self}` names the module itself.
            Some(Token::Name(name)) if name == "self" && !segments.is_empty() => {}
            Some(Token::Name(name)) => segments.push(name),
            Some(Token::Other('*')) => {
                let local_name = None;
                return found.push(WrittenPath {
                    segments,
                    local_name,
                });
            }
            Some(Token::Other('{')) => {
                while tokens.peek().is_some_and(|next| *next != Token::Other('}')) {
                    parse_use_tree(tokens, &segments, found);
                    tokens.next_if_eq(&Token::Other(','));
                }
                tokens.next();
                return;
            }
            Some(Token::PathSeparator) => continue,
            Some(Token::Other(_)) | None => return,
        }
        if tokens.next_if_eq(&Token::PathSeparator).is_none() {
            break;
        }
    }
    let is_renamed = tokens.next_if_eq(&Token::Name("as".to_owned())).is_some();
    let local_name = match tokens.next_if(|next| is_renamed && matches!(next, Token::Name(_))) {
        Some(Token::Name(name)) => Some(name),
        _ => segments.last().cloned(),
    };
    found.push(WrittenPath {
        segments,
        local_name,
    });
}

/// The paths within code, outside of `use`, that begin with one of these names.
pub(super) fn paths_in_code(code: &str, heads: &BTreeSet<String>) -> Vec<WrittenPath> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut is_use = false;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Name(name) if name == "use" => is_use = true,
            Token::Other(';') => is_use = false,
            Token::Name(name) if !is_use && heads.contains(name) => {
                let before = index.checked_sub(1).map(|before| &tokens[before]);
                let is_head = !matches!(before, Some(Token::PathSeparator | Token::Other('.')));
                let segments = segments_from(&tokens[index..]);
                if is_head && segments.len() > 1 {
                    found.push(WrittenPath {
                        segments,
                        local_name: None,
                    });
                }
            }
            _ => {}
        }
    }
    found
}

fn segments_from(tokens: &[Token]) -> Vec<String> {
    let mut segments = Vec::new();
    for pair in tokens.chunks(2) {
        let [Token::Name(name), rest @ ..] = pair else {
            break;
        };
        segments.push(name.clone());
        if rest != [Token::PathSeparator] {
            break;
        }
    }
    segments
}

mod tests {
    use super::*;

    fn written(paths: Vec<WrittenPath>) -> Vec<String> {
        let as_text = |path: WrittenPath| {
            let name = path
                .local_name
                .map_or(String::new(), |name| format!(" as {name}"));
            path.segments.join("::") + &name
        };
        paths.into_iter().map(as_text).collect()
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let source = r##"
            // use crate::a;
            /* use crate::b; /* nested */ use crate::c; */
            let text = "use crate::d; \" use crate::e;";
            let raw = r#"use crate::f; " use crate::g;"#;
            let quote = '"'; use crate::kept; let other = '\''; fn f<'a>(x: &'a str) {}
        "##;
        let (uses, _) = declarations(&code_only(source));
        assert_eq!(written(uses), ["crate::kept as kept"]);
    }

    #[test]
    fn inline_test_modules_are_left_out_and_what_follows_is_not() {
        let source = "#[cfg(test)] mod tests { fn f() { use crate::a; } }\nuse crate::b;\n\
                      #[cfg(test)] mod in_a_file;\nuse crate::c;";
        let (uses, _) = declarations(&code_only(source));
        assert_eq!(written(uses), ["crate::b as b", "crate::c as c"]);
    }

    #[test]
    fn a_use_tree_is_taken_apart() {
        let source = "pub use crate::{a::{self, B, c::*}, d as e};\nuse super::super::F;\nmod g;";
        let (uses, modules) = declarations(source);
        assert_eq!(
            written(uses),
            [
                "crate::a as a",
                "crate::a::B as B",
                "crate::a::c",
                "crate::d as e",
                "super::super::F as F",
            ]
        );
        assert_eq!(modules, BTreeSet::from(["g".to_owned()]));
    }

    #[test]
    fn paths_in_code_begin_with_a_known_name_and_end_with_the_last_segment() {
        let heads = BTreeSet::from(["crate", "store"].map(str::to_owned));
        let code = "use crate::not_this; let x: crate::a::B<C> = store::open::<D>(); other::store::e(); f.store::g();";
        let paths = paths_in_code(code, &heads);
        assert_eq!(written(paths), ["crate::a::B", "store::open"]);
    }
}
