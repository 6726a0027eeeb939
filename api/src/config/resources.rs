//! The tables of the configuration that other crates give a meaning: mappings, rules, webhooks.
//!
//! They are kept as TOML so that `busbar config print` shows them as they were written; what they mean is checked
//! when the configuration is.

use alerting::notify::{Secret, WebhookConfig};
use alerting::rule::RuleSpec;
use ingest::mqtt::mapping::{Mapping, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Config, ConfigError};

/// A receiver of alerts, as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhook {
    name: String,
    url: String,
    secret: Option<String>,
    #[serde(default)]
    allow_private: bool,
}

impl Config {
    /// Checks everything here, as a start does.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_resources(&self) -> Result<(), ConfigError> {
        self.topics()?;
        self.alert_rules()?;
        self.receivers()?;
        self.table_store()?;
        Ok(())
    }

    /// The topics that mean something.
    ///
    /// # Errors
    /// What is wrong with the first bad mapping.
    pub fn topics(&self) -> Result<Router, ConfigError> {
        let mappings: Vec<Mapping> = read("mqtt.mappings", &self.mqtt.mappings)?;
        Router::new(&mappings).map_err(|error| ConfigError::Rule(format!("mqtt.mappings: {error}")))
    }

    /// The alert rules: those of the file named by `rules_file`, then those of the configuration itself.
    ///
    /// # Errors
    /// What is wrong with the file or the first bad rule.
    pub fn alert_rules(&self) -> Result<Vec<RuleSpec>, ConfigError> {
        let mut rules = Vec::new();
        if let Some(path) = &self.rules_file {
            let wrong = |why: String| ConfigError::Rule(format!("rules_file {}: {why}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
            rules = RuleSpec::list_from_yaml(&text).map_err(|faults| wrong(faults.to_string()))?;
        }
        rules.extend(read::<RuleSpec>("rules", &self.rules)?);
        for rule in &rules {
            let wrong =
                |why: &dyn std::fmt::Display| ConfigError::Rule(format!("rule {:?}: {why}", rule.name));
            rule.validate().map_err(|faults| wrong(&faults))?;
        }
        Ok(rules)
    }

    /// The receivers that rules may name.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn receivers(&self) -> Result<Vec<WebhookConfig>, ConfigError> {
        let webhooks: Vec<Webhook> = read("webhooks", &self.webhooks)?;
        let receiver = |webhook: Webhook| WebhookConfig {
            name: webhook.name,
            url: webhook.url,
            secret: webhook.secret.map(Secret::new),
            allow_private: webhook.allow_private,
        };
        Ok(webhooks.into_iter().map(receiver).collect())
    }
}

fn read<T: DeserializeOwned>(key: &str, tables: &[toml::Table]) -> Result<Vec<T>, ConfigError> {
    let one = |(at, table): (usize, &toml::Table)| {
        let wrong = |error: toml::de::Error| ConfigError::Rule(format!("{key}[{at}]: {}", error.message()));
        T::deserialize(toml::Value::Table(table.clone())).map_err(wrong)
    };
    tables.iter().enumerate().map(one).collect()
}
