//! Prints the effective configuration as TOML with its help, secrets replaced.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::{Config, SETTINGS};

/// Stands where a secret was.
const REDACTED: &str = "<redacted>";

/// Words in a key whose value is not shown: whoever reads a log or a ticket must not be able to use it.
const SECRET_WORDS: [&str; 6] = ["secret", "password", "token", "sha256", "authorization", "url"];

/// The configuration as TOML. Values of secret keys are replaced, so what is printed with tokens cannot be
/// started from.
#[must_use]
pub fn render(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in SETTINGS {
        let Some(value) = (setting.get)(config) else { continue };
        let (of, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
        if of != section {
            line(&mut text, format_args!("\n[{of}]"));
            section = of;
        }
        line(&mut text, format_args!("# {} ({})", setting.help, setting.variable));
        line(&mut text, format_args!("{name} = {value}"));
    }
    for token in &config.tokens {
        line(&mut text, format_args!("\n[[tokens]]"));
        line(&mut text, format_args!("name = {}", Value::String(token.name.clone())));
        line(&mut text, format_args!("sha256 = \"{REDACTED}\""));
    }
    let lists =
        [("mqtt.mappings", &config.mqtt.mappings), ("rules", &config.rules), ("webhooks", &config.webhooks)];
    for (key, tables) in lists {
        for table in tables {
            line(&mut text, format_args!("\n[[{key}]]"));
            for (name, value) in redacted(table) {
                line(&mut text, format_args!("{} = {value}", quoted_key(&name)));
            }
        }
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    if text.write_fmt(arguments).is_ok() {
        text.push('\n');
    }
}

fn quoted_key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}

fn redacted(table: &Table) -> Table {
    let hide = |(key, value): (&String, &Value)| {
        let lower = key.to_ascii_lowercase();
        let secret = SECRET_WORDS.iter().any(|word| lower.contains(word));
        let value = if secret { Value::String(REDACTED.into()) } else { redacted_value(value) };
        (key.clone(), value)
    };
    table.iter().map(hide).collect()
}

fn redacted_value(value: &Value) -> Value {
    match value {
        Value::Table(inner) => Value::Table(redacted(inner)),
        Value::Array(items) => Value::Array(items.iter().map(redacted_value).collect()),
        plain => plain.clone(),
    }
}
