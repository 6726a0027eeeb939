//! Paths into JSON: `$.params.switch:0.apower`, `$['a.b'].c`, `$.rx_metadata[0].rssi`.

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Index(usize),
}

/// A compiled path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Compiles a path: `$`, then `.name` (up to the next `.` or `[`), `['name']` or `[number]`, as often as needed.
    /// `None` when it is not of this form.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            (step, rest) = if let Some(name) = rest.strip_prefix('.') {
                let (name, rest) = name.split_at_checked(name.find(['.', '[']).unwrap_or(name.len()))?;
                (Step::Name(Some(name).filter(|name| !name.is_empty())?.into()), rest)
            } else if let Some(quoted) = rest.strip_prefix("['") {
                let (name, rest) = quoted.split_once("']")?;
                (Step::Name(name.into()), rest)
            } else {
                let (index, rest) = rest.strip_prefix('[')?.split_once(']')?;
                (Step::Index(index.parse().ok()?), rest)
            };
            steps.push(step);
        }
        Some(Self(steps))
    }

    /// What stands there; `None` when nothing does, or `null`.
    pub(super) fn get<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        let mut value = root;
        for step in &self.0 {
            value = match step {
                Step::Name(name) => value.get(name.as_ref())?,
                Step::Index(index) => value.get(index)?,
            };
        }
        (!value.is_null()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::JsonPath;

    #[test]
    fn a_path_leads_to_its_value() {
        let root = json!({"a": {"switch:0": {"w": 1.5}, "b.c": [10, {"d": true}]}, "n": null});
        for (path, expected) in [
            ("$.a.switch:0.w", Some(json!(1.5))),
            ("$['a']['b.c'][0]", Some(json!(10))),
            ("$.a['b.c'][1].d", Some(json!(true))),
            ("$.n", None),
            ("$.n.x", None),
            ("$.a.x", None),
            ("$.a['b.c'][2]", None),
            ("$", Some(root.clone())),
        ] {
            assert_eq!(JsonPath::new(path).unwrap().get(&root), expected.as_ref(), "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in ["", "a", "$a", "$.", "$..a", "$.a.", "$[", "$[x]", "$['a", "$[-1]", "$.a]["] {
            assert_eq!(JsonPath::new(bad), None, "{bad}");
        }
    }
}
