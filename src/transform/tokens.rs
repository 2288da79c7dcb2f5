//! The text of a condition in its parts: names, literals and symbols.

use super::groovy::Literal;

/// A part of a condition's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Name(String),
    Literal(Literal),
    Symbol(&'static str),
}

/// Longer ones first.
const SYMBOLS: [&str; 17] =
    ["&&", "||", "==", "!=", "<=", ">=", "?.", "<", ">", "!", "(", ")", "[", "]", ".", ",", ";"];
/// What looks like one of them and is something else.
const OTHERS: [&str; 8] = ["===", "!==", "==~", "=~", "<=>", "?:", "..", "!in"];

/// What is said of a token that does not fit.
pub(super) fn not_understood(token: &Token) -> String {
    let shown = match token {
        Token::Name(name) => name.clone(),
        Token::Literal(Literal::Null) => "null".to_owned(),
        Token::Literal(Literal::Boolean(flag)) => flag.to_string(),
        Token::Literal(Literal::Integer(number)) => number.to_string(),
        Token::Literal(Literal::Decimal(number)) => number.to_string(),
        Token::Literal(Literal::Text(text)) => format!("'{text}'"),
        Token::Symbol(symbol) => (*symbol).to_owned(),
    };
    format!("`{shown}` is not understood where it stands")
}

/// The parts of a text in order. The error names what is none.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        if let Some(other) = OTHERS.iter().find(|other| rest.starts_with(**other)) {
            return Err(format!("`{other}` is not understood"));
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = rest.get(symbol.len()..).unwrap_or_default();
        } else if matches!(first, '\'' | '"') {
            let (text, tail) = quoted(rest, first)?;
            tokens.push(Token::Literal(Literal::Text(text)));
            rest = tail;
        } else if first.is_ascii_digit() || first == '-' {
            let (literal, tail) = number(rest)?;
            tokens.push(Token::Literal(literal));
            rest = tail;
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            tokens.push(match name {
                "null" => Token::Literal(Literal::Null),
                "true" => Token::Literal(Literal::Boolean(true)),
                "false" => Token::Literal(Literal::Boolean(false)),
                name => Token::Name(name.to_owned()),
            });
            rest = tail;
        } else {
            return Err(format!("`{first}` is not understood"));
        }
        rest = rest.trim_start();
    }
    // A statement may end as in Java.
    if tokens.last() == Some(&Token::Symbol(";")) {
        tokens.pop();
    }
    Ok(tokens)
}

/// A text and what follows it.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.chars();
    chars.next();
    loop {
        match chars.next() {
            None => return Err("a text has no end".to_owned()),
            Some(c) if c == quote => break,
            Some('\\') => match chars.next() {
                Some(c @ ('\\' | '\'' | '"' | '$')) => value.push(c),
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                _ => return Err("an escape in a text is not understood".to_owned()),
            },
            Some('$') if quote == '"' => return Err("`$` in a text is not understood".to_owned()),
            Some(c) => value.push(c),
        }
    }
    // Three quotes in a row are another kind of text.
    if value.is_empty() && chars.as_str().starts_with(quote) {
        return Err("a text in three quotes is not understood".to_owned());
    }
    Ok((value, chars.as_str()))
}

fn number(text: &str) -> Result<(Literal, &str), String> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_of_number = |(at, c): (usize, char)| {
        let is_point = c == '.'
            && unsigned.get(at.saturating_add(1)..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        c.is_ascii_digit() || is_point
    };
    let length = unsigned.char_indices().find(|(at, c)| !is_of_number((*at, *c))).map_or(unsigned.len(), |(at, _)| at);
    let end = length.saturating_add(text.len().saturating_sub(unsigned.len()));
    let (digits, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    let rest = rest.strip_prefix(['L', 'l']).unwrap_or(rest);
    let is_whole = !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let literal = match digits.contains('.') {
        true => digits.parse().ok().map(Literal::Decimal),
        // With a zero in front it is octal.
        false if digits.trim_start_matches('-').len() > 1 && digits.trim_start_matches('-').starts_with('0') => None,
        false => digits.parse().ok().map(Literal::Integer),
    };
    literal
        .filter(|_| is_whole)
        .map(|literal| (literal, rest))
        .ok_or(format!("the number at `{digits}` is not understood"))
}
