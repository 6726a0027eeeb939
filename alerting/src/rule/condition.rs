//! Conditions: `field op constant`.
//!
//! Invariant: the constant is finite, so every comparison of a finite value has one answer. Integers are
//! compared as 64-bit floats: beyond 2^53 neighbours are equal.

use std::fmt;
use std::sync::Arc;

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Longest spelling first, so that `>=` is not read as `>`.
const OPS: [(&str, Op); 6] = [
    (">=", Op::GreaterOrEqual),
    ("<=", Op::LessOrEqual),
    ("==", Op::Equal),
    ("!=", Op::NotEqual),
    (">", Op::Greater),
    ("<", Op::Less),
];

/// A comparison of a field with a constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: Arc<str>,
    /// The comparison.
    pub op: Op,
    /// The constant; `true` is 1 and `false` is 0.
    pub constant: f64,
}

impl Condition {
    /// Reads `field op constant`.
    ///
    /// # Errors
    /// What is wrong, and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (field, rest) = parse_field(text.trim())?;
        let rest = rest.trim_start();
        let found = OPS.iter().find_map(|(spelling, op)| Some((*op, rest.strip_prefix(spelling)?)));
        let (op, constant) = found.ok_or_else(|| {
            format!("after the field {field:?} one of > >= < <= == != is expected, not {rest:?}")
        })?;
        let constant = match constant.trim() {
            "true" => 1.0,
            "false" => 0.0,
            number => number.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(|| {
                format!("{number:?} is not a number, true or false; write field, comparison, constant, as `CO2 > 1000`")
            })?,
        };
        Ok(Self { field: field.into(), op, constant })
    }

    /// Whether a value meets the condition.
    #[must_use]
    #[inline]
    #[expect(clippy::float_cmp, reason = "the rule asks for exact equality")]
    pub fn holds(&self, value: f64) -> bool {
        match self.op {
            Op::Greater => value > self.constant,
            Op::GreaterOrEqual => value >= self.constant,
            Op::Less => value < self.constant,
            Op::LessOrEqual => value <= self.constant,
            Op::Equal => value == self.constant,
            Op::NotEqual => value != self.constant,
        }
    }

    /// A value that meets both conditions, if there is one.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<f64> {
        // Each condition's truth changes only at its constant: these points stand for all intervals.
        let around = |c: f64| [c.next_down(), c, c.next_up()];
        let middle = f64::midpoint(self.constant, other.constant);
        around(self.constant)
            .into_iter()
            .chain(around(other.constant))
            .chain([f64::MIN, middle, f64::MAX])
            .find(|v| v.is_finite() && self.holds(*v) && other.holds(*v))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = OPS.iter().find(|(_, op)| *op == self.op).map_or("?", |(spelling, _)| spelling);
        write!(f, "{} {op} {}", self.field, self.constant)
    }
}

fn parse_field(text: &str) -> Result<(String, &str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c.is_whitespace() || "<>=!\"".contains(c)).unwrap_or(text.len());
        let (field, rest) = text.split_at(end);
        if field.is_empty() {
            return Err("write field, comparison, constant, as `CO2 > 1000`".into());
        }
        return Ok((field.to_owned(), rest));
    };
    let mut field = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => field.extend(chars.next().map(|(_, c)| c)),
            '"' if field.is_empty() => return Err("the field name between the quotes is empty".into()),
            '"' => return Ok((field, quoted.get(at + 1..).unwrap_or_default())),
            other => field.push(other),
        }
    }
    Err("the field name has no closing quote".into())
}
