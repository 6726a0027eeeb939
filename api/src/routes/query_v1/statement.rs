//! Parses the statements that `/query` answers: `CREATE DATABASE name` and `SHOW DATABASES`, separated by `;`.
//!
//! Invariant: what is not understood as a whole is refused; a clause is never ignored.

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    /// Makes a database of this name, not checked yet.
    CreateDatabase(String),
    /// Lists all databases.
    ShowDatabases,
}

/// Statements of one request: Telegraf sends one, and each may wait for the log.
const STATEMENTS: usize = 100;

/// Bytes of the input that an error repeats.
const EXCERPT_CHARS: usize = 60;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A bare word.
    Word(String),
    /// A name in double quotes, unescaped.
    Quoted(String),
    /// Anything else.
    Sign(char),
}

/// The statements of a text.
///
/// # Errors
/// What was found and what was expected.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, String> {
    let tokens = tokens(text)?;
    let mut statements = Vec::new();
    for part in tokens.split(|token| *token == Token::Sign(';')) {
        if !part.is_empty() {
            statements.push(statement(part)?);
        }
        if statements.len() > STATEMENTS {
            return Err(format!("more than {STATEMENTS} statements"));
        }
    }
    if statements.is_empty() {
        return Err("found no statement".into());
    }
    Ok(statements)
}

fn statement(tokens: &[Token]) -> Result<Statement, String> {
    let is_word = |at: usize, word: &str| matches!(tokens.get(at), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
    if is_word(0, "SHOW") && is_word(1, "DATABASES") {
        return end(tokens, 2).map(|()| Statement::ShowDatabases);
    }
    if is_word(0, "CREATE") && is_word(1, "DATABASE") {
        let (Some(Token::Word(name)) | Some(Token::Quoted(name))) = tokens.get(2) else {
            return Err(format!("found {}, expected identifier", shown(tokens.get(2))));
        };
        if is_word(3, "WITH") {
            return Err("WITH is not supported: a database keeps all rows".into());
        }
        return end(tokens, 3).map(|()| Statement::CreateDatabase(name.clone()));
    }
    Err(format!("found {}, expected CREATE DATABASE or SHOW DATABASES", shown(tokens.first())))
}

fn end(tokens: &[Token], at: usize) -> Result<(), String> {
    match tokens.get(at) {
        None => Ok(()),
        found => Err(format!("found {}, expected ;", shown(found))),
    }
}

fn shown(token: Option<&Token>) -> String {
    match token {
        None => "EOF".into(),
        Some(Token::Word(text) | Token::Quoted(text)) => text.chars().take(EXCERPT_CHARS).collect(),
        Some(Token::Sign(sign)) => sign.to_string(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '"' => quoted(rest)?,
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                (Token::Word(word.to_owned()), after)
            }
            sign => (Token::Sign(sign), rest.get(sign.len_utf8()..).unwrap_or_default()),
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// A name in double quotes, with `\"`, `\\` and `\n` as escapes, and what follows it.
fn quoted(text: &str) -> Result<(Token, &str), String> {
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Token::Quoted(name), text.get(at + 1..).unwrap_or_default())),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => name.push(c),
                Some((_, 'n')) => name.push('\n'),
                _ => return Err("found a bad escape in a quoted name".into()),
            },
            c => name.push(c),
        }
    }
    Err("found a quoted name without its end".into())
}

#[cfg(test)]
mod tests {
    use super::Statement::{CreateDatabase, ShowDatabases};
    use super::{Statement, parse};

    fn check(text: &str, expected: Result<Vec<Statement>, &str>) {
        assert_eq!(parse(text), expected.map_err(str::to_owned), "{text}");
    }

    fn create(name: &str) -> Statement {
        CreateDatabase(name.into())
    }

    #[test]
    fn the_statements_of_clients_are_understood() {
        check("CREATE DATABASE \"telegraf\"", Ok(vec![create("telegraf")]));
        check("create database telegraf;", Ok(vec![create("telegraf")]));
        check("CREATE DATABASE \"my-db/rp\"", Ok(vec![create("my-db/rp")]));
        check(r#"CREATE DATABASE "a\"b\\c""#, Ok(vec![create("a\"b\\c")]));
        check(" SHOW\tDATABASES ", Ok(vec![ShowDatabases]));
        check("SHOW DATABASES; CREATE DATABASE x ;", Ok(vec![ShowDatabases, create("x")]));
        check("CREATE DATABASE \"a;b\"", Ok(vec![create("a;b")]));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_named() {
        let other = |found: &str| format!("found {found}, expected CREATE DATABASE or SHOW DATABASES");
        check("SELECT * FROM cpu", Err(&other("SELECT")));
        check("DROP DATABASE x", Err(&other("DROP")));
        check("SHOW MEASUREMENTS", Err(&other("SHOW")));
        check("(", Err(&other("(")));
        check("CREATE DATABASE", Err("found EOF, expected identifier"));
        check("CREATE DATABASE 'x'", Err("found ', expected identifier"));
        check("CREATE DATABASE my-db", Err("found -, expected ;"));
        check("SHOW DATABASES now", Err("found now, expected ;"));
        check("CREATE DATABASE \"x", Err("found a quoted name without its end"));
        check("CREATE DATABASE \"x\\", Err("found a bad escape in a quoted name"));
        check(" ; ; ", Err("found no statement"));
        check("CREATE DATABASE x WITH DURATION 1d", Err("WITH is not supported: a database keeps all rows"));
        check(&"SHOW DATABASES;".repeat(101), Err("more than 100 statements"));
    }

    #[test]
    fn no_text_panics() {
        for text in
            ["\"", "\\", "ä", "°;°", "CREATE DATABASE \"°", "_", "\u{0}", "''", "CREATE \"DATABASE\" x"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
