//! Topic templates: MQTT filters whose levels have names.
//!
//! `building/{building}/floor/{floor}/+/{device}/telemetry/#`: a name in braces takes exactly one level, `+` takes
//! one level, `#` at the end takes any number of levels, also none. As in MQTT, a template that begins with a
//! wildcard does not match topics that begin with `$`.

use std::fmt;

/// Why a topic template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template is empty.
    #[error("a topic template must not be empty")]
    Empty,
    /// `#` stands before the end, or a wildcard is only a part of a level.
    #[error("topic template '{0}': '+' and '#' must fill a level, and '#' the last one")]
    Wildcard(String),
    /// A brace is missing, or the name in braces is not `[a-z_][a-z0-9_]*`.
    #[error("topic template '{0}': write a captured level as {{name}}, with small letters, digits and '_'")]
    Capture(String),
    /// A name stands there twice.
    #[error("topic template '{template}': {{{name}}} is there twice")]
    Duplicate {
        /// The template.
        template: String,
        /// The name.
        name: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Level {
    Literal(Box<str>),
    Any,
    Capture(Box<str>),
}

/// A compiled topic template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    levels: Vec<Level>,
    /// Whether more levels may follow.
    open: bool,
    text: Box<str>,
}

/// What the names of a template stand for in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Captures<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Captures<'a> {
    /// The level that the name stands for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(known, _)| *known == name).map(|(_, level)| *level)
    }
}

impl TopicTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() {
            return Err(TemplateError::Empty);
        }
        let (text_of_levels, open) = match text.strip_suffix('#') {
            Some("") => ("", true),
            Some(start) => {
                (start.strip_suffix('/').ok_or_else(|| TemplateError::Wildcard(text.to_owned()))?, true)
            }
            None => (text, false),
        };
        let mut levels = Vec::new();
        for part in text_of_levels.split('/').filter(|_| text != "#") {
            let level = Self::level(text, part)?;
            if let Level::Capture(name) = &level
                && levels.contains(&level)
            {
                return Err(TemplateError::Duplicate { template: text.to_owned(), name: name.to_string() });
            }
            levels.push(level);
        }
        Ok(Self { levels, open, text: text.into() })
    }

    fn level(template: &str, part: &str) -> Result<Level, TemplateError> {
        if part == "+" {
            return Ok(Level::Any);
        }
        if part.contains(['+', '#']) {
            return Err(TemplateError::Wildcard(template.to_owned()));
        }
        if let Some(name) = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            return match is_capture_name(name) {
                true => Ok(Level::Capture(name.into())),
                false => Err(TemplateError::Capture(template.to_owned())),
            };
        }
        if part.contains(['{', '}']) {
            return Err(TemplateError::Capture(template.to_owned()));
        }
        Ok(Level::Literal(part.into()))
    }

    /// The names in the template.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|level| match level {
            Level::Capture(name) => Some(name.as_ref()),
            Level::Literal(_) | Level::Any => None,
        })
    }

    /// What the names stand for in `topic`, if it matches. A captured level is never empty.
    #[must_use]
    pub fn matches<'a>(&'a self, topic: &'a str) -> Option<Captures<'a>> {
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let mut pairs = Vec::new();
        let mut parts = topic.split('/');
        for level in &self.levels {
            let part = parts.next()?;
            match level {
                Level::Literal(literal) if **literal == *part => {}
                Level::Any => {}
                Level::Capture(name) if !part.is_empty() => pairs.push((name.as_ref(), part)),
                Level::Literal(_) | Level::Capture(_) => return None,
            }
        }
        (self.open || parts.next().is_none()).then_some(Captures { pairs })
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a name may stand in braces: `[a-z_][a-z0-9_]*`.
pub(super) fn is_capture_name(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_lowercase() || char == '_')
        && name.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{TemplateError, TopicTemplate};

    fn captures(template: &str, topic: &str) -> Option<Vec<(String, String)>> {
        let template = TopicTemplate::new(template).unwrap();
        let captures = template.matches(topic)?;
        Some(captures.pairs.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(pairs.iter().map(|(name, level)| ((*name).to_owned(), (*level).to_owned())).collect())
    }

    #[test]
    fn named_levels_are_captured() {
        let template = "building/{building}/floor/{floor}/+/{device}/telemetry";
        assert_eq!(
            captures(template, "building/hq/floor/3/hvac/dev 7/telemetry"),
            pairs(&[("building", "hq"), ("floor", "3"), ("device", "dev 7")])
        );
        for other in [
            "building/hq/floor/3/hvac/dev7",
            "building/hq/floor/3/hvac/dev7/telemetry/x",
            "building/hq/floor/3/hvac/dev7/state",
            "building//floor/3/hvac/dev7/telemetry",
            "",
        ] {
            assert_eq!(captures(template, other), None, "{other}");
        }
    }

    #[test]
    fn a_hash_takes_any_number_of_levels() {
        for topic in ["a", "a/", "a/b", "a/b/c"] {
            assert_eq!(captures("a/#", topic), pairs(&[]), "{topic}");
        }
        assert_eq!(captures("a/#", "ab"), None);
        assert_eq!(captures("#", "x/y"), pairs(&[]));
        assert_eq!(captures("{a}/#", "x/y/z"), pairs(&[("a", "x")]));
    }

    #[test]
    fn topics_of_the_server_are_not_matched_by_wildcards() {
        assert_eq!(captures("#", "$SYS/load"), None);
        assert_eq!(captures("{a}/load", "$SYS/load"), None);
        assert_eq!(captures("$SYS/{what}", "$SYS/load"), pairs(&[("what", "load")]));
    }

    #[test]
    fn empty_levels_are_levels() {
        assert_eq!(captures("/a", "/a"), pairs(&[]));
        assert_eq!(captures("/a", "a"), None);
        assert_eq!(captures("a/+", "a/"), pairs(&[]));
    }

    #[test]
    fn mistakes_in_templates_are_named() {
        assert_eq!(TopicTemplate::new(""), Err(TemplateError::Empty));
        for bad in ["a/#/b", "a#", "a+/b", "#/#", "+a"] {
            assert!(matches!(TopicTemplate::new(bad), Err(TemplateError::Wildcard(_))), "{bad}");
        }
        for bad in ["{", "{}", "{A}", "{a-b}", "x{a}", "{a}{b}", "a}", "{1}"] {
            assert!(matches!(TopicTemplate::new(bad), Err(TemplateError::Capture(_))), "{bad}");
        }
        let error = TopicTemplate::new("{a}/{a}").unwrap_err();
        assert_eq!(error.to_string(), "topic template '{a}/{a}': {a} is there twice");
    }
}
